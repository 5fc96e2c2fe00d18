"""Settings, paths and the plan, which the rules share."""

import os
import sys

from romanprf.config import load_config, read_settings
from romanprf.errors import InputError
from romanprf.workflow import dependencies, lock
from romanprf.workflow.paths import Paths, check_writable, usable
from romanprf.workflow.plan import Plan


wildcard_constraints:
    exposure=r"\d{5}",
    batch=r"\d+",


def exposures_table(wildcards=None):
    """Input function: the exposures table, once the checkpoint has written it."""
    return checkpoints.frames.get().output.exposures


def learning_table(wildcards=None):
    """Input function: the table of chosen exposures, once the checkpoint has written it."""
    return checkpoints.choose.get().output.learning


def refuse(error):
    """End the run with one line; Snakemake would add line numbers of this file to an exception."""
    print(f"romanprf: {error}", file=sys.stderr, flush=True)
    sys.exit(os.EX_DATAERR)


try:
    for file in workflow.configfiles:
        read_settings(file)  # refuses what Snakemake has read without a word
    settings = load_config(config)
    paths = Paths(usable(settings.results))
    check_writable(paths.root)
    plan = Plan(settings, paths, exposures_table, learning_table)
except InputError as error:
    refuse(error)

pictures = {
    name: paths.plot(name) for name in ("prf", "image", "positions", "scatter", "light_curves")
}


def hold_folder():
    """Keep other runs out of the results folder until this one ends.

    The profiles switch off Snakemake's own lock, because it stays when a run is killed.
    """
    try:
        lock.hold(paths.lock)
    except InputError as error:
        refuse(error)


def section(name, **selection):
    """Parameter: a section of the settings as plain values, or some of its keys."""
    return getattr(settings, name).model_dump(mode="json", **selection)


def each_batch(pattern):
    """Input function: the files of a pattern for all batches."""
    return lambda wildcards: expand(pattern, batch=plan.batches())
