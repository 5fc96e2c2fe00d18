"""Kernel of the stack of residuals; p = points, f = frames."""

import numpy as np

from romanprf.core.accelerate import dealt, helper


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
