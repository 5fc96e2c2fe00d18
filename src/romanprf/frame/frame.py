"""A frame that the PRF is learned from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from romanprf.core.image import Image
from romanprf.frame.far import far_light
from romanprf.frame.stamps import Stamps, make_stamps
from romanprf.prf import PRF
from romanprf.sky.wcs import STERADIAN, TangentWCS, stretch

#: All sources of a table.
ALL = slice(None)


@dataclass(frozen=True, eq=False)
class Exposure:
    """A frame to learn from.

    Attributes
    ----------
    read : callable
        Gives the `Image`.
    ra, dec : ndarray, shape (nsources,)
        Degrees ICRS, at the time of the frame.
    wcs : TangentWCS
        Of the frame.
    shape : tuple of int
        Rows and columns.
    pixel_area : float or None
        See `romanprf.frame.stamps.make_stamps`.
    """

    read: Callable[[], Image]
    ra: np.ndarray
    dec: np.ndarray
    wcs: TangentWCS
    shape: tuple[int, int]
    pixel_area: float | None

    def stamps(
        self,
        prf: PRF,
        flux: np.ndarray,
        flux_cut_off: float,
        chosen: np.ndarray | slice,
        shift: tuple[float, float],
    ) -> Stamps:
        """PRF of the chosen sources on this frame, which is off its WCS by ``shift`` pixels."""
        stars = self.ra[chosen], self.dec[chosen], flux[chosen]
        return make_stamps(
            prf, *stars, self.wcs, self.shape, flux_cut_off, self.pixel_area, shift=shift
        )

    def far_light(
        self,
        prf: PRF,
        flux_cut_off: float,
        stamps: Stamps,
        flux: np.ndarray,
        image: np.ndarray,
    ) -> np.ndarray:
        """Add the light beyond the footprints (see `romanprf.frame.far`)."""
        return far_light(prf, stamps, flux, self.wcs, flux_cut_off, image, self.pixel_area)

    def light(self, stamps: Stamps) -> np.ndarray:
        """What a pixel of the frame gets of each source over what one of the detector would.

        Flat-fielding turns light into surface brightness times one nominal area.
        """
        if self.pixel_area is None:
            return np.ones(len(stamps))
        area = stretch(self.wcs.jacobian(stamps.x, stamps.y))
        return STERADIAN * self.pixel_area / area
