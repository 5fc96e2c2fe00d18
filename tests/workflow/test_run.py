"""``python -m romanprf.run``, the command behind `make run`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def run(reduction, config: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "romanprf.run", config]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(reduction.kernels)}
    return subprocess.run(
        command,
        cwd=reduction.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_last_lines_say_where_the_results_are_what_they_cost_and_what_is_wrong(demo):
    done = run(demo, "config/config.yaml")
    assert done.returncode == 0, done.stdout
    *_, where, verdict = done.stdout.splitlines()
    pattern = (
        r"Tables: results/\*\.parquet; report: results/report\.html; "
        r"took \d+ s, peak memory \d+\.\d\d GB\."
    )
    assert re.fullmatch(pattern, where)
    found = re.fullmatch(r"(\d+) warnings?(, the worst)?: (.+)", verdict)
    warnings = re.findall("^romanprf warning: (.*)$", done.stdout, re.MULTILINE)
    assert (int(found[1]), found[3]) == (len(warnings), warnings[0])
    assert (demo.results / "report.html").stat().st_size > 100_000


def test_last_line_of_a_failure_is_the_complaint(demo):
    catalogue = demo.results / "simulated" / "catalogue.csv"
    catalogue.write_text("source_id,ra,dec,mag\n1,10.0,20.0,18.0\n")
    done = run(demo, "config/config.yaml")
    assert done.returncode != 0
    last = done.stdout.splitlines()[-1]
    assert last.startswith("romanprf crossmatch: results/simulated/catalogue.csv: no source in")


def test_missing_settings_file(empty):
    done = run(empty, "config/none.yaml")
    assert done.returncode == 1
    assert done.stdout.startswith("romanprf: config/none.yaml: no such file")
    assert len(done.stdout.splitlines()) == 1


def test_results_folder_that_is_no_path(empty):
    (empty.folder / "own.yaml").write_text("results: 3\n")
    done = run(empty, "own.yaml")
    assert done.returncode == 1
    assert done.stdout.startswith("romanprf: config: results: ")
    assert len(done.stdout.splitlines()) == 1
