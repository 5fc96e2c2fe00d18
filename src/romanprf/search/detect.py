"""Stars that the images show by themselves, where there is no catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from romanprf.io.exposure import Exposure
from romanprf.search.peaks import bright_peaks, saturated_cores
from romanprf.sky.field import SkyRegion
from romanprf.sky.motion import julian_year
from romanprf.sky.wcs import ARCSEC, deproject, project

#: Peaks of two exposures this close (pixels) are of one star: cores are two pixels wide.
_SAME = 0.8
#: Peaks stand out of the filtered image by this many of its spreads: what is seen again in other
#: exposures is no noise.
_SIGMA = 3.0
#: A star is seen in at least this part of the exposures, which cosmic rays and, with dithers, bad
#: pixels are not.
_SHARE = 0.25
#: 1 sigma per axis of a position, pixels: that of faint and blended stars; of those that are
#: bright and alone 0.02.
_ERROR = 0.3


def detect(rows: Sequence[Mapping[Any, Any]], region: SkyRegion) -> pd.DataFrame:
    """Stars that several exposures show as peaks, or as cores of rejected pixels.

    Parameters
    ----------
    rows : sequence of mapping
        Of the ``exposures`` table, at least two.
    region : SkyRegion
        The field.

    Returns
    -------
    DataFrame
        ``ra``, ``dec`` (degrees): mean of the places where the WCS of the exposures put the star;
        ``ra_err``, ``dec_err`` (mas); ``epoch``: mean Julian year of the exposures.
    """
    total, count = np.empty((0, 2)), np.empty(0)
    for row in rows:
        total, count = _joined(total, count, _places(row, region), _SAME * region.pixel_scale)
    seen = count >= max(2.0, _SHARE * len(rows))
    east, north = (total[seen] / count[seen, None]).T / ARCSEC
    ra, dec = deproject(east, north, region.ra0, region.dec0)
    error = 1e3 * _ERROR * region.pixel_scale
    epoch = float(np.mean([julian_year(row["time"]) for row in rows]))
    return pd.DataFrame({"ra": ra, "dec": dec, "ra_err": error, "dec_err": error, "epoch": epoch})


def _places(row: Mapping[Any, Any], region: SkyRegion) -> np.ndarray:
    """Peaks and saturated cores of an exposure in the tangent plane of the field, (n, 2) arcsec."""
    exposure = Exposure.from_row(row)
    image = exposure.read()
    peaks, cores = bright_peaks(image, _SIGMA), saturated_cores(image, _SIGMA)
    x, y = np.concatenate([peaks.x, cores.x]), np.concatenate([peaks.y, cores.y])
    sky = exposure.wcs.pixel_to_sky(x, y)
    return ARCSEC * np.stack(project(*sky, region.ra0, region.dec0), axis=1)


def _joined(
    total: np.ndarray, count: np.ndarray, places: np.ndarray, same: float
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the places of each star, and their number, with those of one more exposure.

    A place belongs to the star with which it is a pair of mutual nearest neighbours; others are new
    stars.
    """
    if not (len(count) and len(places)):
        return np.concatenate([total, places]), np.concatenate([count, np.ones(len(places))])
    stars = total / count[:, None]
    distance, star = cKDTree(stars).query(places)
    _, place = cKDTree(places).query(stars)
    known = (distance < same) & (place[star] == np.arange(len(places)))
    total, count = total.copy(), count.copy()
    total[star[known]] += places[known]
    count[star[known]] += 1.0
    new = places[~known]
    return np.concatenate([total, new]), np.concatenate([count, np.ones(len(new))])
