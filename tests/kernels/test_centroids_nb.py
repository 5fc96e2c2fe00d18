import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import naive
from naive import both
from romanprf.frame import centroids_nb

SHAPE, REACH, CELL = (14, 17), 3.0, 7


def scene(n):
    rng = np.random.default_rng(n)
    x, y = rng.uniform(-2.0, 18.0, n), rng.uniform(-2.0, 15.0, n)
    x[3] = np.nan
    return rng, x, y


def chains(x, y):
    first, following = np.empty(SHAPE, np.int32), np.empty(len(x), np.int32)
    centroids_nb.chain(x, y, first, following)
    return first, following


def template(rng):
    """Positive functions on the pixels around a star, and two others."""
    return rng.random((2, 3, 11, 11, 3, 5, 5)) - [[[0.0]], [[0.5]], [[0.5]]]


@both(centroids_nb.chain)
def test_chain(kernel):
    _, x, y = scene(80)
    first, following = np.empty(SHAPE, np.int32), np.empty(80, np.int32)
    kernel(x, y, first, following)
    expected = naive.chain(x, y, SHAPE)
    assert max(len(on) for on in expected.values()) > 1
    for i, j in np.ndindex(SHAPE):
        found, s = [], first[i, j]
        while s >= 0:
            found, s = [*found, s], following[s]
        assert found == expected.get((i, j), [])


@both(centroids_nb.information)
def test_information(kernel):
    rng, x, y = scene(60)
    residual = np.where(rng.random(SHAPE) < 0.2, np.nan, rng.normal(size=SHAPE))
    weight = np.where(np.isnan(residual), 0.0, rng.uniform(0.5, 2.0, SHAPE))
    weight[:4, :4] = 0.0
    functions, precision = template(rng), rng.uniform(0.5, 2.0, 60)
    vector, matrix = np.full((60, 2), 7.0), np.full((60, 3, 3), 7.0)
    images = residual, weight, functions, CELL, precision
    kernel(x, y, *chains(x, y), REACH, *images, vector, matrix)
    expected = naive.information(x, y, REACH, *images)
    assert_allclose(vector, expected[0], atol=1e-10)
    assert_allclose(matrix, expected[1], rtol=1e-6, atol=1e-8)
    assert 10 < np.isfinite(vector[:, 0]).sum() < 50


@both(centroids_nb._neighbours)
def test_neighbours(kernel):
    _, x, y = scene(80)
    x, y = np.clip(np.nan_to_num(x), 0.0, 16.0), np.clip(y, 0.0, 13.0)
    found = np.empty(80, np.int64)
    for s in range(80):
        n = kernel(s, x, y, *chains(x, y), REACH, found)
        assert sorted(found[:n]) == naive.neighbours(s, x, y, REACH)
    assert kernel(0, np.full(1, -0.6), np.ones(1), *chains(x[:1], y[:1]), REACH, found) == -1
    assert kernel(5, x, y, *chains(x, y), 30.0, found[:4]) == 4  # no more than there is room for


@both(centroids_nb._interpolated)
@pytest.mark.parametrize("place", [(3.0, 4.0), (6.49, 7.5), (12.8, 9.1), (0.1, 0.26)])
def test_interpolated(kernel, place):
    functions, out = template(np.random.default_rng(1)), np.empty((5, 5))
    for number in range(3):
        corner = kernel(*place, functions, CELL, number, out)
        *expected, values = naive.interpolated(*place, functions, CELL)
        assert list(corner) == expected
        assert_allclose(out, values[number], atol=1e-12)


@both(centroids_nb._fill_row)
def test_fill_row(kernel):
    rng = np.random.default_rng(5)
    weight, light, gram = rng.random((9, 9)), rng.random((3, 5, 5)), np.full((4, 4), np.nan)
    row, column = np.array([-2, 1, -10]), np.array([5, 3, -10])
    for a in range(3):
        kernel(weight, row, column, light, a, gram)
        assert_allclose(gram[a, : a + 1], naive.fill_row(weight, row, column, light, a), atol=1e-12)
    assert_array_equal(np.isnan(gram), np.triu(np.ones((4, 4)), 1) + np.eye(4)[3][:, None] > 0.0)


@both(centroids_nb._marginalise)
def test_marginalise(kernel):
    rng = np.random.default_rng(6)
    design = rng.normal(size=(20, 7))
    matrix, given = design.T @ design, np.full((9, 9), np.nan)
    given[:7, :7] = np.tril(matrix)
    kernel(given, 4, 7)
    assert_allclose(given[4:7, 4:7], np.tril(naive.marginalise(matrix, 4)), rtol=1e-12)
    assert_array_equal(np.isnan(given[7:]), True)
