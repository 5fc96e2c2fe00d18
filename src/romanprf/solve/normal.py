"""Normal equations of all fluxes of a frame.

Minimise sum (y - sum_s f_s p_s - b)^2 / var + sum_s (f_s - mu_s)^2 / sigma_s^2  over the fluxes
f and the background b (Luger, Foreman-Mackey & Hogg 2017, RNAAS 1, 7).  With weights w = 1 / var,

    A f + c b = h,    c . f + d b = e
    A_so = sum w p_s p_o + delta_so / sigma_s^2,  c_s = sum w p_s,  d = sum w,
    h_s = sum w p_s y + mu_s / sigma_s^2,         e = sum w y.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from romanprf.frame.stamps import Stamps
from romanprf.solve import normal_nb

#: Weights that change by less than this fraction stay as they are: the variance of a flux is right
#: to 1e-3 then, and most of the matrix need not be made anew.
_SAME = 0.05
#: Pixels on either side of a star that can determine its flux.
_CORE = 3


class Pattern(NamedTuple):
    """Pairs of footprints that share pixels: the entries of the normal matrix.

    Attributes
    ----------
    start, own : ndarray, shapes (nsources + 1,) and (nowned,)
        Of two sources one has their entry, see `romanprf.solve.normal_nb`: list of each.
    indptr, indices : ndarray
        Of the whole matrix, CSR with sorted columns.
    place : ndarray
        Number of each entry among the owned ones.
    """

    start: np.ndarray
    own: np.ndarray
    indptr: np.ndarray
    indices: np.ndarray
    place: np.ndarray


def overlaps(stamps: Stamps) -> Pattern:
    """Find the footprints that share pixels."""
    places = stamps.x, stamps.y, stamps.radius
    cells, members, across = normal_nb.bin_sources(stamps.x, stamps.y, *stamps.shape)
    count = np.empty(len(stamps), np.int64)
    normal_nb.count_candidates(*places, cells, across, count)
    first = np.concatenate([[0], np.cumsum(count + 2)])  # one not yet kept, and a source outside
    lists = np.empty(first[-1], np.int32)
    normal_nb.list_own(*places, stamps.window, cells, members, across, first, lists, count)
    start = np.concatenate([[0], np.cumsum(count)])
    own = np.empty(start[-1], np.int32)
    normal_nb.pack(first, lists, start, own)
    indptr, entries = normal_nb.mirrored(start, own)
    indices, place = np.empty((2, entries.size), np.int32)
    normal_nb.sort_rows(indptr, entries, indices, place)
    return Pattern(start, own, indptr, indices, place)


class NormalMatrix:
    """Matrix A of the module's equations, which follows the weights of the pixels.

    Parameters
    ----------
    stamps : Stamps
        Of the frame.
    prior_sigma : ndarray, shape (nsources,)
        e-/s.

    Attributes
    ----------
    weight : ndarray, shape (nrows, ncols)
        Inverse variance of the pixels that the matrix stands for, 0 where rejected.
    matrix : csr_array, shape (nsources, nsources)
        Symmetric, positive definite, sorted columns.
    """

    def __init__(self, stamps: Stamps, prior_sigma: np.ndarray):
        self._stamps, self._prior = stamps, prior_sigma**-2.0
        self.weight = np.zeros(stamps.shape)
        self._pattern = p = overlaps(stamps)
        self._own, n = np.zeros(p.own.size), len(stamps)
        self.matrix = csr_array((np.zeros(p.indices.size), p.indices, p.indptr), shape=(n, n))
        self._empty = True

    @property
    def diagonal(self) -> np.ndarray:
        """Of the matrix, shape (nsources,): each source is the first of its own list."""
        return self._own[self._pattern.start[:-1]]

    def follow(self, weight: np.ndarray) -> np.ndarray:
        """Take new weights where they differ.

        Returns
        -------
        ndarray of int64, shape (cells_y + 1, cells_x + 1)
            Number of changed pixels before each cell (see
            `romanprf.solve.normal_nb.touched`).
        """
        cells = [-(-length // normal_nb.FINE) + 1 for length in weight.shape]
        total = np.zeros(cells, np.int64)
        normal_nb.changes(self.weight, weight, _SAME, total)
        if self._empty:
            total[1:, 1:], self._empty = 1, False
        total = total.cumsum(axis=0).cumsum(axis=1)
        s, p = self._stamps, self._pattern
        rest = self._prior, total, p.start, p.own
        normal_nb.fill_own(s.footprints, self.weight, *rest, self._own)
        normal_nb.take(self._own, p.place, self.matrix.data)
        return total


def normal_matrix(stamps: Stamps, weight: np.ndarray, prior_sigma: np.ndarray) -> csr_array:
    """Matrix A of the module's equations for one set of weights (see `NormalMatrix`)."""
    normal = NormalMatrix(stamps, prior_sigma)
    normal.follow(weight)
    return normal.matrix


def leverage(stamps: Stamps, weight: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
    """Leverage of each pixel: the largest w p^2 / A_ss of its stars.

    With all other fluxes held this is the diagonal of the hat matrix: the residual of a pixel is
    1 - leverage times that from a fit without the pixel.  ``diagonal``
    is that of the normal matrix, shape (nsources,).

    Returns
    -------
    ndarray, shape (nrows, ncols)
        0 to 1.
    """
    out, places = np.zeros(stamps.shape), (stamps.x, stamps.y, stamps.footprints)
    normal_nb.leverage(*places, *stamps.bands, weight, diagonal, _CORE, out)
    return out
