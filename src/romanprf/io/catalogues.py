"""Star catalogues: Parquet, FITS, ECSV or CSV in, one set of columns and units out."""

from __future__ import annotations

import csv
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
from astropy import units as u
from astropy.coordinates import FK5
from astropy.table import Table

from romanprf.errors import InputError
from romanprf.io.columns import FOREIGN_MAGNITUDES, OPTIONAL, ROLES, choose
from romanprf.io.reading import first_bytes, to_icrs
from romanprf.schemas import ASTROMETRIC_CORRELATIONS, ASTROMETRIC_ERRORS

logger = logging.getLogger(__name__)

#: AB magnitude of a flux density of 1 nJy (rounded: 31.400).
_NJY_ZERO_POINT = 31.4


#: Largest error of a position, motion or parallax, mas: 1 degree.
_LARGEST_ERROR = 3.6e6
#: Range of epochs, Julian years: Julian dates lie outside.
_EPOCHS = (1900.0, 2200.0)
#: Units of epochs in files, in lower case.
_YEARS = ("", "none", "yr", "year", "a", "jyear", "julian year", "time[julian years]")


class _Raw(NamedTuple):
    """A file whose columns have not been read yet."""

    names: list[str]
    units: dict[str, str]
    read: Callable[[list[str]], pd.DataFrame]


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
        five parameters (mas, mas/yr), their correlations, mag_err.

    Raises
    ------
    InputError
        One line that names the file, the row (the first below the header is row 1) and column.
    """
    raw = _open(path)
    chosen = choose(raw.names, dict(columns or {}), path, calibrates)
    with _readable(path):
        table = raw.read(list(dict.fromkeys(chosen.values())))
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
        }
    )


def _open(path: str | Path) -> _Raw:
    path = Path(path)
    head = first_bytes(path, 9, "a catalogue")
    formats = ((b"PAR1", _parquet), (b"SIMPLE", _fits), (b"# %ECSV", _ecsv), (b"", _csv))
    reader = next(reader for magic, reader in formats if head.startswith(magic))
    with _readable(path):
        return reader(path)


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    """Turn exceptions of the table libraries on a damaged file into one line that names it."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, TypeError, LookupError, pa.ArrowException) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{path}: damaged, or not Parquet, FITS, ECSV or CSV, expected a catalogue ({reason})"
        ) from error


def _parquet(path: Path) -> _Raw:
    schema = pq.read_schema(path)
    units = {f.name: (f.metadata or {}).get(b"unit", b"").decode() for f in schema}
    table = pq.ParquetFile(path)

    def read(names: list[str]) -> pd.DataFrame:
        return table.read(columns=names).to_pandas()

    return _Raw(schema.names, units, read)


def _fits(path: Path) -> _Raw:
    return _astropy(path, "fits")


def _ecsv(path: Path) -> _Raw:
    return _astropy(path, "ascii.ecsv")


def _astropy(path: Path, form: str) -> _Raw:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unknown units matter only in columns that are used
        table = Table.read(path, format=form)
    units = {name: str(table[name].unit or "") for name in table.colnames}

    def read(names: list[str]) -> pd.DataFrame:
        wrong = [name for name in names if table[name].ndim != 1]
        if wrong:
            raise InputError(f"{path}: column {wrong[0]} holds arrays, expected numbers")
        return table[names].to_pandas()

    return _Raw(table.colnames, units, read)


def _csv(path: Path) -> _Raw:
    skipped = 0
    with path.open(encoding="utf-8") as file:
        while (header := file.readline()).startswith("#"):
            skipped += 1
    names = [name.strip() for name in next(csv.reader([header]), [])]
    if len(names) < 2:
        raise InputError(f"{path}: not Parquet, FITS, ECSV or comma-separated columns")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"{path}: column {twice[0]!r} twice, expected each name once")
    layout = arrow_csv.ReadOptions(column_names=names, skip_rows=skipped + 1)

    def read(wanted: list[str]) -> pd.DataFrame:
        # Arrow's parser refuses rows of another length; pandas would shift or cut them.
        convert = arrow_csv.ConvertOptions(include_columns=wanted)
        return arrow_csv.read_csv(path, layout, convert_options=convert).to_pandas()

    return _Raw(names, {}, read)


def _numbers(column: pd.Series, unit: str, role: str, path: str | Path) -> np.ndarray:
    """Values of a column in the unit of its role; empty entries are NaN."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    if not pd.api.types.is_numeric_dtype(column.dtype):
        text = column.notna() & (column.astype(str) != "nan")
        _refuse(np.isnan(numbers) & text, column.to_numpy(), str(column.name), "a number", path)
    target, aliases = ROLES[role]
    if role == "epoch" and unit.lower() not in _YEARS:
        raise InputError(f"{path}: column {column.name} is in {unit!r}, expected Julian years")
    if not target:
        return numbers
    if unit.lower() in ("", "none"):
        unit = aliases.get(str(column.name).lower(), target)
    if unit == target:
        return numbers
    try:
        return numbers * u.Unit(unit).to(u.Unit(target))
    except (ValueError, TypeError) as error:  # unknown unit, or one of another kind
        raise InputError(
            f"{path}: column {column.name} is in {unit!r}, expected a unit like {target}"
        ) from error


def _check(values: Mapping[str, np.ndarray], chosen: Mapping[str, str], path: str | Path) -> None:
    """Refuse values that cannot be meant; errors that are not positive count as unknown later."""
    _check_range(values["ra"], (0.0, 360.0), chosen["ra"], path)
    _check_range(values["dec"], (-90.0, 90.0), chosen["dec"], path)
    limits = {
        **dict.fromkeys(("parallax", "pmra", "pmdec"), (_LARGEST_ERROR, "less than 1 degree")),
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
    if "mag" in values:
        mag = values["mag"]
        if needed:
            _refuse(~np.isfinite(mag), mag, chosen["mag"], "a magnitude", path)
        return np.where(np.isfinite(mag), mag, np.nan)
    if "flux_njy" not in values:
        return np.full(values["ra"].size, np.nan)
    flux = values["flux_njy"]
    known = np.isfinite(flux) & (flux > 0)
    if needed:
        _refuse(~known, flux, chosen["flux_njy"], "a positive flux", path)
    return _NJY_ZERO_POINT - 2.5 * np.log10(np.where(known, flux, np.nan))


def _ids(column: pd.Series, path: str | Path) -> np.ndarray:
    """Identifiers as int64, each one once."""
    values, name = column.to_numpy(), str(column.name)
    expected = "a whole number below 2**63"
    if not pd.api.types.is_integer_dtype(column.dtype) or column.isna().any():
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        # Beyond 2**53 floats skip whole numbers: ids would silently change.
        _refuse(
            ~((numbers == np.round(numbers)) & (np.abs(numbers) < 2**53)),
            values,
            name,
            expected,
            path,
        )
        values = numbers
    else:
        _refuse(values > np.iinfo(np.int64).max, values, name, expected, path)
    ids = values.astype(np.int64)
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
        raise InputError(f"{path}: row {row + 1}: {name} is {values[row]}, expected {expected}")
