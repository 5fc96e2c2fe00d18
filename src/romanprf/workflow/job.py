"""Run a step inside a Snakemake job.

Nothing heavy is imported before the log is open: a library may fail to load, too.
"""

from __future__ import annotations

import errno
import importlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from romanprf.errors import InputError
from romanprf.io.atomic import disk_full
from romanprf.workflow.dependencies import remove_other_batches

#: What exceptions that are no `MemoryError` say where there is no memory left.
_NO_MEMORY = {"can't start new thread", f"[Errno {errno.ENOMEM}] {os.strerror(errno.ENOMEM)}"}


def main(step: str, snakemake: Any) -> None:
    """Run a step with the files and parameters of a job.

    Warnings and errors go to the log of the job.  Its last line says why a job failed, as
    ``romanprf RULE: FILE or KEY: what is wrong``; a fault of this package comes with a traceback.
    Standard error stays as it is, so that a terminal shows progress bars.

    Parameters
    ----------
    step : str
        Name of a function ``run(inputs, outputs, params)``: ``module.function`` of
        `romanprf.steps`.
    snakemake : object
        The object of this name in a script of Snakemake.
    """
    log = snakemake.log[0]
    logging.basicConfig(filename=log, filemode="w", format="%(message)s", level=logging.INFO)
    logging.captureWarnings(True)
    try:
        _run(step, snakemake)
    except Exception as error:
        reason = expected(error)
        if reason is None:
            logging.exception("the traceback of an unexpected error:")
            kind, where = type(error).__name__, Path(log).absolute()
            said = next(iter(str(error).splitlines()), "")
            reason = f"unexpected {kind}: {said}; please report this fault of romanprf with {where}"
        logging.error("romanprf %s: %s", snakemake.rule, reason)
        sys.exit(1)


def _run(step: str, snakemake: Any) -> None:
    """Import a step and call it."""
    from romanprf.core.accelerate import only_read_cache, set_threads  # noqa: PLC0415

    module, _, function = step.partition(".")
    run = getattr(importlib.import_module(f"romanprf.steps.{module}"), function)
    set_threads(snakemake.threads)
    if snakemake.rule != "kernels":
        only_read_cache()
    inputs = _plain(snakemake.input)
    remove_other_batches(inputs)
    run(inputs, _plain(snakemake.output), dict(snakemake.params.items()))


def expected(error: BaseException) -> str | None:
    """Why a step failed, in a line, if its input or the machine is the cause; None otherwise."""
    if isinstance(error, InputError):
        return str(error)
    for cause in _chain(error):
        if isinstance(cause, OSError) and disk_full(cause):
            place = f" (TMPDIR is {tempfile.gettempdir()})" if cause.filename is None else ""
            return f"{cause}{place}"
        if isinstance(cause, MemoryError) or str(cause) in _NO_MEMORY:
            return f"out of memory ({cause}), expected a higher limit or a smaller field"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}, expected to be able to read and write it"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and those that it replaced."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _plain(files: Any) -> dict[str, Any]:
    """Named files of a job; a list where a name stands for several files.

    Files without a name only have to exist before the job runs.
    """
    return {name: _paths(value) for name, value in files.items()}


def _paths(value: Any) -> str | list[str]:
    return value if isinstance(value, str) else list(value)
