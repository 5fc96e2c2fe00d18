"""Readers on damaged and strange files: a result or one line, never another exception or a hang.

``make test`` tries the same few hundred files each time; ``make fuzz`` tries others for minutes.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import mutate
import pytest
from astropy.table import Table

import tpfs
from romanprf.config import load_config, read_settings, to_yaml
from romanprf.errors import InputError
from romanprf.io.catalogues import read_catalogue
from romanprf.io.images import exposure_rows, read_image
from romanprf.io.sheet import read_sheet
from romanprf.io.tables import read_table, write_table
from romanprf.io.target_pixels import read_target_pixels
from romanprf.schemas import TABLES

DATA = Path(__file__).resolve().parents[1] / "data"
#: Seconds of `make fuzz`, which all kinds share; 0: the seeds of `make test`.
SECONDS = float(os.environ.get("ROMANPRF_FUZZ", "0"))
#: A file may take so many seconds and so much memory (bytes).
TIME, MEMORY = 20, 4 * 2**30


class Kind(NamedTuple):
    """A kind of file, how it is read, changed, and how many changed ones `make test` reads."""

    content: Callable[[Path], bytes]
    read: Callable[[Path], object]
    changes: tuple
    head: int
    number: int


def read_all(path: Path) -> None:
    for row in exposure_rows(path, 2.0, 27.6)[:2]:
        read_image(row)


def sheet(path: Path) -> bytes:
    path.with_name("a.fits").touch()
    return f"# images\nfile\texposure\n{path.with_name('a.fits')}\t3\n".encode()


def stars(form: str) -> Callable[[Path], bytes]:
    """A catalogue of the test data in another format."""

    def content(path: Path) -> bytes:
        table = Table.read(DATA / "roman_l2" / "catalog.ecsv")[:50]
        if form == "parquet":
            table.to_pandas().to_parquet(path)
        else:
            table.write(path, format=form, overwrite=True)
        return path.read_bytes()

    return content


def shipped(name: str | Path, lines: int | None = None) -> Callable[[Path], bytes]:
    """A file of the test data, or its first lines."""

    def content(path: Path) -> bytes:
        return b"".join((DATA / name).read_bytes().splitlines(keepends=True)[:lines])

    return content


def target_pixels(path: Path) -> bytes:
    return tpfs.write_tpf(path).read_bytes()


def small_table(path: Path) -> bytes:
    """A table that the workflow has written."""
    values = {"order": [0, 1], "exposure": [3, 4], "time": [1.0, 2.0], "phase_x": [0.1, 0.2]}
    write_table(path, {**values, "phase_y": [0.3, 0.4]}, TABLES["learning"], {})
    return path.read_bytes()


def read_target(path: Path) -> object:
    return read_target_pixels([path])


def read_learning(path: Path) -> object:
    return read_table(path, TABLES["learning"])


def all_settings(path: Path) -> bytes:
    return to_yaml().encode()


def checked_settings(path: Path) -> object:
    return load_config(read_settings(path))


L2 = "roman_l2/r0000101001001001001_000{}_wfi02_f146_cal.asdf"
CUBE = "rimtimsim/roman_cuts/static.asdf"
FRAME = (
    "rimtimsim/field/rimtimsim_WFI_lvl02_F146_SCA02_field03_rampfitted_exposureno_00003_sim.fits"
)
ECSV, CSV = "roman_l2/catalog.ecsv", "rimtimsim/field/catalog.csv"
WHOLE = 10**6
KINDS = {
    "level 2": Kind(shipped(L2.format(1)), read_all, mutate.OF_TEXT, 40_000, 60),
    "level 2, lz4": Kind(shipped(L2.format(2)), read_all, mutate.OF_TEXT, 40_000, 30),
    "cube": Kind(shipped(CUBE), read_all, mutate.OF_TEXT, 12_000, 60),
    "frame": Kind(shipped(FRAME), read_all, mutate.OF_FITS, 5760, 200),
    "target pixels": Kind(target_pixels, read_target, mutate.OF_FITS, 11_520, 200),
    "ecsv": Kind(shipped(ECSV, 60), read_catalogue, mutate.OF_TEXT, 4000, 300),
    "csv": Kind(shipped(CSV, 60), read_catalogue, mutate.OF_TEXT, 4000, 300),
    "fits table": Kind(stars("fits"), read_catalogue, mutate.OF_FITS, 5760, 300),
    "parquet": Kind(stars("parquet"), read_catalogue, mutate.ANYWHERE, WHOLE, 300),
    "table": Kind(small_table, read_learning, mutate.ANYWHERE, WHOLE, 300),
    "sheet": Kind(sheet, read_sheet, mutate.OF_TEXT, WHOLE, 500),
    "settings": Kind(all_settings, checked_settings, mutate.OF_TEXT, WHOLE, 150),
}


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Turn a hang into an exception, and a use of memory without bounds."""

    def late(*_: object) -> None:
        raise TimeoutError(f"not read in {TIME} s")

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = signal.signal(signal.SIGALRM, late)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))
    signal.alarm(TIME)
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGALRM, before)


def fault(read: Callable[[Path], object], path: Path) -> str | None:
    """What a reader does that it must not do, if anything."""
    try:
        with limited(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
    except InputError as error:
        return None if len(str(error)) < 2000 else f"a line of {len(str(error))} characters"
    except BaseException as error:
        trace = traceback.extract_tb(error.__traceback__)
        own = [entry for entry in trace if "romanprf" in entry.filename]
        place = f"{Path(own[-1].filename).name} {own[-1].name}" if own else ""
        return f"{type(error).__name__} in {place}: {error}"[:200]
    return None


def seeds(number: int) -> Iterator[int]:
    """Seeds of the mutations: always the same few, or others until the time is over."""
    if not SECONDS:
        yield from range(number)
        return
    end = time.monotonic() + SECONDS / len(KINDS)
    for seed in itertools.count(time.time_ns()):
        if time.monotonic() > end:
            return
        yield seed


@pytest.mark.fuzz
@pytest.mark.parametrize("name", KINDS)
def test_damaged_files_give_a_result_or_one_line(name: str, tmp_path: Path) -> None:
    kind, path = KINDS[name], tmp_path / "file"
    content = kind.content(path)
    path.write_bytes(content)
    assert fault(kind.read, path) is None
    faults: dict[str, int] = {}
    for seed in seeds(kind.number):
        path.unlink()  # not written in place: a reader may keep the last one open
        path.write_bytes(mutate.mutated(content, seed, kind.changes, kind.head))
        found = fault(kind.read, path)
        if found is not None:
            faults.setdefault(found, seed)
    assert not faults, "\n".join(f"seed {seed}: {found}" for found, seed in faults.items())
