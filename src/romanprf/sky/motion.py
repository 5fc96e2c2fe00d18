"""Proper motion."""

from __future__ import annotations

import numpy as np
import pandas as pd

from romanprf.sky.wcs import deproject

#: Milliarcsecond in degrees.
MAS = 1.0 / 3.6e6


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
    east, north = (MAS * years * np.nan_to_num(pm, nan=0.0) for pm in (pmra, pmdec))
    moving = (east != 0.0) | (north != 0.0)
    moved = deproject(east[moving], north[moving], ra[moving], dec[moving])  # type: ignore[arg-type]
    ra, dec = np.array(ra, float), np.array(dec, float)
    ra[moving], dec[moving] = moved
    return ra, dec


def julian_year(time: float) -> float:
    """Julian year of a Julian date."""
    return 2000.0 + (time - 2451545.0) / 365.25


def positions_at(sources: pd.DataFrame, time: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions (degrees ICRS) of the rows of the ``sources`` table at a Julian date."""
    ra, dec, pmra, pmdec, epoch = (
        sources[name].to_numpy() for name in ("ra", "dec", "pmra", "pmdec", "epoch")
    )
    return propagate(ra, dec, pmra, pmdec, epoch, julian_year(time))
