"""Settings, paths and the functions that the rules share."""

import errno
import functools
import os
import sys

import pandas as pd

from snakemake.exceptions import IncompleteCheckpointException

from romanprf.workflow import dependencies, resources
from romanprf import schemas
from romanprf.config import load_config
from romanprf.errors import InputError
from romanprf.workflow import lock
from romanprf.io.sheet import read_sheet
from romanprf.io.tables import count_rows, read_table
from romanprf.core.large import LEARNED, MIDDLE
from romanprf.workflow.paths import Paths
from romanprf.io.exposures import read_field


wildcard_constraints:
    exposure=r"\d{5}",
    batch=r"\d+",


try:
    settings = load_config(config)
    demo = settings.exposures.sheet is None
    paths = Paths(settings.results)
    files = (
        dependencies.simulated_files(settings.simulate, paths)
        if demo
        else read_sheet(settings.exposures.sheet)
    )
    catalogues = dependencies.catalogue_files(settings, paths)
except InputError as error:
    # One line; raised, it would come with the line numbers of this file.
    sys.exit(f"romanprf: {error}")


def hold_folder():
    """Let no other run write the results folder while this one lives.

    Snakemake's own lock stays when a run is killed, so the profiles do without it.
    """
    try:
        lock.hold(paths.lock)
    except InputError as error:
        sys.exit(f"romanprf: {error}")


pictures = {name: paths.plot(name) for name in ("prf", "image", "scatter", "light_curves")}


def section(name, **selection):
    """One section of the settings as plain values; ``include`` or ``exclude`` some keys."""
    return getattr(settings, name).model_dump(mode="json", **selection)


def registered(wildcards):
    """The exposures table, once the checkpoint has written it."""
    return checkpoints.frames.get().output.exposures


@functools.cache
def exposures_of(path, modified) -> pd.DataFrame:
    """What planning needs of the exposures table as of a date: read once, not for every job."""
    names = ["exposure", "nrows", "ncols", "flags", "content_hash"]
    return read_table(path, schemas.EXPOSURES, names)


@functools.cache
def batches_of(path, modified) -> dict[str, pd.DataFrame]:
    """The same by batch: rows of a large table are not sought once for every job."""
    return dependencies.batches(exposures_of(path, modified), settings.exposures.batch_size)


def exposures(wildcards) -> pd.DataFrame:
    """Rows of the exposures table."""
    path = registered(wildcards)
    return exposures_of(path, os.stat(path).st_mtime_ns)


def batches(wildcards) -> dict[str, pd.DataFrame]:
    """Rows of the exposures table, by batch."""
    path = registered(wildcards)
    return batches_of(path, os.stat(path).st_mtime_ns)


def shape_exposures(wildcards) -> pd.DataFrame:
    """Rows of the exposures that the PRF is fitted to."""
    return dependencies.shape_exposures(exposures(wildcards), settings.shape.max_exposures)


def joint_exposures(wildcards) -> pd.DataFrame:
    """Rows of the exposures that the tensor PRF is fitted to; none without it."""
    n = settings.shape.joint_exposures if settings.shape.model == "tensor" else 0
    return dependencies.shape_exposures(exposures(wildcards), n)


def batch_exposures(wildcards) -> pd.DataFrame:
    """Rows of the exposures of one batch."""
    return batches(wildcards).get(wildcards.batch, exposures(wildcards).iloc[:0])


def each_batch(pattern):
    """Input function: the files of a pattern for all batches."""
    return lambda wildcards: expand(pattern, batch=batches(wildcards))


def numbers(rows):
    """Parameter: the exposure numbers of the rows that ``rows(wildcards)`` gives."""
    return lambda wildcards: rows(wildcards)["exposure"].tolist()


def content(rows):
    """Parameter: a digest of the rows, so that a changed image reruns the rule."""
    return lambda wildcards: dependencies.digest(rows(wildcards))


def stars():
    """Number of sources, once a table of them is written; None before."""
    for path in (paths.sources, paths.catalogue_sources):
        if os.path.exists(path):
            return rows_of(path, os.stat(path).st_mtime_ns)
    return None


@functools.cache
def rows_of(path, modified) -> int:
    """Rows of a table as of a date: counted once, not for every job."""
    return count_rows(path)


def megabytes(names):
    """Size of those files that exist."""
    return sum(os.path.getsize(name) for name in names if os.path.exists(name)) / 1e6


def size_of(rows):
    """Function of the wildcards: what a job on the rows that ``rows(wildcards)`` gives works on."""

    def size(wildcards):
        try:
            all_rows = exposures(wildcards)
        except IncompleteCheckpointException:
            # Snakemake plans a resource as <TBD> when its function misses an input file, and fails
            # when it misses a checkpoint.
            raise FileNotFoundError(errno.ENOENT, "not written yet", paths.exposures) from None
        return resources.Size(
            pixels=int(all_rows["nrows"].max()) * int(all_rows["ncols"].max()),
            frames=len(rows(wildcards)),
            stars=stars(),
        )

    return size


def part_of(rows, pixels):
    """`size_of`, but for a part of so many pixels at most of each frame."""
    size = size_of(rows)
    return lambda wildcards: size(wildcards).part(pixels)


def simulated(frames):
    """Function of the wildcards: the size of a job that simulates so many frames."""
    return lambda wildcards: resources.Size(settings.simulate.size**2, frames)


def registration(wildcards):
    """Size of the job that reads all image files."""
    pixels = settings.simulate.size**2 if demo else resources.DETECTOR
    return resources.Size(pixels, file_mb=megabytes({entry["file"] for entry in files}))


def matching(wildcards):
    """Size of the job that reads the catalogues."""
    return resources.Size(resources.DETECTOR, file_mb=megabytes(catalogues.values()))


def memory(name, size):
    """Resource: memory (MB) of a job of a rule, of the size that ``size(wildcards)`` gives."""
    return lambda wildcards, attempt: resources.memory_mb(name, size(wildcards), attempt)


def duration(name, size):
    """Resource: time limit (minutes), as `memory`."""
    return lambda wildcards, attempt, threads: resources.minutes(
        name, size(wildcards), attempt, threads
    )


def largest(*needs):
    """Resource: memory of a job that does one thing after the other."""
    return lambda wildcards, attempt: max(need(wildcards, attempt) for need in needs)


def total(*needs):
    """Resource: time limit of a job that does one thing after the other."""
    return lambda wildcards, attempt, threads: sum(
        need(wildcards, attempt, threads) for need in needs
    )
