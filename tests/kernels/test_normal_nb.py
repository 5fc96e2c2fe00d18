import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array

import fields
import naive
from naive import both
from romanprf.solve import normal_nb as nb
from romanprf.solve.normal import _SAME, NormalMatrix, normal_matrix, overlaps

SHAPE = (37, 35)


@pytest.fixture
def stamps():
    """Windows in several cells; some on or beyond the border; the last one empty."""
    rng = np.random.default_rng(7)
    x, y = rng.uniform(-4.0, 40.0, (2, 24))
    flux = rng.choice([15.0, 100.0, 3000.0], 24)
    x[-1], x[-2], flux[-2] = 120.0, -9.0, 3000.0
    stamps = fields.scene(x, y, flux, SHAPE).stamps
    assert stamps.window[-1].max() == 0
    return stamps


def _places(stamps):
    return stamps.x, stamps.y, stamps.radius, stamps.window


def _listed(start, members):
    return [row.tolist() for row in np.split(members, start[1:-1])]


PAIRS = [(0, 0), (0, 1), (2, 9), (5, 7), (3, 23), (4, 11), (8, 10), (10, 8)]


@pytest.fixture
def weight():
    weight = np.random.default_rng(8).uniform(0.1, 0.3, SHAPE)
    weight[4:7, 10] = 0.0
    return weight


@both(nb._cell)
def test_cell(kernel):
    assert (nb.CELL, nb.FINE) == (naive.CELL, naive.FINE)
    for place in (-30.0, -0.5, 0.0, 7.9, 8.0, 25.0, 39.9, 40.0, 500.0):
        assert kernel(place, 5) == naive.cell(place, 5)


@both(nb.bin_sources)
def test_bin_sources(kernel, stamps):
    start, members, across = kernel(stamps.x, stamps.y, *SHAPE)
    assert across == 5
    assert _listed(start, members) == naive.bin_sources(stamps.x, stamps.y, *SHAPE)
    start, members, _ = kernel(stamps.x[:0], stamps.y[:0], *SHAPE)
    assert_array_equal(start, np.zeros(26))
    assert members.size == 0


@both(nb._owns)
def test_owns(kernel):
    radius = np.array([5.0, 7.0, 5.0])
    for s, o in np.ndindex(3, 3):
        assert kernel(radius, s, o) == naive.owns(radius, s, o)
        assert kernel(radius, s, o) != kernel(radius, o, s) or s == o


@both(nb._overlap)
def test_overlap(kernel, stamps):
    found = [kernel(stamps.window, s, o) for s, o in PAIRS]
    assert found == [naive.overlap(stamps.window, s, o, SHAPE) for s, o in PAIRS]
    assert 0 < sum(found) < len(PAIRS)


@both(nb._shared)
def test_shared(kernel, stamps):
    for s, o in PAIRS:
        row0, row1, column0, column1 = kernel(stamps.window, s, o)
        expected = np.zeros(SHAPE, bool)
        if row0 < row1 and column0 < column1:
            expected[row0:row1, column0:column1] = True
        assert_array_equal(expected, naive.shared(stamps.window, s, o, SHAPE))


@both(nb._cells_around)
def test_cells_around(kernel):
    start = np.zeros(5 * 4 + 1, int)
    for place in ((3.0, 20.0), (-9.0, 39.0), (24.0, 8.0)):
        assert kernel(*place, 10.0, start, 5) == naive.cells_around(*place, 10.0, 5, 4)


@both(nb.count_candidates)
def test_count_candidates(kernel, stamps):
    start, _, across = nb.bin_sources(stamps.x, stamps.y, *SHAPE)
    places, out = (stamps.x, stamps.y, stamps.radius), np.empty(len(stamps), np.int64)
    kernel(*places, start, across, out)
    assert_array_equal(out, naive.count_candidates(*places, *SHAPE))
    assert 1 <= out.min() < out.max() <= len(stamps)


@both(nb.list_own)
def test_list_own(kernel, stamps):
    start, members, across = nb.bin_sources(stamps.x, stamps.y, *SHAPE)
    room = np.array(naive.count_candidates(*_places(stamps)[:3], *SHAPE)) + 2
    first, count = np.concatenate([[0], np.cumsum(room)]), np.empty(len(stamps), np.int64)
    lists = np.empty(first[-1], np.int32)
    kernel(*_places(stamps), start, members, across, first, lists, count)
    expected = naive.list_own(*_places(stamps), SHAPE)
    assert count.tolist() == [len(row) for row in expected]
    assert (lists[first[:-1]] == np.arange(len(stamps))).all()
    for s, row in enumerate(expected):
        assert sorted(lists[first[s] : first[s] + count[s]]) == sorted(row)
    assert count[-1] == 1 < count.max()


