"""Where a catalogue as a whole lies on the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from romanprf.io.exposure import Exposure
from romanprf.search.peaks import bright_peaks
from romanprf.sky.field import SkyRegion
from romanprf.sky.motion import positions_at
from romanprf.sky.pattern import REACH, Alignment, find_alignment
from romanprf.sky.wcs import ARCSEC, project

#: Peaks and stars from which a pattern has to be found.
_ENOUGH = 20


@dataclass(frozen=True, eq=False)
class View:
    """Bright peaks of an exposure.

    Attributes
    ----------
    time : float
        Julian date.
    points : ndarray, shape (n, 2)
        Peaks in the tangent plane of the field, arcsec, the brightest first.
    """

    time: float
    points: np.ndarray

    @classmethod
    def of(cls, row: Mapping[Any, Any], region: SkyRegion) -> View:
        """The exposure of a row of the ``exposures`` table."""
        exposure = Exposure.from_row(row)
        peaks = bright_peaks(exposure.read())
        sky = exposure.wcs.pixel_to_sky(peaks.x, peaks.y)
        return cls(exposure.time, _plane(*sky, region))


def align(views: Sequence[View], sources: pd.DataFrame, region: SkyRegion) -> Alignment | None:
    """Typical shift and rotation of a catalogue with respect to some exposures.

    Parameters
    ----------
    views : sequence of View
        Of the exposures.
    sources : DataFrame
        Astrometric parameters (`romanprf.schemas.ASTROMETRIC`), ``epoch`` and ``mag``, which is the
        same for all if the magnitudes are unknown.
    region : SkyRegion
        The field.

    Returns
    -------
    Alignment or None
        None where no exposure shows the pattern of the catalogue.
    """
    sources = sources.sort_values("mag", kind="stable")
    ranked = sources["mag"].iloc[0] < sources["mag"].iloc[-1]
    found: list[Alignment] = []
    for view in views:
        stars = _plane(*positions_at(sources, view.time), region)
        alignment = find_alignment(view.points, stars, ranked, found[0] if found else None)
        found += [] if alignment is None else [alignment]
    if not found:
        return None
    offsets = np.array([alignment.offset for alignment in found])
    return found[int(np.argmin(np.abs(offsets - np.median(offsets, axis=0)).sum(axis=1)))]


def expected(views: Sequence[View], sources: pd.DataFrame, region: SkyRegion) -> bool:
    """Whether there are enough peaks and stars for `align` to find a pattern."""
    inside = region.contains(sources["ra"].to_numpy(), sources["dec"].to_numpy(), REACH)
    return min(int(inside.sum()), max(len(view.points) for view in views)) >= _ENOUGH


def _plane(ra: np.ndarray, dec: np.ndarray, region: SkyRegion) -> np.ndarray:
    """Points (n, 2) of the tangent plane, arcsec east and north."""
    return ARCSEC * np.stack(project(ra, dec, region.ra0, region.dec0), axis=1)
