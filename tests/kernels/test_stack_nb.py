import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import naive
from naive import both
from romanprf.frame import match_nb
from romanprf.search import stack_nb


@both(match_nb.match)
@pytest.mark.parametrize("k", [1, 3])
def test_match(kernel, k):
    rng = np.random.default_rng(1)
    shape, n = (14, 17), 200
    x, y = rng.uniform(-2.0, 18.0, n), rng.uniform(-2.0, 15.0, n)
    x[3] = np.nan
    residual, weight = rng.normal(size=shape), rng.uniform(0.5, 2.0, shape)
    weight[rng.random(shape) < 0.3] = 0.0
    template = rng.random((2, 3, 11, 11, k, 5, 5))
    vector, matrix = np.full((n, k), 7.0), np.full((n, k, k), 7.0)
    kernel(x, y, residual, weight, template, 7, vector, matrix)
    expected = naive.match(x, y, residual, weight, template, 7)
    assert_allclose(vector, expected[0], atol=1e-12)
    assert_allclose(matrix, expected[1], atol=1e-12)
    assert 30 < (matrix[:, 0, 0] == 0.0).sum() < n - 50


@both(stack_nb.combine)
def test_combine(kernel):
    rng = np.random.default_rng(2)
    matrix = rng.uniform(1.0, 4.0, (7, 50))
    vector = 20.0 * matrix + np.sqrt(matrix) * rng.normal(size=matrix.shape)
    ray = rng.random(matrix.shape) < 0.1
    vector[ray] += 500.0
    vector[matrix < 1.5] = matrix[matrix < 1.5] = 0.0
    vector[:, 4] = matrix[:, 4] = 0.0
    summed, precision = np.full((2, 50), 7.0)
    kernel(vector, matrix, 5.0, 0.1, summed, precision)
    assert_allclose([summed, precision], naive.combine(vector, matrix, 5.0, 0.1), atol=1e-12)
    assert (ray & (matrix > 0.0)).any()
    assert summed[4] == precision[4] == 0.0
    seen = precision > 0.0
    assert_allclose(summed[seen] / precision[seen], 20.0, atol=3.0)


@both(stack_nb._median)
@pytest.mark.parametrize("count", [3, 4, 9, 40])
def test_median(kernel, count):
    values = np.random.default_rng(5).integers(0, 20, (30, count + 2)) / 7.0
    expected = [naive.median(row, count) for row in values]
    assert [kernel(row, count) for row in values] == expected


@both(match_nb._cut)
def test_cut(kernel):
    images, out = np.random.default_rng(6).normal(size=(2, 7, 9)), np.empty((2, 4, 4))
    for top, left in ((2, 3), (-2, 7), (5, -1), (-4, 0), (7, 9)):
        kernel(*images, top, left, *out)
        assert_array_equal(out, naive.cut(*images, top, left, 4))


@both(match_nb._lit)
def test_lit(kernel):
    weights, light = np.random.default_rng(3).uniform(size=(20, 4, 5)), np.ones((4, 5))
    ours = [kernel(np.where(weight > 0.5, weight, 0.0), light) for weight in weights]
    assert ours == [naive.lit(weight - 0.5, light) for weight in weights]
    assert 0 < sum(ours) < 20


@both(match_nb._product)
def test_product(kernel):
    images = np.random.default_rng(4).normal(size=(2, 4, 5))
    assert_allclose(kernel(*images), naive.product(*images), atol=1e-14)


@both(match_nb._triple)
def test_triple(kernel):
    images = np.random.default_rng(4).normal(size=(3, 4, 5))
    assert_allclose(kernel(*images), naive.triple(*images), atol=1e-14)