ROWS = [[0], [3, 1, 0], [2], [3, 2, 0]]


@both(nb.pack)
def test_pack(kernel):
    lists, first = np.full(16, -1, np.int32), np.array([0, 2, 7, 9, 16])
    for row, at in zip(ROWS, first, strict=False):
        lists[at : at + len(row)] = row
    start = np.cumsum([0, *map(len, ROWS)])
    out = np.empty(start[-1], np.int32)
    kernel(first, lists, start, out)
    assert out.tolist() == naive.pack(ROWS)


@both(nb.mirrored)
def test_mirrored(kernel):
    start, own = np.cumsum([0, *map(len, ROWS)]), np.concatenate(ROWS).astype(np.int32)
    indptr, entries = kernel(start, own)
    columns, place = np.divmod(entries, 2**32)
    rows = _listed(indptr, columns)
    assert [sorted(row) for row in rows] == naive.mirrored(ROWS)
    owner = np.repeat(np.arange(4), np.diff(start))
    for s, (row, places) in enumerate(zip(rows, _listed(indptr, place), strict=True)):
        for o, k in zip(row, places, strict=True):
            assert {s, o} == {owner[k], own[k]}


@both(nb.sort_rows)
def test_sort_rows(kernel):
    indptr, columns = np.cumsum([0, *map(len, ROWS)]), np.concatenate(ROWS)
    place = np.arange(columns.size)[::-1]
    expected = naive.sort_rows(ROWS, _listed(indptr, place))
    sorted_columns, sorted_place = np.full((2, columns.size), -1, np.int32)
    kernel(indptr, columns * 2**32 + place, sorted_columns, sorted_place)
    assert (_listed(indptr, sorted_columns), _listed(indptr, sorted_place)) == expected


def _pattern(stamps, entries):
    """Dense matrix of the pattern of the overlaps with these owned entries."""
    pattern, shape = overlaps(stamps), (len(stamps), len(stamps))
    whole = np.empty(pattern.place.size)
    nb.take(entries(pattern), pattern.place, whole)
    assert all(sorted(row) == row for row in _listed(pattern.indptr, pattern.indices))
    return csr_array((whole, pattern.indices, pattern.indptr), shape=shape).toarray()


def test_pattern_holds_all_that_is_not_zero(stamps):
    pattern = _pattern(stamps, lambda pattern: np.ones(pattern.own.size))
    dense = naive.fill_own(*stamps.footprints, np.ones(SHAPE))
    assert (pattern[dense > 0.0] == 1.0).all()
    assert_array_equal(np.diag(pattern), 1.0)
    assert_array_equal(pattern, pattern.T)
    assert np.count_nonzero(pattern) < 0.7 * len(stamps) ** 2


@pytest.fixture
def changed(weight):
    """New weights: some hardly different, some very, one now used, one no longer."""
    new = weight * (1.0 + np.random.default_rng(9).uniform(-0.01, 0.01, SHAPE))
    new[20:23, 5:7] *= 1.5
    new[5, 10], new[30, 30] = 0.2, 0.0
    new[36, 34] *= 0.9  # in the last cell
    return new


def _summed(count):
    return np.pad(count, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)


@both(nb.changes)
def test_changes(kernel, weight, changed):
    expected, count = naive.changes(weight, changed, 0.02)
    total = np.zeros(np.add(count.shape, 1), np.int64)
    kernel(weight, changed, 0.02, total)
    assert_array_equal(weight, expected)
    assert_array_equal(total[1:, 1:], count)
    assert count.sum() == 9
    assert total[0].sum() == total[:, 0].sum() == 0


@both(nb.touched)
def test_touched(kernel, weight, changed):
    _, count = naive.changes(weight, changed, 0.02)
    found = 0
    for corner in np.random.default_rng(10).integers(0, 34, (60, 2)):
        rectangle = [(a, a + 3) for a in corner]
        sides = *rectangle[0], *rectangle[1]
        found += kernel(_summed(count), *sides)
        assert kernel(_summed(count), *sides) == naive.touched(count, *sides)
    assert 3 < found < 57


@both(nb._pair_touched)
def test_pair_touched(kernel, stamps, weight, changed):
    _, count = naive.changes(weight, changed, 0.02)
    pairs = [(s, o) for s in range(len(stamps)) for o in (0, 3, s, 23)]
    found = [kernel(_summed(count), stamps.window, s, o) for s, o in pairs]
    assert found == [naive.pair_touched(count, stamps.window, s, o) for s, o in pairs]
    assert 4 < sum(found) < 50


