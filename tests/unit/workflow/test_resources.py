"""Memory and time that jobs ask for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from romanprf.core.large import PATCH_PIXELS
from romanprf.workflow.resources import DETECTOR, Size, memory_mb, minutes

RULES = Path(__file__).resolve().parents[3] / "workflow" / "rules"
NAMES = sorted(
    name
    for path in RULES.glob("*.smk")
    for name in re.findall(r"^(?:rule|checkpoint) (\w+):", path.read_text(), re.MULTILINE)
)
SURVEY = Size(DETECTOR, frames=64, stars=750_000)


@pytest.mark.parametrize("name", NAMES)
def test_each_rule_asks_for_more_at_each_attempt(name):
    for small, large in [(1, 2), (2, 3)]:
        assert memory_mb(name, SURVEY, large) == pytest.approx(
            memory_mb(name, SURVEY, small) * large / small, rel=0.01
        )
        assert minutes(name, SURVEY, large) * small == minutes(name, SURVEY, small) * large


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("field", ["pixels", "frames", "stars", "file_mb"])
def test_no_rule_asks_for_less_when_the_problem_grows(name, field):
    sizes = {"pixels": 10**6, "frames": 10, "stars": 10**5, "file_mb": 100.0}
    size, larger = Size(**sizes), Size(**{**sizes, field: 10 * sizes[field]})
    assert memory_mb(name, larger) >= memory_mb(name, size) > 0
    assert minutes(name, larger) >= minutes(name, size) > 0


def test_fit_of_a_detector_fits_into_its_request():
    assert memory_mb("fit", Size(DETECTOR, frames=1, stars=750_000)) > 5_000
    assert 20 * 64 / 60 < minutes("fit", SURVEY) < 4 * 20 * 64 / 60
    assert minutes("fit", SURVEY, threads=4) == pytest.approx(minutes("fit", SURVEY) / 4, abs=1)


def test_part_of_a_frame():
    part = Size(DETECTOR, frames=4, stars=750_000).part(512**2)
    assert (part.pixels, part.frames, part.stars) == (512**2, 4, 11_765)
    assert Size(128**2, stars=10).part(512**2) == Size(128**2, stars=10)
    assert memory_mb("deltas", part) < 2000


def test_the_prf_fit_of_a_detector_is_that_of_its_patches():
    frames = Size(DETECTOR, frames=16, stars=750_000)
    assert memory_mb("shape", frames.part(PATCH_PIXELS)) < 7_000
    assert 5_500 < memory_mb("search", frames) < 12_000
    assert minutes("shape", frames.part(PATCH_PIXELS), threads=4) < 240


def test_small_jobs_ask_for_little():
    demo = Size(128**2, frames=4, stars=1500)
    assert memory_mb("fit", demo) < 1000
    assert minutes("fit", demo) == 5


def test_uncounted_stars_are_as_dense_as_in_the_bulge():
    assert Size(DETECTOR).n_stars == pytest.approx(750_000, rel=0.15)
    assert Size(DETECTOR, stars=0).n_stars == 0


def test_catalogues_count_by_their_size():
    small, large = (Size(DETECTOR, file_mb=mb) for mb in (10.0, 1000.0))
    assert memory_mb("crossmatch", large) > 10 * memory_mb("crossmatch", small)
