"""Kernels of the tensor model: evaluation on stamps, its transpose, and parts of the normal matrix.

PRF(dx, dy) = sum_ij c_ij B_i(u(dy)) B_j(u(dx)),  u(d) = asinh(d / scale)

B_i: cubic B-splines on uniform knots in u, whose spacing in pixels therefore grows from
scale * step in the core to step * d far outside.
Where the PRF changes over the image, a source's c_ij are a mean of those of the nodes around it.
Letters: s = sources, p = pixels, k = nodes, m = nodes around a source (1 or 4), n = functions per
axis, t = chunks of sources.  window (s, 4): row0, row1, column0, column1; offset (s + 1,): start
of each stamp in ``values``, rows first; node, share (s, m): what each source takes of which node.
"""

import numpy as np

from romanprf.core.accelerate import dealt, helper, unsigned
from romanprf.core.splines_nb import locate, uniform_cubic

#: Sources that are worth a thread.
SOURCES = 64


@helper
def axis(offset, scale, step, intervals):
    """First function and values of the four that are not zero at ``offset`` (pixels)."""
    d = abs(offset) / scale
    place = np.log(d + np.sqrt(d * d + 1.0))  # asinh, which is slower
    place = place if offset > 0.0 else -place
    k, u = locate(place, -0.5 * step * intervals, step, intervals)
    return k, uniform_cubic(u)


@dealt(0, SOURCES)
def fill_stamps(
    begin,
    end,
    x,
    y,
    radius,
    area,
    window,
    offset,
    node,
    share,
    coefficients,
    scale,
    step,
    points,
    values,
):
    """PRF of every source on the pixels of its window, mean over points x points places in each.

    x, y, radius (s,): pixels; area (s,): factor; coefficients (k, n, n), float32: rows along y.
    Separable: a row of pixels shares one contraction.
    """
    n = coefficients.shape[1]
    reach = 4 if points == 1 else min(n, 5 + int(1.0 / (scale * step)))
    for s in range(begin, end):
        row0, row1, column0, column1 = window[s]
        height, width = row1 - row0, column1 - column0
        if height > 0 and width > 0:
            below, along_y = _pixel_basis(row0 - y[s], height, reach, scale, step, n, points)
            left, along_x = _pixel_basis(column0 - x[s], width, reach, scale, step, n, points)
            own = _local(coefficients, node, share, s, area[s], below, left, reach)
            line = np.empty(own.shape[1], np.float32)
            m = offset[s]
            for row in range(height):
                room = radius[s] ** 2 - (row0 + row - y[s]) ** 2
                half = np.sqrt(max(room, 0.0))
                first = max(int(np.ceil(x[s] - half)) - column0, 0)
                last = min(int(np.floor(x[s] + half)) - column0 + 1, width)
                if room < 0.0 or last < first:
                    first = last = 0
                else:
                    _contract(own, below[row] - below[0], along_y, row, line)
                _mean(line, left, along_x, first, last, m, width, values)
                m += width


@helper
def _local(coefficients, node, share, s, area, below, left, reach):
    """Coefficients of source s, times its area, that reach the pixels of its window.

    The mean of those of the nodes around it; below, left: first one of each row and column.
    """
    i0, j0 = unsigned(below[0]), unsigned(left[0])
    rows, columns = unsigned(below[-1] + reach - below[0]), unsigned(left[-1] + reach - left[0])
    own = np.empty((rows, columns), np.float32)
    if node.shape[1] == 1:
        k0, factor = unsigned(node[s, 0]), np.float32(share[s, 0] * area)
        for i in range(rows):
            for j in range(columns):
                own[i, j] = factor * coefficients[k0, i0 + i, j0 + j]
        return own
    factor, c = np.float32(area), coefficients
    f0, f1 = np.float32(share[s, 0]) * factor, np.float32(share[s, 1]) * factor
    f2, f3 = np.float32(share[s, 2]) * factor, np.float32(share[s, 3]) * factor
    k0, k1 = unsigned(node[s, 0]), unsigned(node[s, 1])
    k2, k3 = unsigned(node[s, 2]), unsigned(node[s, 3])
    for i in range(rows):  # all four in one pass
        p = i0 + i
        for j in range(columns):
            q = j0 + j
            own[i, j] = f0 * c[k0, p, q] + f1 * c[k1, p, q] + f2 * c[k2, p, q] + f3 * c[k3, p, q]
    return own


