"""Normal equations of all fluxes of a frame.

Minimise sum (y - sum_s f_s p_s - b)^2 / var + sum_s (f_s - mu_s)^2 / sigma_s^2  over the fluxes
f and the background b (Luger, Foreman-Mackey & Hogg 2017, RNAAS 1, 7).  With weights w = 1 / var,

    A f + c b = h,    c . f + d b = e
    A_so = sum w p_s p_o + delta_so / sigma_s^2,  c_s = sum w p_s,  d = sum w,
    h_s = sum w p_s y + mu_s / sigma_s^2,         e = sum w y.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from romanprf.photometry import normal_nb
from romanprf.photometry.stamps import Stamps

#: Weights that change by less than this fraction stay as they are: it would cost more than it
#: brings, which is 1e-3 of the variance of a flux.
_SAME = 0.05
#: Pixels on either side of a star that can rule its flux.
_CORE = 3


def overlaps(stamps: Stamps) -> csr_array:
    """Pattern of the normal matrix: which footprints share pixels; all entries zero."""
    n = len(stamps)
    places = stamps.x, stamps.y, stamps.radius, stamps.window
    cells = normal_nb.bin_sources(stamps.x, stamps.y, *stamps.shape)
    count = np.empty(n, np.int64)
    normal_nb.count_own(*places, *cells, count)
    indptr = np.concatenate([[0], np.cumsum(count)])
    indices = np.empty(indptr[-1], np.int32)
    normal_nb.list_own(*places, *cells, indptr, indices)
    indptr, indices = normal_nb.mirrored(indptr, indices)
    normal_nb.sort_rows(indptr, indices)
    return csr_array((np.zeros(indices.size), indices, indptr), shape=(n, n))


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
        self.matrix = overlaps(stamps)
        # It shares the data with the matrix.
        self._csr = self.matrix.indptr.astype(np.int64), self.matrix.indices, self.matrix.data
        self._empty = True

    @property
    def diagonal(self) -> np.ndarray:
        """Of the matrix, shape (nsources,)."""
        out = np.empty(len(self._stamps))
        normal_nb.diagonal(*self._csr, out)
        return out

    def follow(self, weight: np.ndarray) -> np.ndarray:
        """Take new weights where they differ.

        Returns
        -------
        ndarray of int64, shape (cells_y + 1, cells_x + 1)
            Number of changed pixels before each cell (see
            `romanprf.photometry.normal_nb.touched`).
        """
        cells = [-(-length // normal_nb.FINE) + 1 for length in weight.shape]
        total = np.zeros(cells, np.int64)
        normal_nb.changes(self.weight, weight, _SAME, total)
        if self._empty:
            total[1:, 1:], self._empty = 1, False
        total = total.cumsum(axis=0).cumsum(axis=1)
        s = self._stamps
        normal_nb.fill_matrix(
            s.window,
            s.offset,
            s.values,
            s.radius,
            self.weight,
            self._prior,
            total,
            *self._csr,
        )
        return total


def normal_matrix(stamps: Stamps, weight: np.ndarray, prior_sigma: np.ndarray) -> csr_array:
    """Matrix A of the module's equations for one set of weights (see `NormalMatrix`)."""
    normal = NormalMatrix(stamps, prior_sigma)
    normal.follow(weight)
    return normal.matrix


def leverage(stamps: Stamps, weight: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
    """How far each pixel draws the model to itself: the largest w p^2 / A_ss of its stars.

    With all other fluxes held this is the diagonal of the hat matrix, so that the residual of a
    pixel is 1 - leverage of what it would be if the fit did not know the pixel.  ``diagonal``
    is that of the normal matrix, shape (nsources,).

    Returns
    -------
    ndarray, shape (nrows, ncols)
        0 to 1.
    """
    out = np.zeros(stamps.shape)
    s = stamps
    places = s.x, s.y, s.window, s.offset, s.values
    normal_nb.leverage(*places, *s.bands, weight, diagonal, _CORE, out)
    return out
