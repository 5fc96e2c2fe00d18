"""Kernels of the normal matrix: which footprints overlap, and by how much.

Two windows overlap in a rectangle.  Its upper-left pixel lies in exactly one cell of a coarse
grid, so a search through the cells of a window meets each neighbour once, without bookkeeping.
Letters: s = sources, k = entries; the matrix is symmetric, CSR, columns sorted, diagonal included.
"""

import numpy as np

from romanprf.accelerate import njit, njit_parallel, prange

CELL = 16


@njit
def bin_windows(window, nrows, ncols):
    """List the sources whose window touches each cell: start (cells + 1,), members."""
    across = (ncols + CELL - 1) // CELL
    down = (nrows + CELL - 1) // CELL
    start = np.zeros(down * across + 1, np.int64)
    for fill in range(2):
        if fill == 1:
            for c in range(down * across):
                start[c + 1] += start[c]
            members = np.empty(start[-1], np.int32)
            place = start[:-1].copy()
        for s in range(window.shape[0]):
            if window[s, 1] > window[s, 0]:
                for i in range(window[s, 0] // CELL, (window[s, 1] - 1) // CELL + 1):
                    for j in range(window[s, 2] // CELL, (window[s, 3] - 1) // CELL + 1):
                        c = i * across + j
                        if fill == 0:
                            start[c + 1] += 1
                        else:
                            members[place[c]] = s
                            place[c] += 1
    return start, members, across


@njit
def _meets(window, s, o, i, j):
    """Whether windows s and o overlap and their common rectangle starts in cell (i, j)."""
    row = max(window[s, 0], window[o, 0])
    column = max(window[s, 2], window[o, 2])
    if row >= min(window[s, 1], window[o, 1]) or column >= min(window[s, 3], window[o, 3]):
        return False
    return row // CELL == i and column // CELL == j


@njit
def _neighbours(s, window, start, members, across, out):
    """Write the neighbours of a source, itself included, to ``out`` as far as it reaches.

    Return how many there are; a source without a window has only itself.
    """
    if window[s, 1] <= window[s, 0]:
        if out.size > 0:
            out[0] = s
        return 1
    count = 0
    for i in range(window[s, 0] // CELL, (window[s, 1] - 1) // CELL + 1):
        for j in range(window[s, 2] // CELL, (window[s, 3] - 1) // CELL + 1):
            c = i * across + j
            for m in range(start[c], start[c + 1]):
                if _meets(window, s, members[m], i, j):
                    if count < out.size:
                        out[count] = members[m]
                    count += 1
    return count


@njit_parallel
def count_neighbours(window, start, members, across, count):
    """Number of sources whose window overlaps that of each source, itself included."""
    nothing = np.empty(0, np.int32)
    for s in prange(window.shape[0]):
        count[s] = _neighbours(s, window, start, members, across, nothing)


@njit_parallel
def list_neighbours(window, start, members, across, indptr, indices):
    """Fill the sorted column indices of each row."""
    for s in prange(window.shape[0]):
        row = indices[indptr[s] : indptr[s + 1]]
        _neighbours(s, window, start, members, across, row)
        row[:] = np.sort(row)


@njit
def _overlap(window, offset, values, weight, s, o):
    """Sum over the common pixels of weight times both PRFs."""
    row0, row1 = max(window[s, 0], window[o, 0]), min(window[s, 1], window[o, 1])
    col0, col1 = max(window[s, 2], window[o, 2]), min(window[s, 3], window[o, 3])
    total = 0.0
    for row in range(row0, row1):
        a = offset[s] + (row - window[s, 0]) * (window[s, 3] - window[s, 2]) - window[s, 2]
        b = offset[o] + (row - window[o, 0]) * (window[o, 3] - window[o, 2]) - window[o, 2]
        for column in range(col0, col1):
            total += values[a + column] * weight[row, column] * values[b + column]
    return total


@njit_parallel
def fill_matrix(window, offset, values, weight, indptr, indices, data):
    """Entries of the normal matrix without prior, data (k,); each pair is computed once."""
    for s in prange(window.shape[0]):
        for k in range(indptr[s], indptr[s + 1]):
            if indices[k] <= s:
                data[k] = _overlap(window, offset, values, weight, s, indices[k])
    for s in prange(window.shape[0]):
        for k in range(indptr[s], indptr[s + 1]):
            o = indices[k]
            if o > s:
                low, high = indptr[o], indptr[o + 1]
                data[k] = data[low + np.searchsorted(indices[low:high], s)]


@njit
def leverage(window, offset, values, weight, precision, out):
    """Largest part that a pixel has in the flux of one star, w p^2 / A_ss -> out, which is 0.

    weight, out (rows, columns); precision (s,): diagonal of the normal matrix.
    """
    for s in range(precision.size):
        n = offset[s]
        for row in range(window[s, 0], window[s, 1]):
            for column in range(window[s, 2], window[s, 3]):
                part = weight[row, column] * values[n] ** 2 / precision[s]
                out[row, column] = max(out[row, column], part)
                n += 1
