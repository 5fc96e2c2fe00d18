"""Kernels that add up or project stamps.

Letters: s = sources; window (s, 4) = row0, row1, column0, column1; footprints: see
`romanprf.frame.stamps.Footprints`.
"""

import numpy as np

from romanprf.core.accelerate import dealt, helper, njit, unsigned

#: A thread works on so many rows of an image at a time.
BAND = 64
#: ... of fewer where it is about the stars of a part of the image.
RINGS = 32
#: Sources that are worth a thread.
SOURCES = 256


@njit
def list_bands(window, nrows):
    """List the sources whose windows have rows of each band: start (bands + 1,), members."""
    bands = (nrows + BAND - 1) // BAND
    start = np.zeros(bands + 1, np.int64)
    for s in range(len(window)):
        if window[s, 0] < window[s, 1]:
            for band in range(window[s, 0] // BAND, (window[s, 1] - 1) // BAND + 1):
                start[band + 1] += 1
    for band in range(bands):
        start[band + 1] += start[band]
    members, place = np.empty(start[bands], np.int32), np.empty(bands, np.int64)
    for band in range(bands):
        place[band] = start[band]
    for s in range(len(window)):
        if window[s, 0] < window[s, 1]:
            for band in range(window[s, 0] // BAND, (window[s, 1] - 1) // BAND + 1):
                members[place[band]] = s
                place[band] += 1
    return start, members


@dealt(1, less=1)
def add(begin, end, footprints, start, members, flux, rest, image):
    """Image of flux (s,) times the PRF of every source on top of another image, ``rest``.

    A pixel gets its sources in their order, whichever thread works on its band of rows; start,
    members: see `list_bands`.
    """
    window, offset, values = footprints
    for band in range(begin, end):
        low, high = band * BAND, min((band + 1) * BAND, image.shape[0])
        for row in range(low, high):
            for column in range(image.shape[1]):
                image[row, column] = rest[row, column]
        for m in range(start[band], start[band + 1]):
            s = np.int64(members[m])
            row0, row1, column0, column1 = window[s]
            for row in range(max(row0, low), min(row1, high)):
                first = unsigned(column0)
                n = unsigned(offset[s] + (row - row0) * (column1 - column0))
                for i in range(unsigned(column1 - column0)):
                    image[row, first + i] += flux[s] * values[n + i]


@dealt(2, per=BAND)
def add_listed(begin, end, footprints, flux, place, out):
    """Add flux (s,) times the PRF of every source to the pixels of a list.

    place (rows, columns): number of a pixel in the list, out (pixels,), negative for the others.
    """
    window, offset, values = footprints
    for band in range(begin, end):
        low, high = band * BAND, min((band + 1) * BAND, place.shape[0])
        for s in range(flux.size):
            row0, row1, column0, column1 = window[s]
            for row in range(max(row0, low), min(row1, high)):
                n = offset[s] + (row - row0) * (column1 - column0)
                for column in range(column0, column1):
                    if place[row, column] >= 0:
                        out[place[row, column]] += flux[s] * values[n]
                    n += 1


@dealt(-1, SOURCES)
def dot(begin, end, footprints, image, out):
    """Sum over each window of PRF times ``image`` -> out (s,)."""
    window, offset, values = footprints
    for s in range(unsigned(begin), unsigned(end)):
        row0, row1, column0, column1 = window[s]
        n, first, width = unsigned(offset[s]), unsigned(column0), unsigned(column1 - column0)
        total = 0.0
        for row in range(row0, row1):
            for i in range(width):
                total += values[n + i] * image[row, first + i]
            n += width
        out[s] = total


@dealt(-1, SOURCES)
def dot_two(begin, end, footprints, first, second, out_first, out_second):
    """`dot` with two images: what takes time is to read the stamps."""
    window, offset, values = footprints
    for s in range(unsigned(begin), unsigned(end)):
        row0, row1, column0, column1 = window[s]
        n, left, width = unsigned(offset[s]), unsigned(column0), unsigned(column1 - column0)
        one, two = 0.0, 0.0
        for row in range(row0, row1):
            for i in range(width):
                one += values[n + i] * first[row, left + i]
                two += values[n + i] * second[row, left + i]
            n += width
        out_first[s], out_second[s] = one, two


@dealt(-1, SOURCES)
def count_near(begin, end, x, y, radius, marked, out):
    """Number of marked pixels within ``radius`` (pixels) of each place -> out (s,)."""
    nrows, ncols = marked.shape
    for s in range(unsigned(begin), unsigned(end)):
        out[s] = 0
        for row in range(max(int(y[s] - radius), 0), min(int(y[s] + radius) + 2, nrows)):
            for column in range(max(int(x[s] - radius), 0), min(int(x[s] + radius) + 2, ncols)):
                if marked[row, column]:
                    out[s] += (row - y[s]) ** 2 + (column - x[s]) ** 2 <= radius * radius


@dealt(-1, per=RINGS)
def add_rings(begin, end, x, y, inner, outer, flux, table, image):
    """Add the light of sources between two radii (pixels), inner < r <= outer, all (s,).

    table (phases, phases, side, side), float32: PRF by sub-pixel phase (y, x) of the source.
    """
    phases, side = table.shape[1], table.shape[3]
    half = side // 2
    for band in range(begin, end):
        low, high = band * RINGS, min((band + 1) * RINGS, image.shape[0])
        for s in range(x.size):
            row, column = int(np.floor(y[s] + 0.5)), int(np.floor(x[s] + 0.5))
            first, last = max(row - half, low), min(row + half + 1, high)
            if first < last:
                u = int((y[s] - row + 0.5) * phases)
                v = int((x[s] - column + 0.5) * phases)
                for i in range(first, last):
                    room = outer[s] ** 2 - (i - y[s]) ** 2
                    if room >= 0.0:
                        prf, line = table[u, v, i - row + half], image[i]
                        start, stop = _chord(x[s], room, column - half, side, line.size)
                        gap = inner[s] ** 2 - (i - y[s]) ** 2
                        if gap >= 0.0:
                            left, right = _chord(x[s], gap, column - half, side, line.size)
                            left, right = min(left, stop), max(right, start)
                            _add_part(line, flux[s], prf, column - half, start, left)
                            start = right
                        _add_part(line, flux[s], prf, column - half, start, stop)


@helper
def _add_part(line, factor, prf, start, first, last):
    """Add columns first ... last - 1 of a row of a table that starts at column ``start``."""
    if first < last:
        m, n = unsigned(first), unsigned(first - start)
        for i in range(unsigned(last - first)):
            line[m + i] += factor * prf[n + i]


@helper
def _chord(x, room, start, side, ncols):
    """First and last + 1 column within sqrt(room) of x, of those of a table and of the image."""
    half = np.sqrt(room)
    first, last = int(np.ceil(x - half)), int(np.floor(x + half)) + 1
    return max(first, start, 0), min(last, start + side, ncols)
