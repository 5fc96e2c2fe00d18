"""Exact solution of the normal equations of a frame, without ever forming an N x N array.

The field is cut into tiles of some tens of sources; each tile, with a halo of its neighbours, is
a small dense matrix that is inverted.  Each source takes the solution of the tile it lies in
(restricted additive Schwarz; Cai & Sarkis 1999, SIAM J. Sci. Comput. 21, 792), and an iteration
adds the coupling between tiles, a digit a step (generalised conjugate residuals; Eisenstat, Elman &
Schultz 1983, SIAM J. Numer. Anal. 20, 345).  It converges to the joint solution, with no seams.
The same inverses hold the marginal variance of each source, because the influence of stars beyond
the halo is negligible.

The background, which all fluxes share, is eliminated: what it takes from a vector is a few
products, and the tiles use the response of all fluxes to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from romanprf.solve import solver_nb
from romanprf.solve.normal_nb import FINE

#: Sources in the core of a tile, on average: with more the inverses cost more, with fewer halos.
_TILE_SOURCES = 20
#: Width of the halo (pixels): the reach of the core of the PRF of both neighbours.
_HALO = 8.0
#: Iterations at most.  A survey frame takes about 50 to ten digits, one of blends without useful
#: priors 200.
_MAX_ITERATIONS = 500
#: Directions that are kept for orthogonalisation; with 20 a frame of blends does not converge.
_KEPT = 100


class NotConvergedError(RuntimeError):
    """The iteration did not reach the tolerance."""


@dataclass(frozen=True, eq=False)
class Tiles:
    """Sources of each tile (halo first, core last), and its place.

    Attributes
    ----------
    start : ndarray, shape (ntiles + 1,)
        Of each tile in ``members``.
    n_halo : ndarray, shape (ntiles,)
        Members that are halo.
    members : ndarray
        Numbers of sources.
    inverse_start : ndarray, shape (ntiles + 1,)
        Of the rows of each tile's inverse.
    bounds : ndarray, shape (ntiles, 4)
        First and last + 1 cell (of `romanprf.solve.normal_nb.FINE` pixels) of the pixels on which
        the matrix of a tile depends, along rows and columns.
    """

    start: np.ndarray
    n_halo: np.ndarray
    members: np.ndarray
    inverse_start: np.ndarray
    bounds: np.ndarray

    def touched(self, total: np.ndarray) -> np.ndarray:
        """Which tiles have changed pixels (see `romanprf.solve.normal_nb.touched`)."""
        top, bottom, left, right = self.bounds.T
        inside = total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left]
        return inside > 0


def make_tiles(x: np.ndarray, y: np.ndarray, shape: tuple[int, int]) -> Tiles:
    """Cut a frame into tiles.

    Parameters
    ----------
    x, y : ndarray, shape (nsources,)
        Pixel positions; sources outside the frame count as if at its border.
    shape : tuple of int
        Rows and columns of the frame.
    """
    density = max(len(x), 1) / (shape[0] * shape[1])
    size = max(float(np.sqrt(_TILE_SOURCES / density)), _HALO)
    across, down = (max(int(np.ceil(length / size)), 1) for length in (shape[1], shape[0]))
    x, y = np.clip(x, 0.0, shape[1]), np.clip(y, 0.0, shape[0])
    i, j = np.minimum(y // size, down - 1), np.minimum(x // size, across - 1)
    tile = (i * across + j).astype(np.int64)
    order = np.argsort(tile, kind="stable").astype(np.int64)
    core_start = np.searchsorted(tile[order], np.arange(across * down + 1)).astype(np.int64)
    geometry = x, y, size, _HALO, across, down, core_start, order
    n_halo = np.empty(across * down, np.int64)
    solver_nb.count_halo(*geometry, n_halo)
    start = np.concatenate([[0], np.cumsum(n_halo + np.diff(core_start))])
    members = np.empty(start[-1], np.int64)
    solver_nb.list_slots(*geometry, start, n_halo, members)
    entries = np.diff(core_start) * np.diff(start)
    inverse_start = np.concatenate([[0], np.cumsum(entries)]).astype(np.int64)
    rows, columns = (
        _reach(np.arange(count), size, length)
        for count, length in ((down, shape[0]), (across, shape[1]))
    )
    bounds = np.hstack([np.repeat(rows, across, axis=0), np.tile(columns, (down, 1))])
    return Tiles(start, n_halo, members, inverse_start, bounds)


def _reach(number: np.ndarray, size: float, length: int) -> np.ndarray:
    """First and last + 1 cell of each tile with its halo along an axis."""
    cells = -(-length // FINE)
    low, high = number * size - _HALO, (number + 1) * size + _HALO
    ends = np.stack([np.floor(low / FINE), np.ceil(high / FINE)], axis=1)
    return np.clip(ends, 0, cells).astype(np.int64)


class Unknowns(NamedTuple):
    """The background's coefficients, which all fluxes share and their matrix leaves out.

    Attributes
    ----------
    shared : ndarray, shape (ncoefficients, nsources)
        Elements of the normal equations between the two.
    gram : ndarray, shape (ncoefficients, ncoefficients)
        Those of the coefficients, regular.
    response : ndarray, shape (ncoefficients, nsources)
        matrix^-1 shared, about: the better, the fewer iterations.
    covariance : ndarray, shape (ncoefficients, ncoefficients)
        Of the coefficients: inverse of gram - shared response^T, about.
    """

    shared: np.ndarray
    gram: np.ndarray
    response: np.ndarray
    covariance: np.ndarray


def no_unknowns(count: int) -> Unknowns:
    """No background for ``count`` sources."""
    none, empty = np.empty((0, count)), np.empty((0, 0))
    return Unknowns(none, empty, none, empty)


class Solver:
    """Solves ``matrix @ f = rhs`` and gives the diagonal of the inverse.

    Parameters
    ----------
    matrix : csr_array, shape (nsources, nsources)
        Symmetric and positive definite, sorted columns.  It may change later, see `renew`.
    tiles : Tiles
        From `make_tiles` of the same sources.

    Attributes
    ----------
    iterations : int
        Iterations used so far.
    """

    def __init__(self, matrix: csr_array, tiles: Tiles):
        self._csr = matrix.indptr.astype(np.int64), matrix.indices, matrix.data
        self._tiles = tiles
        self._inverse = np.empty(tiles.inverse_start[-1], np.float32)
        self._variance = np.empty(matrix.shape[0])
        self.iterations = 0
        self.renew(np.ones(tiles.n_halo.size, bool))

    @property
    def sigma(self) -> np.ndarray:
        """Marginal standard deviation of each unknown, shape (nsources,)."""
        return np.sqrt(self._variance)

    def renew(self, stale: np.ndarray) -> None:
        """Follow changes of the matrix in some of the tiles, a mask of shape (ntiles,)."""
        t = self._tiles
        solver_nb.invert_tiles(
            *self._csr,
            t.start,
            t.n_halo,
            t.members,
            stale,
            t.inverse_start,
            self._inverse,
            self._variance,
        )

    def _multiply(self, vector: np.ndarray, shared: Unknowns, scale: np.ndarray) -> np.ndarray:
        out = np.empty_like(vector)
        part = np.linalg.solve(shared.gram, _products(shared.shared, vector))
        solver_nb.multiply(*self._csr, vector, shared.shared, part, scale, out)
        return out

    def _tile_by_tile(self, residual: np.ndarray, shared: Unknowns) -> np.ndarray:
        t, out = self._tiles, np.empty_like(residual)
        part = shared.covariance @ _products(shared.response, residual)
        places = t.start, t.n_halo, t.members, t.inverse_start
        solver_nb.solve_tiles(*places, self._inverse, residual, shared.response, part, out)
        return out

    def solve(
        self, rhs: np.ndarray, start: np.ndarray, tolerance: float, shared: Unknowns | None = None
    ) -> np.ndarray:
        """Iterate to the solution of (matrix - shared^T gram^-1 shared) f = rhs.

        Parameters
        ----------
        rhs, start : ndarray, shape (nsources,)
            Right-hand side and first guess.
        tolerance : float
            Stop when the estimated error of every unknown is below this many ``sigma``.
        shared : Unknowns, optional
            Without it ``matrix`` is all there is.

        Raises
        ------
        NotConvergedError
            After 500 iterations, which well-posed frames never need.
        """
        sigma, solution = self.sigma, start.copy()
        shared = no_unknowns(len(rhs)) if shared is None else shared
        # The residual of an unknown, and what a step takes of it, in units of 1 / sigma.
        residual = sigma * rhs
        if start.any():
            residual -= self._multiply(solution, shared, sigma)
        scaled = residual / sigma
        kept: list[_Direction] = []
        for _ in range(_MAX_ITERATIONS):
            step = self._tile_by_tile(scaled, shared)
            if solver_nb.settled(step, sigma, tolerance):
                return solution + step
            new = _orthogonal(step, self._multiply(step, shared, sigma), kept)
            size = _product(residual, new.taken) / new.square
            solver_nb.advance(size, new.step, new.taken, sigma, solution, residual, scaled)
            kept = [*kept, new][-_KEPT:]
            self.iterations += 1
        raise NotConvergedError(
            f"fluxes did not settle to {tolerance:g} sigma in {_MAX_ITERATIONS} iterations"
        )


class _Direction(NamedTuple):
    """A step of the iteration, its change of the residual, and the square of that."""

    step: np.ndarray
    taken: np.ndarray
    square: float


def _orthogonal(step: np.ndarray, taken: np.ndarray, kept: list[_Direction]) -> _Direction:
    """Make a step and its change orthogonal to earlier ones (modified Gram-Schmidt)."""
    following = [*(direction.taken for direction in kept), taken]
    product, partial = _product(taken, following[0]), np.empty(_chunks(taken))
    for earlier, its in zip(kept, following[1:], strict=True):
        part = product / earlier.square
        solver_nb.orthogonalise(part, earlier.step, earlier.taken, its, step, taken, partial)
        product = float(partial.sum())
    return _Direction(step, taken, product)


def _products(rows: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """`_product` of each row with a vector, shape (nrows,)."""
    return np.array([_product(row, vector) for row in rows])


def _product(one: np.ndarray, two: np.ndarray) -> float:
    """Scalar product, the same for any number of threads."""
    partial = np.empty(_chunks(one))
    solver_nb.products(one, two, partial)
    return float(partial.sum())


def _chunks(vector: np.ndarray) -> int:
    return -(-vector.size // solver_nb.CHUNK)