@helper
def _contract(own, first, weight, row, line):
    """Sum the rows of coefficients that reach a row of pixels; weight (rows, reach)."""
    i, r = unsigned(first), unsigned(row)
    w0, w1, w2, w3 = weight[r, 0], weight[r, 1], weight[r, 2], weight[r, 3]
    b, c, d = i + unsigned(1), i + unsigned(2), i + unsigned(3)
    for j in range(unsigned(line.size)):
        line[j] = w0 * own[i, j] + w1 * own[b, j] + w2 * own[c, j] + w3 * own[d, j]
    for a in range(unsigned(4), unsigned(weight.shape[1])):
        for j in range(unsigned(line.size)):
            line[j] += weight[r, a] * own[i + a, j]


@helper
def _mean(line, left, weight, first, last, start, width, values):
    """Write a row of pixels to values[start : start + width], 0 but from ``first`` to ``last``.

    left, weight (columns,) and (columns, reach): functions that reach each column, the first of
    them is that of ``line``.
    """
    m, j0 = unsigned(start), unsigned(left[0])
    for p in range(unsigned(width)):
        values[m + p] = 0.0
    for p in range(unsigned(first), unsigned(last)):
        j = unsigned(left[p]) - j0
        values[m + p] = (
            weight[p, 0] * line[j]
            + weight[p, 1] * line[j + unsigned(1)]
            + weight[p, 2] * line[j + unsigned(2)]
            + weight[p, 3] * line[j + unsigned(3)]
        )
    for a in range(unsigned(4), unsigned(weight.shape[1])):
        for p in range(unsigned(first), unsigned(last)):
            values[m + p] += weight[p, a] * line[unsigned(left[p]) - j0 + a]


@helper
def _pixel_basis(offset, count, reach, scale, step, n, points):
    """Means of the functions over ``points`` places in each of a run of pixels, 1 pixel apart.

    offset: of the centre of the first of ``count`` pixels.  Returns first (p,), the number of the
    first function kept, and weight (p, reach), the means of first ... first + reach - 1.
    """
    first, weight = np.empty(count, np.int64), np.zeros((count, reach), np.float32)
    for p in range(count):
        for i in range(points):
            k, b = axis(offset + p + (i + 0.5) / points - 0.5, scale, step, n - 3)
            if i == 0:
                first[p] = min(k, n - reach)
            for a in range(4):
                weight[p, k - first[p] + a] += b[a] / points
    return first, weight


@dealt(-1)
def gather(begin, end, x, y, radius, light, window, node, share, image, scale, step, total):
    """Transpose of `fill_stamps` (one point a pixel) times ``light`` (s,): sums over the pixels.

    total (t, k, n, n) is added to: what ``image`` (rows, columns) says of each coefficient.  The
    sources are dealt out to the chunks, so that the sums do not depend on the number of threads.
    """
    chunks, n = total.shape[0], total.shape[2]
    four, one = np.int64(4), np.int64(1)  # literals would be types of their own
    for chunk in range(begin, end):
        line = np.empty(n)
        for s in range(chunk, x.size, chunks):
            row0, row1, column0, column1 = window[s]
            height, width = row1 - row0, column1 - column0
            if height > 0 and width > 0:
                below, along_y = _pixel_basis(row0 - y[s], height, four, scale, step, n, one)
                left, along_x = _pixel_basis(column0 - x[s], width, four, scale, step, n, one)
                low, high = left[0], left[width - 1] + 4
                for row in range(height):
                    room = radius[s] ** 2 - (row0 + row - y[s]) ** 2
                    line[low:high] = 0.0
                    _sum_row(
                        image[row0 + row, column0:column1],
                        column0 - x[s],
                        room,
                        left,
                        along_x,
                        line,
                    )
                    for b in range(node.shape[1]):
                        sums = total[chunk, node[s, b], below[row] : below[row] + 4]
                        for a in range(4):
                            factor = light[s] * along_y[row, a] * share[s, b]
                            _add_scaled(line, factor, low, high, sums[a])


