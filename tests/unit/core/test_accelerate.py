"""Threads share the work of a kernel; jobs only load compiled ones, and BLAS has one thread."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from romanprf.core import accelerate
from romanprf.core.accelerate import dealt, get_threads, set_threads

pytestmark = pytest.mark.slow

KERNEL = """
from romanprf.core.accelerate import njit

@njit
def twice(x):
    return 2 * x
"""
#: A processor without any extension of the x86-64 instructions.
OTHER = {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": ""}


def stored(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.nb[ic]")}


def call(folder: Path, before: str = "pass", **environment: str) -> str:
    """Call a kernel in another process; what that said."""
    program = f"from romanprf.core import accelerate; {before}; import kernel; kernel.twice(2)"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache"), **environment}
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stderr


def test_jobs_store_no_kernels(tmp_path):
    (tmp_path / "kernel.py").write_text(KERNEL)
    job = "accelerate.only_read_cache()"
    assert "compiled for this job alone" in call(tmp_path, job)
    assert stored(tmp_path) == {}
    assert call(tmp_path) == ""
    kernels = stored(tmp_path)
    assert len(kernels) == 2
    assert call(tmp_path, job) == ""
    assert "compiled for this job alone" in call(tmp_path, job, **OTHER)
    assert stored(tmp_path) == kernels
    assert call(tmp_path, **OTHER) == ""
    assert len(stored(tmp_path)) == 3
    assert call(tmp_path, job) == ""


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", ["empty", "cut", "garbage", "one bit", "a folder"])
def test_damaged_kernels_are_compiled_anew(tmp_path, suffix, damage):
    (tmp_path / "kernel.py").write_text(KERNEL)
    call(tmp_path)
    [file] = tmp_path.rglob(f"*.{suffix}")
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    if damage == "a folder":
        file.unlink()
        file.mkdir()
    else:
        left = {"empty": b"", "cut": whole[: len(whole) // 2], "garbage": bytes(range(256))}
        file.write_bytes(left.get(damage, bytes(flipped)))
    assert "compiled for this job alone" in call(tmp_path, "accelerate.only_read_cache()")
    if damage != "a folder":
        assert call(tmp_path) == ""
        assert call(tmp_path, "accelerate.only_read_cache()") == ""


def test_blas_has_one_thread():
    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    np.ones((2, 2)) @ np.ones((2, 2))  # loads it
    with threadpool_limits(2, "blas"):
        if set(threads()) == {2}:
            set_threads(1_000)
            assert set(threads()) == {1}
        else:
            pytest.skip("this BLAS has one thread")


@pytest.fixture
def threads(monkeypatch):
    """More of them than any machine of a test has cores."""
    monkeypatch.setattr(accelerate, "_CORES", 3)
    accelerate._pool.cache_clear()
    before = get_threads()
    set_threads(3)
    yield 3
    set_threads(before)
    accelerate._pool.cache_clear()


@dealt(-1, 10, less=1, per=2)
def doubled(begin, end, x, out):
    for i in range(begin, end):
        for j in range(2 * i, 2 * i + 2):
            out[j] += 2.0 * x[j]


def is_whole(pairs: int) -> bool:
    x, out = np.arange(2.0 * pairs + 1.0), np.zeros(2 * pairs + 1)
    doubled(x, out)
    return bool((out[:-1] == 2.0 * x[:-1]).all() and out[-1] == 0.0)


@pytest.mark.parametrize("pairs", [0, 1, 9, 19, 20, 21, 1234])
def test_each_iteration_is_done_once(threads, pairs):
    assert is_whole(pairs)


def test_one_piece_waits_for_nobody(threads):
    """Short loops stay in the thread that calls, long ones go to others too."""
    seen = []

    def kernel(begin, end):
        seen.append((begin, end, threading.current_thread().name))

    accelerate._deal(kernel, 19, 10, ())
    assert seen == [(0, 19, threading.current_thread().name)]
    del seen[:]
    barrier = threading.Barrier(threads)
    accelerate._deal(lambda begin, end: (barrier.wait(30), kernel(begin, end)), 3, 1, ())
    assert sorted(part[:2] for part in seen) == [(0, 1), (1, 2), (2, 3)]
    assert len({name for _, _, name in seen}) == threads


def test_what_a_helper_raises_is_raised(threads):
    def kernel(begin, end):
        if threading.current_thread() is not here:
            raise OverflowError
        done.wait(0.05)

    here, done = threading.current_thread(), threading.Event()
    with pytest.raises(OverflowError):
        accelerate._deal(kernel, 1000, 1, ())


def test_forked_process_has_threads_of_its_own(threads):
    assert is_whole(1000)  # so that there are some
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert all(pool.map_async(is_whole, [1000] * 8).get(60))
    assert is_whole(1000)


def test_threads_are_limited_to_the_cores(threads):
    set_threads(1_000)
    assert get_threads() == threads
    with pytest.raises(ValueError, match="at least 1, got 0"):
        set_threads(0)
