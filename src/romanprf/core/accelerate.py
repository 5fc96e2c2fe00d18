"""The only place that sets Numba's flags, and the threads that share the work of a kernel.

Fast-math keeps NaN and infinity meaningful (no ``nnan``, no ``ninf``): data problems travel
through the kernels as NaN.  Results do not depend on the number of threads, because every
output element is written by one iteration of a loop whose order of summation is fixed.

Loops over the elements of vectors are exact: with fast-math the last few iterations of a thread,
which fill no vector register, would round another way.  A fast-math kernel that is compiled in
this process may also differ in the last bit from what later processes load from the cache.

Threads are those of Python, because kernels release the GIL.  Numba's own (``parallel=True``) take
as long to start on a loop, and double the time in which a kernel is compiled.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import hashlib
import io
import itertools
import logging
import os
import platform
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import llvmlite.binding
import numpy as np
from threadpoolctl import threadpool_limits

from romanprf.errors import InputError

try:
    import numba
except ValueError as error:
    threads = os.environ.get("NUMBA_NUM_THREADS")
    raise InputError(
        f"NUMBA_NUM_THREADS is {threads!r}, expected a whole number of at least 1"
    ) from error
from numba.core.caching import FunctionCache, IndexDataCacheFile

#: Parameters of ``mallopt``.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4

_FASTMATH = {"nsz", "arcp", "contract", "reassoc"}
#: Division by zero gives infinity; nobody calls kernels from C.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}

#: Bytes of the hash at the end of a file of compiled kernels.
_HASH_SIZE = 16

#: A loop is cut into so many pieces for each thread: what takes longest then does not decide.
_PIECES = 4


def njit(function: Callable) -> Any:
    """Compile a serial kernel (cached on disk, releases the GIL)."""
    return _checked(numba.njit(cache=True, fastmath=_FASTMATH, **_OPTIONS)(function))


def njit_exact(function: Callable) -> Any:
    """Compile a serial kernel whose floating-point order must stay as written."""
    return _checked(numba.njit(cache=True, **_OPTIONS)(function))


class _CacheFile(IndexDataCacheFile):
    """Files of compiled kernels that end with a hash: damaged ones count as missing.

    A file may be damaged when a machine loses power or a copy ends early.  Numba would stop on it,
    or run what it holds.
    """

    def _load_index(self) -> dict:
        return super()._load_index() if _is_whole(self._index_path) else {}

    def _load_data(self, name: str) -> Any:
        if not _is_whole(self._data_path(name)):
            raise OSError(errno.EIO, "damaged", name)  # Numba takes it for a file that is gone
        return super()._load_data(name)

    @contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[IO[bytes]]:
        content = io.BytesIO()
        yield content
        with super()._open_for_write(filepath) as file:
            file.write(content.getvalue() + _hash(content.getvalue()))


def _hash(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_HASH_SIZE).digest()


def _is_whole(path: str) -> bool:
    """Whether a file ends with the hash of what it holds."""
    try:
        content = Path(path).read_bytes()
    except OSError:
        return False
    return _hash(content[:-_HASH_SIZE]) == content[-_HASH_SIZE:]


def _checked(kernel: Any) -> Any:
    """A kernel whose stored code is checked (not one of Python, where Numba is switched off)."""
    if not numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        cache, impl = kernel._cache, kernel._cache._impl
        stamp = impl.locator.get_source_stamp()
        cache._cache_file = _CacheFile(cache.cache_path, impl.filename_base, stamp)
    return kernel


def helper(function: Callable) -> Any:
    """Compile a function that kernels call, as `njit`, into each of them.

    It is not stored by itself, so that processes which compile different kernels share no file.
    """
    return numba.njit(fastmath=_FASTMATH, **_OPTIONS)(function)


def helper_exact(function: Callable) -> Any:
    """As `helper`, with the floating-point order as written."""
    return numba.njit(**_OPTIONS)(function)


def dealt(
    argument: int, least: int = 1, *, less: int = 0, per: int = 1, exact: bool = False
) -> Callable[[Callable], Any]:
    """Compile a kernel whose outermost loop is dealt out to `set_threads` threads.

    The kernel does the iterations ``begin`` to ``end`` - 1, which are its first two arguments.
    Those who call it give the others alone.

    Parameters
    ----------
    argument : int
        Number of the argument (without those two) whose length tells the number of iterations.
    least : int
        So many iterations are worth a thread: some 50 us of work.
    less, per : int
        The number is (length - less) / per, rounded up.
    exact : bool
        As `njit_exact`.
    """

    def count(args: tuple[Any, ...]) -> int:
        return -(-(len(args[argument]) - less) // per)

    def decorate(function: Callable) -> Any:
        kernel = njit_exact(function) if exact else njit(function)

        @functools.wraps(function)
        def on_threads(*args: Any) -> None:
            _deal(kernel, count(args), least, args)

        @functools.wraps(function)
        def plain(*args: Any) -> None:
            function(0, count(args), *args)

        vars(on_threads).update(kernel=kernel, py_func=plain)
        return on_threads

    return decorate


def _deal(kernel: Callable, count: int, least: int, args: tuple[Any, ...]) -> None:
    """Have threads take pieces of a loop until none is left, this one among them."""
    pieces = min(count // least, _PIECES * _threads)
    if pieces < 2 or _threads == 1:
        kernel(0, count, *args)
        return
    bounds = [count * i // pieces for i in range(pieces + 1)]
    left = itertools.pairwise(bounds)

    def work() -> None:
        for begin, end in left:
            kernel(begin, end, *args)

    helpers = [_pool().submit(work) for _ in range(min(_threads, pieces) - 1)]
    work()
    for helper in helpers:
        if not helper.cancel():  # else it has not even started, and nothing is left
            helper.result()


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_CORES, "kernel")


#: A process that is forked has none of the threads.
os.register_at_fork(after_in_child=_pool.cache_clear)
#: Cores that this process may use.
_CORES: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
_threads = _CORES

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
    """Use this many threads for the kernels of this process, and one in BLAS.

    Parameters
    ----------
    threads : int
        At least 1; silently limited to the cores that this process may use, because a scheduler
        may grant more than the machine lets it see.
    """
    global _threads  # noqa: PLW0603 - as long as the process
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    threadpool_limits(**ONE_BLAS_THREAD)
    _threads = min(threads, _CORES)


def get_threads() -> int:
    """Threads of the kernels (see `set_threads`)."""
    return _threads


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
        "kernels: none stored for this processor (%s) and data, or damaged; compiled for this job "
        "alone; `snakemake --forcerun kernels` stores them",
        processor,
    )
