"""Kernels that add up or project stamps.

Letters: s = sources; window (s, 4) = row0, row1, column0, column1; offset (s + 1,); values flat.
"""

from romanprf.accelerate import njit, njit_parallel, prange


@njit
def add(window, offset, values, flux, image):
    """Add flux (s,) times the PRF of every source to ``image``; serial, so the order is fixed."""
    for s in range(flux.size):
        n = offset[s]
        for row in range(window[s, 0], window[s, 1]):
            for column in range(window[s, 2], window[s, 3]):
                image[row, column] += flux[s] * values[n]
                n += 1


@njit_parallel
def dot(window, offset, values, image, out):
    """Sum over each window of PRF times ``image`` -> out (s,)."""
    for s in prange(out.size):
        n = offset[s]
        total = 0.0
        for row in range(window[s, 0], window[s, 1]):
            for column in range(window[s, 2], window[s, 3]):
                total += values[n] * image[row, column]
                n += 1
        out[s] = total
