"""Star catalogues: Parquet, FITS, ECSV or CSV in, one set of columns and units out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.coordinates import FK5

from romanprf.errors import InputError
from romanprf.io.catalogue_files import open_catalogue, readable_catalogue
from romanprf.io.columns import FOREIGN_MAGNITUDES, OPTIONAL, choose, unit_factor
from romanprf.io.reading import to_icrs
from romanprf.schemas import ASTROMETRIC_CORRELATIONS, ASTROMETRIC_ERRORS

logger = logging.getLogger(__name__)

#: AB magnitude of a flux density of 1 nJy (rounded: 31.400).
_NJY_ZERO_POINT = 31.4
#: Magnitudes outside of this range are codes for "unknown", such as -99, 0 and 99.
_MAGNITUDES = (0.0, 40.0)
#: Largest error of a position, motion or parallax, mas: 1 degree.
_LARGEST_ERROR = 3.6e6
#: Largest parallax, mas, and proper motion, mas/yr: beyond those of the nearest stars.
_LARGEST_PARALLAX, _LARGEST_MOTION = 1e3, 2e4
#: Positions of at least this many rows that all are 32-bit numbers have been rounded to them.
_ROUNDED_ROWS = 8
#: Standard deviation of a rounding error in units of the distance between numbers.
_ROUNDING = 12.0**-0.5
#: Milliarcseconds in a degree.
_MAS = 3.6e6
#: Range of epochs, Julian years: Julian dates lie outside.
_EPOCHS = (1900.0, 2200.0)


def read_catalogue(
    path: str | Path,
    columns: Mapping[str, str] | None = None,
    frame: str = "icrs",
    calibrates: bool = True,
) -> pd.DataFrame:
    """Read a catalogue of stars.

    Parameters
    ----------
    path : path
        Parquet, FITS, ECSV or CSV table, told apart by content.
    columns : mapping, optional
        Our name -> the file's name, for any key of `romanprf.io.columns.ROLES`.  The names of
        TRExS, Roman, Gaia, VIRAC2 and 2MASS catalogues are built in, in upper or lower case.
    frame : {"icrs", "fk5"}
        Frame of ra and dec.
    calibrates : bool
        Whether each star needs a magnitude, which should be one in the filter of the images.

    Returns
    -------
    DataFrame
        source_id (int64; row number from 0 where the file has none), ra, dec (deg, ICRS), mag
        (AB), and, NaN where absent: epoch (Julian year), parallax, pmra, pmdec, the errors of all
        five parameters (mas, mas/yr), their correlations, mag_err; ra_rounding, dec_rounding (mas,
        1 sigma), which are 0 unless the positions are 32-bit numbers.

    Raises
    ------
    InputError
        One line that names the file, the row (the first below the header is row 1) and column.
    """
    raw = open_catalogue(path)
    chosen = choose(raw.names, dict(columns or {}), path, calibrates)
    with readable_catalogue(path):
        table = raw.read(list(dict.fromkeys(chosen.values())))
    missing = set(chosen.values()) - set(table.columns)
    if missing:
        raise InputError(f"{path}: damaged: it names a column {min(missing)} that it does not hold")
    if table.empty:
        raise InputError(f"{path}: no rows, expected a catalogue of stars")
    values = {
        role: _numbers(table[name], raw.units.get(name, ""), role, path)
        for role, name in chosen.items()
        if role != "source_id"
    }
    _check(values, chosen, path)
    if calibrates and chosen.get("mag", "").lower() in FOREIGN_MAGNITUDES:
        logger.warning(
            "%s: %s is not a magnitude of a Roman filter; set catalogue.photometry: approximate",
            path,
            chosen["mag"],
        )
    ra, dec = values["ra"], values["dec"]
    rounding = _rounding(ra, np.cos(np.deg2rad(dec))), _rounding(dec, 1.0)
    if np.any(rounding):
        logger.warning(
            "%s: %s and %s are 32-bit numbers, good to %.0f and %.0f mas (1 sigma) only",
            *(path, chosen["ra"], chosen["dec"], rounding[0].max(), rounding[1].max()),
        )
    if frame == "fk5":
        ra, dec = to_icrs(ra, dec, FK5())
    name = chosen.get("source_id")
    return pd.DataFrame(
        {
            "source_id": np.arange(len(table)) if name is None else _ids(table[name], path),
            "ra": np.mod(ra, 360.0),
            "dec": dec,
            "mag": _magnitudes(values, chosen, path, calibrates),
            **{role: values.get(role, np.full(len(table), np.nan)) for role in OPTIONAL},
            "ra_rounding": rounding[0],
            "dec_rounding": rounding[1],
        }
    )


def _numbers(column: pd.Series, unit: str, role: str, path: str | Path) -> np.ndarray:
    """Values of a column in the unit of its role; empty entries are NaN."""
    name, kind = str(column.name), column.dtype
    numeric = pd.api.types.is_numeric_dtype(kind)
    text = pd.api.types.is_string_dtype(kind) or pd.api.types.is_object_dtype(kind)
    if not (numeric or text) or pd.api.types.is_bool_dtype(kind):
        raise InputError(f"{path}: column {name} holds values of type {kind}, expected numbers")
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    if not numeric:
        filled = (column.notna() & (column.astype(str) != "nan")).to_numpy()
        _refuse(np.isnan(numbers) & filled, column.to_numpy(), name, "a number", path)
    return numbers * unit_factor(unit, role, name, path)


def _check(values: Mapping[str, np.ndarray], chosen: Mapping[str, str], path: str | Path) -> None:
    """Refuse values that cannot be meant; errors that are not positive count as unknown later."""
    _check_range(values["ra"], (0.0, 360.0), chosen["ra"], path)
    _check_range(values["dec"], (-90.0, 90.0), chosen["dec"], path)
    limits = {
        "parallax": (_LARGEST_PARALLAX, "less than 1 arcsec"),
        **dict.fromkeys(("pmra", "pmdec"), (_LARGEST_MOTION, "less than 20 arcsec/yr")),
        **dict.fromkeys(ASTROMETRIC_ERRORS, (_LARGEST_ERROR, "an error of less than 1 degree")),
        **dict.fromkeys(ASTROMETRIC_CORRELATIONS, (1.0, "a correlation from -1 to 1")),
    }
    for role, (largest, expected) in limits.items():
        if role not in values:
            continue
        _refuse(np.abs(values[role]) > largest, values[role], chosen[role], expected, path)
    if "epoch" in values:
        epoch, expected = values["epoch"], "a Julian year such as 2016.0, not a (modified) date"
        wrong = (epoch < _EPOCHS[0]) | (epoch > _EPOCHS[1])
        _refuse(wrong, epoch, chosen["epoch"], expected, path)


def _check_range(
    values: np.ndarray, limits: tuple[float, float], name: str, path: str | Path
) -> None:
    expected = f"degrees from {limits[0]:g} to {limits[1]:g}"
    _refuse(~((values >= limits[0]) & (values <= limits[1])), values, name, expected, path)


def _magnitudes(
    values: Mapping[str, np.ndarray], chosen: Mapping[str, str], path: str | Path, needed: bool
) -> np.ndarray:
    """AB magnitudes, also of fluxes in nJy; NaN where there are none, unless ``needed``."""
    role = next((role for role in ("mag", "flux_njy") if role in values), None)
    if role is None:
        return np.full(values["ra"].size, np.nan)
    given, expected = values[role], "a magnitude between {:g} and {:g}".format(*_MAGNITUDES)
    mag = given
    if role == "flux_njy":
        mag = _NJY_ZERO_POINT - 2.5 * np.log10(np.where(given > 0, given, np.nan))
        expected = "a positive flux"
    known = (mag > _MAGNITUDES[0]) & (mag < _MAGNITUDES[1])
    if needed:
        others = (
            f" ({(~known).sum()} of {known.size} rows have none; leave them out, or set "
            "catalogue.photometry: approximate)"
        )
        _refuse(~known, given, chosen[role], expected + others, path)
    codes = int((~known & ~np.isnan(given)).sum())
    if codes:
        logger.warning(
            "%s: %d of %d values of %s are not %s and taken for unknown",
            *(path, codes, known.size, chosen[role], expected),
        )
    return np.where(known, mag, np.nan)


def _rounding(values: np.ndarray, scale: float | np.ndarray) -> np.ndarray:
    """Standard deviation (mas) of the rounding of an angle (degrees) to 32 bits; 0 where exact."""
    short = values.astype(np.float32)
    rounded = len(values) >= _ROUNDED_ROWS and bool((short == values).all())
    return _MAS * scale * _ROUNDING * np.spacing(np.abs(short)) * rounded


def _ids(column: pd.Series, path: str | Path) -> np.ndarray:
    """Identifiers as int64, each one once."""
    values, name = column.to_numpy(), str(column.name)
    expected = "a whole number below 2**63"
    numbers = pd.to_numeric(column, errors="coerce")
    # First, as an empty entry turns its whole column into floats.
    _refuse(numbers.isna().to_numpy(), values, name, expected, path)
    whole = numbers.to_numpy()
    if np.issubdtype(whole.dtype, np.integer):
        _refuse(whole > np.iinfo(np.int64).max, values, name, expected, path)
    else:  # beyond 2**53 floats skip whole numbers: ids would silently change
        exact = (whole == np.round(whole)) & (np.abs(whole) < 2**53)
        _refuse(~exact, values, name, expected, path)
    ids = whole.astype(np.int64)
    repeated = pd.Series(ids).duplicated().to_numpy()
    if repeated.any():
        second = int(np.argmax(repeated))
        first = int(np.argmax(ids == ids[second]))
        raise InputError(
            f"{path}: rows {first + 1} and {second + 1}: {name} is {ids[second]} in both, "
            "expected each id once"
        )
    return ids


def _refuse(
    bad: np.ndarray, values: np.ndarray, name: str, expected: str, path: str | Path
) -> None:
    """Raise an error about the first bad row, if there is one."""
    if bad.any():
        row = int(np.argmax(bad))
        found = "empty" if values[row] is None or values[row] is pd.NA else values[row]
        raise InputError(f"{path}: row {row + 1}: {name} is {found}, expected {expected}")
