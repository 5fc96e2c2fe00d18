"""The only place that sets Numba's flags.

Fast-math keeps NaN and infinity meaningful (no ``nnan``, no ``ninf``): data problems travel
through the kernels as NaN.  Results do not depend on the number of threads, because every
output element is written by one iteration of a loop whose order of summation is fixed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

# Threads that spin while they wait starve each other as soon as anything else runs: on two cores
# beside one busy process, a fit of 5 ms took 200 ms.  OpenMP reads this when it is first loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numba

_FASTMATH = {"nsz", "arcp", "contract", "reassoc"}


def njit(function: Callable) -> Any:
    """Compile a serial kernel (cached on disk, releases the GIL)."""
    return numba.njit(cache=True, nogil=True, fastmath=_FASTMATH, error_model="numpy")(function)


def njit_exact(function: Callable) -> Any:
    """Compile a serial kernel whose floating-point order must stay as written."""
    return numba.njit(cache=True, nogil=True, error_model="numpy")(function)


def njit_parallel(function: Callable) -> Any:
    """Compile a kernel whose ``prange`` loops run on ``set_threads`` threads."""
    return numba.njit(
        cache=True, nogil=True, parallel=True, fastmath=_FASTMATH, error_model="numpy"
    )(function)


prange = numba.prange


def set_threads(threads: int) -> None:
    """Use this many threads in the parallel kernels of this process.

    Parameters
    ----------
    threads : int
        At least 1; silently limited to the number Numba was started with, because a scheduler
        may grant more cores than the machine lets this process see.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    if os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0"):
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
