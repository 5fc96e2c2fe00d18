import numpy as np
import pytest
from numpy.testing import assert_allclose

import naive
from naive import both
from romanprf.core.accelerate import set_threads
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
    first, weight = kernel(-4.3, 9, reach, SCALE, STEP, 13, points)
    basis = np.zeros((9, 13))
    for row, k, values in zip(basis, first, weight, strict=True):
        row[k : k + reach] = values
    expected = naive.pixel_basis(-4.3 + np.arange(9), SCALE, STEP, 13, points)
    assert_allclose(basis, expected, atol=1e-7)
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


def _around(count, nodes):
    """Nodes around each source and what it takes of them: the only one, or four of many."""
    rng = np.random.default_rng(33)
    if nodes == 1:
        return np.zeros((count, 1), np.int64), np.ones((count, 1))
    node = np.stack([rng.choice(nodes, 4, replace=False) for _ in range(count)])
    return node, rng.dirichlet(np.ones(4), count)


@both(nb.fill_stamps)
@pytest.mark.parametrize("nodes", [1, 9])
@pytest.mark.parametrize("points", [1, 3])
@pytest.mark.parametrize(("scale", "step", "n"), [(3.0, 0.2, 13), (2.0, 0.1, 23), (3.0, 0.2, 5)])
def test_fill_stamps(kernel, stars, nodes, points, scale, step, n):
    arguments, offset = stars
    coefficients = np.random.default_rng(31).normal(size=(nodes, n, n)).astype(np.float32)
    around = _around(6, nodes)
    values = np.full(offset[-1] + 1, np.nan, np.float32)
    kernel(*arguments, offset, *around, coefficients, scale, step, points, values)
    expected = naive.fill_tensor_stamps(*arguments, *around, coefficients, scale, step, points)
    assert_allclose(values[:-1], np.concatenate([a.ravel() for a in expected]), atol=1e-6)
    assert np.isnan(values[-1])
    assert (values[offset[0] : offset[1]] == 0.0).any()  # corners beyond the radius


@both(nb.fill_stamps)
def test_no_stars(kernel):
    empty, window = np.empty(0), np.empty((0, 4), np.int32)
    start, around = np.zeros(1, np.int64), _around(0, 1)
    coefficients, values = np.ones((1, 13, 13), np.float32), np.empty(0, np.float32)
    kernel(*[empty] * 4, window, start, *around, coefficients, SCALE, STEP, 1, values)


@both(nb._local)
def test_local(kernel):
    coefficients = np.random.default_rng(37).normal(size=(9, 13, 13)).astype(np.float32)
    below, left = np.array([2, 2, 5, 7]), np.array([0, 1])
    arguments = coefficients, *_around(3, 9), 1, 0.8, below, left, 4
    assert_allclose(kernel(*arguments), naive.local(*arguments), atol=1e-6)


@both(nb._contract)
@pytest.mark.parametrize("reach", [4, 7])
def test_contract(kernel, reach):
    rng = np.random.default_rng(38)
    own, weight = rng.normal(size=(9, 6)).astype(np.float32), rng.uniform(size=(3, reach))
    line = np.full(6, np.nan, np.float32)
    kernel(own, 2, weight.astype(np.float32), 1, line)
    assert_allclose(line, naive.contract(own, 2, weight, 1), atol=1e-6)


@both(nb._mean)
@pytest.mark.parametrize("reach", [4, 7])
def test_mean(kernel, reach):
    rng, left = np.random.default_rng(39), np.array([2, 2, 4, 5, 7])
    line, weight = rng.normal(size=12).astype(np.float32), rng.uniform(size=(5, reach))
    values = np.full(9, np.nan, np.float32)
    for first, last in [(1, 4), (0, 5), (0, 0)]:
        kernel(line, left, weight.astype(np.float32), first, last, 3, 5, values)
        assert_allclose(values[3:8], naive.mean(line, left, weight, first, last, 5), atol=1e-6)
    assert np.isnan(values[[0, 1, 2, 8]]).all()


N = 9


@pytest.fixture(params=[1, 9])
def field(request):
    """Overlapping stars on and around an image, their nodes; the image and its weights."""
    rng = np.random.default_rng(32)
    shape = 9, 11
    x, y = rng.uniform(-2.0, shape[1] + 1.0, 8), rng.uniform(-2.0, shape[0] + 1.0, 8)
    x[0], y[0] = 4.0, 5.0  # on the centre of a pixel
    x[1], y[1] = 30.0, 2.0  # without a window
    radius = np.append(3.0, rng.uniform(1.0, 3.0, 7))
    edges = np.stack([np.ceil(y - radius), y + radius + 1, np.ceil(x - radius), x + radius + 1], 1)
    window = np.clip(np.floor(edges), 0, np.repeat(shape, 2)).astype(np.int32)
    window[1] = 0
    light = rng.uniform(1.0, 50.0, 8)
    stars = x, y, radius, light, window, *_around(8, request.param)
    weight = rng.uniform(0.5, 2.0, shape)
    weight[3, 4] = 0.0
    return stars, rng.normal(size=shape), weight, request.param


def _design(stars, shape, nodes):
    return naive.tensor_design(*stars, shape, SCALE, STEP, nodes, N)


def _gather(kernel, stars, image, nodes, chunks=2):
    total = np.zeros((chunks, nodes, N, N))
    kernel(*stars, image, SCALE, STEP, total)
    return total.sum(axis=0)


