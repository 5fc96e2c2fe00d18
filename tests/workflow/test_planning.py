"""Dry runs: in each state of the results folder, with each profile, and at the size of a survey.

Image files and exposures tables are those that `benchmarks/planning.py` makes up.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import planning

from romanprf.steps import choose

pytestmark = pytest.mark.slow

BEHIND_FRAMES = {
    "choose",
    "crossmatch",
    "deltas",
    "shape",
    "astrometry",
    "metrics",
    "checks",
    "plots",
}


@pytest.fixture(params=["default", "slurm"])
def profile(request) -> str:
    """Option that names a profile of the workflow."""
    return f"--workflow-profile={planning.ROOT / 'workflow' / 'profiles' / request.param}"


@pytest.fixture
def sheet(empty):
    """Images of two batches and a catalogue of a user, with an exposures table."""
    planning.prepare(empty.folder, planning.BATCH + 1)
    return empty


def test_fresh_clone(empty, profile):
    """The settings are those of the repository; nothing is written."""
    shutil.copytree(planning.ROOT / "config", empty.folder / "config")
    demo = {"simulate_field", "simulate_truth", "kernels", "frames"} | BEHIND_FRAMES
    demo |= {f"simulate_exposure.{number:05d}" for number in range(16)}
    assert empty.jobs("--dry-run", profile) == demo
    assert not empty.results.exists()


def test_images_of_a_sheet_without_an_exposures_table(sheet, profile):
    (sheet.results / "exposures.parquet").unlink()
    assert sheet.jobs("--dry-run", profile) == {"kernels", "frames"} | BEHIND_FRAMES


def test_images_without_a_catalogue(sheet, profile):
    """Stars are detected in the images."""
    (sheet.results / "exposures.parquet").unlink()
    sheet.configure(exposures={"sheet": "exposures.tsv"})
    assert sheet.jobs("--dry-run", profile) == {"kernels", "frames"} | BEHIND_FRAMES


def test_exposures_table_that_is_to_be_written_again(sheet, profile):
    planned = sheet.jobs("--dry-run", profile, "--forcerun=frames")
    assert planned == {"kernels", "frames"} | BEHIND_FRAMES


def test_run_that_ended_behind_frames(sheet, profile):
    """The batches are known; the jobs that fit the PRF wait for the choice."""
    planned = sheet.jobs("--dry-run", profile)
    assert planned == {"kernels", "fit.00000", "fit.00001"} | BEHIND_FRAMES
    assert (sheet.folder / "said.txt").read_text().count("runtime=<TBD>") == 2


def test_run_that_ended_behind_the_choice(sheet, profile):
    tables = {name: sheet.results / f"{name}.parquet" for name in ("exposures", "learning")}
    choose.run(tables, tables, {"shape": {"max_exposures": 4, "joint_exposures": 16}})
    planned = sheet.jobs("--dry-run", profile)
    assert planned == {"kernels", "fit.00000", "fit.00001"} | BEHIND_FRAMES - {"choose"}
    assert "runtime=<TBD>" not in (sheet.folder / "said.txt").read_text()


def test_a_tenth_of_a_field_season_is_planned_quickly(tmp_path):
    exposures = 18 * planning.SEASON // 10
    planning.prepare(tmp_path, exposures)
    found = planning.plan(tmp_path)
    assert found["batches"] == -(-exposures // planning.BATCH)
    assert found["jobs"] == found["batches"] + 10  # kernels ... plots, all
    assert found["seconds"] < 30.0  # 2.6 s where nothing else runs
    assert found["peak_rss_mb"] < 1000.0
