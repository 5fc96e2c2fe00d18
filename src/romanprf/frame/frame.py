"""A frame: one exposure with the positions of its stars at that time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from romanprf.core.image import Image
from romanprf.io.exposure import Exposure
from romanprf.sky.motion import positions_at
from romanprf.sky.wcs import TangentWCS


@dataclass(frozen=True, eq=False)
class Frame:
    """One exposure with its stars.

    Attributes
    ----------
    exposure : Exposure
        Pixels, WCS and time.
    ra, dec : ndarray, shape (nsources,)
        Positions of the stars at that time, degrees ICRS.
    """

    exposure: Exposure
    ra: np.ndarray
    dec: np.ndarray

    @classmethod
    def from_row(cls, row: Mapping[Any, Any], sources: pd.DataFrame) -> Frame:
        """A row of the ``exposures`` table with rows of the ``sources`` table as its stars."""
        exposure = Exposure.from_row(row)
        ra, dec = positions_at(sources, exposure.time)
        return cls(exposure=exposure, ra=ra, dec=dec)

    def __len__(self) -> int:
        return len(self.ra)

    @property
    def wcs(self) -> TangentWCS:
        """Of the exposure."""
        return self.exposure.wcs

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.exposure.shape

    def read(self) -> Image:
        """Pixels, read anew at each call."""
        return self.exposure.read()

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (x, y) at which the WCS puts the stars, each (nsources,); NaN if nowhere."""
        return self.wcs.sky_to_pixel(self.ra, self.dec)

    def only(self, chosen: np.ndarray | slice) -> Frame:
        """The frame with some of its stars."""
        return replace(self, ra=self.ra[chosen], dec=self.dec[chosen])

    def cut(
        self, corner: tuple[int, int], shape: tuple[int, int], read: Callable[[], Image]
    ) -> Frame:
        """A window whose first pixel is ``corner`` (row, column), with a reader of its own."""
        row, column = corner
        wcs = self.wcs.seen_from(column, row)
        return replace(self, exposure=replace(self.exposure, wcs=wcs, shape=shape, read=read))
