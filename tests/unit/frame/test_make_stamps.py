import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fields
import naive
from romanprf.frame.stamps import MIN_RADIUS, footprint_radius, make_stamps

SHAPE = (40, 44)


def test_footprints():
    prf, scale = fields.prf(), fields.SCALE
    flux = np.array([-5.0, 0.0, 0.2, 400.0, 1e3, 1e9])
    radius = footprint_radius(prf, flux, 0.1, scale)
    assert_array_equal(radius[:3], MIN_RADIUS)
    assert (np.diff(radius) >= 0.0).all()
    assert radius[-1] == pytest.approx(prf.rmax / scale)
    for r, f in zip(radius[3:5], flux[3:5], strict=True):
        phi = np.linspace(-np.pi, np.pi, 60)
        assert f * prf.evaluate(r * scale, phi).mean() == pytest.approx(0.1, rel=0.1)


def test_stamps_are_the_prf_at_the_pixels():
    wcs = fields.wcs(*SHAPE)
    x, y = np.array([20.3, 1.0, -30.0]), np.array([11.9, 39.2, 10.0])
    ra, dec = wcs.pixel_to_sky(x, y)
    prf = fields.prf()
    stamps = make_stamps(prf, fields.frame(ra, dec, wcs, SHAPE), np.full(3, 1e4), 0.1)
    assert_allclose(stamps.x, x, atol=1e-4)
    assert_allclose(stamps.y, y, atol=1e-4)
    row0, row1, column0, column1 = stamps.window[0]
    assert row1 - row0 == column1 - column0 == 20
    block = stamps.values[: stamps.offset[1]].reshape(20, 20)
    pixel_ra, pixel_dec = wcs.pixel_to_sky(np.array([22.0]), np.array([10.0]))
    _, _, r, phi = naive.offset(pixel_ra, pixel_dec, ra[0], dec[0])
    assert block[10 - row0, 22 - column0] == pytest.approx(prf.evaluate(r, phi)[0], rel=1e-4)
    assert stamps.offset[2] == stamps.offset[3]
    index, seen = stamps.seen()
    assert index.tolist() == [0, 1]
    assert_array_equal(seen.model(np.ones(2)), stamps.model(np.ones(3)))


def test_a_flat_fielded_image_has_the_light_of_its_own_pixel_area():
    wcs = fields.wcs(*SHAPE)
    star = wcs.pixel_to_sky(np.array([20.0]), np.array([20.0]))
    area = float(wcs.pixel_area(20.0, 20.0))
    plain, same, double = (
        make_stamps(fields.prf(), fields.frame(*star, wcs, SHAPE, own), np.array([100.0]), 0.1)
        for own in (None, area, 2.0 * area)
    )
    assert_allclose(same.values, plain.values, rtol=1e-6)
    assert_allclose(double.values, 2.0 * same.values, rtol=1e-12)
