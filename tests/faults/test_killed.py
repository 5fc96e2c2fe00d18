"""The workflow, killed at random moments by all that kills, started again by the same command."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import forked
import small
from romanprf.config import load_config
from romanprf.reduce import reduce

#: Three batches of one small exposure.
TINY = {
    **small.TINY,
    "simulate": {**small.TINY["simulate"], "exposures": 3},
    "exposures": {"batch_size": 1},
}
#: Kills while kernels are compiled, and later.
WARMING, LATER = 4, 16

pytestmark = pytest.mark.slow


@dataclass
class Workflow:
    """A folder in which a user runs snakemake, and the tables that must come out of it."""

    folder: Path
    reference: Path
    started: list[psutil.Process] = field(default_factory=list)
    runs: int = 0

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def start(self, *options: str) -> forked.Run:
        self.runs += 1
        run = forked.snakemake(self.folder, self.log, self.folder / "kernels", *options)
        self.started.append(run)
        return run

    @property
    def log(self) -> Path:
        """What the last run says: a file of its own, for the one before may still be talking."""
        return self.folder / f"said-{self.runs}.txt"

    def said(self) -> str:
        return self.log.read_text()

    def finish(self, *options: str) -> None:
        """Run to the end, undisturbed."""
        assert self.start(*options).wait(300) == 0, self.said()

    def jobs(self, run: forked.Run, rule: str = "") -> list[psutil.Process]:
        """The jobs of a run (and a rule) that are running."""
        found = []
        try:
            for child in run.children(recursive=True):
                words = [word for word in child.cmdline() if "/.snakemake/scripts/" in word]
                if words and words[0].endswith(f"{rule}.py"):
                    found.append(child)
        except psutil.NoSuchProcess:  # it ended meanwhile
            pass
        self.started += [job for job in found if job not in self.started]
        return found

    def check(self) -> int:
        """Count the tables after asserting that each is whole and has the right numbers."""
        tables = [path for path in self.results.rglob("*.parquet") if path.name[0] != "."]
        for table in tables:
            assert_same(table, self.reference / table.relative_to(self.results))
        return len(tables)


def assert_same(table: Path, other: Path) -> None:
    """Assert that two tables have the same rows."""
    left, right = pq.read_table(table, partitioning=None), pq.read_table(other, partitioning=None)
    assert left.schema.equals(right.schema), table
    assert left.num_rows == right.num_rows, table
    for name in left.column_names:
        a, b = (side[name].combine_chunks() for side in (left, right))
        if pa.types.is_list(a.type):
            assert a.value_lengths().equals(b.value_lengths()), (table, name)
            a, b = a.flatten(), b.flatten()
        if pa.types.is_floating(a.type):
            values = [side.to_numpy(zero_copy_only=False) for side in (a, b)]
            # What is left of large numbers in small ones is as exact as the large ones are.
            known = np.isfinite(values[1])
            atol = 1e-12 * np.abs(values[1]).max(initial=0.0, where=known)
            np.testing.assert_allclose(*values, rtol=1e-9, atol=atol, err_msg=f"{table} {name}")
        else:
            assert a.equals(b), (table, name)


@pytest.fixture(scope="module")
def workflow(tmp_path_factory):
    """The folder of a run, before it starts; all that it started is ended afterwards."""
    reference, folder = (tmp_path_factory.mktemp(name) for name in ("reference", "killed"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(reference)  # so that the names of files in the tables are the same
        reduce(load_config(TINY))
    (folder / "config").mkdir()
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(TINY))
    workflow = Workflow(folder, reference / "results")
    yield workflow
    for process in workflow.started:
        if process.is_running():
            process.kill()


def machine_dies(workflow: Workflow, run: forked.Run, rng: random.Random) -> None:
    everything = [*run.children(recursive=True), run]
    for process in everything:
        process.kill()
    psutil.wait_procs(everything, 30)


def snakemake_dies(workflow: Workflow, run: forked.Run, rng: random.Random) -> None:
    """Its jobs go on, and write while the next run does."""
    workflow.jobs(run)
    run.kill()
    run.wait(30)


def job_dies(workflow: Workflow, run: forked.Run, rng: random.Random) -> None:
    """As if it had taken too much memory."""
    while run.poll() is None:
        jobs = workflow.jobs(run)
        if jobs:
            rng.choice(jobs).kill()
            break
        time.sleep(0.02)
    assert run.wait(120) != 0, workflow.said()


def user_interrupts(workflow: Workflow, run: forked.Run, rng: random.Random) -> None:
    os.killpg(run.pid, signal.SIGINT)
    assert run.wait(120) != 0, workflow.said()


def scheduler_cancels(workflow: Workflow, run: forked.Run, rng: random.Random) -> None:
    os.killpg(run.pid, signal.SIGTERM)
    assert run.wait(120) != 0, workflow.said()


FATES = [machine_dies, snakemake_dies, job_dies, user_interrupts, scheduler_cancels]


def kill_after(workflow: Workflow, jobs: int, seconds: float, fate, rng, rule: str = "") -> bool:
    """Start, wait for so many jobs (of a rule) and a while, kill; False if it ended before."""
    run, seen = workflow.start(), set()
    while len(seen) < jobs and run.poll() is None:
        seen.update(job.pid for job in workflow.jobs(run, rule))
        time.sleep(0.05)
    time.sleep(seconds)
    if run.poll() is not None:
        assert run.returncode == 0, workflow.said()
        return False
    try:
        fate(workflow, run, rng)
    except (AssertionError, ProcessLookupError, psutil.NoSuchProcess):
        if run.wait(1) != 0:  # else the last job had ended when the signal came
            raise
    return True


def test_killed_while_kernels_are_compiled(workflow):
    for folder in (workflow.results, workflow.folder / "kernels"):
        shutil.rmtree(folder, ignore_errors=True)  # of the tests before
    rng = random.Random(1)
    for n in range(WARMING):
        assert kill_after(workflow, 1, rng.uniform(0.0, 6.0), FATES[n % 2], rng, "kernels")
    workflow.finish("results/kernels.txt")
    psutil.wait_procs(workflow.started, 120)  # jobs whose Snakemake died may compile after that
    workflow.check()
    assert not list((workflow.folder / "kernels").rglob("romanprf-unfinished"))


def test_killed_later(workflow):
    rng = random.Random(2)
    kills = tables = 0
    while kills < LATER:
        killed = kill_after(
            workflow, rng.randint(1, 4), rng.uniform(0.0, 1.5), FATES[kills % len(FATES)], rng
        )
        kills += killed
        tables = max(tables, workflow.check())
        if not killed:
            start_over(workflow.results)
    workflow.finish()
    expected = tables_of(workflow.reference)
    assert tables_of(workflow.results) == expected
    assert workflow.check() == len(expected)
    assert tables > len(expected) // 2  # kills came late enough
    assert not list(workflow.results.rglob(".*"))  # what they left is gone
    workflow.finish("--dry-run")
    assert "Nothing to be done" in workflow.said()


def tables_of(results: Path) -> list[Path]:
    return sorted(path.relative_to(results) for path in results.rglob("*.parquet"))


def start_over(results: Path) -> None:
    """Remove all but the note that kernels are compiled."""
    for path in results.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in ("kernels.txt", "lock"):
            path.unlink()


def test_full_disk(workflow):
    """A file system of its own for one folder of tables, too small for them."""
    workflow.finish()
    folder = workflow.results / "photometry"
    for table in folder.iterdir():
        table.unlink()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system is not permitted")
    try:
        (folder / "other").touch()  # or Snakemake trips over an empty folder that it cannot remove
        run = workflow.start("--keep-going")
        assert run.wait(120) != 0
        lines = [line for line in workflow.said().splitlines() if line.startswith("romanprf fit: ")]
        assert lines, workflow.said()
        assert all("No space left on device: 'results/photometry/batch=" in line for line in lines)
        assert "Traceback" not in workflow.said()
        assert not list(folder.glob(".*"))
        workflow.check()
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    workflow.finish()
    assert workflow.check() == len(tables_of(workflow.reference))


def test_second_run_in_one_folder_is_refused(workflow):
    first = workflow.start("--forcerun", "crossmatch")
    try:
        while not workflow.jobs(first):
            assert first.poll() is None, workflow.said()
            time.sleep(0.05)
        second = workflow.start("--forcerun", "crossmatch")
        assert second.wait(60) == os.EX_DATAERR
        line = f"romanprf: results/lock: another run writes this folder: process {first.pid} on "
        assert line in workflow.said()
    finally:
        machine_dies(workflow, first, random.Random())
