"""Where stars are at a time: proper motion and parallax."""

from __future__ import annotations

import numpy as np
import pandas as pd
from astropy.coordinates import get_body_barycentric
from astropy.time import Time

from romanprf.sky.wcs import deproject

#: Milliarcsecond in degrees.
MAS = 1.0 / 3.6e6
#: Distances from the Sun over that of the Earth: Roman is at the second Lagrange point, 1.5 million
#: km further out.
_LAGRANGE_2 = 1.01


def propagate(
    ra: np.ndarray,
    dec: np.ndarray,
    pmra: np.ndarray,
    pmdec: np.ndarray,
    from_epoch: float | np.ndarray,
    to_epoch: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Move stars from one epoch to another.

    Straight motion at constant speed in the plane that touches the sphere at the first position
    (ESA 1997, The Hipparcos and Tycho Catalogues, vol. 1, sec. 1.5.5, without radial velocity).

    Parameters
    ----------
    ra, dec : ndarray, shape (n,)
        Degrees, at ``from_epoch``.
    pmra, pmdec : ndarray, shape (n,)
        mas/yr; ``pmra`` includes cos(dec).  NaN stands for an unknown motion and counts as 0.
    from_epoch, to_epoch : float or ndarray, shape (n,)
        Julian years.

    Returns
    -------
    ra, dec : ndarray, shape (n,)
        Degrees, at ``to_epoch``; stars that do not move keep their exact position.
    """
    years = to_epoch - from_epoch
    east, north = (years * np.nan_to_num(pm, nan=0.0) for pm in (pmra, pmdec))
    return moved(ra, dec, east, north)


def moved(
    ra: np.ndarray, dec: np.ndarray, east: np.ndarray, north: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (degrees) after steps (mas) in the tangent planes of the old ones, each (n,)."""
    moving = (east != 0.0) | (north != 0.0)
    new = deproject(MAS * east[moving], MAS * north[moving], ra[moving], dec[moving])  # type: ignore[arg-type]
    ra, dec = np.array(ra, float), np.array(dec, float)
    ra[moving], dec[moving] = new
    return ra, dec


def julian_year(time: float) -> float:
    """Julian year of a Julian date."""
    return 2000.0 + (time - 2451545.0) / 365.25


def parallax_factors(
    ra: np.ndarray, dec: np.ndarray, time: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Displacements (east, north) of stars at these places (degrees) per unit of parallax.

    From the barycentric place of the Earth at Julian dates (TDB), scaled to the second Lagrange
    point (e.g. van Altena 2013, Astrometry for Astrophysics, eq. 9.4).  The arguments broadcast.
    """
    earth = get_body_barycentric("earth", Time(time, format="jd", scale="tdb"))
    x, y, z = _LAGRANGE_2 * earth.xyz.to_value("au")
    sin_ra, cos_ra = np.sin(np.deg2rad(ra)), np.cos(np.deg2rad(ra))
    sin_dec, cos_dec = np.sin(np.deg2rad(dec)), np.cos(np.deg2rad(dec))
    return x * sin_ra - y * cos_ra, (x * cos_ra + y * sin_ra) * sin_dec - z * cos_dec


def positions_at(sources: pd.DataFrame, time: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions (degrees ICRS) of the rows of the ``sources`` table at a Julian date."""
    ra, dec, parallax, pmra, pmdec, epoch = (
        sources[name].to_numpy() for name in ("ra", "dec", "parallax", "pmra", "pmdec", "epoch")
    )
    ra, dec = propagate(ra, dec, pmra, pmdec, epoch, julian_year(time))
    if not parallax.any():
        return ra, dec
    east, north = parallax_factors(ra, dec, time)
    return moved(ra, dec, parallax * east, parallax * north)
