"""Settings, paths and the functions that the rules share."""

import functools
import os
import sys

import pandas as pd

from romanprf import dependencies, schemas
from romanprf.config import load_config
from romanprf.errors import InputError
from romanprf.io.sheet import read_sheet
from romanprf.io.tables import read_table
from romanprf.paths import Paths
from romanprf.steps.frames import field

# Jobs inherit this: the parallelism is in the jobs and in Numba, and BLAS threads that compete make
# small matrices many times slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


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

pictures = {name: paths.plot(name) for name in ("prf", "image", "scatter", "light_curves")}


def section(name, **selection):
    """One section of the settings as plain values; ``include`` or ``exclude`` some keys."""
    return getattr(settings, name).model_dump(mode="json", **selection)


def registered(wildcards):
    """The exposures table, once the checkpoint has written it."""
    return checkpoints.frames.get().output.exposures


@functools.cache
def exposures_of(path, modified) -> pd.DataFrame:
    """Rows of the exposures table as of a date: read once, not for every job."""
    return read_table(path, schemas.EXPOSURES)


def exposures(wildcards) -> pd.DataFrame:
    """Rows of the exposures table."""
    path = registered(wildcards)
    return exposures_of(path, os.stat(path).st_mtime_ns)


def shape_exposures(wildcards) -> pd.DataFrame:
    """Rows of the exposures that the PRF is fitted to."""
    return dependencies.shape_exposures(exposures(wildcards), settings.shape.max_exposures)


def joint_exposures(wildcards) -> pd.DataFrame:
    """Rows of the exposures that the tensor PRF is fitted to; none without it."""
    n = settings.shape.joint_exposures if settings.shape.model == "tensor" else 0
    return dependencies.shape_exposures(exposures(wildcards), n)


def batch_exposures(wildcards) -> pd.DataFrame:
    """Rows of the exposures of one batch."""
    return dependencies.batch_exposures(
        exposures(wildcards), wildcards.batch, settings.exposures.batch_size
    )


def each_batch(pattern):
    """Input function: the files of a pattern for all batches."""
    return lambda wildcards: expand(
        pattern,
        batch=dependencies.batches(exposures(wildcards), settings.exposures.batch_size),
    )


def images(rows):
    """Input function: the image files of the rows that ``rows(wildcards)`` gives."""
    return lambda wildcards: rows(wildcards)["file"].unique().tolist()


def numbers(rows):
    """Parameter: the exposure numbers of the rows that ``rows(wildcards)`` gives."""
    return lambda wildcards: rows(wildcards)["exposure"].tolist()


def content(rows):
    """Parameter: a digest of the rows, so that a changed image reruns the rule."""
    return lambda wildcards: dependencies.digest(rows(wildcards))
