"""Single writes that are killed, or find the disk full."""

from __future__ import annotations

import errno
import glob
import multiprocessing
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


def test_job_on_a_full_disk_says_one_line(tmp_path):
    """Python's own process: the job configures logging and threads."""
    code = """
        import resource, sys
        from types import SimpleNamespace
        from romanprf.io.atomic import replacing
        from romanprf.workflow.job import main

        def run(inputs, outputs, params):
            with replacing(outputs["out"]) as temporary:
                temporary.write_bytes(bytes(10_000))

        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
        job = dict(log=["log"], threads=1, rule="try", input={}, output={"out": "out"}, params={})
        main(run, SimpleNamespace(**job))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, cwd=tmp_path, check=False)
    assert done.returncode == 1
    said = (tmp_path / "log").read_text()
    assert said == "romanprf try: [Errno 28] No space left on device: 'out'\n"
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


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
