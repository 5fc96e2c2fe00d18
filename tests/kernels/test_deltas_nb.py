import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fields
import naive
from naive import both
from romanprf.sky.deltas import find_deltas
from romanprf.sky.deltas_nb import all_offsets, count_pairs, fill_pairs, offset

STARS = [(268.0, -29.2), (0.0, 12.0), (359.99999, -45.0), (130.0, -89.0), (77.0, 89.9), (10.0, 0.0)]
ARCSEC = 1.0 / 3600.0


@both(offset)
@pytest.mark.parametrize(("ra0", "dec0"), STARS)
@pytest.mark.parametrize("distance", [0.02, 2.0, 600.0])
def test_offset_is_astropys(kernel, ra0, dec0, distance):
    turn = np.linspace(0.1, 2.0 * np.pi + 0.1, 9)[:-1]
    dec = np.clip(dec0 + distance * ARCSEC * np.sin(turn), -90.0, 90.0)
    ra = ra0 + distance * ARCSEC * np.cos(turn) / np.cos(np.deg2rad(dec0))
    for wrapped in (ra % 360.0, ra + 360.0):
        ours = np.array([kernel(*point, ra0, dec0) for point in zip(wrapped, dec, strict=True)]).T
        expected = np.array(naive.offset(ra, dec, ra0, dec0))
        assert_allclose(ours[:2], expected[:2], rtol=0, atol=1e-9)
        assert_allclose(ours[2] * ARCSEC, expected[2] * ARCSEC, rtol=0, atol=1e-9)
        turned = np.angle(np.exp(1j * (ours[3] - expected[3])))
        assert_allclose(turned, 0.0, atol=1e-6)


@both(offset)
def test_offset_is_exact_where_astropy_rounds(kernel):
    east, north, r, phi = kernel(268.0 + 1e-9, -29.2, 268.0, -29.2)
    separation = 268.0 + 1e-9 - 268.0
    assert east == pytest.approx(separation * np.cos(np.deg2rad(29.2)), rel=1e-12)
    assert abs(north) < 1e-18
    assert r == pytest.approx(3600.0 * east, rel=1e-12)
    assert phi == pytest.approx(0.0, abs=1e-9)
    assert kernel(5.0, 5.0, 5.0, 5.0) == (0.0, 0.0, 0.0, 0.0)


@pytest.fixture
def stars():
    """Positions inside, on pixel centres, outside and nowhere; and radii."""
    x = np.array([5.3, 4.0, -1.5, 13.4, -40.0, 0.0, 7.5])
    y = np.array([6.8, 3.0, 2.0, 9.9, 5.0, 0.0, -0.5])
    return x, y, np.array([2.5, 2.0, 3.0, 1.0, 3.0, -1.0, 0.5])


@both(count_pairs)
def test_count_pairs(kernel, stars):
    count = np.empty(7, np.int64)
    kernel(*stars, 10, 14, count)
    assert_array_equal(count, naive.count_pairs(*stars, 10, 14))
    assert count[1] == 13
    assert count[4] == count[5] == 0


@both(fill_pairs)
def test_fill_pairs(kernel, stars):
    x, y, radius = stars
    wcs = fields.wcs(10, 14)
    ra, dec = wcs.pixel_to_sky(x, y)
    pixels = wcs.pixel_to_sky(*np.meshgrid(np.arange(14.0), np.arange(10.0)))
    expected = naive.fill_pairs(x, y, radius, ra, dec, *pixels)
    start = np.searchsorted(expected[0], np.arange(7))
    columns = [np.empty(expected.shape[1], kind) for kind in ["i4"] * 3 + ["f8"] * 4]
    kernel(x, y, radius, ra, dec, *pixels, start, *columns)
    assert_array_equal(columns[:3], expected[:3])
    assert_allclose(columns[3:5], expected[3:5], atol=1e-9)
    assert_allclose(columns[5], expected[5], atol=3e-6)
    away = expected[5] > 0.01
    assert_allclose(columns[6][away], expected[6][away], atol=1e-5)


