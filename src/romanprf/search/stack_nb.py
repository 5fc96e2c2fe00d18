"""Kernel of the stack of residuals; p = points, f = frames."""

import numpy as np

from romanprf.core.accelerate import njit_parallel, prange


@njit_parallel
def combine(
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
    for i in prange(summed.size):
        known = np.flatnonzero(matrix[:, i] > 0.0)
        summed[i] = 0.0
        precision[i] = 0.0
        if known.size > 2:
            flux = np.empty(known.size)
            for n in range(known.size):
                flux[n] = vector[known[n], i] / matrix[known[n], i]
            median = np.median(flux)
            for n in range(known.size):
                variance = 1.0 / matrix[known[n], i] + (spread * median) ** 2
                if (flux[n] - median) ** 2 <= clip * clip * variance:
                    summed[i] += vector[known[n], i]
                    precision[i] += matrix[known[n], i]
