"""Time series of pixels: the input of `romanprf.machine.machine.Machine` from every format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np


class PixelPosition(NamedTuple):
    """A position on the detector, in the pixels of `PixelSeries.row` and ``column``."""

    row: float
    column: float


@dataclass(frozen=True, eq=False)
class PixelSeries:
    """The same pixels, or the same piece of sky, at many times.

    Attributes
    ----------
    time : ndarray, shape (nt,)
        Julian date, rising; its scale is ``meta["time_scale"]``.
    flux : ndarray, shape (nt, npix)
        Electrons per second; NaN where the pixel is rejected.
    flux_err : ndarray, shape (nt, npix)
        1 sigma, electrons per second; infinite where the pixel is rejected.
    ra, dec : ndarray, shape (npix,) or (nt, npix)
        Pixel centres, degrees ICRS; one row per time where the grid moves on the sky or detector.
    row, column : ndarray of int, shape of ``ra``
        Detector pixels.
    meta : dict
        Properties of the series: mission, detector, filter, time scale ...
    extra : dict of str to ndarray
        Further series, with time along the first axis, and properties of the pixels.
    """

    time: np.ndarray
    flux: np.ndarray
    flux_err: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    row: np.ndarray
    column: np.ndarray
    meta: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, np.ndarray] = field(default_factory=dict)
