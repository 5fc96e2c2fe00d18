"""``python -m romanprf.run CONFIG [snakemake options]``: the workflow, its report and its cost."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from romanprf.config import load_config, read_settings
from romanprf.errors import InputError
from romanprf.workflow.paths import Paths, check_writable, usable

#: Settings that the workflow reads first.
_DEFAULT = "config/config.yaml"
#: The last line where no job says why the run failed.
_UNEXPLAINED = (
    "romanprf: Snakemake ended with code {code}, expected 0; why is above and in the last file of "
    ".snakemake/log; a job without a word was killed: is there enough memory?"
)
#: Seconds between two measurements of the memory.
_INTERVAL = 0.2


def measured(command: Sequence[str]) -> tuple[int, float, int]:
    """Run a command; give its exit code, wall time (s) and peak memory (bytes).

    The memory is the sum of the resident sizes of all its processes, which counts shared pages more
    than once.
    """
    start, peak = time.monotonic(), 0
    process = psutil.Popen(command)
    # Snakemake ends its jobs, then itself.  Wait for it: it holds the lock of the results folder.
    signal.signal(signal.SIGINT, lambda *_: None)  # the terminal sends it to both processes
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    while True:
        try:
            code = process.wait(_INTERVAL)
        except psutil.TimeoutExpired:
            peak = max(peak, _resident(process))
        else:
            return code, time.monotonic() - start, peak


def _resident(process: psutil.Process) -> int:
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:  # it has just ended
            continue
    return total


def main(config: str, *options: str) -> int:
    """Run the workflow, write its report and print where the results are and what they cost."""
    try:
        paths = Paths(_results(config))
        check_writable(paths.root)
    except InputError as error:
        print(f"romanprf: {error}", file=sys.stderr)
        return 1
    snakemake = [sys.executable, "-m", "snakemake", "--configfile", config, *options]
    seconds, peak = 0.0, 0
    for command in (snakemake, [*snakemake, "--report", paths.report]):
        code, wall, memory = measured(command)
        if code:
            # The Snakefile ends with this code when it has said why.
            if not _repeat_complaints(paths, time.time() - wall) and code != os.EX_DATAERR:
                print(_UNEXPLAINED.format(code=code), file=sys.stderr)
            return code
        seconds, peak = seconds + wall, max(peak, memory)
    cost = f"{seconds:.0f} s, peak memory {peak / 1e9:.2f} GB"
    checked = verdict(paths.checks)  # prints the warnings, above the last lines
    print(f"Tables: {paths.root}/*.parquet; report: {paths.report}; took {cost}.")
    print(checked)
    return 0


def verdict(path: str | Path) -> str:
    """Number of warnings in a ``checks`` table, and the worst; each also goes to standard error."""
    from romanprf.io.tables import read_table  # noqa: PLC0415  (slow to import, needed at the end)
    from romanprf.metrics.checks import failures  # noqa: PLC0415
    from romanprf.schemas import CHECKS  # noqa: PLC0415

    if not Path(path).exists():
        return "No checks were made."
    messages = failures(read_table(path, CHECKS))["message"].tolist()
    for message in messages:
        print(f"romanprf warning: {message}", file=sys.stderr, flush=True)
    if not messages:
        return "0 warnings."
    number = "1 warning" if len(messages) == 1 else f"{len(messages)} warnings, the worst"
    return f"{number}: {messages[0]}"


def _repeat_complaints(paths: Paths, since: float) -> int:
    """Print the messages of failed jobs again, below all output of Snakemake; their number."""
    said = 0
    for log in sorted(Path(paths.log("*")).parent.glob("*.log")):
        if log.stat().st_mtime >= since:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            for line in lines:
                if line.startswith("romanprf "):
                    print(line, file=sys.stderr)
                    said += 1
    return said


def _results(config: str) -> Path:
    """Results folder: values in ``config`` replace those of the default file."""
    settings = read_settings(_DEFAULT) if Path(_DEFAULT).exists() else {}
    settings |= read_settings(config)
    results = load_config({key: settings[key] for key in settings.keys() & {"results"}}).results
    return usable(results)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
