"""Drawn stars against GalSim's own."""

import galsim
import galsim.roman
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from romanprf.config import Simulate
from romanprf.simulate import inject, prf, true_prf


@pytest.fixture(scope="module")
def roman_psf():
    return galsim.roman.getPSF(
        2, "W146", pupil_bin=8, wavelength=galsim.roman.getBandpasses()["W146"]
    )


def test_wavelength_is_galsims():
    bandpass = galsim.roman.getBandpasses()["W146"]
    assert bandpass.effective_wavelength == pytest.approx(prf.WAVELENGTH, abs=1e-6)


@pytest.mark.parametrize(
    ("dx", "dy"), [(0.0, 0.0), (0.1, 0.3), (-0.5, 0.5), (0.37, -0.21), (-0.44, -0.09)]
)
@pytest.mark.parametrize("size", [61, 201])
def test_star_equals_galsim(roman_psf, size, dx, dy):
    expected = roman_psf.drawImage(nx=size, ny=size, scale=0.11, offset=(dx, dy), dtype=float).array
    middle = size // 2
    star = inject(np.zeros((size, size)), [middle + dx], [middle + dy], [1e5]) / 1e5
    assert np.abs(star - expected).max() < 2e-4 * expected.max()
    assert star.sum() == pytest.approx(expected.sum(), rel=1e-4)


def test_other_detector_has_its_own_prf():
    image = np.zeros((41, 41))
    one, other = (inject(image, [20], [20], [1.0], sca) for sca in (2, 15))
    assert np.abs(one - other).max() > 0.005


@pytest.mark.parametrize(
    ("x", "y", "largest"),
    [(15.5, 31.5, 2e-4), (47.5, 15.5, 2e-4), (40.3, 57.1, 5e-4), (8.0, 24.0, 5e-4)],
)
def test_prf_changes_over_the_detector_as_galsims(x, y, largest):
    """On a place where it is drawn, and between four of them."""
    place = galsim.PositionD(*(2044 + (np.array([x, y]) - 31.5) * 4088 / 64))
    psf = galsim.roman.getPSF(17, "W146", place, pupil_bin=8, wavelength=prf.WAVELENGTH)
    offset = x - 31.5, y - 31.5
    expected = psf.drawImage(nx=64, ny=64, scale=0.11, offset=offset, dtype=float).array
    star, central = (
        inject(np.zeros((64, 64)), [x], [y], [1e5], 17, span) / 1e5 for span in (4088.0, 0.0)
    )
    assert np.abs(star - expected).max() < largest * expected.max()
    assert np.abs(central - expected).max() > 0.005 * expected.max()


@pytest.mark.parametrize("span", [0.0, 4088.0])
def test_true_prf_is_what_is_drawn(span):
    settings = Simulate(size=40, sca=17, prf_span=span)
    row, column = np.indices((40, 40))
    for x, y in [(3.2, 30.9), (-2.0, 41.0), (19.5, 19.5)]:
        star = inject(np.zeros((40, 40)), [x], [y], [1e6], 17, span) / 1e6
        assert_allclose(true_prf(column - x, row - y, x, y, settings), star, atol=1e-12)


def test_beyond_the_detector_the_prf_is_that_of_the_edge():
    settings = Simulate(size=32, prf_span=4088.0)
    far, edge = (true_prf(np.zeros(1), np.zeros(1), x, 10.0, settings) for x in (-90.0, -0.5))
    assert far == edge
    assert far != true_prf(np.zeros(1), np.zeros(1), 3.0, 10.0, settings)


def test_y_is_the_row():
    star = inject(np.zeros((30, 40)), [31.0], [7.0], [100.0])
    assert np.unravel_index(star.argmax(), star.shape) == (7, 31)


def test_injection_adds_and_takes_away():
    rng = np.random.default_rng(3)
    image = rng.normal(size=(50, 60)).astype(np.float32)
    image[4, 5] = np.nan
    original = image.copy()
    x, y, flux = rng.uniform(-20, 70, (3, 8))
    there = inject(image, x, y, flux)
    assert_array_equal(image, original)
    assert np.isnan(there[4, 5])
    assert np.nanmax(np.abs(there - original)) > 1.0
    assert_allclose(inject(there, x, y, -flux), original, atol=1e-12)


def test_stars_outside_leave_only_their_wings():
    assert not inject(np.zeros((20, 20)), [-120.0, 500.0], [10.0, 10.0], [1e6, 1e6]).any()
    wings = inject(np.zeros((20, 20)), [-30.0], [10.0], [1e6])
    assert 0 < wings.sum() < 1e4


def test_faint_stars_are_cut_where_they_no_longer_matter():
    middle, flux = 110, np.array([5.0, 50.0, 5e4])
    for f in flux:
        whole = inject(np.zeros((221, 221)), [middle], [middle], [1e6]) * f / 1e6
        cut = inject(np.zeros((221, 221)), [middle], [middle], [f])
        assert np.abs(whole - cut).max() <= prf.FAINTEST
    radius = prf.sample_prf(2).radius(flux)
    assert radius[0] < 12 < radius[1] < prf.RADIUS == radius[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sca": 19}, "sca: expected 1 ... 18, got 19"),
        ({"span": 5000.0}, "span: expected 0 ... 4088, got 5000"),
        ({"x": [np.nan]}, "x: expected a list of finite numbers"),
        ({"flux": [np.inf]}, "flux: expected"),
        ({"image": np.zeros(5)}, "image: expected two dimensions"),
    ],
)
def test_bad_arguments(change, message):
    arguments = {"image": np.zeros((9, 9)), "x": [4.0], "y": [4.0], "flux": [1.0]} | change
    with pytest.raises(ValueError, match=message):
        inject(**arguments)
