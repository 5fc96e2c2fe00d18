"""Kernels compiled ahead of the jobs that need them, by several processes at once.

Numba compiles a kernel for the types that it is called with and stores the code in files of that
kernel, so processes that compile different kernels do not meet.
"""

from __future__ import annotations

import fcntl
import importlib
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from numba import types
from numba.core.dispatcher import Dispatcher
from tqdm import tqdm

#: File beside compiled kernels while they are being compiled.
_MARK = "romanprf-unfinished"
#: ... and one whose lock those hold that do it.
_LOCK = "romanprf-lock"

#: A kernel and the types of its arguments.
_Job = tuple[Dispatcher, tuple[types.Type, ...]]


def compile_kernels(entries: Sequence[str], processes: int) -> None:
    """Compile kernels that are not stored yet.

    Parameters
    ----------
    entries : sequence of str
        ``module.kernel(type, type ...)``, as `compiled` gives them.
    processes : int
        At least 1.

    Raises
    ------
    RuntimeError
        If one of the processes is killed.
    """
    began, jobs = time.monotonic(), sorted(map(_job, entries), key=_size, reverse=True)
    log = logging.getLogger(__name__)
    log.info("kernels: %d, compiled by %d processes if they are not there", len(jobs), processes)
    with whole_or_new():
        new = _compile(jobs, processes)
    log.info("kernels: %d compiled in %.0f s", new, time.monotonic() - began)


def _job(entry: str) -> _Job:
    """The kernel that an entry names, and its types."""
    name, _, signature = entry.partition("(")
    module, _, kernel = name.rpartition(".")
    found = getattr(importlib.import_module(module), kernel)
    names = {**vars(types), "NamedTuple": _named_tuple}
    return getattr(found, "kernel", found), eval(f"({signature}", names)


def _named_tuple(path: str, *fields: types.Type) -> types.Type:
    """Type of a named tuple, of which ``path`` is the class."""
    module, _, name = path.rpartition(".")
    return types.NamedTuple(fields, getattr(importlib.import_module(module), name))


def _size(job: _Job) -> int:
    """Bytecode of a kernel and of all that it calls: what takes long is compiled first."""
    function = job[0].py_func
    called = map(function.__globals__.get, function.__code__.co_names)
    inner = sum(_size((other, ())) for other in called if isinstance(other, Dispatcher))
    return len(function.__code__.co_code) + inner


def _compile(jobs: Sequence[_Job], processes: int) -> int:
    """Have processes compile one kernel after the other; how many were not stored.

    What is to be done and what is done are bytes in two pipes: no process that is killed can leave
    them locked, and none waits when all others are gone.
    """
    todo, done = _filled(bytes(range(len(jobs)))), os.pipe()
    context, new = multiprocessing.get_context("fork"), 0
    helpers = [
        context.Process(target=_work, args=(jobs, todo, done, os.getpid()), daemon=True)
        for _ in range(processes)
    ]
    try:
        for helper in helpers:
            helper.start()
        os.close(done[1])
        with tqdm(total=len(jobs), desc="kernels", disable=None) as progress:
            while was_new := os.read(done[0], 1):
                new += was_new[0]
                progress.update()
        for helper in helpers:
            helper.join()
        if any(helper.exitcode for helper in helpers):
            codes = [helper.exitcode for helper in helpers]
            raise RuntimeError(f"processes that compiled kernels ended with codes {codes}")
    finally:
        os.close(todo)
        os.close(done[0])
        for helper in helpers:
            if helper.pid is not None:
                helper.kill()
                helper.join()
    return new


def _filled(content: bytes) -> int:
    """The end to read of a pipe that holds some bytes and gets no more."""
    out, into = os.pipe()
    os.write(into, content)
    os.close(into)
    return out


def _work(jobs: Sequence[_Job], todo: int, done: tuple[int, int], parent: int) -> None:
    """Compile kernels until none is left, or nobody is there to be told."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.close(done[0])
    while os.getppid() == parent and (number := os.read(todo, 1)):
        kernel, arguments = jobs[number[0]]
        kernel.compile(arguments)
        os.write(done[1], bytes([not kernel.stats.cache_hits]))


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
    """Kernels compiled or loaded in this process, ``module.kernel(type, type ...)``, sorted.

    Those that others call are among them if the others had to be compiled.
    """
    return sorted(
        f"{name}({', '.join(map(_text, arguments))})"
        for name, kernel in _kernels()
        for arguments in kernel.signatures
    )


def _text(kind: types.Type) -> str:
    """A type as `_job` reads it."""
    if isinstance(kind, types.Array) and kind.layout == "C":
        return f"{_text(kind.dtype)}[{':, ' * (kind.ndim - 1)}::1]"
    if isinstance(kind, types.NamedTuple):
        path = f"{kind.instance_class.__module__}.{kind.instance_class.__name__}"
        return f"NamedTuple({', '.join([repr(path), *map(_text, kind.types)])})"
    return "boolean" if kind == types.boolean else repr(kind)


def _kernels() -> list[tuple[str, Dispatcher]]:
    """All kernels, with the names of their modules and their own."""
    return [
        (f"{module}.{name}", kernel)
        for module in list(sys.modules)
        if module.startswith("romanprf.") and module.endswith("_nb")
        for name, kernel in _unwrapped(module)
        if isinstance(kernel, Dispatcher) and kernel.__module__ == module
    ]


def _unwrapped(module: str) -> Iterator[tuple[str, Any]]:
    """What a module defines; of what is dealt out to threads the kernel itself."""
    for name, value in vars(sys.modules[module]).items():
        yield name, getattr(value, "kernel", value)
