import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import naive
from naive import both
from romanprf.frame import groups_nb


@both(groups_nb.link)
def test_link(kernel):
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 40, (2, 60))
    for most in (1, 2, 5, 40):
        group = np.full(40, -1)
        kernel(first, second, most, group)
        assert_array_equal(group, naive.link(first, second, most, 40))
        assert np.bincount(group).max() <= most


@both(groups_nb.equations)
@pytest.mark.parametrize("size", [1, 3])
def test_equations(kernel, size):
    rng = np.random.default_rng(2)
    shape, n = (14, 17), 60
    x, y = rng.uniform(-2.0, 18.0, n), rng.uniform(-2.0, 15.0, n)
    x[3] = np.nan
    residual = rng.normal(size=shape).astype(np.float32)
    weight = rng.uniform(0.5, 2.0, shape).astype(np.float32)
    weight[rng.random(shape) < 0.3] = 0.0
    template, members = rng.random((2, 3, 11, 11, 3, 5, 5)), rng.permutation(n).reshape(-1, size)
    vector = np.full((*members.shape, 3), 7.0)
    matrix = np.full((*members.shape, 3, size, 3), 7.0)
    kernel(x, y, residual, weight, template, members, 7, vector, matrix)
    expected = naive.equations(x, y, residual, weight, template, members, 7)
    assert_allclose(vector, expected[0], atol=1e-5)
    assert_allclose(matrix, expected[1], atol=1e-5)
    assert 5 < (matrix[:, 0, 0, 0, 0] == 0.0).sum() < len(members) - 5


@both(groups_nb.shown)
def test_shown(kernel):
    rng = np.random.default_rng(3)
    light = rng.random((5, 5))
    weight = np.where(rng.random((9, 9)) < 0.5, 0.0, 1.0)
    places = [(i, j) for i in range(-4, 9) for j in range(-4, 9)]
    ours = [kernel(weight, *place, light) for place in places]
    assert ours == [naive.shown(weight, *place, light) for place in places]
    assert 0 < sum(ours) < len(ours)


@both(groups_nb.weighted_sum)
def test_weighted_sum(kernel):
    rng = np.random.default_rng(4)
    function, (residual, weight) = rng.random((5, 5)), rng.random((2, 9, 9))
    for place in ((-4, 2), (3, 3), (8, 8), (-10, 0)):
        found = kernel(residual, weight, *place, function)
        assert_allclose(found, naive.weighted_sum(residual, weight, *place, function), atol=1e-12)


@both(groups_nb._shared_sums)
def test_shared_sums(kernel):
    rng = np.random.default_rng(5)
    weight, near = rng.random((9, 9)), rng.random((3, 3, 5, 5))
    row, column = np.array([-2, 1, -10]), np.array([5, 3, -10])
    for a, b in np.ndindex(3, 3):
        out = np.full((3, 3), 7.0)
        kernel(weight, row, column, near, a, b, out)
        assert_allclose(out, naive.shared_sums(weight, row, column, near, a, b), atol=1e-12)
