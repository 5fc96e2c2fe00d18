import numpy as np
import pytest
from numpy.testing import assert_allclose

import naive
from naive import both
from romanprf.accelerate import set_threads
from romanprf.prf import tensor_nb as nb

SCALE, STEP = 3.0, 0.2


@both(nb.axis)
def test_axis(kernel):
    edge = SCALE * np.sinh(0.5 * STEP * 10)
    offsets = np.concatenate([[0.0, edge, -edge, 9.0, -9.0], np.linspace(-3.4, 3.4, 41)])
    basis = np.zeros((offsets.size, 13))
    for row, place in zip(basis, offsets, strict=True):
        k, b = kernel(place, SCALE, STEP, 10)
        row[k : k + 4] = b
    assert_allclose(basis, naive.axis(offsets, SCALE, STEP, 10), atol=1e-12)


@both(nb._pixel_basis)
@pytest.mark.parametrize(("points", "reach"), [(1, 4), (3, 7), (4, 13)])
def test_pixel_basis(kernel, points, reach):
    first, weight = np.empty(9, np.int64), np.zeros((9, reach))
    kernel(-4.3, SCALE, STEP, 13, points, first, weight)
    basis = np.zeros((9, 13))
    for row, k, values in zip(basis, first, weight, strict=True):
        row[k : k + reach] = values
    expected = naive.pixel_basis(-4.3 + np.arange(9), SCALE, STEP, 13, points)
    assert_allclose(basis, expected, atol=1e-12)
    assert (np.diff(first) >= 0).all()


@pytest.fixture
def stars():
    """Stars inside, with a window past the model, at and beyond the edge, and without a window."""
    x, y = np.array([5.3, 4.0, -2.0, 12.0, 13.5, 0.0]), np.array([6.8, 5.0, 4.1, 9.0, -1.2, 0.0])
    radius = np.array([3.0, 9.0, 3.0, 2.5, 2.0, 1.0])
    window = np.array(
        [[4, 10, 3, 9], [0, 12, 0, 14], [2, 7, 0, 2], [7, 10, 10, 14], [0, 1, 12, 14], [0, 0, 0, 0]]
    )
    area = np.array([1.0, 0.8, 0.9, 1.1, 1.0, 1.0])
    sizes = (window[:, 1] - window[:, 0]) * (window[:, 3] - window[:, 2])
    offset = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return (x, y, radius, area, window.astype(np.int32)), offset


@both(nb.fill_stamps)
@pytest.mark.parametrize("points", [1, 3])
@pytest.mark.parametrize(("scale", "step", "n"), [(3.0, 0.2, 13), (2.0, 0.1, 23), (3.0, 0.2, 5)])
def test_fill_stamps(kernel, stars, points, scale, step, n):
    arguments, offset = stars
    coefficients = np.random.default_rng(31).normal(size=(n, n))
    values = np.full(offset[-1] + 1, np.nan)
    kernel(*arguments, offset, coefficients, scale, step, points, values)
    expected = naive.fill_tensor_stamps(*arguments, coefficients, scale, step, points)
    assert_allclose(values[:-1], np.concatenate([a.ravel() for a in expected]), atol=1e-12)
    assert np.isnan(values[-1])
    assert (values[offset[0] : offset[1]] == 0.0).any()  # corners beyond the radius


@both(nb.fill_stamps)
def test_no_stars(kernel):
    empty = np.empty(0)
    window = np.empty((0, 4), np.int32)
    kernel(*[empty] * 4, window, np.zeros(1, np.int64), np.ones((13, 13)), SCALE, STEP, 1, empty)


@both(nb._add_pixel)
def test_add_pixel(kernel):
    index, value = np.array([3, 0, 3, 5]), np.array([0.4, -1.0, 0.3, 2.0])  # two share a function
    matrix, vector = np.ones((6, 6)), np.ones(6)
    kernel(index, value, 2.5, 0.7, matrix, vector)
    expected = naive.add_pixel(index, value, 2.5, 0.7, 6)
    assert_allclose(matrix, 1.0 + expected[0], rtol=1e-14)
    assert_allclose(vector, 1.0 + expected[1], rtol=1e-14)


N = 9


@pytest.fixture
def image():
    """Overlapping stars on and around an image, which rows they reach, and their pixels."""
    rng = np.random.default_rng(32)
    nrows, ncols = 9, 11
    x, y = rng.uniform(-2.0, ncols + 1.0, 8), rng.uniform(-2.0, nrows + 1.0, 8)
    x[0], y[0] = 4.0, 5.0  # on the centre of a pixel
    radius = rng.uniform(1.0, 3.0, 8)
    reached = [np.flatnonzero(abs(row - y) <= radius + 0.1) for row in range(nrows)]
    start = np.cumsum([0, *map(len, reached)])
    data, weight = rng.normal(size=(nrows, ncols)), rng.uniform(0.5, 2.0, (nrows, ncols))
    data[3, 4], weight[3, 4] = np.nan, 0.0
    stars = x, y, rng.uniform(1.0, 50.0, 8), radius
    return stars, (start, np.concatenate(reached)), (data, weight)


def _accumulate(kernel, image, chunks):
    stars, reached, pixels = image
    matrix, vector = np.zeros((chunks, N * N, N * N)), np.zeros((chunks, N * N))
    kernel(*stars, *reached, *pixels, SCALE, STEP, N, matrix, vector)
    return matrix.sum(axis=0), vector.sum(axis=0)


@both(nb.accumulate)
def test_accumulate(kernel, image):
    stars, _, pixels = image
    matrix, vector = _accumulate(kernel, image, 2)
    expected = naive.accumulate_tensor(*stars, *pixels, SCALE, STEP, N)
    assert_allclose(matrix, np.tril(expected[0]), atol=1e-10 * np.abs(expected[0]).max(), rtol=0)
    assert_allclose(vector, expected[1], atol=1e-10 * np.abs(expected[1]).max(), rtol=0)
    assert np.abs(vector).max() > 1.0


@both(nb.accumulate)
def test_a_star_adds_nothing_to_rows_beyond_its_radius(kernel, image):
    """Though it is listed there and lies on the centre of a column."""
    star = np.array([4.0]), np.array([5.0]), np.array([10.0]), np.array([0.5])
    reached = np.arange(10), np.zeros(9, int)
    matrix, vector = _accumulate(kernel, (star, reached, image[2]), 2)
    expected = naive.accumulate_tensor(*star, *image[2], SCALE, STEP, N)
    assert_allclose(matrix, np.tril(expected[0]), atol=1e-12)
    assert_allclose(vector, expected[1], atol=1e-12)


@pytest.mark.parametrize("chunks", [1, 3, 20])
@pytest.mark.parametrize("threads", [1, 2])
def test_sums_do_not_depend_on_chunks_and_threads(image, chunks, threads):
    reference = _accumulate(nb.accumulate, image, 2)
    try:
        set_threads(threads)
        ours = _accumulate(nb.accumulate, image, chunks)
    finally:
        set_threads(1_000)
    for a, b in zip(ours, reference, strict=True):
        assert_allclose(a, b, atol=1e-12 * np.abs(b).max(), rtol=0)
