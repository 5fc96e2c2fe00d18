"""The pattern of bright stars that shows where a catalogue lies."""

import numpy as np
import pytest

from romanprf.sky.pattern import Alignment, find_alignment
from romanprf.sky.wcs import ARCSEC, deproject, project

SIDE = 14.0


def _field(rng, n=500, shown=120, error=0.01, extra=0.2):
    """Peaks of the brightest stars, some of them something else, and the stars, both by rank."""
    stars = rng.uniform(-0.5 * SIDE, 0.5 * SIDE, (n, 2))
    peaks = stars[8:shown] + rng.normal(0.0, error, (shown - 8, 2))  # the brightest are saturated
    other = rng.uniform(size=len(peaks)) < extra
    peaks[other] = rng.uniform(-0.5 * SIDE, 0.5 * SIDE, (other.sum(), 2))
    return peaks, stars


def _away(stars, shift, angle):
    """Stars of a catalogue that is off by this."""
    cos, sin = np.cos(angle), np.sin(angle)
    return stars @ np.array([[cos, sin], [-sin, cos]]) + shift


@pytest.mark.parametrize(
    ("shift", "angle"),
    [((1.2, -1.6), 0.0), ((0.0, 0.0), 0.2), ((-0.9, 0.8), -0.1), ((0.05, 0.0), 0.0)],
)
@pytest.mark.parametrize("ranked", [True, False])
@pytest.mark.parametrize("error", [0.01, 0.1])
def test_shift_and_rotation_are_undone(shift, angle, ranked, error):
    peaks, stars = _field(np.random.default_rng(3), error=error)
    away = _away(stars, shift, angle)
    found = find_alignment(peaks, away if ranked else away[::-1], ranked)
    assert found.matters(0.033)
    left = found.applied(away) - stars
    assert np.hypot(*left.T).max() < 6.0 * (found.offset_err + found.lever * found.angle_err)
    assert np.hypot(*left.mean(axis=0)) < max(0.005, 0.4 * error)
    assert found.angle == pytest.approx(-angle, abs=0.01)


@pytest.mark.parametrize("error", [0.01, 0.1])
def test_a_good_catalogue_is_left_alone(error):
    for seed in range(5):
        peaks, stars = _field(np.random.default_rng(seed), error=error)
        found = find_alignment(peaks, stars, ranked=True)
        assert not found.matters(0.033)


def test_a_catalogue_of_few_bright_stars():
    peaks, stars = _field(np.random.default_rng(5), shown=150)
    away = _away(stars[:30], (1.0, 1.0), 0.0)
    found = find_alignment(peaks, away, ranked=True)
    np.testing.assert_allclose(found.offset, (-1.0, -1.0), atol=0.02)


@pytest.mark.parametrize("ranked", [True, False])
def test_no_pattern(ranked):
    rng = np.random.default_rng(7)
    peaks, stars = _field(rng)
    assert find_alignment(peaks, rng.uniform(-7.0, 7.0, (500, 2)), ranked) is None
    assert find_alignment(peaks, _away(stars, (5.0, 0.0), 0.0), ranked) is None
    assert find_alignment(peaks[:0], stars, ranked) is None
    assert find_alignment(peaks, stars[:0], ranked) is None


def test_many_stars_without_ranks():
    peaks, stars = _field(np.random.default_rng(9), n=3000, shown=250)
    away = _away(stars[::-1], (-1.4, 1.4), 0.0)
    found = find_alignment(peaks, away, ranked=False)
    np.testing.assert_allclose(found.offset, (1.4, -1.4), atol=0.01)


@pytest.mark.parametrize(("ra0", "dec0"), [(268.0, -29.2), (0.0, 0.0), (40.0, -89.9)])
def test_positions_move_in_the_plane_of_the_field(ra0, dec0):
    points = np.array([[0.0, 0.0], [10.0, 0.0]])
    shift = np.array([1.0, -2.0])
    turn = Alignment(shift, 0.5 * np.pi, np.zeros(2), 0.0, 0.0, 10.0, 2)
    ra, dec = deproject(*(points / ARCSEC).T, ra0, dec0)
    moved = ARCSEC * np.stack(project(*turn.moved(ra, dec, ra0, dec0), ra0, dec0), axis=1)
    np.testing.assert_allclose(moved, [[1.0, -2.0], [1.0, 8.0]], atol=1e-6)


def test_stars_around_the_images_do_not_count():
    rng = np.random.default_rng(11)
    peaks, stars = _field(rng)
    around = rng.uniform(-20.0, 20.0, (3000, 2))
    around = around[np.abs(around).max(axis=1) > 10.0]
    away = _away(np.concatenate([around, stars]), (1.0, -1.0), 0.0)
    found = find_alignment(peaks, away, ranked=True)
    np.testing.assert_allclose(found.offset, (-1.0, 1.0), atol=0.01)
