import numpy as np
import pytest
from numpy.testing import assert_allclose

import naive
from naive import both
from romanprf.solve import register_nb as nb


@pytest.mark.parametrize("slope", [0.0, 0.5])
@both(nb.shift_equations)
def test_shift_equations(kernel, slope):
    rng = np.random.default_rng(11)
    stars, error = rng.uniform(0.0, 50.0, 70), rng.uniform(0.5, 2.0, 70)
    flux, slopes = stars + rng.normal(2.0, 3.0, 70), rng.normal(0.0, 5.0, (2, 70))
    flux[::9] += 100.0
    arguments = flux, error, stars, np.full(70, 2.0), slopes, slope, 0.1, 0.02, 5.0
    normal, right = np.full((2, 2), 7.0), np.full(2, 7.0)
    kernel(*arguments, normal, right)
    expected = naive.shift_equations(*arguments)
    assert_allclose(normal, expected[0], rtol=1e-12)
    assert_allclose(right, expected[1], rtol=1e-11)
    everything = naive.shift_equations(*arguments[:-1], np.inf)
    assert abs(right - everything[1]).max() > 1.0  # some are left out
