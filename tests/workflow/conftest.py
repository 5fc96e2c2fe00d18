"""One run of a small demo, copied by the tests that change it."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

import forked
from small import SMALL


@dataclass(frozen=True)
class Done:
    """Exit code and output of a run of snakemake that has ended."""

    returncode: int
    stdout: str


@dataclass(frozen=True)
class Reduction:
    """The folder in which snakemake runs, and that of its compiled kernels."""

    folder: Path
    kernels: Path

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def configure(self, **sections: dict) -> None:
        """Write config.yaml: `SMALL` with changes in some sections."""
        settings = {name: dict(values) for name, values in SMALL.items()}
        for name, values in sections.items():
            settings[name] = {**settings.get(name, {}), **values}
        path = self.folder / "config" / "config.yaml"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(yaml.safe_dump(settings))

    def copy(self, folder: Path) -> Reduction:
        """A copy in another folder; files keep their dates."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return replace(self, folder=folder)

    def snakemake(self, *options: str) -> Done:
        said = self.folder / "said.txt"
        code = forked.snakemake(self.folder, said, self.kernels, *options).wait(300)
        return Done(code, said.read_text())

    def jobs(self, *options: str) -> set[str]:
        """Run snakemake; names of the logs of the jobs that ran, or would run."""
        done = self.snakemake(*options)
        assert done.returncode == 0, done.stdout
        return set(re.findall(r"^ +log: results/logs/(\S+)\.log", done.stdout, re.MULTILINE))

    def pending(self) -> set[str]:
        """Jobs that a run would do.

        Jobs that follow a checkpoint are known only after it, so checkpoints and their inputs run.
        """
        done, planned = set[str](), self.jobs("--dry-run")
        for checkpoint in ("frames", "choose"):
            if checkpoint in planned:
                done |= self.jobs(checkpoint)
                planned = self.jobs("--dry-run")
        return done | planned


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Reduction:
    """The reduced demo, which tests must not change.

    The first of the processes that run tests reduces it; each has a copy.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    reduction = Reduction(shared / "finished", shared / "kernels")
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not reduction.folder.exists():
            reduce_once(Reduction(shared / "unfinished", reduction.kernels), reduction.folder)
    return reduction.copy(own / "demo")


def reduce_once(reduction: Reduction, folder: Path) -> None:
    """Reduce the demo, then rename its folder, so that the name says that it is complete."""
    reduction.configure()
    done = reduction.snakemake()
    assert done.returncode == 0, done.stdout
    reduction.folder.rename(folder)


@pytest.fixture
def demo(finished: Reduction, tmp_path: Path) -> Reduction:
    """A copy of the reduced demo, which a test may change."""
    return finished.copy(tmp_path / "demo")


@pytest.fixture
def empty(tmp_path: Path) -> Reduction:
    """A folder in which nothing is written yet."""
    return Reduction(tmp_path, tmp_path / "kernels")