@both(nb._weighted)
def test_weighted(kernel, stamps, weight):
    for s in (0, 5, 23):
        expected = naive.weighted(*stamps.footprints, weight, s)
        assert_allclose(kernel(stamps.footprints, weight, s), expected, rtol=1e-14)


@both(nb._common)
def test_common(kernel, stamps, weight):
    footprints = stamps.footprints
    for s, o in PAIRS:
        if naive.overlap(stamps.window, s, o, SHAPE):
            own = naive.weighted(*footprints, weight, s)
            expected = naive.common(own, *footprints, s, o)
            assert kernel(own, footprints, s, o) == pytest.approx(expected, rel=1e-12)


def _filled(kernel, stamps, weight, prior, count, data):
    """The kernel's matrix, dense; ``data``: its entries before."""

    def entries(pattern):
        out = np.full(pattern.own.size, data)
        rest = prior, _summed(count), pattern.start, pattern.own
        kernel(stamps.footprints, weight, *rest, out)
        return out

    return _pattern(stamps, entries)


@both(nb.fill_own)
def test_fill_own(kernel, stamps, weight):
    prior = np.linspace(0.1, 0.2, len(stamps))
    ours = _filled(kernel, stamps, weight, prior, np.ones((10, 9), int), 0.0)
    expected = naive.fill_own(*stamps.footprints, weight)
    expected += np.diag(prior)
    assert_allclose(ours, expected, rtol=1e-10, atol=1e-16)
    assert_array_equal(ours, ours.T)


@both(nb.fill_own)
def test_fill_own_where_pixels_have_changed(kernel, stamps, weight):
    count, pixels = np.zeros((10, 9), int), np.zeros(SHAPE, bool)
    count[2, 3], pixels[8:12, 12:16] = 1, True
    ours = _filled(kernel, stamps, weight, np.zeros(len(stamps)), count, 7.0)
    expected = naive.fill_own(*stamps.footprints, weight)
    shown = naive.covered(stamps.window, SHAPE)[:, pixels.ravel()].astype(int)
    here = (shown @ shown.T > 0) & (ours != 0.0)
    assert_allclose(ours[here], expected[here], rtol=1e-10, atol=1e-16)
    assert set(ours[~here]) == {0.0, 7.0}  # outside the pattern, and in it but left alone
    assert here.any()


@both(nb.take)
def test_take(kernel):
    own, place, out = np.random.default_rng(3).normal(size=5), np.array([4, 0, 0, 2]), np.empty(4)
    kernel(own, place.astype(np.int32), out)
    assert_array_equal(out, naive.take(own, place))


def test_normal_matrix_is_the_dense_one(stamps, weight):
    sigma = np.linspace(5.0, 50.0, len(stamps))
    matrix = normal_matrix(stamps, weight, sigma).toarray()
    expected = naive.fill_own(*stamps.footprints, weight)
    expected += np.diag(sigma**-2.0)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.abs((matrix - expected) / scale).max() < 1e-10
    assert matrix[-1, -1] == sigma[-1] ** -2.0


def test_matrix_follows_its_weights(stamps, weight, changed):
    sigma = np.full(len(stamps), 20.0)
    normal = NormalMatrix(stamps, sigma)
    normal.follow(weight)
    before = normal.matrix.toarray()
    total = normal.follow(changed)
    kept, count = naive.changes(weight, changed, _SAME)
    assert_array_equal(normal.weight, kept)
    assert_array_equal(total, _summed(count))
    fresh = normal_matrix(stamps, kept, sigma).toarray()
    assert_allclose(normal.matrix.toarray(), fresh, rtol=1e-12, atol=1e-18)
    exact = normal_matrix(stamps, changed, sigma).toarray()
    assert_allclose(normal.matrix.toarray(), exact, rtol=_SAME, atol=1e-18)
    alone = normal.matrix.toarray() == before
    assert 0 < (~alone).sum() < 0.1 * alone.size
    assert not normal.follow(changed).any()  # nothing is left to follow


def test_diagonal(stamps, weight):
    normal = NormalMatrix(stamps, np.full(len(stamps), 9.0))
    normal.follow(weight)
    assert_array_equal(normal.diagonal, normal.matrix.diagonal())


@both(nb.leverage)
def test_leverage(kernel, stamps, weight):
    precision = np.random.default_rng(9).uniform(0.5, 2.0, len(stamps))
    places, footprints, out = (stamps.x, stamps.y), stamps.footprints, np.zeros(SHAPE)
    kernel(*places, footprints, *stamps.bands, weight, precision, 3, out)
    assert_allclose(out, naive.leverage(*places, *footprints, weight, precision, 3), rtol=1e-6)
    assert (out[4:7, 10] == 0.0).all()
    assert out.max() > 0.0
