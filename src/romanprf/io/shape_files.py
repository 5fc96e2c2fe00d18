"""Files of PRF shape models: the ``prf`` table, and FITS as psfmachine and roman-lcs have it.

A FITS file of ours holds a model twice: HDU 1 in the basis of those packages, with the weights that
come closest to it, for them; HDU 2 the ``prf`` table, exact, for us.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from romanprf import schemas
from romanprf.errors import InputError
from romanprf.io.atomic import replacing
from romanprf.io.tables import provenance, read_metadata, read_table, write_table

#: Value of the header key ORIGIN in files of ours.
_ORIGIN = "romanprf"
#: Name of the HDU with the exact model.
_EXACT = "ROMANPRF"
#: Columns of that HDU and their FITS formats: those of `schemas.PRF` but ``errors``, which models
#: that go into these files do not have.
_FORMATS = {"node": "J", "i": "J", "j": "J", "coefficient": "D"}
#: Types of the header keys that both packages read; all others are facts about the observation.
_GEOMETRY = {"n_rknots": int, "n_pknots": int, "rmin": float, "rmax": float, "cut_r": float}
#: Comments of the header keys that are not facts; their units are those of the packages.
_COMMENTS = {
    "n_rknots": "radial knots of the spline basis",
    "n_pknots": "angular knots of the spline basis",
    "rmin": "[arcsec] first radial knot",
    "rmax": "[arcsec] last radial knot",
    "cut_r": "[arcsec] inside, radius only",
    "spln_deg": "degree of the splines",
    "norm": "fractions of the flux of a source",
    "pixarea": "[arcsec2] pixel area of the model",
}
#: Cards that describe the FITS table, not the model; no fact may have such a key.
_STRUCTURE = re.compile(
    r"XTENSION|BITPIX|NAXIS\d*|[PG]COUNT|TFIELDS|T[A-Z]{4}\d+|CHECKSUM|DATASUM|EXTNAME|COMMENT|"
    r"HISTORY|"
)


class ShapeFile(NamedTuple):
    """Content of a file.

    Attributes
    ----------
    facts : dict
        Header by lower-case key; empty for a table of the workflow.
    columns, metadata : mapping
        Those of the ``prf`` table, the exact model; empty for files of the packages.
    weights : ndarray, shape (nweights,)
        ``psf_w`` of the packages, dex; empty for Parquet files.
    """

    facts: dict[str, Any]
    columns: Mapping[str, np.ndarray]
    metadata: Mapping[str, str]
    weights: np.ndarray


def checked_suffix(path: str | Path) -> str:
    """Suffix of a path in lower case.

    Raises
    ------
    ValueError
        If it is neither .parquet nor .fits.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".parquet", ".fits"):
        raise ValueError(f"{path}: suffix {suffix!r}, expected .parquet or .fits")
    return suffix


