"""The exposure sheet: which image files a reduction uses."""

from __future__ import annotations

import csv
import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from romanprf.errors import InputError
from romanprf.io.files import check_regular

_COLUMNS = ("file", "exposure")
#: Most digits of an exposure number: all that 64 bits hold.
_DIGITS = 18


def read_sheet(path: str | Path) -> list[dict[str, Any]]:
    """Read a tab-separated list of image files.

    Column ``file`` holds a path or a glob, relative to the working directory; the optional column
    ``exposure`` a number that replaces the one in the file.  Lines that start with ``#`` and blank
    lines are skipped.

    Parameters
    ----------
    path : path
        The sheet.

    Returns
    -------
    list of dict
        ``{"file": str, "exposure": int or None}``, in the order of the sheet, globs sorted.

    Raises
    ------
    InputError
        If the sheet is missing, empty or malformed, or a row names no file or one named before.
    """
    header, *rows = _lines(path)
    fields = header[1]
    if "file" not in fields or not set(fields) <= set(_COLUMNS) or len(set(fields)) < len(fields):
        raise InputError(
            f"{path}: expected tab-separated columns 'file' and, optionally, 'exposure', "
            f"found {fields}"
        )
    entries: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    for number, values in rows:
        where = f"{path} line {number}"
        if len(values) != len(fields):
            raise InputError(f"{where}: expected {len(fields)} columns, found {len(values)}")
        cells = dict(zip(fields, values, strict=True))
        for entry in _expanded(cells["file"], cells.get("exposure", ""), where):
            first = seen.setdefault(os.path.realpath(entry["file"]), number)
            if len(seen) == len(entries):
                raise InputError(f"{where}: {entry['file']} is already named on line {first}")
            entries.append(entry)
    if not entries:
        raise InputError(f"{path}: no rows, expected at least one image file")
    return entries


def _lines(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of each line that is neither blank nor a comment."""
    check_regular(path, "the exposure sheet")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # spreadsheets write a byte-order mark
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error})") from None
    lines = enumerate(text.splitlines(), start=1)
    kept = [(n, line) for n, line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not kept:
        raise InputError(f"{path}: empty sheet, expected a header and at least one row")
    for number, line in kept:
        try:
            (values,) = csv.reader([line], delimiter="\t", strict=True)
        except csv.Error as error:  # a quotation mark without its partner, a cell of 128 kB
            raise InputError(f"{path} line {number}: cannot be read as cells ({error})") from None
        yield number, [value.strip() for value in values]


def _expanded(name: str, exposure: str, where: str) -> list[dict[str, Any]]:
    if not name:
        raise InputError(f"{where}: column file is empty, expected a path or a glob")
    if not name.isprintable():
        raise InputError(f"{where}: control characters in the name of a file, expected none")
    plain = os.path.exists(name)
    files = [name] if plain else sorted(glob.glob(name))
    if not files:
        kind = "no file matches" if glob.has_magic(name) else "no such file:"
        raise InputError(f"{where}: {kind} {name}")
    if not exposure:
        return [{"file": file, "exposure": None} for file in files]
    if not plain:
        raise InputError(f"{where}: an exposure number needs a plain file, not the glob {name}")
    if not exposure.isdecimal() or len(exposure) > _DIGITS:
        raise InputError(
            f"{where}: exposure is {exposure!r}, expected a whole number of up to {_DIGITS} digits"
        )
    return [{"file": name, "exposure": int(exposure)}]
