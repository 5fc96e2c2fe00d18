"""One real run of a small demo, copied by the tests that change it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from small import SMALL

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Reduction:
    """A folder in which snakemake runs, and one for compiled kernels."""

    folder: Path
    kernels: Path

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def configure(self, **sections: dict) -> None:
        """Write config.yaml: `SMALL` with some sections extended."""
        settings = {name: dict(values) for name, values in SMALL.items()}
        for name, values in sections.items():
            settings[name] = {**settings.get(name, {}), **values}
        path = self.folder / "config" / "config.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(settings))

    def snakemake(self, *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
        command += ["--cores", "2", *options]
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, "NUMBA_CACHE_DIR": str(self.kernels)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def jobs(self, *options: str) -> set[str]:
        """Run snakemake; the jobs that ran, or would run, by the names of their logs."""
        done = self.snakemake(*options)
        assert done.returncode == 0, done.stdout
        names = re.findall(r"^    log: results/logs/(\S+)\.log", done.stdout, re.MULTILINE)
        return set(names)

    def pending(self) -> set[str]:
        """What a run would do.

        The jobs behind the checkpoint are known only after it, so `frames` and what it needs run.
        """
        return self.jobs("frames") | self.jobs("--dry-run")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Reduction:
    """The demo, reduced; not to be changed."""
    folders = (tmp_path_factory.mktemp(name) for name in ("demo", "kernels"))
    reduction = Reduction(*folders)
    reduction.configure()
    done = reduction.snakemake()
    assert done.returncode == 0, done.stdout
    return reduction


@pytest.fixture
def demo(finished: Reduction, tmp_path: Path) -> Reduction:
    """A copy of the reduced demo, to be changed."""
    folder = tmp_path / "demo"
    shutil.copytree(finished.folder, folder, symlinks=True)
    return Reduction(folder, finished.kernels)
