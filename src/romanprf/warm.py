"""Compile every kernel, by reducing a tiny simulated exposure.

Numba compiles a kernel for the types it is called with and keeps the result on disk.  Running
the steps themselves gives exactly the types of a reduction.
"""

from __future__ import annotations

import fcntl
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from numba.core.dispatcher import Dispatcher

from romanprf.config import load_config
from romanprf.reduce import reduce

#: File beside compiled kernels while they are being compiled.
_MARK = "romanprf-unfinished"
#: ... and one whose lock those hold that do it.
_LOCK = "romanprf-lock"
#: The smallest field with enough bright stars for a fit of the PRF.
TINY: dict[str, Any] = {
    "simulate": {
        "exposures": 1,
        "size": 48,
        "draw_limit": 23.0,
        "catalogue_limit": 20.0,
        "microlensing": 0,
        "transits": 0,
        "eclipses": 0,
    },
    "shape": {
        "n_r_knots": 5,
        "n_phi_knots": 4,
        "iterations": 1,
        "contamination": 0.9,
        "rounds": 1,
        "search_rounds": 1,
        "reach": 9.0,
    },
    "metrics": {"subpixels": 1},
}


def compile_all() -> list[str]:
    """Compile the kernels of all steps and name those that are compiled now.

    Returns
    -------
    list of str
        ``module.kernel``, sorted.
    """
    with whole_or_new(), tempfile.TemporaryDirectory() as folder:
        reduce(load_config({**TINY, "results": folder}))
    return compiled()


@contextmanager
def whole_or_new() -> Iterator[None]:
    """Mark the folders of compiled kernels while they are filled; empty those found marked.

    Numba writes the index of a kernel before its code.  A process that is killed in between, after
    an update, would leave an index that takes the code of the last version for that of this one.
    """
    paths = {kernel.stats.cache_path for _, kernel in _kernels()}
    folders = sorted(Path(path) for path in paths if path is not None)
    with ExitStack() as stack:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            _wait_for(stack.enter_context((folder / _LOCK).open("w")))
            if (folder / _MARK).exists():
                for file in folder.glob("*.nb[ic]"):
                    file.unlink(missing_ok=True)
            (folder / _MARK).touch()
        yield
        for folder in folders:
            (folder / _MARK).unlink(missing_ok=True)


def _wait_for(file: IO[str]) -> None:
    """Hold a file's lock, once nobody else does.

    The job of a Snakemake that was killed goes on compiling, and of two that store kernels at once
    one may take the code of the other for its own.
    """
    with suppress(OSError):  # a file system without locks
        fcntl.flock(file, fcntl.LOCK_EX)


def compiled() -> list[str]:
    """Names of the kernels compiled or loaded in this process, once for each set of types."""
    return sorted(f"{name}{types}" for name, kernel in _kernels() for types in kernel.signatures)


def _kernels() -> list[tuple[str, Dispatcher]]:
    """All kernels, with the names of their modules and their own."""
    return [
        (f"{module}.{name}", kernel)
        for module in list(sys.modules)
        if module.startswith("romanprf.") and module.endswith("_nb")
        for name, kernel in vars(sys.modules[module]).items()
        if isinstance(kernel, Dispatcher) and kernel.__module__ == module
    ]