def _own_terms(kernel, stars, weight, nodes, chunks=2):
    band = np.zeros((chunks, nodes, N, 4, 7, N))
    kernel(*stars, weight, SCALE, STEP, band)
    return band.sum(axis=0)


@both(nb.gather)
def test_gather(kernel, field):
    stars, image, _, nodes = field
    expected = naive.gather(_design(stars, image.shape, nodes), image)
    scale = np.abs(expected).max()
    assert_allclose(_gather(kernel, stars, image, nodes), expected, rtol=0, atol=1e-7 * scale)
    assert scale > 1.0


@both(nb.add_own_terms)
def test_add_own_terms(kernel, field):
    stars, _, weight, nodes = field
    expected = naive.add_own_terms(_design(stars, weight.shape, nodes), weight)
    ours = _own_terms(kernel, stars, weight, nodes)
    assert_allclose(ours, expected, atol=3e-7 * expected.max(), rtol=0)
    assert np.count_nonzero(expected[..., 3, 0, :]) > 10  # the farthest of the neighbours


def test_sums_are_added_to(field):
    stars, image, weight, nodes = field
    total, band = np.ones((2, nodes, N, N)), np.ones((2, nodes, N, 4, 7, N))
    nb.gather(*stars, image, SCALE, STEP, total)
    nb.add_own_terms(*stars, weight, SCALE, STEP, band)
    once = (
        _gather(nb.gather, stars, image, nodes),
        _own_terms(nb.add_own_terms, stars, weight, nodes),
    )
    assert_allclose(total.sum(axis=0), 2.0 + once[0], atol=1e-11)
    assert_allclose(band.sum(axis=0), 2.0 + once[1], rtol=1e-12, atol=1e-11)


@both(nb._sum_row)
def test_sum_row(kernel):
    rng = np.random.default_rng(34)
    left, along_x = np.array([1, 1, 2, 4, 5]), rng.uniform(size=(5, 4))
    pixels, line = rng.normal(size=5), np.ones(9)
    kernel(pixels, -2.0, 1.0, left, along_x, line)  # the outer two are too far away
    expected = naive.sum_row(pixels, -2.0, 1.0, left, along_x, line)
    assert_allclose(line, 1.0 + expected, rtol=1e-14)
    assert expected[0] == expected[8] == 0.0 != expected[1]


@both(nb._spread)
@pytest.mark.parametrize(("low", "high"), [(0, 9), (2, 8), (3, 7)])
def test_spread(kernel, low, high):
    rng = np.random.default_rng(35)
    line, along_y = np.full((4, 9), np.nan), rng.uniform(size=4)
    inside = low + np.arange(4)[:, None] + np.arange(high - low) < high
    line[:, low:high] = np.where(inside, rng.uniform(size=(4, high - low)), 0.0)
    band = np.ones((4, 4, 7, 9))
    kernel(line, low, high, along_y, 0.3, band)  # what lies outside is never read
    expected = naive.spread(np.nan_to_num(line), along_y, 0.3)
    assert_allclose(band, 1.0 + expected, rtol=1e-14)


@both(nb._add_scaled)
@pytest.mark.parametrize(("low", "high"), [(0, 9), (2, 8), (4, 4), (5, 4)])
def test_add_scaled(kernel, low, high):
    line, sums = np.random.default_rng(37).normal(size=(2, 9))
    expected = sums + naive.add_scaled(line, 0.7, low, high)
    kernel(line, 0.7, low, high, sums)
    assert_allclose(sums, expected, atol=1e-15, rtol=0)


def test_gather_is_the_transpose_of_fill_stamps(field):
    """<X c, image> == <c, X^T image> for any coefficients."""
    (x, y, radius, light, window, *around), image, _, nodes = field
    coefficients = np.random.default_rng(36).normal(size=(nodes, N, N)).astype(np.float32)
    sizes = (window[:, 1] - window[:, 0]) * (window[:, 3] - window[:, 2])
    offset = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    values = np.empty(offset[-1], np.float32)
    stars = x, y, radius, light, window
    nb.fill_stamps(*stars, offset, *around, coefficients, SCALE, STEP, 1, values)
    back = _gather(nb.gather, field[0], image, nodes)
    there = naive.dot(window, offset, values, image).sum()
    assert np.vdot(coefficients, back) == pytest.approx(there, rel=3e-7)
    assert abs(there) > 1.0


@pytest.mark.parametrize("chunks", [1, 3, 20])
@pytest.mark.parametrize("threads", [1, 2])
def test_sums_do_not_depend_on_chunks_and_threads(field, chunks, threads):
    stars, image, weight, nodes = field
    jobs = (_gather, nb.gather, image), (_own_terms, nb.add_own_terms, weight)
    for job, kernel, pixels in jobs:
        reference = job(kernel, stars, pixels, nodes)
        try:
            set_threads(threads)
            ours = job(kernel, stars, pixels, nodes, chunks)
        finally:
            set_threads(1_000)
        assert_allclose(ours, reference, atol=1e-12 * np.abs(reference).max(), rtol=0)


@both(nb.first_below)
def test_first_below(kernel):
    profile = np.array([5.0, 4.0, 4.0, 1.0, 0.0])
    threshold = np.array([6.0, 5.0, 4.5, 4.0, 2.0, 0.5, 0.0, -1.0])
    out = np.full(8, -1)
    kernel(profile, threshold, out)
    assert out.tolist() == naive.first_below(profile, threshold) == [0, 0, 1, 1, 3, 4, 4, 5]
