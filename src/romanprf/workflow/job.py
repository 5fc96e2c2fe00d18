"""Run a step inside a Snakemake job."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

from romanprf.core.accelerate import only_read_cache, set_threads
from romanprf.errors import InputError
from romanprf.io.atomic import disk_full

Step = Callable[[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]], None]


def main(run: Step, snakemake: Any) -> None:
    """Run a step with the files and parameters of a job.

    Warnings and errors go to the log of the job: one line for bad input or a full disk, a
    traceback for anything else.  Standard error stays as it is, so that a terminal shows progress
    bars.

    Parameters
    ----------
    run : callable
        ``run(inputs, outputs, params)`` of a step.
    snakemake : object
        The object of this name in a script of Snakemake.
    """
    logging.basicConfig(
        filename=snakemake.log[0], filemode="w", format="%(message)s", level=logging.INFO
    )
    logging.captureWarnings(True)
    set_threads(snakemake.threads)
    if snakemake.rule != "kernels":
        only_read_cache()
    try:
        run(_plain(snakemake.input), _plain(snakemake.output), dict(snakemake.params.items()))
    except InputError as error:
        logging.error("romanprf %s: %s", snakemake.rule, error)
        sys.exit(1)
    except Exception as error:
        if disk_full(error):
            logging.error("romanprf %s: %s", snakemake.rule, error)
        else:
            logging.exception("romanprf %s: unexpected error", snakemake.rule)
        sys.exit(1)


def _plain(files: Any) -> dict[str, Any]:
    """Named files of a job; a list where a name stands for several files.

    Files without a name only have to exist before the job runs.
    """
    return {name: _paths(value) for name, value in files.items()}


def _paths(value: Any) -> str | list[str]:
    return value if isinstance(value, str) else list(value)