@helper
def _add_scaled(line, factor, low, high, sums):
    """Add ``factor`` times the elements ``low`` ... ``high`` - 1 of a line to those of another."""
    for j in range(unsigned(low), unsigned(high)):
        sums[j] += factor * line[j]


@helper
def _sum_row(pixels, offset, room, left, along_x, line):
    """Add what a row of pixels (p,) within sqrt(room) of a star says of each function, line (n,).

    offset: of the first pixel from the star; left (p,), along_x (p, 4): see `_pixel_basis`.
    """
    for p in range(unsigned(pixels.size)):
        if (offset + p) ** 2 <= room:
            j = unsigned(left[p])
            for a in range(unsigned(4)):
                line[j + a] += along_x[p, a] * pixels[p]


@dealt(-1)
def add_own_terms(begin, end, x, y, radius, light, window, node, share, weight, scale, step, band):
    """Add what sources alone, without their neighbours, give to the normal matrix.

    weight (rows, columns): inverse variance; band (t, k, n, 4, 7, n): entry (i, a, b, j) is that
    of the coefficients (i, j) and (i + a, j + b - 3) of one node; of a = 0 only those of b >= 3,
    as the matrix is symmetric.
    """
    chunks, n = band.shape[0], band.shape[2]
    four, one = np.int64(4), np.int64(1)  # as in `gather`
    for chunk in range(begin, end):
        line = np.empty((4, n))
        for s in range(chunk, x.size, chunks):
            row0, row1, column0, column1 = window[s]
            height, width = row1 - row0, column1 - column0
            if height > 0 and width > 0:
                below, along_y = _pixel_basis(row0 - y[s], height, four, scale, step, n, one)
                left, along_x = _pixel_basis(column0 - x[s], width, four, scale, step, n, one)
                low, high = left[0], left[width - 1] + 4
                for row in range(height):
                    room = radius[s] ** 2 - (row0 + row - y[s]) ** 2
                    line[:, low:high] = 0.0
                    for column in range(width):
                        if (column0 + column - x[s]) ** 2 <= room:
                            value = light[s] ** 2 * weight[row0 + row, column0 + column]
                            for a in range(4):
                                for c in range(a, 4):
                                    product = along_x[column, a] * along_x[column, c]
                                    line[c - a, left[column] + a] += product * value
                    for b in range(node.shape[1]):
                        _spread(
                            line,
                            low,
                            high,
                            along_y[row],
                            share[s, b] ** 2,
                            band[chunk, node[s, b], below[row] : below[row] + 4],
                        )


@helper
def _spread(line, low, high, along_y, factor, band):
    """Add the sums of one row of pixels, line (4, n), to the band (4, 4, 7, n) of its functions."""
    for a in range(4):
        for c in range(a, 4):
            product = along_y[a] * along_y[c] * factor
            for d in range(4):
                _add_scaled(line[d], product, low, high - d, band[a, c - a, 3 + d])
            if c > a:
                for d in range(1, 4):
                    size = high - d
                    _add_scaled(line[d], product, low, size, band[a, c - a, 3 - d, d:])


@dealt(-1, 4096)
def first_below(begin, end, profile, threshold, out):
    """Index of the first element of a falling profile that is not above a threshold -> out (s,)."""
    for s in range(begin, end):
        low, high = 0, profile.size
        while low < high:
            middle = (low + high) // 2
            if profile[middle] > threshold[s]:
                low = middle + 1
            else:
                high = middle
        out[s] = low
