"""Fraction of the light of each source that falls on an image."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates

from romanprf.prf import PRF
from romanprf.sky.wcs import TangentWCS, image_centre, stretch


def image_fraction(
    prf: PRF,
    x: np.ndarray,
    y: np.ndarray,
    wcs: TangentWCS,
    shape: tuple[int, int],
    subpixels: int,
) -> np.ndarray:
    """Fraction of the PRF that falls inside an image, whatever the state of the pixels.

    The PRF is sampled once on a sub-pixel grid and added up cumulatively in both directions, so
    that the light inside any rectangle around a source is the difference of four numbers.

    Parameters
    ----------
    prf : PRF
        The model.
    x, y : ndarray, shape (nsources,)
        Pixel positions (column, row); NaN gives 0.
    wcs : TangentWCS
        Of the image; its scale at the image centre is used.
    shape : tuple of int
        Rows and columns.
    subpixels : int
        Samples per pixel and axis.

    Returns
    -------
    ndarray, shape (nsources,)
        In [0, 1]; for a source far from the edges, the integral of the PRF within ``rmax``.
    """
    jacobian = wcs.jacobian(*image_centre(shape))
    scale = np.sqrt(stretch(jacobian))
    half = int(np.ceil(prf.rmax / scale)) + 1
    step = 1.0 / subpixels
    edges = np.linspace(-half, half, 2 * half * subpixels + 1)
    centres = edges[:-1] + 0.5 * step
    dx, dy = np.meshgrid(centres, centres)
    east = jacobian[0, 0] * dx + jacobian[0, 1] * dy
    north = jacobian[1, 0] * dx + jacobian[1, 1] * dy
    light = prf.evaluate(np.hypot(east, north), np.arctan2(north, east)) * step**2
    light *= scale**2 / prf.pixel_area
    total = np.zeros((edges.size, edges.size))
    total[1:, 1:] = light.cumsum(axis=0).cumsum(axis=1)

    def below(column: np.ndarray, row: np.ndarray) -> np.ndarray:
        return map_coordinates(total, [row, column], order=1, mode="nearest")

    inside = np.isfinite(x) & np.isfinite(y)
    x, y = np.where(inside, x, 1e9), np.where(inside, y, 1e9)
    left, right = ((edge - x + half) * subpixels for edge in (-0.5, shape[1] - 0.5))
    lower, upper = ((edge - y + half) * subpixels for edge in (-0.5, shape[0] - 0.5))
    fraction = below(right, upper) - below(left, upper) - below(right, lower) + below(left, lower)
    return np.where(inside, np.clip(fraction, 0.0, 1.0), 0.0)
