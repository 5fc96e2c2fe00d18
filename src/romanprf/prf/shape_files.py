"""PRF shape models on disk: the ``prf`` table, and FITS as psfmachine and roman-lcs have it.

A FITS file of ours holds the model twice: HDU 1 in the basis of those packages, whose weights are
the closest to it, for them; HDU 2 the ``prf`` table, exact, for us.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from romanprf import schemas
from romanprf.errors import InputError
from romanprf.io.atomic import replacing
from romanprf.io.tables import provenance, read_metadata, read_table, write_table
from romanprf.prf import PRF, LogPolarPRF
from romanprf.prf.exchange import ExchangeBasis

_ORIGIN = "romanprf"
#: Name of the HDU with the exact model.
_EXACT = "ROMANPRF"
#: The header keys that both packages read; the others are facts about the observation.
_GEOMETRY = {"n_rknots": int, "n_pknots": int, "rmin": float, "rmax": float, "cut_r": float}
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
#: Cards that describe the table, not the model.
_STRUCTURE = re.compile(
    r"XTENSION|BITPIX|NAXIS\d*|[PG]COUNT|TFIELDS|T[A-Z]{4}\d+|CHECKSUM|DATASUM|EXTNAME|COMMENT|"
    r"HISTORY|"
)


def write_shape(path: str | Path, prf: PRF, facts: Mapping[str, Any]) -> None:
    """Save a PRF.

    Parameters
    ----------
    path : path
        File to write, ``.parquet`` or ``.fits``.
    prf : PRF
        The model, log-polar.
    facts : mapping of str to str, int, float or bool
        What to say about it in the header, by FITS key: mission, quarter, channel, field,
        detector, filter, jd-obs, ...  The packages refuse a file without those they know.
        ``n_rknots``, ``n_pknots``, ``rmin``, ``rmax`` and ``cut_r``, when given (`read_shape`
        gives them), are the basis of the weights in HDU 1, otherwise it has the knots of ``prf``.

    Raises
    ------
    ValueError
        If the model, the suffix of ``path`` or a fact cannot be used.
    """
    if not isinstance(prf, LogPolarPRF):
        raise ValueError(
            f"the files are those of log-polar models, and this is a {prf.kind} model: "
            'save that of build_shape_model(model="log-polar")'
        )
    suffix = _suffix(path)
    if not np.isfinite(prf.coefficients).all():
        raise ValueError("the PRF has coefficients that are not finite, expected a fitted model")
    facts = _checked(facts)
    basis = ExchangeBasis.of(prf, facts)
    facts = {
        "datatype": "PRF",
        **facts,
        "object": "PRF shape",
        "origin": _ORIGIN,
        "version": version("romanprf"),
        **asdict(basis),
        "spln_deg": 3,
        # psfmachine changes weights that are not marked as normalised when it loads them.
        "norm": "True",
        "pixarea": prf.pixel_area,
    }
    columns, metadata = prf.to_table()
    if suffix == ".parquet":
        metadata["facts"] = json.dumps(facts)
        write_table(path, columns, schemas.PRF, provenance(), metadata)
    else:
        theirs, ours = _weights_hdu(basis.weights(prf), facts), _exact_hdu(columns, metadata)
        with replacing(path) as temporary:
            fits.HDUList([fits.PrimaryHDU(), theirs, ours]).writeto(temporary, checksum=True)


def read_shape(
    path: str | Path, pixel_area: float | None = None
) -> tuple[LogPolarPRF, dict[str, Any]]:
    """Load a PRF that `write_shape`, psfmachine or roman-lcs saved.

    A model of the packages becomes one of ours with more radial knots, equal to 1e-3 dex (see
    `romanprf.prf.exchange`).  It is not normalised: its values are fractions of the fluxes in
    the catalogue that it was built with.

    Parameters
    ----------
    path : path
        ``.parquet`` or ``.fits``.
    pixel_area : float, optional
        Arcsec^2 of the pixels of the model, for files that do not state it (key PIXAREA): those
        of the packages.

    Returns
    -------
    prf : LogPolarPRF
        The model.
    facts : dict
        What the header says, by lower-case key.

    Raises
    ------
    ValueError
        If the suffix is neither of the two.
    InputError
        If the file is no such model, is damaged or lacks the pixel area.

    Warns
    -----
    UserWarning
        If psfmachine marked the weights as normalised.  It multiplies weights, which are
        logarithms, by log10 of their integral, which raises the PRF to that power.  The file
        does not state the integral; the PRF is loaded as psfmachine would evaluate it.
    """
    if _suffix(path) == ".parquet":
        return _read_table(path)
    with _readable(path), open(path, "rb") as file, fits.open(file, checksum=True) as hdus:
        facts, weights = _weights(path, hdus)
        if _EXACT in hdus:
            exact = hdus[_EXACT]
            names = [name for name in schemas.PRF.names if name != "errors"]
            columns = {name: exact.data[name] for name in names}
            return _exact_model(path, columns, {"model": exact.header["MODEL"]}), facts
    if facts.get("origin") == _ORIGIN:
        raise InputError(f"{path}: truncated, expected the exact model in an HDU {_EXACT}")
    prf = _foreign_model(path, facts, weights, pixel_area)
    if facts.get("norm") in ("True", "T", 1):
        warnings.warn(
            f"{path}: norm = {facts['norm']}: psfmachine raised this PRF to the power log10 of its "
            "integral when it normalised it; before saving there, divide psf_w by "
            "log10(mean_model_integral) and set normalized_shape_model = False",
            stacklevel=2,
        )
    return prf, facts


def _suffix(path: str | Path) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in (".parquet", ".fits"):
        raise ValueError(f"{path}: suffix {suffix!r}, expected .parquet or .fits")
    return suffix


def _checked(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts as plain values under keys that fit a FITS header."""
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


