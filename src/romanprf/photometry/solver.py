"""Exact solution of the normal equations of a frame, without ever forming an N x N array.

Conjugate gradients, preconditioned by overlapping tiles: the field is cut into tiles of some tens
of sources; each tile, with a halo of its neighbours, is a small dense matrix whose Cholesky
factor solves it exactly (additive Schwarz; Dryja & Widlund 1987).  The tiles only speed up the
iteration: what it converges to is the joint solution, with no seams.  The same factors hold the
marginal variance of each source, because the influence of stars beyond the halo is negligible.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from romanprf.photometry import solver_nb

#: Sources in the core of a tile, on average.
_TILE_SOURCES = 60
#: Width of the halo (pixels): the reach of the core of the PRF of both neighbours.
_HALO = 6.0
_MAX_ITERATIONS = 500


class NotConvergedError(RuntimeError):
    """The iteration did not reach the tolerance."""


@dataclass(frozen=True, eq=False)
class Tiles:
    """Which sources each tile holds (halo first, core last)."""

    start: np.ndarray
    n_halo: np.ndarray
    members: np.ndarray
    factor_start: np.ndarray
    slot_start: np.ndarray
    slots: np.ndarray
    share: np.ndarray


def make_tiles(x: np.ndarray, y: np.ndarray, shape: tuple[int, int]) -> Tiles:
    """Cut a frame into tiles.

    Parameters
    ----------
    x, y : ndarray, shape (nsources,)
        Pixel positions; sources outside the frame count as if at its border.
    shape : tuple of int
        Rows and columns of the frame.
    """
    n = len(x)
    density = max(n, 1) / (shape[0] * shape[1])
    size = max(float(np.sqrt(_TILE_SOURCES / density)), _HALO)
    across, down = (max(int(np.ceil(length / size)), 1) for length in (shape[1], shape[0]))
    x, y = np.clip(x, 0.0, shape[1]), np.clip(y, 0.0, shape[0])
    i, j = np.minimum(y // size, down - 1), np.minimum(x // size, across - 1)
    tile = (i * across + j).astype(np.int64)
    order = np.argsort(tile, kind="stable").astype(np.int64)
    core_start = np.searchsorted(tile[order], np.arange(across * down + 1)).astype(np.int64)
    start, n_halo, members = solver_nb.list_slots(
        x, y, size, _HALO, across, down, core_start, order
    )
    slots = np.argsort(members, kind="stable").astype(np.int64)
    slot_start = np.searchsorted(members[slots], np.arange(n + 1)).astype(np.int64)
    share = 1.0 / np.sqrt(np.diff(slot_start))
    factor_start = np.concatenate([[0], np.cumsum(np.diff(start) ** 2)]).astype(np.int64)
    return Tiles(start, n_halo, members, factor_start, slot_start, slots, share)


class Solver:
    """Solves ``matrix @ f = rhs`` and gives the diagonal of the inverse.

    Parameters
    ----------
    matrix : csr_array, shape (nsources, nsources)
        Symmetric and positive definite, sorted columns.
    tiles : Tiles
        From `make_tiles` of the same sources.

    Attributes
    ----------
    sigma : ndarray, shape (nsources,)
        Marginal standard deviation of each unknown.
    iterations : int
        Iterations used so far.
    """

    def __init__(self, matrix: csr_array, tiles: Tiles):
        self._csr = (
            matrix.indptr.astype(np.int64),
            matrix.indices.astype(np.int32),
            np.ascontiguousarray(matrix.data),
        )
        self._tiles = tiles
        self._factors = np.empty(tiles.factor_start[-1])
        self._local = np.empty(tiles.members.size)
        variance = np.empty(matrix.shape[0])
        solver_nb.factor_tiles(
            *self._csr,
            tiles.start,
            tiles.n_halo,
            tiles.members,
            tiles.factor_start,
            self._factors,
            variance,
        )
        self.sigma = np.sqrt(variance)
        self.iterations = 0

    def _multiply(self, vector: np.ndarray) -> np.ndarray:
        out = np.empty_like(vector)
        solver_nb.multiply(*self._csr, vector, out)
        return out

    def _precondition(self, residual: np.ndarray) -> np.ndarray:
        t, out = self._tiles, np.empty_like(residual)
        solver_nb.solve_tiles(
            t.start, t.members, t.factor_start, self._factors, t.share, residual, self._local
        )
        solver_nb.gather(t.slot_start, t.slots, t.share, self._local, out)
        return out

    def solve(self, rhs: np.ndarray, start: np.ndarray, tolerance: float) -> np.ndarray:
        """Preconditioned conjugate gradients.

        Parameters
        ----------
        rhs, start : ndarray, shape (nsources,)
            Right-hand side and first guess.
        tolerance : float
            Stop when the estimated error of every unknown is below this many ``sigma``.

        Raises
        ------
        NotConvergedError
            After 500 iterations, which well-posed frames never need.
        """
        solution = start.copy()
        residual = rhs - self._multiply(solution)
        z = self._precondition(residual)
        direction, rho = z.copy(), residual @ z
        for _ in range(_MAX_ITERATIONS):
            if np.max(np.abs(z) / self.sigma, initial=0.0) <= tolerance:
                return solution
            image = self._multiply(direction)
            step = rho / (direction @ image)
            solution += step * direction
            residual -= step * image
            z = self._precondition(residual)
            rho, previous = residual @ z, rho
            direction = z + (rho / previous) * direction
            self.iterations += 1
        raise NotConvergedError(
            f"fluxes did not settle to {tolerance:g} sigma in {_MAX_ITERATIONS} iterations"
        )
