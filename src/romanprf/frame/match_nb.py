"""Kernel of the matched filter.

Letters: p = points, k = functions: the PRF, or the PRF and its two derivatives.
"""

import numpy as np

from romanprf.core.accelerate import njit, njit_parallel, prange


@njit_parallel
def match(
    x: np.ndarray,
    y: np.ndarray,
    residual: np.ndarray,
    weight: np.ndarray,
    template: np.ndarray,
    cell: int,
    vector: np.ndarray,
    matrix: np.ndarray,
) -> None:
    """Least squares of the functions around each point, with the points taken one by one.

    x, y (p,): pixels, NaN and outside allowed; residual, weight (rows, columns): e-/s and inverse
    variance, 0 where rejected; template (cells, cells, phases, phases, k, side, side): functions
    on the pixels around the central one of each ``cell`` pixels, by sub-pixel phase (y, x) from
    -0.5 to 0.5.  vector (p, k) = sum w r t and matrix (p, k, k) = sum w t t are filled, with 0
    where more than half of the light is on rejected pixels.
    """
    nrows, ncols = weight.shape
    fine, k, side = template.shape[2] - 1, template.shape[4], template.shape[5]
    half = side // 2
    for i in prange(x.size):
        vector[i] = 0.0
        matrix[i] = 0.0
        if -0.5 < x[i] < ncols - 0.5 and -0.5 < y[i] < nrows - 0.5:
            row, column = int(np.floor(y[i] + 0.5)), int(np.floor(x[i] + 0.5))
            u = int((y[i] - row + 0.5) * fine + 0.5)
            v = int((x[i] - column + 0.5) * fine + 0.5)
            near = template[row // cell, column // cell, u, v]
            top, left = row - half, column - half
            rows = max(0, top), min(nrows, top + side)
            columns = max(0, left), min(ncols, left + side)
            w = weight[rows[0] : rows[1], columns[0] : columns[1]]
            r = residual[rows[0] : rows[1], columns[0] : columns[1]]
            t = near[:, rows[0] - top : rows[1] - top, columns[0] - left : columns[1] - left]
            if _lit(w, t[0]) >= 0.5 * near[0].sum():
                for a in range(k):
                    vector[i, a] = _triple(w, r, t[a])
                    for b in range(k):
                        matrix[i, a, b] = _triple(w, t[a], t[b])


@njit
def _lit(weight: np.ndarray, light: np.ndarray) -> float:
    """Sum of ``light`` where there is weight."""
    total = 0.0
    for m in range(weight.shape[0]):
        for n in range(weight.shape[1]):
            total += light[m, n] * (weight[m, n] > 0.0)
    return total


@njit
def _triple(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    """Sum of the products of three images."""
    total = 0.0
    for m in range(a.shape[0]):
        for n in range(a.shape[1]):
            total += a[m, n] * b[m, n] * c[m, n]
    return total