@both(all_offsets)
def test_all_offsets(kernel):
    ra, dec = np.array(STARS).T
    pixel_ra, pixel_dec = ra + 1e-3, np.clip(dec + 2e-4, -90.0, 90.0)
    arrays = np.empty((4, ra.size, ra.size))
    kernel(ra, dec, pixel_ra, pixel_dec, *arrays)
    expected = naive.all_offsets(ra, dec, pixel_ra, pixel_dec)
    assert_allclose(arrays[:2], expected[:2], atol=1e-9)
    assert_allclose(arrays[2] * ARCSEC, expected[2] * ARCSEC, atol=1e-9)
    assert_allclose(np.angle(np.exp(1j * (arrays[3] - expected[3]))), 0.0, atol=1e-6)


def test_order_of_sources_changes_nothing(stars):
    wcs = fields.wcs(10, 14)
    x, y, radius = (a[:4] for a in stars)
    ra, dec = wcs.pixel_to_sky(x, y)
    pairs = find_deltas(ra, dec, radius, wcs, (10, 14))
    backwards = find_deltas(ra[::-1], dec[::-1], radius[::-1], wcs, (10, 14))
    for name in ("row", "column", "dra", "ddec", "r", "phi"):
        ours = [pairs[name][pairs["source"] == s] for s in range(4)]
        theirs = [backwards[name][backwards["source"] == 3 - s] for s in range(4)]
        assert_array_equal(np.concatenate(ours), np.concatenate(theirs))


def test_a_part_of_a_frame_has_the_pairs_of_its_pixels(stars):
    wcs = fields.wcs(10, 14)
    x, y, radius = (a[:4] for a in stars)
    ra, dec = wcs.pixel_to_sky(x, y)
    whole = find_deltas(ra, dec, radius, wcs, (10, 14))
    part = find_deltas(ra, dec, radius, wcs, (6, 7), corner=(3, 5))
    inside = (whole["row"] >= 3) & (whole["row"] < 9)
    inside &= (whole["column"] >= 5) & (whole["column"] < 12)
    assert 0 < inside.sum() < inside.size
    for name, column in part.items():
        assert_array_equal(column, whole[name][inside])
        assert column.dtype == whole[name].dtype


def test_sources_without_a_pixel_position_have_no_pairs():
    wcs = fields.wcs(10, 14)
    ra, dec = wcs.pixel_to_sky(np.array([3.0, 4.0]), np.array([3.0, 4.0]))
    there = find_deltas(ra, dec, np.full(2, 2.0), wcs, (10, 14))
    ra, dec = np.append(ra, 88.0), np.append(dec, 29.2)  # the other side of the sky
    both_ = find_deltas(ra, dec, np.full(3, 2.0), wcs, (10, 14))
    assert there["r"].size > 0
    for name, column in there.items():
        assert_array_equal(both_[name], column)
    nothing = find_deltas(ra[2:], dec[2:], np.full(1, 2.0), wcs, (10, 14))
    assert all(column.size == 0 for column in nothing.values())


@pytest.mark.parametrize(("ra0", "dec0"), [(0.0, 5.0), (130.0, -89.0), (268.0, -29.2)])
def test_offsets_of_pixels_agree_with_the_local_scale(ra0, dec0):
    """The fit uses the Jacobian at the source, the PRF is learned from offsets on the sky."""
    wcs = fields.wcs(40, 40, ra0, dec0)
    x, y = np.array([18.3]), np.array([22.9])
    pairs = find_deltas(*wcs.pixel_to_sky(x, y), np.array([15.0]), wcs, (40, 40))
    step = np.stack([pairs["column"] - x, pairs["row"] - y])
    east, north = wcs.jacobian(x, y)[0] @ step
    assert pairs["r"].size > 600
    assert_allclose(3600.0 * pairs["dra"], east, atol=1e-6)
    assert_allclose(3600.0 * pairs["ddec"], north, atol=1e-6)
    assert_allclose(pairs["r"], np.hypot(east, north), atol=1e-6)
    assert_allclose(np.angle(np.exp(1j * (pairs["phi"] - np.arctan2(north, east)))), 0, atol=1e-5)
