"""The PRF and its derivatives around a star, for every sub-pixel phase."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from romanprf.frame.frame import Frame
from romanprf.frame.stamps import make_stamps
from romanprf.prf import PRF

#: Pixels on either side of the central one.
HALF = 2
#: Phases per pixel; a template is at most half of one off.
FINE = 20
#: The PRF of the middle of so many pixels serves all of them.
CELL = 1024


def templates(frame: Frame, prf: PRF, derivatives: bool) -> np.ndarray:
    """PRF templates for the matched filter `romanprf.frame.match_nb.match`.

    Parameters
    ----------
    frame : Frame
        Shape, and the pixel area in which it counts light.
    prf : PRF
        The model.
    derivatives : bool
        Whether those by the star's x and y (1 / pixel) follow.

    Returns
    -------
    ndarray, shape (cells_y, cells_x, FINE + 1, FINE + 1, 1 or 3, 2 HALF + 1, 2 HALF + 1)
        Rows first everywhere.
    """
    middles = [_middles(length) for length in frame.shape]
    phase = (np.arange(FINE + 3) - 1) / FINE - 0.5  # one more at either end, for derivatives
    row, column, v, u = np.meshgrid(*middles, phase, phase, indexing="ij")
    ra, dec = frame.wcs.pixel_to_sky((column + u).ravel(), (row + v).ravel())
    stars = replace(frame, ra=ra, dec=dec)
    # Without light of their own, their footprints are as small as they come.
    stamps = make_stamps(prf, stars, np.zeros(ra.size), 1.0)
    source, i, j = stamps.entries()
    i, j = i - row.ravel()[source] + HALF, j - column.ravel()[source] + HALF
    side = 2 * HALF + 1
    inside = (i >= 0) & (i < side) & (j >= 0) & (j < side)
    table = np.zeros((ra.size, side, side))
    table[source[inside], i[inside], j[inside]] = stamps.values[: source.size][inside]
    table = table.reshape(*row.shape, side, side)
    parts = [table]
    if derivatives:
        parts += list(np.gradient(table, 1.0 / FINE, axis=(3, 2)))
    return np.ascontiguousarray(np.stack(parts, axis=4)[:, :, 1:-1, 1:-1])


def _middles(length: int) -> np.ndarray:
    """Central pixel of each cell along an axis."""
    start = np.arange(0, length, CELL)
    return (start + np.minimum(start + CELL, length) - 1) // 2
