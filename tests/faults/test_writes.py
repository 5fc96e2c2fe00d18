"""Single writes that are killed, or find the disk full."""

from __future__ import annotations

import errno
import glob
import multiprocessing
import os
import random
import resource
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

import forked
from romanprf.core import compile as compiling
from romanprf.io.scratch import kept
from romanprf.io.tables import read_table, write_table, writing
from romanprf.schemas import Column, TableSchema
from romanprf.workflow.lock import hold

SCHEMA = TableSchema(
    "draft", 1, "Rounds.", (Column("round", pa.int32(), "", "Number of the write."),)
)
ROWS = 100_000


def rewrite(path):
    """Write a table of several groups again and again, each time with another number."""
    for number in range(1_000_000):
        with writing(path, SCHEMA, {}) as table:
            for _ in range(4):
                table.write({"round": np.full(ROWS // 4, number, np.int32)})


def written(path):
    return path.stat().st_mtime_ns if path.exists() else None


@pytest.mark.slow
def test_table_of_a_killed_process_is_whole(tmp_path):
    rng, path = random.Random(3), tmp_path / "table[1].parquet"
    left = 0
    for _ in range(20):
        process, before = forked.processes.Process(target=rewrite, args=(path,)), written(path)
        process.start()
        while written(path) == before:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 0.3))
        process.kill()
        process.join()
        numbers = read_table(path, SCHEMA)["round"]
        assert len(numbers) == ROWS
        assert numbers.nunique() == 1
        leftovers = list(tmp_path.glob(f"{glob.escape('.table[1].parquet.tmp-')}*"))
        assert len(leftovers) <= 1  # they do not pile up
        left += len(leftovers)
    assert left > 5  # many were killed within a write
    write_table(path, {"round": np.zeros(3, np.int32)}, SCHEMA, {})
    assert list(tmp_path.iterdir()) == [path]


@contextmanager
def little_space(size=5000):
    """Let this process write no file larger than this (bytes)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_table_on_a_full_disk(tmp_path):
    path = tmp_path / "table.parquet"
    write_table(path, {"round": np.zeros(3, np.int32)}, SCHEMA, {})
    numbers = {"round": np.random.default_rng(4).integers(0, 2**31 - 1, ROWS).astype(np.int32)}
    with little_space(), pytest.raises(OSError, match=r"No space left .*table.parquet") as info:
        write_table(path, numbers, SCHEMA, {})
    assert info.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == [path]
    assert len(read_table(path, SCHEMA)) == 3
    write_table(path, numbers, SCHEMA, {})
    assert len(read_table(path, SCHEMA)) == ROWS


def test_scratch_on_a_full_disk(tmp_path):
    image = np.arange(10_000.0).reshape(100, 100)
    with little_space(), pytest.raises(OSError, match="No space left") as info:
        kept(image)
    assert info.value.errno == errno.ENOSPC
    copy = kept(image.T)
    assert copy.dtype == np.float32
    np.testing.assert_array_equal(copy, image.T)


def job(folder, body, before="", **environment):
    """Run a job whose step has this body, in a process of its own; its log, by lines."""
    program = f"""
import errno, os, resource, sys
from types import SimpleNamespace
from romanprf.errors import InputError
from romanprf.workflow.job import main

def run(inputs, outputs, params):
{textwrap.indent(textwrap.dedent(body), "    ")}

{before}
sys.modules["romanprf.steps.trial"] = SimpleNamespace(run=run)
job = dict(log=["log"], threads=1, rule="try", input={{}}, output={{"out": "out"}}, params={{}})
main("trial.run", SimpleNamespace(**job))
"""
    environment = {**os.environ, **environment}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    assert done.returncode == 1, done.stderr
    return (folder / "log").read_text().splitlines()


#: Writes an output.
WRITE = """
    from romanprf.io.atomic import replacing
    with replacing(outputs["out"]) as temporary:
        temporary.write_bytes(bytes(10_000))
"""


def test_job_on_a_full_disk_says_one_line(tmp_path):
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))"
    said = job(tmp_path, WRITE, limit)
    assert said == ["romanprf try: [Errno 28] No space left on device: 'out'"]
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("raise InputError('a.csv: no rows')", "a.csv: no rows"),
        # As the library of pictures does it.
        (
            """
            try:
                raise AttributeError("'_idat' object has no attribute 'fileno'")
            except AttributeError:
                raise OSError(errno.ENOSPC, "No space left on device")
            """,
            "[Errno 28] No space left on device (TMPDIR is ",
        ),
        ("bytearray(2**62)", "out of memory ("),
        ('raise RuntimeError("can\'t start new thread")', "out of memory (can't start new thread"),
        (
            "raise OSError(errno.EROFS, os.strerror(errno.EROFS), 'a/b')",
            "a/b: Read-only file system, expected to be able to read and write it",
        ),
    ],
)
def test_job_that_cannot_be_done_says_one_line(tmp_path, body, expected):
    [line] = job(tmp_path, body)
    assert line.startswith(f"romanprf try: {expected}")


def test_fault_of_this_package_says_how_to_report_it(tmp_path):
    *traceback, line = job(tmp_path, "raise KeyError('flux')")
    assert line == (
        "romanprf try: unexpected KeyError: 'flux'; please report this fault of romanprf with "
        f"{tmp_path / 'log'}"
    )
    assert "Traceback (most recent call last):" in traceback


def test_library_that_cannot_be_loaded_says_one_line(tmp_path):
    [line] = job(tmp_path, "pass", NUMBA_NUM_THREADS="0")
    assert line == "romanprf try: NUMBA_NUM_THREADS is '0', expected a whole number of at least 1"


def test_lock_ends_with_its_process(tmp_path):
    path = tmp_path / "results" / "lock"
    holder = multiprocessing.get_context("spawn").Process(target=hold_and_wait, args=(path,))
    holder.start()
    while not (path.exists() and path.read_text().endswith("\n")):
        time.sleep(0.02)
    with pytest.raises(ValueError, match=rf"lock: another run .*: process {holder.pid} on "):
        hold(path)
    holder.kill()
    holder.join()
    hold(path)


def hold_and_wait(path):
    hold(path)
    time.sleep(60)


def test_kernels_of_a_killed_warm_up_are_not_used(tmp_path, monkeypatch):
    """Numba lists a kernel before it writes its code: the code found may be of another version."""
    kernel = SimpleNamespace(stats=SimpleNamespace(cache_path=str(tmp_path)))
    monkeypatch.setattr(compiling, "_kernels", lambda: [("romanprf.x_nb.f", kernel)])
    files = [tmp_path / name for name in ("f-1.py311.nbi", "f-1.py311.1.nbc")]
    for file in files:
        file.touch()
    with compiling.whole_or_new():
        assert all(file.exists() for file in files)
    with pytest.raises(KeyboardInterrupt), compiling.whole_or_new():
        raise KeyboardInterrupt
    assert all(file.exists() for file in files)
    with compiling.whole_or_new():
        assert not any(file.exists() for file in files)
    assert [path.name for path in tmp_path.iterdir()] == [compiling._LOCK]
