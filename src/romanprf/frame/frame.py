"""A frame: the pixels of one exposure, its WCS, and the positions of its stars at that time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd

from romanprf.core.image import Image
from romanprf.io.images import read_image
from romanprf.sky.motion import positions_at
from romanprf.sky.wcs import TangentWCS, stretch


@dataclass(frozen=True, eq=False)
class Frame:
    """One exposure with its stars.

    Attributes
    ----------
    wcs : TangentWCS
        From the header.
    shape : tuple of int
        Rows and columns.
    ra, dec : ndarray, shape (nsources,)
        Positions of the stars at the time of the exposure, degrees ICRS.
    read : callable
        Returns the `Image`, read anew at each call.
    pixel_area : float or None
        Pixel area (sr) to which a flat-fielded image refers: its pixels are surface brightness
        times this area.  None: a pixel collects light in proportion to its own area.
    exposure : int
        Exposure number.
    time : float
        Mid-exposure, Julian date.
    flags : int
        Bits of `romanprf.flags.ExposureFlag`.
    """

    wcs: TangentWCS
    shape: tuple[int, int]
    ra: np.ndarray
    dec: np.ndarray
    read: Callable[[], Image]
    pixel_area: float | None = None
    exposure: int = 0
    time: float = np.nan
    flags: int = 0

    @classmethod
    def from_row(cls, row: Mapping[Any, Any], sources: pd.DataFrame) -> Frame:
        """Parse a row of the ``exposures`` table; the stars are rows of the ``sources`` table."""
        ra, dec = positions_at(sources, row["time"])
        return cls(
            wcs=TangentWCS.from_json(row["wcs"]),
            shape=(int(row["nrows"]), int(row["ncols"])),
            ra=ra,
            dec=dec,
            read=partial(read_image, row),
            pixel_area=row["pixel_area"] if np.isfinite(row["pixel_area"]) else None,
            exposure=row["exposure"],
            time=row["time"],
            flags=row["flags"],
        )

    def __len__(self) -> int:
        return len(self.ra)

    @property
    def centre(self) -> tuple[float, float]:
        """Column and row of the middle of the image."""
        return (self.shape[1] - 1) / 2.0, (self.shape[0] - 1) / 2.0

    @cached_property
    def jacobian(self) -> np.ndarray:
        """(east, north) arcsec per (x, y) pixel at the centre, shape (2, 2)."""
        return self.wcs.jacobian(*(np.asarray(place) for place in self.centre))

    @property
    def pixel_scale(self) -> float:
        """Arcsec per pixel at the centre."""
        return float(np.sqrt(stretch(self.jacobian)))

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
        return replace(self, wcs=self.wcs.seen_from(column, row), shape=shape, read=read)
