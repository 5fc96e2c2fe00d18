"""Lists of pixels as parts of an image, to which the solver of the workflow applies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix

from romanprf.core.image import Image, masked_image
from romanprf.frame.frame import Frame
from romanprf.frame.stamps import Stamps
from romanprf.io.exposure import Exposure
from romanprf.sky import deltas_nb
from romanprf.sky.deltas import find_deltas
from romanprf.sky.wcs import STERADIAN, TangentWCS

#: Largest distance of a pixel from where the smooth WCS puts its sky coordinates, pixels.
_MISMATCH = 0.5
#: Frames have different rolls if their pixels are turned by more than this, rad.
_ROLLED = 1e-3
#: Number of pixels to which the WCS is fitted, at most.
_FITTED = 2000


class Offsets(NamedTuple):
    """Offsets of all pixels from all sources, each (nsources, npixels).

    Attributes
    ----------
    dra, ddec : ndarray or csr_matrix
        East and north, degrees.
    r : ndarray or csr_matrix
        Distance, arcsec.
    phi : ndarray or csr_matrix
        Angle from east to north, rad.
    """

    dra: np.ndarray | csr_matrix
    ddec: np.ndarray | csr_matrix
    r: np.ndarray | csr_matrix
    phi: np.ndarray | csr_matrix


@dataclass(frozen=True, eq=False)
class PixelGrid:
    """Pixels in any order as parts of the smallest image that contains all, and its WCS.

    Attributes
    ----------
    row, column : ndarray of int64, shape (npixels,)
        Positions in the image, from 0.
    ra, dec : ndarray, shape (npixels,)
        Degrees ICRS.
    shape : tuple of int
        Rows and columns of the image.
    index : ndarray of int32, shape ``shape``
        Number of the pixel at each position, -1 where there is none.
    wcs : TangentWCS
        Fitted to the pixels.
    pixel_area : float
        Of the central pixel, arcsec^2.
    """

    row: np.ndarray
    column: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    shape: tuple[int, int]
    index: np.ndarray
    wcs: TangentWCS
    pixel_area: float

    @classmethod
    def from_arrays(
        cls, row: np.ndarray, column: np.ndarray, ra: np.ndarray, dec: np.ndarray
    ) -> PixelGrid:
        """Make a grid of detector pixels, all arrays of shape (npixels,).

        Raises
        ------
        ValueError
            If a pixel occurs twice, or if rows and columns do not match the sky positions.
        """
        row, column = row - row.min(), column - column.min()
        shape = (int(row.max()) + 1, int(column.max()) + 1)
        index = np.full(shape, -1, np.int32)
        index[row, column] = np.arange(row.size)
        twice = np.flatnonzero(index[row, column] != np.arange(row.size))
        if twice.size:
            raise ValueError(
                f"pixel {twice[0]} has the row and column of another one ({twice.size} such "
                "pixels), expected each detector pixel once: drop the duplicates"
            )
        some = np.arange(row.size)
        if some.size > _FITTED:  # equal steps could follow a line of the image
            some = np.random.default_rng(0).choice(some, _FITTED)
        wcs = TangentWCS.from_pixels(column[some], row[some], ra[some], dec[some])
        x, y = wcs.sky_to_pixel(ra[some], dec[some])
        off = np.nan_to_num(np.hypot(x - column[some], y - row[some]), nan=np.inf)
        if not np.max(off) < _MISMATCH:
            raise ValueError(
                f"ra and dec are up to {np.max(off):.3g} pixels from where row and column put the "
                "pixels, expected one smooth image: check the order of the arrays, and fit "
                "detectors one by one"
            )
        area = STERADIAN * wcs.pixel_area(*(np.asarray((n - 1) / 2.0) for n in reversed(shape)))
        return cls(row, column, ra, dec, shape, index, wcs, float(area))

    @cached_property
    def regular(self) -> bool:
        """Whether the pixels are those of a whole image, row by row."""
        return self.row.size == self.index.size and bool(np.all(np.diff(self.index.ravel()) == 1))

    @property
    def pixel_scale(self) -> float:
        """Arcsec per pixel."""
        return float(np.sqrt(self.pixel_area))

    @cached_property
    def angle(self) -> float:
        """Angle, from east to north, of the direction in which columns count, rad."""
        centre = (np.array([(n - 1) / 2.0]) for n in reversed(self.shape))
        (east, _), (north, _) = self.wcs.jacobian(*centre)[0]
        return float(np.arctan2(north, east))

    def turned_from(self, angle: float) -> float:
        """Angle by which the pixels are turned from others with that `angle`, rad; 0 if hardly."""
        turn = float(np.mod(self.angle - angle + np.pi, 2.0 * np.pi) - np.pi)
        return turn if abs(turn) > _ROLLED else 0.0

    def image(self, flux: np.ndarray, flux_err: np.ndarray, poisson_slope: float = 0.0) -> Image:
        """Image of the pixels' flux and error (e-/s), both (npixels,).

        Positions without a pixel, and pixels whose flux or error is not finite, are rejected.
        """
        if self.regular:
            planes = np.stack([flux, flux_err]).reshape(2, *self.shape)
        else:
            planes = np.full((2, *self.shape), np.nan)
            planes[0][self.row, self.column] = flux
            planes[1][self.row, self.column] = flux_err
        return masked_image(planes[0], planes[1], np.zeros(self.shape, np.int32), poisson_slope)

    def pixels(self, image: np.ndarray) -> np.ndarray:
        """Values of an image at the pixels, shape (npixels,)."""
        return image.ravel() if self.regular else image[self.row, self.column]

    def frame(self, ra: np.ndarray, dec: np.ndarray, read: Callable[[], Image]) -> Frame:
        """Frame of sources (degrees ICRS) on the pixels; ``read`` returns its image."""
        return Frame(Exposure(wcs=self.wcs, shape=self.shape, read=read), ra=ra, dec=dec)

    def entries(self, stamps: Stamps) -> tuple[np.ndarray, np.ndarray]:
        """Source and pixel of each value of the stamps; pixel -1 where there is none."""
        source, row, column = stamps.entries()
        return source, self.index[row, column]

    def offsets(self, stamps: Stamps) -> tuple[np.ndarray, np.ndarray]:
        """(east, north) of each value of the stamps from its source, arcsec."""
        source, row, column = stamps.entries()
        jacobian = self.wcs.jacobian(stamps.x, stamps.y)[source]
        dx, dy = column - stamps.x[source], row - stamps.y[source]
        east, north = (jacobian[:, i, 0] * dx + jacobian[:, i, 1] * dy for i in (0, 1))
        return east, north

    def touching(self, marked: np.ndarray) -> np.ndarray:
        """Which pixels are marked or touch a marked one, shape (npixels,)."""
        from scipy.ndimage import binary_dilation  # noqa: PLC0415  (slow to import, seldom used)

        image = np.zeros(self.shape, bool)
        image[self.row, self.column] = marked
        return self.pixels(binary_dilation(image, np.ones((3, 3), bool)))

    def matrix(self, stamps: Stamps) -> csr_matrix:
        """The stamps' values that are not zero, shape (nsources, npixels)."""
        source, pixel = self.entries(stamps)
        keep = (pixel >= 0) & (stamps.values > 0.0)
        shape = (len(stamps), self.row.size)
        return _csr(stamps.values[keep], source[keep], pixel[keep], shape)

    def deltas(self, ra: np.ndarray, dec: np.ndarray, radius: ArrayLike) -> dict[str, np.ndarray]:
        """Pairs of sources and pixels closer than ``radius`` (arcsec, one or for each source).

        Columns of `romanprf.sky.deltas.find_deltas` and the number of the ``pixel``.  The offsets
        are computed from the sky positions of the pixels, not from the WCS.
        """
        sky = np.zeros((2, *self.shape))
        sky[0][self.row, self.column], sky[1][self.row, self.column] = self.ra, self.dec
        radius = np.broadcast_to(radius, ra.shape)
        pairs = find_deltas(ra, dec, radius / self.pixel_scale + 2.0, self.wcs, self.shape, sky)
        pairs["pixel"] = self.index[pairs["row"], pairs["column"]]
        keep = (pairs["pixel"] >= 0) & (pairs["r"] <= radius[pairs["source"]])
        return {name: values[keep] for name, values in pairs.items()}

    def sparse_offsets(self, ra: np.ndarray, dec: np.ndarray, radius: float) -> Offsets:
        """Sparse offsets of the pixels closer than ``radius`` (arcsec) to each source."""
        pairs = self.deltas(ra, dec, radius)
        where, shape = (pairs["source"], pairs["pixel"]), (ra.size, self.row.size)
        return Offsets(*(_csr(pairs[name], *where, shape) for name in Offsets._fields))

    def dense_offsets(self, ra: np.ndarray, dec: np.ndarray) -> Offsets:
        """Offsets of all pixels from each source."""
        arrays = np.empty((len(Offsets._fields), ra.size, self.row.size))
        deltas_nb.all_offsets(ra, dec, self.ra, self.dec, *arrays)
        return Offsets(*arrays)


def perturbed(stamps: Stamps, factor: np.ndarray) -> Stamps:
    """Stamps whose values are multiplied by ``factor``, shape (nvalues,)."""
    return replace(stamps, values=stamps.values * factor)


def _csr(
    values: np.ndarray, source: np.ndarray, pixel: np.ndarray, shape: tuple[int, int]
) -> csr_matrix:
    matrix = csr_matrix((values, (source, pixel)), shape=shape)
    matrix.sort_indices()
    return matrix
