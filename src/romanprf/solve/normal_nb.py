"""Kernels of the normal matrix: which footprints overlap, and by how much.

Of two sources the one with the larger footprint owns their entry: it only has to look for its
neighbours within twice its own radius, so that the many faint sources look not far.
Letters: s = sources, k = entries; the matrix is symmetric, CSR, columns sorted, diagonal included.
"""

import numpy as np

from romanprf.core.accelerate import dealt, helper, njit, unsigned
from romanprf.frame.stamps_nb import BAND

#: Sources are listed by cells of so many pixels, changes of pixels by finer ones.
CELL, FINE = 8, 4
#: Sources that are worth a thread: where little is done for each, and where more is.
LIGHT, HEAVY = 4096, 256
#: Two numbers in one: what is sorted by the first takes the second along.
HALF, LOWER = 32, 2**32 - 1


@njit
def bin_sources(x, y, nrows, ncols):
    """List the sources by cell: start (cells + 1,), members (s,); those outside by the nearest."""
    across, down = (ncols + CELL - 1) // CELL, (nrows + CELL - 1) // CELL
    start = np.zeros(down * across + 1, np.int64)
    cell = np.empty(x.size, np.int64)
    for s in range(x.size):
        cell[s] = _cell(y[s], down) * across + _cell(x[s], across)
        start[cell[s] + 1] += 1
    for c in range(down * across):
        start[c + 1] += start[c]
    members, place = np.empty(x.size, np.int32), np.empty(down * across, np.int64)
    for c in range(down * across):
        place[c] = start[c]
    for s in range(x.size):
        members[place[cell[s]]] = s
        place[cell[s]] += 1
    return start, members, across


