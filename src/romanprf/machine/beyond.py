"""Light of the sources beyond the end of the PRF model."""

from __future__ import annotations

import numpy as np

from romanprf.machine.grid import PixelGrid
from romanprf.prf import PRF

#: The light is drawn out to so many times the radius at which the model ends.
_BEYOND = 3.0


def beyond_rmax(
    prf: PRF, grid: PixelGrid, ra: np.ndarray, dec: np.ndarray, flux: np.ndarray
) -> np.ndarray:
    """Image (e-/s) of the light beyond the end of the PRF, which falls with the cube of the radius.

    Parameters
    ----------
    prf : PRF
        The model.
    grid : PixelGrid
        The pixels.
    ra, dec : ndarray, shape (nsources,)
        Degrees ICRS.
    flux : ndarray, shape (nsources,)
        e-/s.
    """
    from scipy.signal import oaconvolve  # noqa: PLC0415  (slow to import)

    end = prf.rmax / grid.pixel_scale
    reach = int(np.ceil(_BEYOND * end))
    nrows, ncols = grid.shape
    x, y = grid.wcs.sky_to_pixel(ra, dec)
    column, row = (np.rint(np.nan_to_num(place, nan=-1e9)) + reach for place in (x, y))
    near = (column >= 0) & (column < ncols + 2 * reach) & (row >= 0) & (row < nrows + 2 * reach)
    light = np.zeros((nrows + 2 * reach, ncols + 2 * reach))
    np.add.at(light, (row[near].astype(int), column[near].astype(int)), flux[near])
    offset = np.arange(-reach, reach + 1.0)
    r = np.hypot(offset[:, None], offset)
    profile = np.where(r > end, (end / np.maximum(r, end)) ** 3, 0.0)
    return _edge(prf, grid) * oaconvolve(light, profile, mode="valid")


def _edge(prf: PRF, grid: PixelGrid) -> float:
    """Fraction of the flux in a pixel at the end of the PRF, mean over the angles."""
    phi = np.linspace(-np.pi, np.pi, 64, endpoint=False)
    mean = prf.evaluate(prf.rmax * (1.0 - 1e-9), phi).mean()
    return float(mean * grid.pixel_area / prf.pixel_area)
