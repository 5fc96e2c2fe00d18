"""What each job of the workflow works on, and the memory and time that it asks for.

Snakemake calls these functions several times for every job, so planning has to be quick: a table is
read once per modification time, and no module with kernels is imported.
"""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import pandas as pd
from snakemake.exceptions import IncompleteCheckpointException

from romanprf.config import Config
from romanprf.core.large import LOGPOLAR_SIDE, PATCH_PIXELS
from romanprf.errors import InputError
from romanprf.io.exposures import COMPARED, DETECTED, chosen_rows, read_field
from romanprf.io.sheet import read_sheet
from romanprf.io.tables import count_rows, read_table
from romanprf.schemas import EXPOSURES, LEARNING, SOURCES
from romanprf.workflow import dependencies, resources
from romanprf.workflow.paths import Paths
from romanprf.workflow.resources import DETECTOR, Size

#: Columns of the exposures table that planning needs.
_COLUMNS = ("exposure", "nrows", "ncols", "flags", "content_hash")


class Plan:
    """Files, exposures, memory and time limits of the jobs of one reduction.

    Methods that take the name of a rule return a function of the wildcards of its jobs, for a
    directive of that rule.

    Parameters
    ----------
    settings : Config
        The settings of the reduction.
    paths : Paths
        Its files.
    exposures_table : callable
        Gives the path of the exposures table.  Raises ``IncompleteCheckpointException`` as long as
        this run has not written it.
    learning_table : callable
        The same for the table of chosen exposures.

    Attributes
    ----------
    demo : bool
        Whether the images are simulated.
    files : list of dict
        The image files, as `romanprf.io.sheet.read_sheet` gives them.
    catalogues : dict of str to str
        Files of the ``catalogue`` and of the ``reference``, if there are any.

    Raises
    ------
    InputError
        If the exposure sheet cannot be used, a catalogue does not exist, or a table that an earlier
        run has written is damaged or of another version.
    """

    def __init__(
        self,
        settings: Config,
        paths: Paths,
        exposures_table: Callable[[], str],
        learning_table: Callable[[], str],
    ):
        self.settings, self.paths = settings, paths
        self._exposures_table, self._learning_table = exposures_table, learning_table
        sheet = settings.exposures.sheet
        self.demo = settings.demo
        self.files = (
            dependencies.simulated_files(settings.simulate, paths)
            if sheet is None
            else read_sheet(sheet)
        )
        self.catalogues = dependencies.catalogue_files(settings, paths)
        self._check_tables()

    def _check_tables(self) -> None:
        """Read the tables that planning needs, if they are there.

        Snakemake would add a stack to an exception that is raised while it plans.
        """
        if os.path.exists(self.paths.exposures):
            _exposures(*_dated(self.paths.exposures))
        if os.path.exists(self.paths.learning):
            _learning(*_dated(self.paths.learning))

    def exposures(self) -> pd.DataFrame:
        """All rows of the exposures table, of the columns that planning needs."""
        return _exposures(*_dated(self._exposures_table()))

    def batches(self) -> dict[str, pd.DataFrame]:
        """Rows of the exposures table by batch."""
        path, date = _dated(self._exposures_table())
        return _batches(path, date, self.settings.exposures.batch_size)

    def rows(self, rule: str, wildcards: Any) -> pd.DataFrame:
        """Rows of the exposures that a job reads: none in ``shape`` of the log-polar PRF."""
        shape = self.settings.shape
        if rule == "crossmatch":
            return self._chosen(self._seen)
        if rule == "deltas":
            return self._chosen(shape.max_exposures)
        if rule == "shape":
            return self._chosen(shape.joint_exposures if shape.model == "tensor" else 0)
        if rule == "fit":
            return self.batches().get(wildcards.batch, self.exposures().iloc[:0])
        return self.exposures()

    @property
    def _seen(self) -> int:
        """Exposures that the crossmatch looks at, at most."""
        return COMPARED if "catalogue" in self.catalogues else DETECTED

    def _chosen(self, maximum: int) -> pd.DataFrame:
        """Rows of at most so many of the exposures that the PRF is learned from."""
        exposures, learning = self.exposures(), _learning(*_dated(self._learning_table()))
        return chosen_rows(exposures, learning, maximum)

    def numbers(self, rule: str) -> Callable[[Any], list[int]]:
        """Parameter: the numbers of the exposures that a job reads."""
        return lambda wildcards: self.rows(rule, wildcards)["exposure"].tolist()

    def content(self, rule: str) -> Callable[[Any], str]:
        """Parameter: a digest of the rows that a job reads, so that a changed image reruns it."""
        return lambda wildcards: dependencies.digest(self.rows(rule, wildcards))

    def field(self) -> dict[str, float]:
        """Outline of the field and its scales (see `romanprf.steps.frames.field`)."""
        return read_field(self._exposures_table())

    def memory(self, rule: str) -> Callable[[Any, int], int]:
        """Resource: memory (MB) that a job asks for."""

        def mem_mb(wildcards: Any, attempt: int) -> int:
            tasks = self._tasks(rule, wildcards)
            return max(resources.memory_mb(task, size, attempt) for task, size in tasks.items())

        return mem_mb

    def minutes(self, rule: str) -> Callable[[Any, int, int], int]:
        """Resource: time limit (minutes) that a job asks for."""

        def runtime(wildcards: Any, attempt: int, threads: int) -> int:
            tasks = self._tasks(rule, wildcards).items()
            return sum(resources.minutes(task, size, attempt, threads) for task, size in tasks)

        return runtime

    def size(self, rule: str, wildcards: Any) -> Size:
        """Pixels, frames, stars and files that a job works on."""
        simulate = self.settings.simulate
        if rule in {"simulate_truth", "simulate_cube"}:
            return Size(simulate.size**2, simulate.exposures)
        if rule in {"simulate_field", "simulate_exposure", "kernels"}:
            return Size(simulate.size**2)
        unread = simulate.size**2 if self.demo else DETECTOR
        if rule == "frames":
            return Size(unread, file_mb=_megabytes({str(entry["file"]) for entry in self.files}))
        if rule == "crossmatch":
            return Size(unread, file_mb=_megabytes(self.catalogues.values()))
        if rule == "choose":
            return Size(DETECTOR, file_mb=_megabytes([self._exposures_table()]))
        pixels = _pixels(*_dated(self._exposures_table()))
        return Size(pixels, len(self.rows(rule, wildcards)), self._stars())

    def _tasks(self, rule: str, wildcards: Any) -> dict[str, Size]:
        """What a job does, one after the other, by its name in `romanprf.workflow.resources`."""
        try:
            size = self.size(rule, wildcards)
        except IncompleteCheckpointException as error:
            # Snakemake plans a resource as <TBD> when its function misses an input file, and fails
            # when it misses a checkpoint.
            table = str(error.targetfile)
            raise FileNotFoundError(errno.ENOENT, "not written yet", table) from None
        if rule == "crossmatch":
            return {rule: size, "fit": Size(size.pixels, self._seen)}
        if rule == "deltas":
            return {rule: size.part(LOGPOLAR_SIDE**2)}
        if rule == "shape":
            return {rule: size.part(PATCH_PIXELS), "search": size}
        return {rule: size}

    def _stars(self) -> int | None:
        """Number of sources, once a table of them is written."""
        for path in (self.paths.sources, self.paths.catalogue_sources):
            if os.path.exists(path):
                with suppress(InputError):  # a damaged table: the job that reads it says so
                    return _count(*_dated(path))
        return None


def _dated(path: str) -> tuple[str, int]:
    """A file and its modification time (ns)."""
    return path, os.stat(path).st_mtime_ns


@functools.cache
def _exposures(path: str, date: int) -> pd.DataFrame:
    """Rows of an exposures table."""
    return read_table(path, EXPOSURES, _COLUMNS)


@functools.cache
def _learning(path: str, date: int) -> pd.DataFrame:
    """Rows of a table of chosen exposures."""
    return read_table(path, LEARNING, ("order", "exposure"))


@functools.cache
def _batches(path: str, date: int, batch_size: int) -> dict[str, pd.DataFrame]:
    """Its rows by batch."""
    return dependencies.batches(_exposures(path, date), batch_size)


@functools.cache
def _pixels(path: str, date: int) -> int:
    """Pixels of its largest images."""
    rows = _exposures(path, date)
    return int(rows["nrows"].max()) * int(rows["ncols"].max())


@functools.cache
def _count(path: str, date: int) -> int:
    """Number of rows of a table."""
    return count_rows(path, SOURCES)


def _megabytes(names: Iterable[str]) -> float:
    """Size of those files that exist (MB)."""
    return sum(os.path.getsize(name) for name in names if os.path.exists(name)) / 1e6
