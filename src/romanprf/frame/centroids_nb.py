"""Kernels for the place of each star on a frame, with the fluxes of its neighbours free.

Letters: s = sources, a, b = functions: the PRF of each neighbour, then of the star, then its two
derivatives.
"""

import numpy as np

from romanprf.core.accelerate import dealt, helper_exact, njit_exact
from romanprf.frame.groups_nb import shown, weighted_sum


@njit_exact
def chain(x: np.ndarray, y: np.ndarray, first: np.ndarray, following: np.ndarray) -> None:
    """List the sources on each pixel, the lowest first.

    first (rows, columns) and following (s,) are filled with the first source of each pixel and the
    one after each source; -1 at the end.  Sources off the image are on no list.
    """
    first[:] = -1
    nrows, ncols = first.shape
    for s in range(x.size - 1, -1, -1):
        following[s] = -1
        if -0.5 < x[s] < ncols - 0.5 and -0.5 < y[s] < nrows - 0.5:
            i, j = int(np.floor(y[s] + 0.5)), int(np.floor(x[s] + 0.5))
            following[s], first[i, j] = first[i, j], s


@dealt(0, 128, exact=True)
def information(
    begin: int,
    end: int,
    x: np.ndarray,
    y: np.ndarray,
    first: np.ndarray,
    following: np.ndarray,
    reach: float,
    residual: np.ndarray,
    weight: np.ndarray,
    template: np.ndarray,
    cell: int,
    precision: np.ndarray,
    vector: np.ndarray,
    matrix: np.ndarray,
) -> None:
    """Normal equations of each star's flux and place, with its neighbours' fluxes eliminated.

    x, y (s,): pixels, NaN and outside allowed; first, following: from `chain`; neighbours are
    closer than ``reach`` (pixels), and no more than fit in memory; residual, weight (rows,
    columns): what the best fluxes leave (e-/s) and its inverse variance, 0 where rejected;
    template, cell: as in `romanprf.frame.match_nb.match`, interpolated; precision (s,): of the
    prior of each flux.  vector (s, 2) = sum w r t for both derivatives t and matrix (s, 3, 3) of
    flux, x and y (per unit flux) are filled, with NaN where more than half of the light is on
    rejected pixels.
    """
    side, most = template.shape[5], 32
    member, row, column = np.empty((3, most + 3), np.int64)
    light, gram = np.empty((most + 3, side, side)), np.empty((most + 3, most + 3))
    for s in range(begin, end):
        vector[s], matrix[s] = np.nan, np.nan
        n = _neighbours(s, x, y, first, following, reach, member[:most])
        if n < 0:
            continue
        member[n : n + 3] = s
        for a in range(n + 3):
            here = x[member[a]], y[member[a]]
            row[a], column[a] = _interpolated(*here, template, cell, max(a - n, 0), light[a])
        if not shown(weight, row[n], column[n], light[n]):
            continue
        for a in range(n + 3):
            _fill_row(weight, row, column, light, a, gram)
        for a in range(n + 1):
            gram[a, a] += precision[member[a]]
        _marginalise(gram, n, n + 3)
        for a, b in np.ndindex(3, 3):
            matrix[s, a, b] = gram[n + max(a, b), n + min(a, b)]
        for a in range(2):
            vector[s, a] = weighted_sum(residual, weight, row[n], column[n], light[n + 1 + a])


@helper_exact
def _neighbours(
    s: int,
    x: np.ndarray,
    y: np.ndarray,
    first: np.ndarray,
    following: np.ndarray,
    reach: float,
    found: np.ndarray,
) -> int:
    """Number of sources around one, which are put into ``found``; -1 if it is off the image."""
    nrows, ncols = first.shape
    if not (-0.5 < x[s] < ncols - 0.5 and -0.5 < y[s] < nrows - 0.5):
        return -1
    n, around = 0, int(np.ceil(reach))
    row, column = int(np.floor(y[s] + 0.5)), int(np.floor(x[s] + 0.5))
    for i in range(max(row - around, 0), min(row + around + 1, nrows)):
        for j in range(max(column - around, 0), min(column + around + 1, ncols)):
            other = first[i, j]
            while other >= 0 and n < found.size:
                distance = np.hypot(x[other] - x[s], y[other] - y[s])
                if other != s and distance < reach:
                    found[n] = other
                    n += 1
                other = following[other]
    return n


@helper_exact
def _interpolated(
    x: float, y: float, template: np.ndarray, cell: int, number: int, out: np.ndarray
) -> tuple[int, int]:
    """A function of the template at a place, linear between phases: its first row and column."""
    fine, half = template.shape[2] - 1, template.shape[5] // 2
    i, j = int(np.floor(y + 0.5)), int(np.floor(x + 0.5))
    v, u = (y - i + 0.5) * fine, (x - j + 0.5) * fine
    low_v, low_u = min(int(v), fine - 1), min(int(u), fine - 1)
    v, u = v - low_v, u - low_u
    near = template[i // cell, j // cell]
    for m in range(out.shape[0]):
        for n in range(out.shape[1]):
            below = (1.0 - u) * near[low_v, low_u, number, m, n]
            below += u * near[low_v, low_u + 1, number, m, n]
            above = (1.0 - u) * near[low_v + 1, low_u, number, m, n]
            above += u * near[low_v + 1, low_u + 1, number, m, n]
            out[m, n] = (1.0 - v) * below + v * above
    return i - half, j - half


@helper_exact
def _fill_row(
    weight: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
    light: np.ndarray,
    a: int,
    gram: np.ndarray,
) -> None:
    """Sums of weight, function ``a`` and each up to it, over the pixels that both are on."""
    side = light.shape[1]
    for b in range(a + 1):
        low = max(column[a], column[b], 0)
        high = min(min(column[a], column[b]) + side, weight.shape[1])
        total = 0.0
        for i in range(max(row[a], row[b], 0), min(min(row[a], row[b]) + side, weight.shape[0])):
            for j in range(low, high):
                product = light[a, i - row[a], j - column[a]] * light[b, i - row[b], j - column[b]]
                total += weight[i, j] * product
        gram[a, b] = total


@helper_exact
def _marginalise(matrix: np.ndarray, n: int, size: int) -> None:
    """Take the first ``n`` unknowns out of the lower half of a symmetric matrix of ``size``."""
    for k in range(n):
        for i in range(k + 1, size):
            factor = matrix[i, k] / matrix[k, k]
            for j in range(k + 1, i + 1):
                matrix[i, j] -= factor * matrix[j, k]