@helper
def _cell(place, cells):
    return min(max(int(place), 0) // CELL, cells - 1)


@helper
def _owns(radius, s, o):
    """Whether the entry of sources s and o is that of s."""
    return (radius[o] < radius[s]) | ((radius[o] == radius[s]) & (o <= s))


@helper
def _overlap(window, s, o):
    """Whether two windows have pixels in common."""
    low, high, left, right = _shared(window, s, o)
    return (low < high) & (left < right)


@helper
def _shared(window, s, o):
    """Rectangle that two windows have in common, or none: row0, row1, column0, column1."""
    return (
        max(window[s, 0], window[o, 0]),
        min(window[s, 1], window[o, 1]),
        max(window[s, 2], window[o, 2]),
        min(window[s, 3], window[o, 3]),
    )


@dealt(0, LIGHT)
def count_candidates(begin, end, x, y, radius, start, across, out):
    """Number of sources in the cells that `list_own` looks at for each -> out (s,)."""
    for s in range(unsigned(begin), unsigned(end)):
        first, last, top, bottom = _cells_around(x[s], y[s], 2.0 * radius[s], start, across)
        count = 0
        for i in range(top, bottom + 1):
            count += start[i * across + last + 1] - start[i * across + first]
        out[s] = count


@helper
def _cells_around(x, y, far, start, across):
    """First and last cell within ``far`` of a place, along columns and rows."""
    down = (start.size - 1) // across
    left, right = _cell(x - far, across), _cell(x + far, across)
    return left, right, _cell(y - far, down), _cell(y + far, down)


@dealt(0, HEAVY)
def list_own(begin, end, x, y, radius, window, start, members, across, first, indices, count):
    """List the sources whose entry with s is its own, itself the first of them.

    first (s + 1,): where each list may begin in ``indices``, with room for all candidates and for
    one more; count (s,): length of each.
    """
    for s in range(unsigned(begin), unsigned(end)):
        own, n = unsigned(first[s]), 1
        indices[own] = s
        left, right, top, bottom = _cells_around(x[s], y[s], 2.0 * radius[s], start, across)
        for i in range(top, bottom + 1):
            for m in range(start[i * across + left], start[i * across + right + 1]):
                o = unsigned(members[m])
                dx, dy, reach = x[s] - x[o], y[s] - y[o], radius[s] + radius[o]
                near = (dx * dx + dy * dy <= reach * reach) & (o != s)
                # Written in any case and kept if it counts: a branch would be guessed wrong.
                indices[own + unsigned(n)] = o
                n += near & _owns(radius, s, o) & _overlap(window, s, o)
        count[s] = n


@dealt(-2, LIGHT, less=1)
def pack(begin, end, first, lists, start, out):
    """Lists that begin at first[s], of start[s + 1] - start[s] elements, one behind the other."""
    for s in range(unsigned(begin), unsigned(end)):
        k, m, stop = unsigned(start[s]), unsigned(first[s]), unsigned(start[s + unsigned(1)])
        while k < stop:  # too short to be vectorised
            out[k] = lists[m]
            k += unsigned(1)
            m += unsigned(1)


@njit
def mirrored(start, own):
    """Pattern of the whole symmetric matrix, from that of the owned entries.

    Returns indptr and entries (k,), in any order within a row: the column, in the upper half of an
    integer, and the place of the entry among the owned ones.
    """
    n = start.size - 1
    full = np.zeros(n + 1, np.int64)
    for s in range(n):
        for k in range(start[s], start[s + 1]):
            full[s + 1] += 1
            if own[k] != s:
                full[own[k] + 1] += 1
    for s in range(n):
        full[s + 1] += full[s]
    entries, end = np.empty(full[n], np.int64), np.empty(n, np.int64)
    for s in range(n):
        end[s] = full[s]
    for s in range(n):
        for k in range(start[s], start[s + 1]):
            o = np.int64(own[k])
            entries[end[s]] = (o << HALF) | k
            end[s] += 1
            if o != s:
                entries[end[o]] = (s << HALF) | k
                end[o] += 1
    return full, entries


@dealt(0, HEAVY, less=1)
def sort_rows(begin, end, indptr, entries, columns, place):
    """Sort the entries of each row, by insertion, and take them apart: columns, place (k,)."""
    for s in range(unsigned(begin), unsigned(end)):
        low = indptr[s]
        for k in range(low + 1, indptr[s + 1]):
            entry, m = entries[k], k
            while m > low and entries[m - 1] > entry:
                entries[m] = entries[m - 1]
                m -= 1
            entries[m] = entry
        for k in range(low, indptr[s + 1]):
            columns[k], place[k] = entries[k] >> HALF, entries[k] & LOWER


@dealt(-1, 16, less=1)
def changes(begin, end, old, new, share, count):
    """Keep the ``old`` weights that hardly change, and count those that do by cells of pixels.

    old, new (rows, columns): ``old`` becomes ``new`` where they differ by more than ``share`` of
    the old one; count (cells_y + 1, cells_x + 1): changed pixels in each cell, from (1, 1).
    """
    for i in range(begin, end):
        for cell in range(count.shape[1]):
            count[i + 1, cell] = 0
        for row in range(i * FINE, min((i + 1) * FINE, old.shape[0])):
            for column in range(old.shape[1]):
                if abs(new[row, column] - old[row, column]) > share * old[row, column]:
                    old[row, column] = new[row, column]
                    count[i + 1, column // FINE + 1] += 1


@helper
def touched(total, row0, row1, column0, column1):
    """Whether a pixel changed in the cells of a rectangle; total: sums of `changes` along both."""
    top, left = row0 // FINE, column0 // FINE
    bottom, right = (row1 - 1) // FINE + 1, (column1 - 1) // FINE + 1
    return total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left] > 0


@dealt(2, 64)
def fill_own(begin, end, footprints, weight, prior, total, start, own, data):
    """Owned entries of the normal matrix, data (j,), where the weight has changed.

    weight (rows, columns): inverse variance; prior (s,): that of each flux; total: see `touched`;
    start (s + 1,), own (j,): see `pack`.
    """
    window = footprints.window
    for s in range(unsigned(begin), unsigned(end)):
        if window[s, 1] <= window[s, 0]:
            data[start[s]] = prior[s]  # its only entry
        elif _pair_touched(total, window, s, s):
            light = _weighted(footprints, weight, s)
            for j in range(start[s], start[s + 1]):
                o = unsigned(own[j])
                if _pair_touched(total, window, s, o):
                    entry = _common(light, footprints, s, o)
                    data[j] = entry + prior[s] if o == s else entry


@dealt(-1, 65536)
def take(begin, end, own, place, out):
    """Entries of the whole matrix, from the owned ones and the place of each among them."""
    for k in range(unsigned(begin), unsigned(end)):
        out[k] = own[unsigned(place[k])]


@helper
def _pair_touched(total, window, s, o):
    """Whether a pixel changed that two sources have in common (see `touched`)."""
    low, high, left, right = _shared(window, s, o)
    return low < high and left < right and touched(total, low, high, left, right)


@helper
def _weighted(footprints, weight, s):
    """Stamp of a source times the weight of its pixels, flat."""
    window, offset, values = footprints
    row0, row1, column0, column1 = window[s]
    out = np.empty((row1 - row0) * (column1 - column0))
    m, n = unsigned(0), unsigned(offset[s])
    for row in range(row0, row1):
        for column in range(unsigned(column0), unsigned(column1)):
            out[m] = values[n] * weight[row, column]
            m += unsigned(1)
            n += unsigned(1)
    return out


@helper
def _common(own, footprints, s, o):
    """Sum of the products of two stamps; that of s, ``own``, is flat and of s alone."""
    window, offset, values = footprints
    low, high, left, right = _shared(window, s, o)
    width, its = window[s, 3] - window[s, 2], window[o, 3] - window[o, 2]
    m = unsigned((low - window[s, 0]) * width + left - window[s, 2])
    n = unsigned(offset[o] + (low - window[o, 0]) * its + left - window[o, 2])
    total = 0.0
    for _ in range(low, high):
        for i in range(unsigned(right - left)):
            total += own[m + i] * values[n + i]
        m += unsigned(width)
        n += unsigned(its)
    return total


@dealt(3, less=1)
def leverage(begin, end, x, y, footprints, start, members, weight, precision, core, out):
    """Largest part that a pixel has in the flux of one star, w p^2 / A_ss -> out, which is 0.

    start, members: see `romanprf.frame.stamps_nb.list_bands`; weight, out (rows, columns);
    precision (s,): diagonal of the normal matrix; core: pixels on either side of a star, further
    out its parts are nothing.
    """
    window, offset, values = footprints
    for band in range(begin, end):
        low, high = band * BAND, min((band + 1) * BAND, out.shape[0])
        for m in range(start[band], start[band + 1]):
            s = np.int64(members[m])
            row0, row1, column0, column1 = window[s]
            row, column = int(y[s] + 0.5), int(x[s] + 0.5)
            left, right = max(column0, column - core), min(column1, column + core + 1)
            for i in range(max(row0, row - core, low), min(row1, row + core + 1, high)):
                n = unsigned(offset[s] + (i - row0) * (column1 - column0) + left - column0)
                for j in range(left, right):
                    part = weight[i, j] * values[n] ** 2 / precision[s]
                    out[i, j] = max(out[i, j], part)
                    n += unsigned(1)
