"""The only place that sets Numba's flags.

Fast-math keeps NaN and infinity meaningful (no ``nnan``, no ``ninf``): data problems travel
through the kernels as NaN.  Results do not depend on the number of threads, because every
output element is written by one iteration of a loop whose order of summation is fixed.

A fast-math kernel that is compiled in this process may differ in the last bit from what later
processes load from the cache.  Where that matters, because single precision follows and makes 1e-8
of 1e-16, kernels are exact; and where it costs no time.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import platform
from collections.abc import Callable
from typing import Any

# Threads that spin while they wait starve each other as soon as anything else runs: on two cores
# beside one busy process, a fit of 5 ms took 200 ms.  OpenMP reads this when it is first loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import llvmlite.binding
import numba
import numpy as np
from numba.core.caching import FunctionCache
from threadpoolctl import threadpool_limits

#: Parameters of ``mallopt``.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4

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


def njit_parallel_exact(function: Callable) -> Any:
    """As `njit_parallel`, for loops whose iterations are themselves vectorised.

    With fast-math the last few iterations of a thread, which fill no vector, would round another
    way, and what is kept in single precision afterwards makes 1e-8 of 1e-16.
    """
    return numba.njit(cache=True, nogil=True, parallel=True, error_model="numpy")(function)


prange = numba.prange

#: Type of indices in inner loops: Numba looks whether an index that may be negative is, and such a
#: loop is not vectorised.
unsigned = np.uint64


#: What `threadpoolctl.threadpool_limits` is told: sums of BLAS depend on the number of its threads,
#: which make small matrices slower, not faster.
ONE_BLAS_THREAD: dict[str, Any] = {"limits": 1, "user_api": "blas"}


def keep_memory() -> None:
    """Have the C library keep memory that is freed: images come and go, new pages take time.

    A fifth of the time of a fit.  Does nothing where the C library is not that of GNU.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def set_threads(threads: int) -> None:
    """Use this many threads in the parallel kernels of this process, and one in BLAS.

    Parameters
    ----------
    threads : int
        At least 1; silently limited to the number Numba was started with, because a scheduler
        may grant more cores than the machine lets this process see.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    threadpool_limits(**ONE_BLAS_THREAD)
    if os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0"):
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]


def get_threads() -> int:
    """Threads of the parallel kernels (see `set_threads`)."""
    return numba.get_num_threads()


def only_read_cache() -> None:
    """Let this process load compiled kernels but store none.

    Numba lists the versions of a kernel (types of its arguments, processor) in a file that it
    reads, extends and replaces without a lock.  Two jobs that store versions of one kernel at
    once may give them the same number, and a later job then loads one where it asked for the other.
    """
    setattr(FunctionCache, "save_overload", _leave_out)  # noqa: B010 - mypy forbids assignment


def _leave_out(cache: FunctionCache, signature: Any, compiled: Any) -> None:
    del cache, signature, compiled
    _tell()


@functools.cache
def _tell() -> None:
    processor = llvmlite.binding.get_host_cpu_name()
    logging.getLogger(__name__).warning(
        "kernels: none stored for this processor (%s) and data; compiled for this job alone",
        processor,
    )
