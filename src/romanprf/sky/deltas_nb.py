"""Kernels of the source-pixel offsets on the sky.

Letters: s = sources, p = pixels, n = pairs; images are (rows, columns).
"""

import numpy as np

from romanprf.core.accelerate import dealt, helper

#: Radians in a degree.
DEGREE = np.pi / 180.0
#: Radians in an arcsec.
ARCSEC = DEGREE / 3600.0


@helper
def offset(ra, dec, ra0, dec0):
    """Offset of (ra, dec) from (ra0, dec0), degrees -> east, north (degrees), r (arcsec), phi.

    East and north are the longitude and latitude in the frame whose origin is the source
    (astropy's SkyOffsetFrame); for small offsets (ra - ra0) cos(dec0) and dec - dec0.  Written
    with differences of angles, so that it is exact at any separation, RA 0 and pole included.
    """
    half = np.sin(0.5 * DEGREE * (ra - ra0))
    cos_dec = np.cos(DEGREE * dec)
    sin0, cos0 = np.sin(DEGREE * dec0), np.cos(DEGREE * dec0)
    bend = 2.0 * cos_dec * half * half
    x = cos_dec * np.sin(DEGREE * (ra - ra0))
    y = np.sin(DEGREE * (dec - dec0)) + bend * sin0
    z = np.cos(DEGREE * (dec - dec0)) - bend * cos0
    rho = np.sqrt(x * x + y * y)
    return (
        np.arctan2(x, z) / DEGREE,
        np.arctan2(y, np.sqrt(x * x + z * z)) / DEGREE,
        np.arctan2(rho, z) / ARCSEC,
        np.arctan2(y, x),
    )


@dealt(0, 64)
def count_pairs(begin, end, x, y, radius, nrows, ncols, count):
    """Number of pixels within ``radius`` (pixels) of each source: count (s,)."""
    for s in range(begin, end):
        total = 0
        for row in range(max(int(np.ceil(y[s] - radius[s])), 0), nrows):
            if row > y[s] + radius[s]:
                break
            for column in range(max(int(np.ceil(x[s] - radius[s])), 0), ncols):
                if column > x[s] + radius[s]:
                    break
                if (row - y[s]) ** 2 + (column - x[s]) ** 2 <= radius[s] ** 2:
                    total += 1
        count[s] = total


@dealt(0, 16)
def fill_pairs(
    begin,
    end,
    x,
    y,
    radius,
    ra,
    dec,
    pixel_ra,
    pixel_dec,
    start,
    source,
    row,
    column,
    dra,
    ddec,
    r,
    phi,
):
    """List the pixels of each source and their offsets.

    x, y, radius (s,): pixels; ra, dec (s,) and pixel_ra, pixel_dec (rows, columns): degrees;
    start (s,): first pair of each source; the rest (n,) is filled.
    """
    nrows, ncols = pixel_ra.shape
    for s in range(begin, end):
        n = start[s]
        for i in range(max(int(np.ceil(y[s] - radius[s])), 0), nrows):
            if i > y[s] + radius[s]:
                break
            for j in range(max(int(np.ceil(x[s] - radius[s])), 0), ncols):
                if j > x[s] + radius[s]:
                    break
                if (i - y[s]) ** 2 + (j - x[s]) ** 2 <= radius[s] ** 2:
                    source[n], row[n], column[n] = s, i, j
                    dra[n], ddec[n], r[n], phi[n] = offset(
                        pixel_ra[i, j], pixel_dec[i, j], ra[s], dec[s]
                    )
                    n += 1


@dealt(0, 4)
def all_offsets(begin, end, ra, dec, pixel_ra, pixel_dec, dra, ddec, r, phi):
    """Offsets of every pixel from every source.

    ra, dec (s,) and pixel_ra, pixel_dec (p,): degrees; the rest (s, p) is filled.
    """
    for s in range(begin, end):
        for p in range(pixel_ra.size):
            dra[s, p], ddec[s, p], r[s, p], phi[s, p] = offset(
                pixel_ra[p], pixel_dec[p], ra[s], dec[s]
            )
