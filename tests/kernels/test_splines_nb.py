import numpy as np
import pytest
from numpy.testing import assert_allclose

import naive
from naive import both
from romanprf.core import splines_nb


@both(splines_nb.uniform_cubic)
def test_uniform_cubic(kernel):
    for t in np.linspace(0.0, 1.0, 41)[:-1]:
        assert_allclose(kernel(t), naive.uniform_cubic(t)[0], atol=1e-12)
    assert_allclose(kernel(1.0), [0.0, 1 / 6, 4 / 6, 1 / 6], atol=1e-15)


@both(splines_nb.locate)
@pytest.mark.parametrize("x", [-3.0, 0.5, 0.7, 1.234, 2.9999999, 3.0, 99.0])
def test_locate(kernel, x):
    k, position = kernel(x, 0.5, 0.25, 10)
    expected = naive.locate(x, 0.5, 0.25, 10)
    assert k == expected[0]
    assert position == pytest.approx(expected[1], abs=1e-12)


@both(splines_nb.locate)
def test_locate_makes_scipys_basis(kernel):
    x = np.concatenate([np.random.default_rng(1).uniform(0.0, 4.0, 200), [0.5, 3.0]])
    basis = np.zeros((x.size, 13))
    for row, point in zip(basis, x, strict=True):
        k, u = kernel(point, 0.5, 0.25, 10)
        row[k : k + 4] = splines_nb.uniform_cubic(u)
    assert_allclose(basis, naive.uniform_basis(x, 0.5, 0.25, 10), atol=1e-12)


@both(splines_nb.locate_wrapped)
@pytest.mark.parametrize("n", [4, 7])
def test_locate_wrapped_makes_a_periodic_basis(kernel, n):
    pi = np.pi
    x = np.array([-pi, np.nextafter(-pi, 0), -1e-17, 0.0, 1.0, 3.0, np.nextafter(pi, 0), pi, 40.0])
    basis = np.zeros((x.size, n))
    for row, point in zip(basis, x, strict=True):
        k, u = kernel(point, -pi, 2.0 * pi / n, n)
        assert 0 <= k < n
        assert 0.0 <= u <= 1.0
        row[(k + np.arange(4)) % n] = splines_nb.uniform_cubic(u)
    assert_allclose(basis, naive.wrapped_basis(x, n), atol=1e-12)


@both(splines_nb.locate_wrapped)
def test_locate_wrapped(kernel):
    for x in (-9.9, -0.3, 0.0, 0.49, 5.01, 123.4):
        k, position = kernel(x, 0.0, 0.5, 10)
        expected = naive.locate_wrapped(x, 0.0, 0.5, 10)
        assert k == expected[0]
        assert position == pytest.approx(expected[1], abs=1e-12)
    assert kernel(-1e-18, 0.0, 0.5, 10) == (0, 0.0)  # rounds to a full turn
