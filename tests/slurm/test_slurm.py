"""The demo through a real SLURM, against a local run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from small import SMALL

ROOT = Path(__file__).resolve().parents[2]

#: Four batches of one exposure.
SETTINGS = {
    **SMALL,
    "exposures": {"batch_size": 1},
    "simulate": {**SMALL["simulate"], "exposures": 4},
}

#: For one node of two cores without accounting, where jobs start at once.
SLURM = [
    *("--workflow-profile", str(ROOT / "workflow" / "profiles" / "slurm")),
    *("--cores", "2", "--slurm-status-command", "squeue", "--latency-wait", "10"),
    *("--slurm-init-seconds-before-status-checks", "2"),
]


def slurm_is_up() -> bool:
    if not (shutil.which("sinfo") and shutil.which("sbatch")):
        return False
    return subprocess.run(["sinfo"], capture_output=True, check=False, timeout=30).returncode == 0


pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(not slurm_is_up(), reason="no SLURM is reachable"),
]


def start(folder: Path, kernels: Path, *options: str) -> subprocess.Popen[str]:
    """Run the workflow in a folder; its words go to ``said.txt`` there."""
    path = folder / "config" / "config.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(SETTINGS))
    program = str(Path(__file__).with_name("impatient.py"))
    command = [sys.executable, program, "--snakefile", str(ROOT / "Snakefile"), *options]
    with (folder / "said.txt").open("w") as said:
        return subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "NUMBA_CACHE_DIR": str(kernels)},
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
        )


def finish(run: subprocess.Popen[str], folder: Path) -> str:
    code = run.wait(timeout=600)
    said = (folder / "said.txt").read_text()
    assert code == 0, said
    return said


def running(group: str) -> tuple[str, int] | None:
    """Number and memory (MB) of the first running job of a group, if there is one."""
    command = ["squeue", "--noheader", "--states=R", "--format=%i|%m|%k"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        job, memory, comment = line.split("|")
        if group in comment:
            return job, int(memory.removesuffix("M"))
    return None


def wait_for(group: str, run: subprocess.Popen[str], other: str = "") -> tuple[str, int]:
    while run.poll() is None:
        found = running(group)
        if found and found[0] != other:
            return found
        time.sleep(0.2)
    raise AssertionError(f"no job of {group} was seen")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A local run, one on SLURM of which a job was cancelled, and what was seen of that job."""
    local, slurm, kernels = (
        tmp_path_factory.mktemp(name) for name in ("local", "slurm", "kernels")
    )
    finish(start(local, kernels, "--cores", "2"), local)
    run = start(slurm, kernels, *SLURM)
    cancelled = wait_for("rule_shape", run)
    subprocess.run(["scancel", cancelled[0]], check=True)
    again = wait_for("rule_shape", run, other=cancelled[0])
    return local, slurm, finish(run, slurm), cancelled, again


def tables(folder: Path) -> dict[str, Path]:
    results = folder / "results"
    return {str(path.relative_to(results)): path for path in results.rglob("*.parquet")}


def assert_equal(left: pd.Series, right: pd.Series, name: str) -> None:
    """Numbers agree to 1e-9; a nested column row by row."""
    if left.dtype == object and len(left) and isinstance(left.iloc[0], np.ndarray):
        left, right = left.explode(), right.explode()
        if not isinstance(left.iloc[0], str):
            left, right = left.astype(float), right.astype(float)
    pd.testing.assert_series_equal(left, right, rtol=1e-9, atol=1e-12, obj=name)


def test_all_tables_are_those_of_a_local_run(runs):
    local, slurm = tables(runs[0]), tables(runs[1])
    assert local.keys() == slurm.keys()
    assert len(local) == 13 + 2 * 4
    for name, path in local.items():
        expected, found = pd.read_parquet(path), pd.read_parquet(slurm[name])
        assert list(expected) == list(found)
        for column in expected:
            assert_equal(found[column], expected[column], f"{name}: {column}")


def test_cancelled_job_is_repeated_with_more_memory(runs):
    said, cancelled, again = runs[2:]
    assert f"SLURM-job '{cancelled[0]}' failed, SLURM status is: 'CANCELLED'" in said
    assert "Trying to restart job" in said
    assert again[1] >= 2 * cancelled[1] - 1


def test_jobs_of_seconds_are_grouped(runs):
    said = runs[2]
    submitted = set(re.findall(r"SLURM jobid '?(\d+)", said))
    # kernels, simulate, frames, choose, crossmatch, deltas, shape (twice), fit, report
    assert 0 < len(submitted) <= 10, said


def test_jobs_only_read_the_kernels(runs):
    logs = [path for path in (runs[1] / "results" / "logs").glob("*.log") if path.stem != "kernels"]
    assert len(logs) > 10
    assert [path.name for path in logs if "compiled for this job alone" in path.read_text()] == []
