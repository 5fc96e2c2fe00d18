"""Kernels of the stack of residuals.

Letters: p = points, f = frames, k = functions: the PRF, or the PRF and its two derivatives.
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


@dealt(-1, 1024)
def combine(
    begin: int,
    end: int,
    vector: np.ndarray,
    matrix: np.ndarray,
    clip: float,
    spread: float,
    summed: np.ndarray,
    precision: np.ndarray,
) -> None:
    """Add up frames but those that stand out of their median: cosmic rays.

    vector, matrix (f, p): sum w r t and sum w t t of each frame, 0 where it says nothing.  A frame
    stands out when its flux, vector / matrix, is off by ``clip`` times its error and ``spread``
    of the median; of fewer than three nobody can tell, and they say nothing.  summed, precision
    (p,) are filled.
    """
    flux = np.empty(vector.shape[0])
    for i in range(begin, end):
        summed[i] = 0.0
        precision[i] = 0.0
        known = np.int64(0)
        for n in range(vector.shape[0]):
            if matrix[n, i] > 0.0:
                flux[known] = vector[n, i] / matrix[n, i]
                known += 1
        if known > 2:
            median = _median(flux, known)
            for n in range(vector.shape[0]):
                if matrix[n, i] > 0.0:
                    variance = 1.0 / matrix[n, i] + (spread * median) ** 2
                    off = vector[n, i] / matrix[n, i] - median
                    if off * off <= clip * clip * variance:
                        summed[i] += vector[n, i]
                        precision[i] += matrix[n, i]


@helper
def _median(values: np.ndarray, count: int) -> float:
    """Median of the first ``count`` values, which are put in another order (Hoare's selection)."""
    middle, low, high = count // 2, 0, count - 1
    while low < high:
        pivot, i, j = values[middle], low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while pivot < values[j]:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if j < middle:
            low = i
        if i > middle:
            high = j
    if count % 2:
        return values[middle]
    below = values[0]
    for n in range(1, middle):
        below = max(below, values[n])
    return 0.5 * (below + values[middle])