def _weights_hdu(weights: np.ndarray, facts: Mapping[str, Any]) -> fits.BinTableHDU:
    """HDU 1."""
    hdu = fits.BinTableHDU.from_columns([fits.Column(name="psf_w", array=weights, format="D")])
    for key, value in facts.items():
        hdu.header[key] = (value, _COMMENTS.get(key, ""))
    return hdu


def _exact_hdu(columns: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> fits.BinTableHDU:
    """HDU 2."""
    formats = {"node": "J", "i": "J", "j": "J", "coefficient": "D"}
    hdu = fits.BinTableHDU.from_columns(
        [fits.Column(name=k, array=columns[k], format=formats[k]) for k in formats], name=_EXACT
    )
    hdu.header["MODEL"] = metadata["model"]
    return hdu


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    """Turn what the libraries raise on a damaged file into one line that names it."""
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


def _read_table(path: str | Path) -> tuple[LogPolarPRF, dict[str, Any]]:
    """A ``prf`` table; those of the workflow have no facts but the knots."""
    with _readable(path):
        table, metadata = read_table(path, schemas.PRF), read_metadata(path, schemas.PRF)
        columns = {name: table[name].to_numpy() for name in schemas.PRF.names}
        prf = _exact_model(path, columns, metadata)
        if "facts" in metadata:
            return prf, json.loads(metadata["facts"])
        return prf, asdict(ExchangeBasis.of(prf, {}))


def _exact_model(
    path: str | Path, columns: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> LogPolarPRF:
    prf = LogPolarPRF.from_table(columns, metadata)
    if prf.coefficients.size != prf.size or not np.isfinite(prf.coefficients).all():
        raise InputError(
            f"{path}: {np.isfinite(prf.coefficients).sum()} finite coefficients of "
            f"{prf.coefficients.size}, expected {prf.size}"
        )
    return prf


def _weights(path: str | Path, hdus: fits.HDUList) -> tuple[dict[str, Any], np.ndarray]:
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


def _foreign_model(
    path: str | Path, facts: Mapping[str, Any], weights: np.ndarray, pixel_area: float | None
) -> LogPolarPRF:
    """The model of HDU 1."""
    for key, kind in _GEOMETRY.items():
        number = facts.get(key)
        if isinstance(number, bool) or not isinstance(number, (kind, int)):
            raise InputError(f"{path}: {key} is {number!r}, expected {kind.__name__} in HDU 1")
    if facts.get("spln_deg", 3) != 3:
        raise InputError(f"{path}: spln_deg is {facts['spln_deg']!r}, expected 3 (cubic splines)")
    try:
        basis = ExchangeBasis(**{key: kind(facts[key]) for key, kind in _GEOMETRY.items()})
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    if weights.shape != (basis.size,) or not np.isfinite(weights).all():
        raise InputError(
            f"{path}: {np.isfinite(weights).sum()} finite weights psf_w of {weights.size}, "
            f"expected {basis.size} for n_rknots {basis.n_rknots} and n_pknots {basis.n_pknots}"
        )
    pixel_area = facts.get("pixarea", pixel_area)
    if pixel_area is None:
        raise InputError(f"{path}: no pixel area (PIXAREA), expected the argument pixel_area")
    if not pixel_area > 0.0:
        raise InputError(f"{path}: pixel area {pixel_area!r}, expected arcsec^2 above 0")
    return basis.to_prf(weights, pixel_area)
