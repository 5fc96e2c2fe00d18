"""Source-pixel pairs: the pixels near each source and their offsets from it."""

from __future__ import annotations

import numpy as np

from romanprf.sky import deltas_nb
from romanprf.sky.wcs import TangentWCS


def find_deltas(
    ra: np.ndarray,
    dec: np.ndarray,
    radius: np.ndarray,
    wcs: TangentWCS,
    shape: tuple[int, int],
    sky: np.ndarray | None = None,
    corner: tuple[int, int] = (0, 0),
) -> dict[str, np.ndarray]:
    """Pairs of sources and the pixels of a frame within each source's radius.

    Parameters
    ----------
    ra, dec : ndarray, shape (nsources,)
        Degrees ICRS, at the time of the frame.
    radius : ndarray, shape (nsources,)
        Pixels.
    wcs : TangentWCS
        Of the frame.
    shape : tuple of int
        Rows and columns of the frame, or of a part of it.
    sky : ndarray, shape (2, nrows, ncols), optional
        ra and dec of all pixels, degrees; those of the WCS if not given.
    corner : tuple of int
        First row and column of that part.

    Returns
    -------
    dict of ndarray, shape (npairs,)
        ``source`` (index into ra), ``row``, ``column``, ``dra``, ``ddec`` (degrees on the sky:
        longitude and latitude of the pixel in the offset frame of the source), ``r`` (arcsec)
        and ``phi`` = arctan2(north, east) (rad); by source, then row, then column.
    """
    x, y = wcs.sky_to_pixel(ra, dec)
    x, y = x - corner[1], y - corner[0]
    off = ~(np.isfinite(x) & np.isfinite(y))
    x, y, radius = np.where(off, 0.0, x), np.where(off, 0.0, y), np.where(off, -1.0, radius)
    pixel_ra, pixel_dec = _pixel_sky(wcs, shape, corner) if sky is None else sky
    pixel_ra, pixel_dec = np.ascontiguousarray(pixel_ra), np.ascontiguousarray(pixel_dec)
    count = np.empty(x.size, np.int64)
    deltas_nb.count_pairs(x, y, radius, *shape, count)
    start = np.cumsum(count) - count
    n = int(count.sum())
    source, row, column = (np.empty(n, np.int32) for _ in range(3))
    dra, ddec, r, phi = (np.empty(n) for _ in range(4))
    stars = x, y, radius, ra, dec
    deltas_nb.fill_pairs(*stars, pixel_ra, pixel_dec, start, source, row, column, dra, ddec, r, phi)
    row += np.int32(corner[0])
    column += np.int32(corner[1])
    pixels = {"source": source, "row": row, "column": column}
    return pixels | {"dra": dra, "ddec": ddec, "r": r, "phi": phi}


def _pixel_sky(
    wcs: TangentWCS, shape: tuple[int, int], corner: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Ra and dec (degrees) of the pixels of a part of an image, each of shape ``shape``."""
    columns, rows = np.meshgrid(np.arange(float(shape[1])), np.arange(float(shape[0])))
    return wcs.pixel_to_sky(columns + corner[1], rows + corner[0])
