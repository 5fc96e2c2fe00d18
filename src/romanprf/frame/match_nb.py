"""Kernel of the matched filter.

Letters: p = points, k = functions: the PRF, or the PRF and its two derivatives.
"""

import numpy as np

from romanprf.core.accelerate import dealt, helper


@dealt(0, 256)
def match(
    begin: int,
    end: int,
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
    w, weighted = np.empty((side, side)), np.empty((side, side))
    for i in range(begin, end):
        lit = False
        if -0.5 < x[i] < ncols - 0.5 and -0.5 < y[i] < nrows - 0.5:
            row, column = int(np.floor(y[i] + 0.5)), int(np.floor(x[i] + 0.5))
            u = int((y[i] - row + 0.5) * fine + 0.5)
            v = int((x[i] - column + 0.5) * fine + 0.5)
            near = template[row // cell, column // cell, u, v]
            _cut(residual, weight, row - half, column - half, weighted, w)
            lit = _lit(w, near[0])
        for a in range(k):
            vector[i, a] = _product(weighted, near[a]) if lit else 0.0
            for b in range(k):
                matrix[i, a, b] = _triple(w, near[a], near[b]) if lit else 0.0


@helper
def _cut(
    image: np.ndarray, weight: np.ndarray, top: int, left: int, weighted: np.ndarray, w: np.ndarray
) -> None:
    """Pixels from row ``top`` and column ``left``: image times weight, weight; 0 outside."""
    for m in range(w.shape[0]):
        for n in range(w.shape[1]):
            i, j = top + m, left + n
            w[m, n] = weighted[m, n] = 0.0
            if 0 <= i < weight.shape[0] and 0 <= j < weight.shape[1]:
                w[m, n], weighted[m, n] = weight[i, j], weight[i, j] * image[i, j]


@helper
def _lit(weight: np.ndarray, light: np.ndarray) -> bool:
    """Whether at least half of ``light`` is where there is weight."""
    total = seen = 0.0
    for m in range(weight.shape[0]):
        for n in range(weight.shape[1]):
            total += light[m, n]
            seen += light[m, n] * (weight[m, n] > 0.0)
    return seen >= 0.5 * total


@helper
def _product(a: np.ndarray, b: np.ndarray) -> float:
    """Sum of the products of two images."""
    total = 0.0
    for m in range(a.shape[0]):
        for n in range(a.shape[1]):
            total += a[m, n] * b[m, n]
    return total


@helper
def _triple(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    """Sum of the products of three images."""
    total = 0.0
    for m in range(a.shape[0]):
        for n in range(a.shape[1]):
            total += a[m, n] * b[m, n] * c[m, n]
    return total
