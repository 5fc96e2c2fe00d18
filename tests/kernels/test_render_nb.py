import numpy as np
from numpy.testing import assert_allclose

import naive
from naive import both
from romanprf.simulate.render_nb import add_stars


@both(add_stars)
def test_add_stars(kernel):
    rng = np.random.default_rng(5)
    coefficients = rng.normal(size=(65, 65))
    x, y, flux = rng.uniform(-3, 12, (3, 6))
    flux[0], x[1] = np.nan, np.inf
    radius = np.array([2, 3, 5, 1, 4, 5])
    expected, ours = np.zeros((2, 9, 11))
    naive.add_stars(expected, x, y, flux, radius, coefficients, 5)
    kernel(ours, x, y, flux, radius, coefficients, 5)
    assert expected.any()
    assert_allclose(ours, expected, rtol=1e-9, atol=1e-12)
