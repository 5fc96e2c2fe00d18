import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fields
import naive
from naive import both
from romanprf.solve import solver, solver_nb
from romanprf.solve.normal import normal_matrix

SHAPE = (30, 40)


@pytest.fixture
def tiled(monkeypatch):
    """A crowded frame cut into tiles of few stars: matrix, tiles, and the naive list of tiles."""
    monkeypatch.setattr(solver, "_TILE_SOURCES", 8)
    rng = np.random.default_rng(9)
    stamps = fields.random_scene(rng, 60, SHAPE, margin=3.0).stamps
    matrix = normal_matrix(stamps, np.full(SHAPE, 0.2), np.full(60, 30.0))
    tiles = solver.make_tiles(stamps.x, stamps.y, SHAPE)
    return matrix, tiles, _slots(tiles)


def _slots(tiles):
    parts = np.split(tiles.members, tiles.start[1:-1])
    return [(part[:halo], part[halo:]) for part, halo in zip(parts, tiles.n_halo, strict=True)]


def _csr(matrix):
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data


def _inverted(kernel, matrix, tiles):
    inverse = np.empty(tiles.inverse_start[-1], np.float32)
    variance, stale = np.empty(matrix.shape[0]), np.ones(len(tiles.n_halo), bool)
    slots = tiles.start, tiles.n_halo, tiles.members, stale, tiles.inverse_start
    kernel(*_csr(matrix), *slots, inverse, variance)
    return inverse, variance


