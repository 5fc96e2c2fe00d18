"""The PRF of every source of a frame on the pixels of its footprint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from romanprf.frame import stamps_nb
from romanprf.frame.frame import Frame
from romanprf.frame.state import AS_IN_HEADER, FrameState
from romanprf.prf import PRF
from romanprf.sky.wcs import STERADIAN, stretch

#: A footprint is never smaller than this (pixels).
MIN_RADIUS = 5.0


class Footprints(NamedTuple):
    """The stamps of `Stamps`, as the kernels take them: attributes of the same names."""

    window: np.ndarray
    offset: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Stamps:
    """PRF values on rectangular windows, one per source, clipped to the image.

    Attributes
    ----------
    x, y : ndarray, shape (nsources,)
        Pixel positions (column, row); 0 where a source has no window.
    radius : ndarray, shape (nsources,)
        Footprint radius, pixels; the values are zero beyond it.
    window : ndarray of int32, shape (nsources, 4)
        row0, row1, column0, column1; empty where a footprint misses the image.
    offset : ndarray of int64, shape (nsources + 1,)
        Start of each window in ``values``.
    values : ndarray, shape (offset[-1],)
        Fraction of the source's flux in each pixel, row by row.
    shape : tuple of int
        Rows and columns of the image.
    """

    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    window: np.ndarray
    offset: np.ndarray
    values: np.ndarray
    shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.x)

    @property
    def footprints(self) -> Footprints:
        """What kernels need of the stamps."""
        return Footprints(window=self.window, offset=self.offset, values=self.values)

    def seen(self) -> tuple[np.ndarray, Stamps]:
        """Indices of the sources that have a window, and the stamps of those."""
        index = np.flatnonzero(np.diff(self.offset))
        offset = np.append(self.offset[index], self.offset[-1])
        return index, Stamps(
            x=self.x[index],
            y=self.y[index],
            radius=self.radius[index],
            window=self.window[index],
            offset=offset,
            values=self.values,
            shape=self.shape,
        )

    def entries(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Source, row and column of each of the values."""
        size = np.diff(self.offset)
        source = np.repeat(np.arange(len(self)), size)
        place = np.arange(self.offset[-1]) - np.repeat(self.offset[:-1], size)
        row0, _, column0, column1 = self.window.T[:, source]
        width = column1 - column0
        return source, row0 + place // width, column0 + place % width

    def model(self, flux: np.ndarray, rest: np.ndarray | None = None) -> np.ndarray:
        """Image of all sources with these fluxes (e-/s) on top of ``rest``, shape ``shape``."""
        image = np.empty(self.shape)
        rest = np.zeros(self.shape) if rest is None else rest
        stamps_nb.add(self.footprints, *self.bands, flux, rest, image)
        return image

    def dot(self, image: np.ndarray) -> np.ndarray:
        """Sum over each footprint of PRF times ``image``, shape (nsources,)."""
        out = np.empty(len(self))
        stamps_nb.dot(self.footprints, np.asarray(image, float), out)
        return out

    def dots(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """`dot` with each image, two at a time, which takes little more than one."""
        images = iter(images)
        for first in images:
            second = next(images, None)
            if second is None:
                yield self.dot(first)
                return
            out, pair = np.empty((2, len(self))), (np.asarray(a, float) for a in (first, second))
            stamps_nb.dot_two(self.footprints, *pair, *out)
            yield from out

    @cached_property
    def bands(self) -> tuple[np.ndarray, np.ndarray]:
        """Sources by the bands of rows that their windows have part in."""
        return stamps_nb.list_bands(self.window, self.shape[0])


def footprint_radius(
    prf: PRF, flux: np.ndarray, flux_cut_off: float, pixel_scale: float
) -> np.ndarray:
    """Radius (pixels) at which the light of each source falls under ``flux_cut_off`` (e-/s/pixel).

    Parameters
    ----------
    flux : ndarray, shape (nsources,)
        e-/s.
    pixel_scale : float
        Arcsec per pixel.
    """
    radius = prf.radius(flux_cut_off / np.maximum(flux, 1e-12)) / pixel_scale
    return np.clip(radius, MIN_RADIUS, prf.rmax / pixel_scale)


def make_stamps(
    prf: PRF,
    frame: Frame,
    flux: np.ndarray,
    flux_cut_off: float,
    state: FrameState = AS_IN_HEADER,
    points: int = 1,
) -> Stamps:
    """Evaluate the PRF of all stars of a frame.

    Parameters
    ----------
    prf : PRF
        The model.
    frame : Frame
        Positions, WCS and shape.
    flux : ndarray, shape (nsources,)
        e-/s; sets the size of the footprints only.
    flux_cut_off : float
        e-/s per pixel at which a footprint ends.
    state : FrameState
        How far the frame is off its WCS.
    points : int
        The value of a pixel is the mean of the PRF over so many places per axis.
    """
    x, y = state.moved(*frame.places())
    lost = ~(np.isfinite(x) & np.isfinite(y))
    x, y = np.where(lost, 0.0, x), np.where(lost, 0.0, y)
    jacobian = frame.wcs.jacobian(x, y)
    radius = footprint_radius(prf, flux, flux_cut_off, frame.exposure.pixel_scale)
    window = _windows(x, y, np.where(lost, -1.0, radius), frame.shape)
    sizes = (window[:, 1] - window[:, 0]).astype(np.int64) * (window[:, 3] - window[:, 2])
    offset = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    scale = light_scale(prf, jacobian, frame.exposure.area)
    values = prf.fill_stamps(x, y, radius, jacobian, scale, window, offset, points)
    return Stamps(x, y, radius, window, offset, values, frame.shape)


def light_scale(prf: PRF, jacobian: np.ndarray, pixel_area: float | None) -> np.ndarray:
    """Factor between the light of a pixel and the PRF, whose values are those of its own pixels.

    Parameters
    ----------
    prf : PRF
        The model.
    jacobian : ndarray, shape (nsources, 2, 2)
        See `romanprf.sky.wcs.TangentWCS.jacobian`.
    pixel_area : float or None
        See `romanprf.io.exposure.Exposure`.
    """
    area = stretch(jacobian)
    if pixel_area is not None:
        area = np.full_like(area, STERADIAN * pixel_area)
    return area / prf.pixel_area


def _windows(x: np.ndarray, y: np.ndarray, radius: np.ndarray, shape: tuple) -> np.ndarray:
    window = np.stack(
        [
            np.clip(np.ceil(y - radius), 0, shape[0]),
            np.clip(np.floor(y + radius) + 1, 0, shape[0]),
            np.clip(np.ceil(x - radius), 0, shape[1]),
            np.clip(np.floor(x + radius) + 1, 0, shape[1]),
        ],
        axis=1,
    ).astype(np.int32)
    empty = (window[:, 1] <= window[:, 0]) | (window[:, 3] <= window[:, 2])
    window[empty] = 0
    return window
