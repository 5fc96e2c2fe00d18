import numpy as np
from numpy.polynomial.chebyshev import chebder
from numpy.testing import assert_allclose

import naive
from naive import both
from romanprf.sky import wcs_nb as nb

PIXEL, PLANE = (-10.0, 110.0, -20.0, 90.0), (-0.004, 0.005, -0.003, 0.004)


def polynomial(rng, scale, n=4):
    """A slanted plane, slightly curved."""
    out = 0.01 * rng.normal(size=(n, n))
    out[0, 1], out[1, 0] = rng.normal(size=2)
    return scale * out


@both(nb._unit)
def test_unit(kernel):
    for number in (-0.004, 0.0, 0.005, 0.02):
        assert_allclose(kernel(number, *PLANE[:2]), naive.unit(number, *PLANE[:2]), atol=1e-14)


@both(nb._value)
def test_value(kernel):
    coefficients = np.random.default_rng(20).normal(size=(5, 5))
    assert_allclose(kernel(0.3, -0.7, coefficients), naive.value(0.3, -0.7, coefficients))


@both(nb.sky_to_pixel)
def test_sky_to_pixel(kernel):
    rng = np.random.default_rng(22)
    ra, dec = 268.0 + rng.uniform(-0.006, 0.006, 60), -29.0 + rng.uniform(-0.006, 0.006, 60)
    ra[:2] += 180.0, 90.0
    inverse = np.stack([polynomial(rng, 50.0), polynomial(rng, 50.0)])
    x, y = np.zeros((2, 60))
    kernel(ra, dec, 268.0, -29.0, PLANE, inverse, x, y)
    expected = naive.sky_to_pixel(ra, dec, 268.0, -29.0, PLANE, inverse)
    assert_allclose([x, y], expected, rtol=1e-10, atol=1e-8)
    assert 10 < np.isnan(x).sum() < 50


@both(nb.jacobian)
def test_jacobian(kernel):
    rng = np.random.default_rng(23)
    x, y = rng.uniform(0.0, 100.0, 40), rng.uniform(0.0, 80.0, 40)
    forward = np.stack([polynomial(rng, 0.01), polynomial(rng, 0.01)])
    by_u, by_v = np.zeros((2, 2, 4, 4))
    by_u[:, :-1], by_v[:, :, :-1] = (chebder(forward, axis=axis) for axis in (1, 2))
    for dec0 in (-29.0, 0.0, 89.9):
        out = np.full((40, 2, 2), np.nan)
        kernel(x, y, dec0, PIXEL, forward, by_u, by_v, out)
        expected = naive.jacobian(x, y, dec0, PIXEL, forward)
        assert_allclose(out, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@both(nb.chebyshev2d)
def test_chebyshev2d(kernel):
    rng = np.random.default_rng(21)
    u, v = rng.uniform(-1.0, 1.0, (2, 40))
    for n in (1, 2, 5):
        coefficients, out = rng.normal(size=(n, n)), np.full(40, np.nan)
        kernel(u, v, coefficients, out)
        assert_allclose(out, naive.chebyshev2d(u, v, coefficients), rtol=1e-12, atol=1e-13)
