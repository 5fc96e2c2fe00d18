"""Kernel that draws stars from a sampled PRF.

R, C: rows and columns of the image; N: stars; M: samples of the PRF per axis.
"""

import numpy as np

from romanprf.core.accelerate import njit_exact
from romanprf.core.splines_nb import uniform_cubic


@njit_exact
def add_stars(
    image: np.ndarray,  # (R, C), changed
    x: np.ndarray,  # (N,) columns
    y: np.ndarray,  # (N,) rows
    flux: np.ndarray,  # (N,)
    radius: np.ndarray,  # (N,) half-width of the square to draw, pixels
    coefficients: np.ndarray,  # (M, M)
    oversampling: int,
) -> None:
    """Add stars to an image.

    The samples are a whole fraction of a pixel apart, so all pixels of a star share its weights.
    """
    nrows, ncols = image.shape
    middle = coefficients.shape[0] // 2
    for n in range(x.size):
        if not (np.isfinite(x[n]) and np.isfinite(y[n]) and np.isfinite(flux[n])):
            continue
        row, column = int(np.floor(y[n] + 0.5)), int(np.floor(x[n] + 0.5))
        top, bottom = max(0, row - radius[n]), min(nrows, row + radius[n] + 1)
        left, right = max(0, column - radius[n]), min(ncols, column + radius[n] + 1)
        s, t = (top - y[n]) * oversampling, (left - x[n]) * oversampling
        i, j = int(np.floor(s)), int(np.floor(t))
        vertical, horizontal = uniform_cubic(s - i), uniform_cubic(t - j)
        for r in range(top, bottom):
            first = middle + i + (r - top) * oversampling - 1
            for c in range(left, right):
                second = middle + j + (c - left) * oversampling - 1
                value = 0.0
                for a in range(4):
                    value += vertical[a] * (
                        horizontal[0] * coefficients[first + a, second]
                        + horizontal[1] * coefficients[first + a, second + 1]
                        + horizontal[2] * coefficients[first + a, second + 2]
                        + horizontal[3] * coefficients[first + a, second + 3]
                    )
                image[r, c] += flux[n] * value
