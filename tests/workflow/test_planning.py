"""Planning at the size of a survey, with the tables that `benchmarks/planning.py` makes up."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import planning

pytestmark = pytest.mark.slow


def test_a_tenth_of_a_field_season_is_planned_quickly(tmp_path):
    exposures = 18 * planning.SEASON // 10
    planning.prepare(tmp_path, exposures)
    found = planning.plan(tmp_path)
    assert found["batches"] == -(-exposures // planning.BATCH)
    assert found["jobs"] == found["batches"] + 7  # kernels ... plots, all
    assert found["seconds"] < 30.0  # 2.6 s where nothing else runs
    assert found["peak_rss_mb"] < 1000.0
