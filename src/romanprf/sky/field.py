"""The part of the sky that the images cover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from romanprf.errors import InputError
from romanprf.sky.motion import julian_year
from romanprf.sky.wcs import ARCSEC, TangentWCS, image_centre, project, stretch

#: Step by which the sky region grows, arcsec: a new dither rarely changes it.
SNAP = 4.0

#: WCS and shape (rows, columns) of an image.
Image = tuple[TangentWCS, tuple[int, int]]


@dataclass(frozen=True)
class SkyRegion:
    """Rectangle about all images of a reduction; scale, epoch and zero point of the first one.

    Numbers are rounded so that they rarely change when an image is added: the sources of a
    reduction depend on them.  ``SkyRegion(**numbers)`` is the inverse of `dataclasses.asdict`.

    Attributes
    ----------
    ra0, dec0 : float
        Tangent point, degrees ICRS: that of the first exposure, to 1e-4 degrees.
    angle : float
        Direction of the columns of the first exposure, from east to north, to 0.1 degrees.
    u_min, u_max, v_min, v_max : float
        Limits in the `plane`, degrees: multiples of `SNAP`, outside all images.
    pixel_scale : float
        Arcsec per pixel at the centre of the first exposure.
    epoch : float
        Julian year of the first exposure.
    zero_point : float
        AB magnitude of 1 e-/s.
    """

    ra0: float
    dec0: float
    angle: float
    u_min: float
    u_max: float
    v_min: float
    v_max: float
    pixel_scale: float
    epoch: float
    zero_point: float

    @classmethod
    def of(cls, images: Sequence[Image], time: float, zero_point: float) -> SkyRegion:
        """Region of the images of a reduction.

        Parameters
        ----------
        images : sequence of (TangentWCS, shape)
            WCS and shape (rows, columns) of each, sorted by exposure.
        time, zero_point : float
            Julian date and AB magnitude of 1 e-/s of the first.

        Raises
        ------
        InputError
            If the images lie more than 90 degrees apart.
        """
        wcs, shape = images[0]
        jacobian = wcs.jacobian(*image_centre(shape))
        ra0, dec0 = round(wcs.ra0, 4) % 360.0, round(wcs.dec0, 4)
        angle = round(float(np.rad2deg(np.arctan2(jacobian[1, 0], jacobian[0, 0]))), 1)
        outlines = [_outline(*image) for image in images]
        ra, dec = (np.concatenate(values) for values in zip(*outlines, strict=True))
        u, v = _turned_plane(ra, dec, ra0, dec0, angle)
        u_min, u_max = _snapped(u)
        v_min, v_max = _snapped(v)
        return cls(
            ra0=ra0,
            dec0=dec0,
            angle=angle,
            u_min=u_min,
            u_max=u_max,
            v_min=v_min,
            v_max=v_max,
            pixel_scale=round(float(np.sqrt(stretch(jacobian))), 4),
            epoch=round(julian_year(float(time)), 3),
            zero_point=float(zero_point),
        )

    def plane(self, ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tangent plane with axes along those of the images: u, v in degrees.

        NaN for positions (degrees ICRS) on the far side of the sky.
        """
        return _turned_plane(ra, dec, self.ra0, self.dec0, self.angle)

    def contains(self, ra: np.ndarray, dec: np.ndarray, margin: ArrayLike = 0.0) -> np.ndarray:
        """Whether positions fall in the rectangle.

        Parameters
        ----------
        ra, dec : ndarray, shape (n,)
            Degrees ICRS.
        margin : float or ndarray, shape (n,)
            Width of a strip added on each side, arcsec.

        Returns
        -------
        ndarray of bool, shape (n,)
        """
        u, v = self.plane(ra, dec)
        border = np.asarray(margin) / ARCSEC
        return (
            (u >= self.u_min - border)
            & (u <= self.u_max + border)
            & (v >= self.v_min - border)
            & (v <= self.v_max + border)
        )


def _turned_plane(
    ra: np.ndarray, dec: np.ndarray, ra0: float, dec0: float, angle: float
) -> tuple[np.ndarray, np.ndarray]:
    xi, eta = project(ra, dec, ra0, dec0)
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    return xi * cos + eta * sin, eta * cos - xi * sin


def _outline(wcs: TangentWCS, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Sky positions along the outer edges of an image."""
    nrows, ncols = shape
    x, y = np.linspace(-0.5, ncols - 0.5, 17), np.linspace(-0.5, nrows - 0.5, 17)
    xs = np.concatenate([x, x, np.full(17, x[0]), np.full(17, x[-1])])
    ys = np.concatenate([np.full(17, y[0]), np.full(17, y[-1]), y, y])
    return wcs.pixel_to_sky(xs, ys)


def _snapped(values: np.ndarray) -> tuple[float, float]:
    """Range of ``values`` (degrees), outward to multiples of `SNAP`."""
    if not np.isfinite(values).all():
        raise InputError("the images lie more than 90 degrees apart, expected one field")
    steps = values * ARCSEC / SNAP
    low, high = np.floor(steps.min()), np.ceil(steps.max())
    return float(low * SNAP / ARCSEC), float(high * SNAP / ARCSEC)
