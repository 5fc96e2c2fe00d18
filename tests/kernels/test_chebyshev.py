import numpy as np
from numpy.testing import assert_allclose

import naive
from naive import both
from romanprf import wcs_nb as nb


@both(nb.chebyshev2d)
def test_chebyshev2d(kernel):
    rng = np.random.default_rng(21)
    u, v = rng.uniform(-1.0, 1.0, (2, 40))
    for n in (1, 2, 5):
        coefficients, out = rng.normal(size=(n, n)), np.full(40, np.nan)
        kernel(u, v, coefficients, out)
        assert_allclose(out, naive.chebyshev2d(u, v, coefficients), rtol=1e-12, atol=1e-13)
