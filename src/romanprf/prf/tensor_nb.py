"""Kernels of the tensor model: evaluation on stamps and normal equations.

PRF(dx, dy) = sum_ij c_ij B_i(u(dy)) B_j(u(dx)),  u(d) = asinh(d / scale)

B_i: cubic B-splines on uniform knots in u, whose spacing in pixels therefore grows from
scale * step in the core to step * d far outside.
Letters: s = sources, p = pixels, n = functions per axis, k = chunks of rows.
"""

import numpy as np

from romanprf.accelerate import njit, njit_parallel, prange
from romanprf.prf.splines_nb import locate, uniform_cubic


@njit
def axis(offset, scale, step, intervals):
    """First function and values of the four that are not zero at ``offset`` (pixels)."""
    k, u = locate(np.arcsinh(offset / scale), -0.5 * step * intervals, step, intervals)
    return k, uniform_cubic(u)


@njit_parallel
def fill_stamps(x, y, radius, area, window, offset, coefficients, scale, step, points, values):
    """PRF of every source on the pixels of its window, mean over points x points places in each.

    x, y, radius (s,): pixels; area (s,): factor; window (s, 4): row0, row1, column0, column1;
    offset (s + 1,): start of each stamp in ``values``, which is filled, rows first;
    coefficients (n, n): rows along y.  Separable: a row of pixels shares one contraction.
    """
    n = coefficients.shape[0]
    reach = 4 if points == 1 else min(n, 5 + int(1.0 / (scale * step)))
    for s in prange(x.size):
        row0, row1, column0, column1 = window[s]
        height, width = row1 - row0, column1 - column0
        if height > 0 and width > 0:
            below, along_y = np.empty(height, np.int64), np.zeros((height, reach))
            left, along_x = np.empty(width, np.int64), np.zeros((width, reach))
            _pixel_basis(row0 - y[s], scale, step, n, points, below, along_y)
            _pixel_basis(column0 - x[s], scale, step, n, points, left, along_x)
            line = np.empty(n)
            low, high = left[0], left[width - 1] + reach
            limit = radius[s] * radius[s]
            m = offset[s]
            for row in range(height):
                line[low:high] = 0.0
                for a in range(reach):
                    factor = area[s] * along_y[row, a]
                    i = below[row] + a
                    for j in range(low, high):
                        line[j] += factor * coefficients[i, j]
                dy = row0 + row - y[s]
                for column in range(width):
                    dx = column0 + column - x[s]
                    value = 0.0
                    if dx * dx + dy * dy <= limit:
                        for a in range(reach):
                            value += along_x[column, a] * line[left[column] + a]
                    values[m] = value
                    m += 1


@njit
def _pixel_basis(offset, scale, step, n, points, first, weight):
    """Means of the functions over ``points`` places in each of a run of pixels, 1 pixel apart.

    offset: of the centre of the first pixel; first (p,): number of the first function kept;
    weight (p, reach): the means, added to those of the functions first ... first + reach - 1.
    """
    for p in range(first.size):
        for i in range(points):
            k, b = axis(offset + p + (i + 0.5) / points - 0.5, scale, step, n - 3)
            if i == 0:
                first[p] = min(k, n - weight.shape[1])
            for a in range(4):
                weight[p, k - first[p] + a] += b[a] / points


@njit_parallel
def accumulate(x, y, flux, radius, start, members, data, weight, scale, step, n, matrix, vector):
    """Add an image to the normal equations of the coefficients.

    x, y, flux, radius (s,); members[start[r]:start[r + 1]]: sources that reach row r of the image;
    data, weight (rows, columns): light of these sources and its inverse variance; matrix
    (k, n * n, n * n), lower triangle, and vector (k, n * n) are added to.  Rows are dealt out to
    the chunks, so that the sums do not depend on the number of threads.
    """
    chunks = matrix.shape[0]
    nrows, ncols = data.shape
    for chunk in prange(chunks):
        for row in range(chunk, nrows, chunks):
            m = start[row + 1] - start[row]
            index = np.empty(16 * m, np.int64)
            value = np.empty(16 * m)
            first = np.empty(m, np.int64)
            basis = np.empty((m, 4))
            room = np.empty(m)
            for i in range(m):
                s = members[start[row] + i]
                first[i], b = axis(row - y[s], scale, step, n - 3)
                basis[i, 0], basis[i, 1], basis[i, 2], basis[i, 3] = b
                room[i] = radius[s] ** 2 - (row - y[s]) ** 2
            for column in range(ncols):
                if weight[row, column] > 0.0:
                    count = 0
                    for i in range(m):
                        s = members[start[row] + i]
                        if (column - x[s]) ** 2 <= room[i]:
                            k, b = axis(column - x[s], scale, step, n - 3)
                            for a in range(4):
                                for c in range(4):
                                    index[count] = (first[i] + a) * n + k + c
                                    value[count] = flux[s] * basis[i, a] * b[c]
                                    count += 1
                    _add_pixel(
                        index[:count],
                        value[:count],
                        data[row, column],
                        weight[row, column],
                        matrix[chunk],
                        vector[chunk],
                    )


@njit
def _add_pixel(index, value, data, weight, matrix, vector):
    """Add one pixel, value (p,) of the coefficients index (p,), to the lower triangle."""
    for i in range(index.size):
        wi = weight * value[i]
        vector[index[i]] += wi * data
        for j in range(index.size):
            if index[j] <= index[i]:
                matrix[index[i], index[j]] += wi * value[j]
