import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fields
import naive
from naive import both
from romanprf.photometry import normal_nb as nb
from romanprf.photometry.normal import normal_matrix, overlaps

SHAPE = (37, 35)


@pytest.fixture
def stamps():
    """Windows in several cells; some on or beyond the border; the last one empty."""
    rng = np.random.default_rng(7)
    x, y = rng.uniform(-4.0, 40.0, (2, 24))
    x[-1] = 120.0
    flux = rng.choice([15.0, 100.0, 3000.0], 24)
    stamps = fields.scene(x, y, flux, SHAPE).stamps
    assert stamps.window[-1].max() == 0
    return stamps


@pytest.fixture
def weight():
    weight = np.random.default_rng(8).uniform(0.1, 0.3, SHAPE)
    weight[4:7, 10] = 0.0
    return weight


def _cells(kernel, window, shape):
    start, members, across = kernel(window, *shape)
    assert across == (shape[1] + nb.CELL - 1) // nb.CELL
    return [members[a:b].tolist() for a, b in itertools.pairwise(start)]


@both(nb.bin_windows)
def test_bin_windows(kernel, stamps):
    assert nb.CELL == naive.CELL
    expected = naive.bin_windows(stamps.window, *SHAPE)
    assert _cells(kernel, stamps.window, SHAPE) == expected
    assert _cells(kernel, stamps.window[:0], SHAPE) == [[]] * 9


@both(nb._meets)
def test_meets(kernel, stamps):
    pairs = [(0, 0), (0, 1), (2, 9), (5, 7), (3, 23), (4, 11), (8, 10)]
    found = 0
    for s, o in pairs:
        for i, j in np.ndindex(3, 3):
            expected = naive.meets(stamps.window, s, o, i, j, SHAPE)
            assert kernel(stamps.window, s, o, i, j) == expected
            found += expected
    assert 0 < found <= len(pairs)


@both(nb._neighbours)
def test_neighbours(kernel, stamps):
    bins = nb.bin_windows(stamps.window, *SHAPE)
    for s in range(len(stamps)):
        expected = naive.neighbours(s, stamps.window, SHAPE)
        room = np.full(len(expected), -1, np.int32)
        assert kernel(s, stamps.window, *bins, room[:0]) == len(expected)
        assert kernel(s, stamps.window, *bins, room) == len(expected)
        assert sorted(room.tolist()) == expected


@both(nb.count_neighbours)
def test_count_neighbours(kernel, stamps):
    count = np.empty(len(stamps), np.int64)
    kernel(stamps.window, *nb.bin_windows(stamps.window, *SHAPE), count)
    assert_array_equal(count, naive.count_neighbours(stamps.window, SHAPE))
    assert count[-1] == 1


@both(nb.list_neighbours)
def test_list_neighbours(kernel, stamps):
    expected = naive.list_neighbours(stamps.window, SHAPE)
    indptr = np.cumsum([0, *map(len, expected)])
    indices = np.empty(indptr[-1], np.int32)
    kernel(stamps.window, *nb.bin_windows(stamps.window, *SHAPE), indptr, indices)
    assert_array_equal(indices, np.concatenate(expected))


@both(nb._overlap)
def test_overlap(kernel, stamps, weight):
    arguments = (stamps.window, stamps.offset, stamps.values, weight)
    for s, o in [(0, 0), (0, 1), (2, 9), (5, 7), (3, 23)]:
        assert kernel(*arguments, s, o) == pytest.approx(naive.overlap(*arguments, s, o), rel=1e-12)


@both(nb.fill_matrix)
def test_fill_matrix(kernel, stamps, weight):
    pattern = overlaps(stamps)
    indptr, data = pattern.indptr.astype(np.int64), np.full(pattern.nnz, np.nan)
    arguments = (stamps.window, stamps.offset, stamps.values, weight)
    kernel(*arguments, indptr, pattern.indices, data)
    pattern.data[:] = data
    expected = naive.fill_matrix(*arguments)
    assert_allclose(pattern.toarray(), expected, rtol=1e-10, atol=1e-16)
    assert_array_equal(pattern.toarray(), pattern.toarray().T)


def test_normal_matrix_is_the_dense_one(stamps, weight):
    sigma = np.linspace(5.0, 50.0, len(stamps))
    matrix = normal_matrix(stamps, weight, sigma, overlaps(stamps)).toarray()
    expected = naive.fill_matrix(stamps.window, stamps.offset, stamps.values, weight)
    expected += np.diag(sigma**-2.0)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.abs((matrix - expected) / scale).max() < 1e-10
    assert matrix[-1, -1] == sigma[-1] ** -2.0


@both(nb.leverage)
def test_leverage(kernel, stamps, weight):
    precision = np.random.default_rng(9).uniform(0.5, 2.0, len(stamps))
    arguments = stamps.window, stamps.offset, stamps.values, weight, precision
    out = np.zeros(SHAPE)
    kernel(*arguments, out)
    assert_allclose(out, naive.leverage(*arguments), rtol=1e-12)
    assert (out[4:7, 10] == 0.0).all()
    assert out.max() > 0.0
