"""Files of star catalogues: Parquet, FITS, ECSV and CSV, told apart by content."""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.table import Table

from romanprf.errors import InputError
from romanprf.io.files import first_bytes
from romanprf.io.reading import check_sums

#: Encoding of text: spreadsheets begin it with a byte-order mark, which is no part of a name.
_UTF8 = "utf-8-sig"
_MARK = b"\xef\xbb\xbf"
#: Key of a Parquet file's metadata -> astropy's name of the format that has units and masks there.
_ASTROPY_PARQUET = {
    b"table_meta_yaml": "parquet",
    b"IVOA.VOTable-Parquet.content": "parquet.votable",
}


class CatalogueFile(NamedTuple):
    """A file whose columns have not been converted yet.

    Attributes
    ----------
    names : list of str
        Columns.
    units : dict of str to str
        Units that the file states; empty text where it states none.
    read : callable
        Returns the values of chosen columns.
    """

    names: list[str]
    units: dict[str, str]
    read: Callable[[list[str]], pd.DataFrame]


def open_catalogue(path: str | Path) -> CatalogueFile:
    """Open a Parquet, FITS, ECSV or CSV table.

    Raises
    ------
    InputError
        If the file is none of these, is damaged, or is a text without a line end at its end, which
        may have been cut within a number.
    """
    path = Path(path)
    head = first_bytes(path, 12, "a catalogue").removeprefix(_MARK)
    formats = ((b"PAR1", _parquet), (b"SIMPLE", _fits), (b"# %ECSV", _ecsv), (b"", _csv))
    reader = next(reader for magic, reader in formats if head.startswith(magic))
    with readable_catalogue(path):
        return reader(path)


@contextmanager
def readable_catalogue(path: str | Path) -> Iterator[None]:
    """Turn exceptions of the table libraries on a damaged file into one line that names it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # which kinds the libraries raise, they do not say
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{path}: damaged, or not Parquet, FITS, ECSV or CSV, expected a catalogue ({reason})"
        ) from error


def _parquet(path: Path) -> CatalogueFile:
    schema = pq.read_schema(path)
    for key, form in _ASTROPY_PARQUET.items():
        if key in (schema.metadata or {}):
            return _astropy(Table.read(path, format=form), path)
    units = {f.name: (f.metadata or {}).get(b"unit", b"").decode() for f in schema}
    index = (schema.pandas_metadata or {}).get("index_columns", ())
    ranges = [entry["name"] for entry in index if isinstance(entry, dict) and entry["name"]]
    table = pq.ParquetFile(path, page_checksum_verification=True)

    def read(names: list[str]) -> pd.DataFrame:
        stored = [name for name in names if name not in ranges]
        return _pandas(table.read(columns=stored)).reset_index()  # identifiers may be the index

    return CatalogueFile([*schema.names, *ranges], units, read)


def _pandas(table: pa.Table) -> pd.DataFrame:
    """As a DataFrame; long integers beside gaps stay exact."""
    return table.to_pandas(integer_object_nulls=True)


def _fits(path: Path) -> CatalogueFile:
    with (
        warnings.catch_warnings(action="ignore"),  # unknown units matter only in used columns
        fits.open(path, memmap=True) as hdus,
    ):
        check_sums(hdus, path)
        return _astropy(Table.read(hdus), path)


def _ecsv(path: Path) -> CatalogueFile:
    _check_end(path)
    with warnings.catch_warnings(action="ignore"):
        return _astropy(Table.read(path, format="ascii.ecsv", encoding=_UTF8), path)


def _astropy(table: Table, path: Path) -> CatalogueFile:
    units = {name: str(getattr(table[name], "unit", None) or "") for name in table.colnames}

    def read(names: list[str]) -> pd.DataFrame:
        wrong = [name for name in names if table[name].ndim != 1]
        if wrong:
            raise InputError(f"{path}: column {wrong[0]} holds arrays, expected numbers")
        return table[names].to_pandas()

    return CatalogueFile(table.colnames, units, read)


def _csv(path: Path) -> CatalogueFile:
    skipped = 0
    with path.open(encoding=_UTF8) as file:
        while (header := file.readline()).startswith("#"):
            skipped += 1
    names = [name.strip() for name in next(csv.reader([header]), [])]
    if len(names) < 2:
        raise InputError(f"{path}: not Parquet, FITS, ECSV or comma-separated columns")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"{path}: column {twice[0]!r} twice, expected each name once")
    _check_end(path)
    layout = arrow_csv.ReadOptions(column_names=names, skip_rows=skipped + 1)

    def read(wanted: list[str]) -> pd.DataFrame:
        # Arrow's parser refuses rows of another length; pandas would shift or cut them.
        convert = arrow_csv.ConvertOptions(include_columns=wanted)
        return _pandas(arrow_csv.read_csv(path, layout, convert_options=convert))

    return CatalogueFile(names, {}, read)


def _check_end(path: Path) -> None:
    """Refuse a text that may have been cut within its last number."""
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        if file.read() not in b"\r\n":
            raise InputError(
                f"{path}: the last line has no line end, so that it may have been cut within a "
                "number, expected a complete catalogue; if it is complete, add the line end"
            )
