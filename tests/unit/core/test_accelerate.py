"""Jobs load compiled kernels and store none, and leave BLAS one thread."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from romanprf.core.accelerate import set_threads

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
