"""Names of all files of a reduction; no other module builds a path."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from romanprf.errors import InputError

#: Length of the longest name of a file below the results folder, with its folders, about.
_LONGEST = 100


class Paths:
    """File names below one results folder.

    Names of files of one batch or exposure hold the wildcard ``{batch}`` or ``{exposure}``, which
    the workflow, or ``str.format``, replaces.
    """

    def __init__(self, results: str | Path):
        root = self.root = Path(results)
        self.frames = str(root / "simulated" / "frames" / "exposure_{exposure}.fits")
        self.cube = str(root / "simulated" / "cube.asdf")
        self.catalogue = str(root / "simulated" / "catalogue.csv")
        self.truth = str(root / "simulated" / "truth.parquet")
        self.exposures = str(root / "exposures.parquet")
        self.exposures_cache = str(root / "exposures_cache.parquet")
        self.learning = str(root / "learning.parquet")
        self.catalogue_sources = str(root / "catalogue_sources.parquet")
        self.sources = str(root / "sources.parquet")
        self.deltas = str(root / "deltas.parquet")
        self.prf = str(root / "prf.parquet")
        self.photometry = str(root / "photometry" / "batch={batch}.parquet")
        self.frame_stats = str(root / "frame_stats" / "batch={batch}.parquet")
        self.astrometry = str(root / "astrometry.parquet")
        self.frame_astrometry = str(root / "frame_astrometry.parquet")
        self.metrics = str(root / "metrics.parquet")
        self.lightcurves = str(root / "lightcurves.parquet")
        self.checks = str(root / "checks.parquet")
        self.checks_page = str(root / "checks.html")
        self.kernels = str(root / "kernels.txt")
        self.report = str(root / "report.html")
        self.lock = str(root / "lock")
        self._plots = root / "plots"
        self._logs = root / "logs"
        self._benchmarks = root / "benchmarks"

    def plot(self, name: str) -> str:
        """Picture of this name in the report."""
        return str(self._plots / f"{name}.png")

    def log(self, rule: str) -> str:
        """Log file of a rule; the name of a rule with a wildcard ends with ``.{wildcard}``."""
        return str(self._logs / f"{rule}.log")

    def benchmark(self, rule: str) -> str:
        """Benchmark file of a rule, named as in `log`."""
        return str(self._benchmarks / f"{rule}.tsv")


def batch_name(exposure: int, batch_size: int) -> str:
    """Batch of an exposure: a fixed range of numbers, which new exposures do not shift."""
    return f"{exposure // batch_size:05d}"


def usable(results: Path) -> Path:
    """The results folder, if it is one or can be made.

    Raises
    ------
    InputError
        If something else has its name, or no file in it can have one.
    """
    expected = f"results: {str(results)[:100]!r}: %s, expected a folder or the name of a new one"
    try:
        if results.is_symlink() and not results.exists():
            raise InputError(expected % "a link to nothing")
        if results.exists() and not results.is_dir():
            raise InputError(expected % "not a folder")
        (results / ("a" * _LONGEST)).stat()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise InputError(expected % error.strerror) from None
    return results


def check_writable(results: Path) -> None:
    """Check that a run can write where it has to, before Snakemake finds out with a stack.

    Raises
    ------
    InputError
        If the results folder, the working directory or that of temporary files is full or
        read-only.
    """
    temporary = Path(os.environ.get("TMPDIR", tempfile.gettempdir()))
    for name, folder in (("results", results), ("folder", Path()), ("TMPDIR", temporary)):
        whole = folder.absolute()
        there = next(place for place in (whole, *whole.parents) if place.is_dir())
        try:
            with tempfile.TemporaryFile(dir=there) as file:
                file.write(bytes(4096))
                file.flush()
        except OSError as error:
            raise InputError(
                f"{name}: {whole}: {error.strerror}, expected a folder that can be written"
            ) from None


def is_batch(path: str | Path) -> bool:
    """Whether this is the name of a table of one batch."""
    return re.fullmatch(r"batch=\d{5,}\.parquet", Path(path).name) is not None
