"""One exposure: the contents of its row of the exposures table, and its pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd

from romanprf.core.image import Image
from romanprf.sky.wcs import STERADIAN, TangentWCS, image_centre, stretch


@dataclass(frozen=True, eq=False)
class Exposure:
    """An exposure.

    Attributes
    ----------
    wcs : TangentWCS
        From the header.
    shape : tuple of int
        Rows and columns.
    read : callable
        Returns the `Image`, read anew at each call.
    area : float or None
        Pixel area (sr) to which a flat-fielded image refers: its pixels are surface brightness
        times this area.  None: a pixel collects light in proportion to its own area.
    number : int
        Exposure number.
    time : float
        Mid-exposure, Julian date.
    flags : int
        Bits of `romanprf.flags.ExposureFlag`.
    """

    wcs: TangentWCS
    shape: tuple[int, int]
    read: Callable[[], Image]
    area: float | None = None
    number: int = 0
    time: float = np.nan
    flags: int = 0

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Exposure:
        """Parse a row of the ``exposures`` table."""
        from romanprf.io.images import read_image  # noqa: PLC0415  (formats are slow to import)

        return cls(
            wcs=TangentWCS.from_json(row["wcs"]),
            shape=(int(row["nrows"]), int(row["ncols"])),
            read=partial(read_image, row),
            area=None if pd.isna(row["pixel_area"]) else row["pixel_area"],
            number=row["exposure"],
            time=row["time"],
            flags=row["flags"],
        )

    @property
    def centre(self) -> tuple[float, float]:
        """Column and row of the middle of the image."""
        return image_centre(self.shape)

    @cached_property
    def jacobian(self) -> np.ndarray:
        """(east, north) arcsec per (x, y) pixel at the centre, shape (2, 2)."""
        return self.wcs.jacobian(*(np.asarray(place) for place in self.centre))

    @property
    def pixel_area(self) -> float:
        """Area (arcsec^2) of the pixels of a flat-fielded image, or of the central pixel."""
        area = self.wcs.pixel_area(*self.centre) if self.area is None else self.area
        return float(STERADIAN * area)

    @property
    def pixel_scale(self) -> float:
        """Arcsec per pixel at the centre."""
        return float(np.sqrt(stretch(self.jacobian)))
