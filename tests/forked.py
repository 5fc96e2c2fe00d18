"""Runs of Snakemake by processes that have imported it, and what the Snakefile imports, already.

That is most of the time of a run with little to do, and the tests start a hundred of them.  Jobs
are processes of their own, as ever.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
#: Starts processes as copies of one in which these modules are loaded.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(
    ["snakemake.cli", "romanprf.workflow.dependencies", "romanprf.steps.frames"]
)


class Run(psutil.Process):
    """A process that `processes` started, in the words of `subprocess.Popen`."""

    def __init__(self, process: multiprocessing.process.BaseProcess) -> None:
        process.start()
        super().__init__(process.pid)
        self._started = process
        self.returncode: int | None = None

    def poll(self) -> int | None:
        self.returncode = self._started.exitcode
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._started.join(timeout)
        code = self.poll()
        if code is None:
            raise psutil.TimeoutExpired(timeout, self.pid)
        return code


def snakemake(folder: Path, said: Path, kernels: Path | None, *options: str) -> Run:
    """Start Snakemake in a folder, as the head of a process group, as a shell or a scheduler does.

    Parameters
    ----------
    folder : Path
        The working directory.
    said : Path
        Where its words go.
    kernels : Path or None
        Folder of compiled kernels, if it is not that of the tests themselves.
    """
    words = ["--snakefile", str(ROOT / "Snakefile"), "--cores", "2", *options]
    environment = dict(os.environ)
    if kernels is not None:
        environment["NUMBA_CACHE_DIR"] = str(kernels)
    return Run(processes.Process(target=_run, args=(folder, said, environment, words)))


def _run(folder: Path, said: Path, environment: Mapping[str, str], words: list[str]) -> None:
    from snakemake.cli import main

    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    with said.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    main(words)
