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


def overlaps(stamps: Stamps) -> csr_array:
    """Pattern of the normal matrix: which footprints share pixels; all entries zero."""
    n = len(stamps)
    start, members, across = normal_nb.bin_windows(stamps.window, *stamps.shape)
    count = np.empty(n, np.int64)
    normal_nb.count_neighbours(stamps.window, start, members, across, count)
    indptr = np.concatenate([[0], np.cumsum(count)])
    indices = np.empty(indptr[-1], np.int32)
    normal_nb.list_neighbours(stamps.window, start, members, across, indptr, indices)
    return csr_array((np.zeros(indices.size), indices, indptr), shape=(n, n))


def normal_matrix(
    stamps: Stamps, weight: np.ndarray, prior_sigma: np.ndarray, pattern: csr_array
) -> csr_array:
    """Matrix A of the module's equations.

    Parameters
    ----------
    stamps : Stamps
        Of the frame.
    weight : ndarray, shape (nrows, ncols)
        Inverse variance of the pixels, 0 where rejected.
    prior_sigma : ndarray, shape (nsources,)
        e-/s.
    pattern : csr_array
        From `overlaps`.
    """
    indptr, indices = pattern.indptr.astype(np.int64), pattern.indices
    data = np.empty(indices.size)
    normal_nb.fill_matrix(
        stamps.window, stamps.offset, stamps.values, weight, indptr, indices, data
    )
    rows = np.repeat(np.arange(len(stamps)), np.diff(indptr))
    data[indices == rows] += prior_sigma**-2.0
    return csr_array((data, indices, indptr), shape=pattern.shape)


def leverage(stamps: Stamps, weight: np.ndarray, matrix: csr_array) -> np.ndarray:
    """How far each pixel draws the model to itself: the largest w p^2 / A_ss of its stars.

    With all other fluxes held this is the diagonal of the hat matrix, so that the residual of a
    pixel is 1 - leverage of what it would be if the fit did not know the pixel.

    Returns
    -------
    ndarray, shape (nrows, ncols)
        0 to 1.
    """
    out = np.zeros(stamps.shape)
    precision = matrix.diagonal()
    normal_nb.leverage(stamps.window, stamps.offset, stamps.values, weight, precision, out)
    return out