def checked_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts as plain values under lower-case keys.

    Raises
    ------
    ValueError
        If a key or a value does not fit a FITS header.
    """
    checked = {}
    for key, value in facts.items():
        plain = value.item() if isinstance(value, np.generic) else value
        if isinstance(plain, str):
            usable = plain.isascii() and plain.isprintable()
        else:
            usable = isinstance(plain, (bool, int, float)) and math.isfinite(plain)
        if not usable:
            raise ValueError(f"fact {key} = {value!r}, expected an ASCII text or a finite number")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,8}", key) or _STRUCTURE.fullmatch(key.upper()):
            raise ValueError(f"fact {key!r}, expected a free FITS key of at most 8 characters")
        checked[key.lower()] = plain
    return checked


def header(
    facts: Mapping[str, Any], geometry: Mapping[str, Any], pixel_area: float
) -> dict[str, Any]:
    """Header of a file of ours.

    Parameters
    ----------
    facts : mapping
        From `checked_facts`.
    geometry : mapping
        Knots of the weights, by the keys of the packages.
    pixel_area : float
        Arcsec^2.
    """
    return {
        "datatype": "PRF",
        **facts,
        "object": "PRF shape",
        "origin": _ORIGIN,
        "version": version("romanprf"),
        **geometry,
        "spln_deg": 3,
        # psfmachine changes weights that are not marked as normalised when it loads them.
        "norm": "True",
        "pixarea": pixel_area,
    }


def write_shape_file(path: str | Path, content: ShapeFile) -> None:
    """Write a Parquet or FITS file, by its suffix, whole or not at all."""
    facts, columns, metadata, weights = content
    if checked_suffix(path) == ".parquet":
        metadata = {**metadata, "facts": json.dumps(facts)}
        write_table(path, columns, schemas.PRF, provenance(), metadata)
        return
    theirs = _table({"psf_w": weights}, {"psf_w": "D"})
    for key, value in facts.items():
        theirs.header[key] = (value, _COMMENTS.get(key, ""))
    ours = _table(columns, _FORMATS, name=_EXACT)
    ours.header["MODEL"] = metadata["model"]
    with replacing(path) as temporary:
        fits.HDUList([fits.PrimaryHDU(), theirs, ours]).writeto(temporary, checksum=True)


def read_shape_file(path: str | Path) -> ShapeFile:
    """Read a Parquet or FITS file of ours, psfmachine or roman-lcs.

    Raises
    ------
    ValueError
        If the suffix is neither of the two.
    InputError
        If the file is none of these, or is damaged.
    """
    suffix = checked_suffix(path)
    with readable(path):
        return _read_parquet(path) if suffix == ".parquet" else _read_fits(path)


def geometry(path: str | Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Knots of the weights in a header, by its keys.

    Raises
    ------
    InputError
        If one is missing or no number, or if the splines are not cubic.
    """
    for key, kind in _GEOMETRY.items():
        number = facts.get(key)
        if isinstance(number, bool) or not isinstance(number, (kind, int)):
            raise InputError(f"{path}: {key} is {number!r}, expected {kind.__name__} in HDU 1")
    if facts.get("spln_deg", 3) != 3:
        raise InputError(f"{path}: spln_deg is {facts['spln_deg']!r}, expected 3 (cubic splines)")
    return {key: kind(facts[key]) for key, kind in _GEOMETRY.items()}


@contextmanager
def readable(path: str | Path) -> Iterator[None]:
    """Turn what is raised on a damaged file into an `InputError` of one line that names it."""
    try:
        with warnings.catch_warnings():
            damage = r"(?s).*(verification failed|truncated|corrupted)"
            warnings.filterwarnings("error", damage, AstropyUserWarning)
            yield
    except InputError:
        raise
    except (OSError, ValueError, TypeError, LookupError, AstropyUserWarning) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: not a readable PRF shape file ({reason})") from error


def _table(
    columns: Mapping[str, np.ndarray], formats: Mapping[str, str], name: str | None = None
) -> fits.BinTableHDU:
    """HDU with the columns that have a format."""
    parts = [fits.Column(name=k, array=columns[k], format=formats[k]) for k in formats]
    return fits.BinTableHDU.from_columns(parts, name=name)


def _read_parquet(path: str | Path) -> ShapeFile:
    table, metadata = read_table(path, schemas.PRF), read_metadata(path, schemas.PRF)
    columns = {name: table[name].to_numpy() for name in schemas.PRF.names}
    return ShapeFile(json.loads(metadata.get("facts", "{}")), columns, metadata, np.empty(0))


def _read_fits(path: str | Path) -> ShapeFile:
    with open(path, "rb") as file, fits.open(file, checksum=True) as hdus:
        facts, weights = _read_weights(path, hdus)
        if _EXACT in hdus:
            exact = hdus[_EXACT]
            columns = {name: np.array(exact.data[name]) for name in _FORMATS}
            return ShapeFile(facts, columns, {"model": exact.header["MODEL"]}, weights)
    if facts.get("origin") == _ORIGIN:
        raise InputError(f"{path}: truncated, expected the exact model in an HDU {_EXACT}")
    return ShapeFile(facts, {}, {}, weights)


def _read_weights(path: str | Path, hdus: fits.HDUList) -> tuple[dict[str, Any], np.ndarray]:
    """Facts and ``psf_w`` of HDU 1."""
    if len(hdus) < 2 or "psf_w" not in getattr(hdus[1], "columns", fits.ColDefs([])).names:
        raise InputError(f"{path}: no PRF shape, expected a table with a column psf_w in HDU 1")
    facts = {
        str(card.keyword).lower(): card.value
        for card in hdus[1].header.cards
        if not _STRUCTURE.fullmatch(card.keyword)
        and isinstance(card.value, (str, bool, int, float))
    }
    return facts, np.asarray(hdus[1].data["psf_w"], dtype=float)
