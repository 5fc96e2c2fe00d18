"""Which parts of the frames the PRF is learned from.

A detector has a hundred times the stars that its PRF needs.  Of large images only patches count,
spread evenly from edge to edge so that each node of a PRF that changes over the image has stars of
its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np

from romanprf.core.image import Image
from romanprf.core.large import PATCH_SIDE, PATCHES_PER_AXIS
from romanprf.frame.far import far_radius
from romanprf.frame.frame import Frame
from romanprf.io.scratch import kept
from romanprf.prf.tensor import TensorPRF

#: Pixels by which frames may be off their WCS.
_OFF = 2.0
#: All sources of a table.
ALL = slice(None)


@dataclass(frozen=True, eq=False)
class Patch:
    """The same part of all frames, as frames of their own.

    Attributes
    ----------
    frames : sequence of Frame
        In their order, with the sources of the patch.
    sources : ndarray of int, or slice
        Rows of the sources table that shine on the patch.
    corner : tuple of int
        Row and column of its first pixel.
    """

    frames: Sequence[Frame]
    sources: np.ndarray | slice
    corner: tuple[int, int]


def is_cut(frames: Sequence[Frame]) -> bool:
    """Whether the PRF is learned from patches of these frames only."""
    shapes = {frame.shape for frame in frames}
    return len(shapes) == 1 and min(min(shapes)) > PATCHES_PER_AXIS * PATCH_SIDE


def make_patches(
    frames: Sequence[Frame], prf: TensorPRF, flux: np.ndarray, flux_cut_off: float
) -> list[Patch]:
    """Patches of large images, or one of all pixels.

    Parameters
    ----------
    frames : sequence of Frame
        Read one after the other, and what is needed of them kept in temporary files.
    prf : TensorPRF
        First guess, for the reach of the sources.
    flux : ndarray, shape (nsources,)
        e-/s, the same.
    flux_cut_off : float
        e-/s per pixel at which footprints end.
    """
    if not is_cut(frames):
        return [Patch(frames, ALL, (0, 0))]
    radius = far_radius(prf, flux, flux_cut_off, prf.pixel_scale) + _OFF
    rows, columns = (_starts(length) for length in frames[0].shape)
    corners = list(product(rows.tolist(), columns.tolist()))
    near = np.zeros((len(corners), flux.size), bool)
    for frame in frames:
        x, y = frame.places()
        for n, (row, column) in enumerate(corners):
            near[n] |= (_outside(y, row) < radius) & (_outside(x, column) < radius)
    sources = [np.flatnonzero(reached) for reached in near]
    parts = [_parts(frame, corners, sources) for frame in frames]
    return [
        Patch(frames=cut, sources=chosen, corner=corner)
        for *cut, chosen, corner in zip(*parts, sources, corners, strict=True)
    ]


def inside(patches: Sequence[Patch], number: int) -> np.ndarray:
    """Whether each of so many sources is on a patch of the first frame."""
    shown = np.zeros(number, bool)
    for patch in patches:
        first = patch.frames[0]
        (x, y), (nrows, ncols) = first.places(), first.shape
        shown[patch.sources] |= (np.abs(x - 0.5 * (ncols - 1)) < 0.5 * ncols) & (
            np.abs(y - 0.5 * (nrows - 1)) < 0.5 * nrows
        )
    return shown


def _starts(length: int) -> np.ndarray:
    """First pixel of each patch along an axis."""
    return np.linspace(0, length - PATCH_SIDE, PATCHES_PER_AXIS).round().astype(int)


def _outside(place: np.ndarray, start: int) -> np.ndarray:
    """Distance (pixels) of places from a patch along an axis; NaN stays NaN."""
    return np.abs(place - start - 0.5 * (PATCH_SIDE - 1)) - 0.5 * PATCH_SIDE


def _parts(frame: Frame, corners: list[tuple[int, int]], sources: list[np.ndarray]) -> list[Frame]:
    """Patches of a frame, each with its sources."""
    image, parts = frame.read(), []
    for (row, column), chosen in zip(corners, sources, strict=True):
        window = slice(row, row + PATCH_SIDE), slice(column, column + PATCH_SIDE)
        read = _cut(image, window)
        parts.append(frame.only(chosen).cut((row, column), (PATCH_SIDE, PATCH_SIDE), read))
    return parts


def _cut(image: Image, window: tuple[slice, slice]) -> Callable[[], Image]:
    """Reader of a part of an image, from temporary files."""
    stored = [kept(pixels[window]) for pixels in (image.flux, image.flux_err, image.flags)]
    return partial(_restored, stored, image.poisson_slope)


def _restored(stored: list[np.ndarray], poisson_slope: float) -> Image:
    flux, flux_err, flags = stored
    return Image(
        np.array(flux, float), np.array(flux_err, float), np.array(flags, np.int32), poisson_slope
    )
