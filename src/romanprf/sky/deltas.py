"""The sparse table of source-pixel pairs: which pixels are near a source, and where."""

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
        Rows and columns of the frame, or of the part of it that counts.
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
    if sky is None:
        columns, rows = np.meshgrid(np.arange(float(shape[1])), np.arange(float(shape[0])))
        sky = np.stack(wcs.pixel_to_sky(columns + corner[1], rows + corner[0]))
    pixel_ra, pixel_dec = np.ascontiguousarray(sky[0]), np.ascontiguousarray(sky[1])
    count = np.empty(x.size, np.int64)
    deltas_nb.count_pairs(x, y, radius, *shape, count)
    start = np.cumsum(count) - count
    n = int(count.sum())
    pairs: dict[str, np.ndarray] = {
        name: np.empty(n, np.int32) for name in ("source", "row", "column")
    }
    pairs |= {name: np.empty(n) for name in ("dra", "ddec", "r", "phi")}
    deltas_nb.fill_pairs(x, y, radius, ra, dec, pixel_ra, pixel_dec, start, *pairs.values())
    pairs["row"] += np.int32(corner[0])
    pairs["column"] += np.int32(corner[1])
    return pairs
