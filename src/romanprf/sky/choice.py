"""Which exposures a reduction learns from: spread over time, sub-pixel phase, roll and pointing."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.polynomial import chebyshev

from romanprf.sky.wcs import ARCSEC, TangentWCS, deproject, project

#: Pixels of phase that count as much as a difference of the roll by 60 degrees.
_ROLL = 0.25


def choose(exposures: pd.DataFrame, number: int) -> pd.DataFrame:
    """Choose good exposures, in an order of which every beginning is spread as well as it can be.

    The good exposures, by time, are cut into ``number`` equal parts.  The parts are visited in an
    order in which each is as far in time from those before as possible; each gives the exposure
    that differs most from those chosen so far.

    Parameters
    ----------
    exposures : DataFrame
        Rows of the ``exposures`` table.
    number : int
        Exposures to choose; all good ones are chosen if there are fewer.

    Returns
    -------
    DataFrame
        Columns of `romanprf.schemas.LEARNING`; no rows without a good exposure.
    """
    good = exposures[exposures["flags"] == 0].sort_values(["time", "exposure"])
    number = min(number, len(good))
    if number == 0:
        return _table(good, np.empty((0, 2)))
    x, y, roll = places(good)
    side = good[["ncols", "nrows"]].to_numpy(float)
    parts = np.array_split(np.arange(len(good)), number)
    chosen: list[int] = []
    nearest = np.full(len(good), np.inf)
    for part in far_apart(number):
        new = parts[part][np.argmax(nearest[parts[part]])]
        chosen.append(int(new))
        offset = np.stack([x - x[new], y - y[new]], axis=1)
        nearest = np.minimum(nearest, _distance(offset, roll - roll[new], side))
    return _table(good.iloc[chosen], np.stack([x, y], axis=1)[chosen])


def far_apart(number: int) -> list[int]:
    """The numbers 0 ... number - 1, each as far from those before as possible, from 0 on."""
    nearest = np.full(number, number)
    order: list[int] = []
    for _ in range(number):
        new = 0 if not order else int(np.argmax(nearest))
        order.append(new)
        nearest = np.minimum(nearest, np.abs(np.arange(number) - new))
    return order


def places(exposures: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place of the middle of the field in each exposure, and the roll.

    Returns
    -------
    x, y : ndarray, shape (n,)
        Pixels (column, row) of the median of the image centres.
    roll : ndarray, shape (n,)
        Angle from rows to north, radian.
    """
    wcs = [TangentWCS.from_json(text) for text in exposures["wcs"]]
    tangents = np.array([(one.ra0, one.dec0) for one in wcs])
    xi, eta = project(*tangents.T, *tangents[0])
    ra, dec = deproject(np.median(xi), np.median(eta), *tangents[0])
    north = np.array([0.0, 1.0 / ARCSEC])
    x, y = np.array([_pixels(one, ra, dec + north) for one in wcs]).transpose(1, 2, 0)
    return x[0], y[0], np.arctan2(x[1] - x[0], y[1] - y[0])


def _pixels(wcs: TangentWCS, ra: np.ndarray, dec: np.ndarray) -> list[np.ndarray]:
    """Pixels (x, y) of sky positions, without a kernel; also outside the domain of the WCS."""
    xi, eta = project(ra, dec, wcs.ra0, wcs.dec0)
    x0, x1, y0, y1 = wcs.plane_domain
    u, v = (2.0 * xi - x0 - x1) / (x1 - x0), (2.0 * eta - y0 - y1) / (y1 - y0)
    return [chebyshev.chebval2d(u, v, coefficients) for coefficients in wcs.inverse]


def _distance(offset: np.ndarray, roll: np.ndarray, side: np.ndarray) -> np.ndarray:
    """How much exposures differ from one, pixels of phase.

    A different pointing counts as the part of the image by which it differs, in pixels.

    Parameters
    ----------
    offset : ndarray, shape (n, 2)
        Differences of the places of the field, pixels.
    roll : ndarray, shape (n,)
        Differences of the roll, radian.
    side : ndarray, shape (n, 2)
        Columns and rows of the images.
    """
    phase = offset - np.round(offset)
    turned = 2.0 * _ROLL * np.sin(0.5 * roll)
    return np.sqrt((phase**2).sum(axis=1) + turned**2 + ((offset / side) ** 2).sum(axis=1))


def _table(rows: pd.DataFrame, place: np.ndarray) -> pd.DataFrame:
    """The ``learning`` table of rows of the exposures table, in the order of choice."""
    phase = place - np.round(place)
    return pd.DataFrame(
        {
            "order": np.arange(len(rows), dtype=np.int32),
            "exposure": rows["exposure"].to_numpy(),
            "time": rows["time"].to_numpy(),
            "phase_x": phase[:, 0],
            "phase_y": phase[:, 1],
        }
    )