@pytest.fixture
def grid():
    rng = np.random.default_rng(10)
    x, y = rng.uniform(0.0, 40.0, 50), rng.uniform(0.0, 30.0, 50)
    x[:3], y[:3] = [12.0, 18.0, 6.0], [7.0, 10.0, 20.0]  # on the borders of tiles and halos
    size, halo, across, down = 12.0, 6.0, 4, 3
    tile_of = (y // size).astype(int) * across + (x // size).astype(int)
    core = np.argsort(tile_of, kind="stable")
    start = np.searchsorted(tile_of[core], np.arange(across * down + 1))
    return (x, y, size, halo, across, down), (start, core), tile_of


@both(solver_nb._list_halo)
def test_list_halo(kernel, grid):
    (x, y, size, halo, across, down), core, tile_of = grid
    for tile in range(across * down):
        expected = naive.list_halo(tile, x, y, size, halo, across, tile_of)
        out = np.empty(len(x), np.int64)
        count = kernel(tile, x, y, size, halo, across, down, *core, out)
        assert sorted(out[:count]) == expected.tolist()
        assert kernel(tile, x, y, size, halo, across, down, *core, out[:0]) == count


@both(solver_nb.count_halo)
def test_count_halo(kernel, grid):
    geometry, core, tile_of = grid
    n_halo = np.full(12, -1)
    kernel(*geometry, *core, n_halo)
    assert n_halo.tolist() == naive.count_halo(*geometry, tile_of)


@both(solver_nb.list_slots)
def test_list_slots(kernel, grid):
    geometry, core, tile_of = grid
    expected = naive.list_slots(*geometry, tile_of)
    n_halo = np.array([len(halo) for halo, _ in expected])
    start = np.concatenate([[0], np.cumsum([len(halo) + len(own) for halo, own in expected])])
    members = np.full(start[-1], -1)
    kernel(*geometry, *core, start, n_halo, members)
    assert members.tolist() == [s for halo, own in expected for s in (*halo, *own)]


def _positive(n):
    root = np.random.default_rng(11).normal(size=(n, n))
    return root @ root.T + np.eye(n)


@both(solver_nb._upper)
@pytest.mark.parametrize("n", [1, 4, 9, 10])
def test_upper(kernel, n):
    matrix = _positive(n)
    ours = matrix.copy()
    kernel(ours)
    assert_allclose(np.triu(ours), naive.upper(matrix), rtol=1e-10, atol=1e-12)


@both(solver_nb._counts)
def test_counts(kernel):
    assert kernel(17) == naive.counts(17)


@both(solver_nb._last_columns)
@pytest.mark.parametrize(("n", "first"), [(1, 0), (6, 0), (10, 3), (9, 8), (5, 5)])
def test_last_columns(kernel, n, first):
    u = naive.upper(_positive(n))
    ours = kernel(np.triu(u) + np.tril(np.full((n, n), np.nan), -1), first)  # below: never read
    assert_allclose(ours, naive.last_columns(u, first), rtol=1e-9, atol=1e-12)


@both(solver_nb._eliminate)
@pytest.mark.parametrize("i", [0, 1, 3, 8])
def test_eliminate(kernel, i):
    u = naive.upper(_positive(9))
    ours = np.random.default_rng(13).normal(size=(9, 5))
    before = ours.copy()
    kernel(u, ours, np.uint64(i))
    assert_allclose(ours[i], naive.eliminate(u, before, i), rtol=1e-11)
    ours[i] = before[i]
    assert_array_equal(ours, before)


@both(solver_nb._dense)
def test_dense(kernel, tiled):
    members, place = np.array([7, 3, 40, 41, 12]), np.full(60, -1, np.int32)
    ours = kernel(*_csr(tiled[0]), members, place)
    assert_array_equal(ours, naive.dense(tiled[0], members))
    assert (place == -1).all()


@both(solver_nb.invert_tiles)
def test_invert_tiles(kernel, tiled):
    matrix, tiles, slots = tiled
    inverse, variance = _inverted(kernel, matrix, tiles)
    blocks, expected = naive.invert_tiles(matrix, slots)
    assert len(blocks) > 4
    assert min(tiles.n_halo) > 0
    for ours, block in zip(np.split(inverse, tiles.inverse_start[1:-1]), blocks, strict=True):
        assert_allclose(ours, block.ravel(), rtol=1e-6, atol=1e-7 * np.abs(block).max())
    assert_allclose(variance, expected, rtol=1e-9)


@both(solver_nb.invert_tiles)
def test_tiles_that_are_not_stale_stay(kernel, tiled):
    matrix, tiles, slots = tiled
    stale = np.arange(len(slots)) == 2
    inverse, variance = np.full(tiles.inverse_start[-1], 7.0, np.float32), np.full(60, 7.0)
    parts = tiles.start, tiles.n_halo, tiles.members, stale, tiles.inverse_start
    kernel(*_csr(matrix), *parts, inverse, variance)
    assert sorted(np.flatnonzero(variance != 7.0)) == sorted(slots[2][1])
    low, high = tiles.inverse_start[2:4]
    assert np.flatnonzero(inverse != 7.0).tolist() == list(range(low, high))


@pytest.fixture(params=[0, 1, 3], ids="{} of the sky".format)
def sky(request):
    """Rows of so many coefficients, and a factor of each."""
    rng = np.random.default_rng(18)
    return rng.normal(size=(request.param, 60)), rng.normal(size=request.param)


@both(solver_nb.solve_tiles)
def test_solve_tiles(kernel, tiled, sky):
    matrix, tiles, slots = tiled
    inverse, _ = _inverted(solver_nb.invert_tiles, matrix, tiles)
    residual, out = np.random.default_rng(12).normal(size=60), np.empty(60)
    places = tiles.start, tiles.n_halo, tiles.members, tiles.inverse_start
    kernel(*places, inverse, residual, *sky, out)
    expected = naive.solve_tiles(matrix, slots, residual, *sky)
    assert_allclose(out, expected, rtol=1e-5, atol=3e-6 * np.abs(expected).max())


@both(solver_nb.multiply)
def test_multiply(kernel, tiled, sky):
    matrix, vector, out = tiled[0], np.random.default_rng(14).normal(size=60), np.empty(60)
    scale = np.linspace(0.5, 2.0, 60)
    kernel(*_csr(matrix), vector, *sky, scale, out)
    assert_allclose(out, naive.multiply(matrix, vector, *sky, scale), rtol=1e-12, atol=1e-14)


@both(solver_nb.settled)
def test_settled(kernel):
    vector, scale = np.random.default_rng(15).normal(size=(2, 60)) ** 2
    worst = (vector / scale).max()
    for tolerance in (0.9 * worst, 1.1 * worst):
        assert kernel(-vector, scale, tolerance) == naive.settled(vector, scale, tolerance)
    assert kernel(vector, scale, 1.1 * worst)
    vector[7] = np.nan
    assert not kernel(vector, scale, 1.1 * worst)
    assert kernel(vector[:0], scale[:0], 2.0)


def test_solution_is_the_dense_one(tiled):
    matrix, tiles, _ = tiled
    rhs = np.random.default_rng(15).normal(size=60)
    solved = solver.Solver(matrix, tiles)
    solution = solved.solve(rhs, np.zeros(60), 1e-12)
    expected = np.linalg.solve(matrix.toarray(), rhs)
    assert np.abs((solution - expected) / solved.sigma).max() < 1e-10
    assert 1 < solved.iterations < 40
    count = solved.iterations
    again = solved.solve(rhs, expected, 1e-9)
    assert np.abs((again - expected) / solved.sigma).max() < 1e-9
    assert solved.iterations == count  # what is solved already takes none


@pytest.mark.parametrize("off", [0.0, 0.3], ids=["response known", "response 30 % off"])
def test_background_is_eliminated(tiled, off):
    matrix, tiles, _ = tiled
    rng = np.random.default_rng(19)
    shared, rhs = rng.uniform(0.5, 1.0, (2, 60)), rng.normal(size=60)
    dense, gram = matrix.toarray(), np.array([[40.0, 3.0], [3.0, 60.0]])
    gram += shared @ np.linalg.solve(dense, shared.T)  # positive with the fluxes free
    response = np.linalg.solve(dense, shared.T).T
    covariance = np.linalg.inv(gram - shared @ response.T)
    known = solver.Unknowns(shared, gram, response * (1.0 + off * rng.normal(size=60)), covariance)
    solved = solver.Solver(matrix, tiles)
    solution = solved.solve(rhs, np.zeros(60), 1e-12, known)
    expected = np.linalg.solve(dense - shared.T @ np.linalg.solve(gram, shared), rhs)
    assert_allclose(solution, expected, rtol=1e-9)
    assert solved.iterations < 40


def test_no_right_hand_side_no_solution(tiled):
    matrix, tiles, _ = tiled
    solution = solver.Solver(matrix, tiles).solve(np.zeros(60), np.zeros(60), 0.0)
    assert_array_equal(solution, 0.0)


def test_tolerance_bounds_the_error(tiled):
    matrix, tiles, _ = tiled
    rhs = 1e4 * np.random.default_rng(16).normal(size=60)
    expected = np.linalg.solve(matrix.toarray(), rhs)
    for tolerance in (1e-1, 1e-3, 1e-5):
        solved = solver.Solver(matrix, tiles)
        error = solved.solve(rhs, np.zeros(60), tolerance) - expected
        assert np.abs(error / solved.sigma).max() < 2.0 * tolerance


def test_errors_of_one_tile_are_those_of_the_full_inverse(monkeypatch):
    monkeypatch.setattr(solver, "_TILE_SOURCES", 100)
    stamps = fields.random_scene(np.random.default_rng(17), 40, SHAPE).stamps
    matrix = normal_matrix(stamps, np.full(SHAPE, 0.2), np.full(40, 30.0))
    tiles = solver.make_tiles(stamps.x, stamps.y, SHAPE)
    assert tiles.n_halo.tolist() == [0]
    expected = np.sqrt(np.diag(np.linalg.inv(matrix.toarray())))
    assert_allclose(solver.Solver(matrix, tiles).sigma, expected, rtol=1e-8)


def test_impossible_tolerance_is_told(tiled, monkeypatch):
    monkeypatch.setattr(solver, "_MAX_ITERATIONS", 3)
    matrix, tiles, _ = tiled
    with pytest.raises(solver.NotConvergedError, match="did not settle to 1e-12 sigma in 3 iter"):
        solver.Solver(matrix, tiles).solve(np.ones(60), np.zeros(60), 1e-12)


def test_sources_outside_join_the_tiles_at_the_border():
    x = np.array([-50.0, -7.0, 3.0, 40.0, 90.0, 20.0])
    y = np.array([15.0, -20.0, 3.0, 30.0, 31.0, 15.0])
    tiles = solver.make_tiles(x, y, SHAPE)
    cores = np.concatenate([core for _, core in _slots(tiles)])
    assert sorted(cores) == list(range(6))


@pytest.fixture
def vectors():
    """Five of some length, two chunks."""
    return np.random.default_rng(14).normal(size=(5, solver_nb.CHUNK + 27))


@both(solver_nb.products)
def test_products(kernel, vectors):
    partial = np.full(2, np.nan)
    kernel(*vectors[:2], partial)
    expected = naive.products(*vectors[:2], solver_nb.CHUNK)
    assert_allclose(partial, expected, rtol=1e-11, atol=1e-11)


@both(solver_nb.orthogonalise)
def test_orthogonalise(kernel, vectors):
    partial = np.full(2, np.nan)
    expected = naive.orthogonalise(0.7, *vectors, solver_nb.CHUNK)
    kernel(0.7, *vectors, partial)
    for one, two in zip((*vectors[3:], partial), expected, strict=True):
        assert_allclose(one, two, rtol=1e-11, atol=1e-11)


@both(solver_nb.orthogonalise)
def test_orthogonalise_gives_the_square_of_what_is_left(kernel, vectors):
    partial, left = np.full(2, np.nan), vectors[4] - 0.7 * vectors[1]
    kernel(0.7, *vectors[:2], vectors[4], *vectors[3:], partial)
    assert partial.sum() == pytest.approx(left @ left, rel=1e-12)


@both(solver_nb._dot)
@pytest.mark.parametrize("n", [0, 3, 4, 30])
def test_dot(kernel, n, vectors):
    expected = vectors[0, 3 : n + 3] @ vectors[1, 3 : n + 3]
    assert kernel(*vectors[:2], 3, n + 3) == pytest.approx(expected, abs=1e-13)


@both(solver_nb.advance)
def test_advance(kernel, vectors):
    step, taken, solution, residual, scaled = vectors
    sigma = np.linspace(0.5, 2.0, step.size)
    expected = naive.advance(-0.7, step, taken, sigma, solution, residual)
    kernel(-0.7, step, taken, sigma, solution, residual, scaled)
    for one, two in zip((solution, residual, scaled), expected, strict=True):
        assert_allclose(one, two, rtol=1e-13, atol=1e-14)
