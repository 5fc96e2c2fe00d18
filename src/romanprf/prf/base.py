"""The interface of PRF models."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike


class PRF(ABC):
    """Pixel response function: the image of a point source as the pixels record it.

    The value at an offset is the fraction of a source's flux that falls in a pixel of
    ``pixel_area`` whose centre is at that offset from the source.  A model ends at ``rmax``; beyond
    it the light of a real PRF falls with the cube of the radius, as behind any sharp aperture, and
    `integral` counts this wing.  Models are immutable; they compare by identity.

    Attributes
    ----------
    kind : str
        Name of the model in the ``prf`` table.
    pixel_area : float
        Area of the pixels that the values refer to, arcsec^2.
    rmax : float
        Radius at which the model ends, arcsec.
    """

    kind: ClassVar[str]
    pixel_area: float
    rmax: float

    @property
    def pixel_scale(self) -> float:
        """Side of a pixel of ``pixel_area``, arcsec."""
        return float(np.sqrt(self.pixel_area))

    # values

    @abstractmethod
    def evaluate(self, r: ArrayLike, phi: ArrayLike) -> np.ndarray:
        """PRF at offsets on the sky; 0 beyond ``rmax``.

        Parameters
        ----------
        r : array_like
            Distance from the source, arcsec.
        phi : array_like
            arctan2(north, east), rad; broadcasts with ``r``.

        Returns
        -------
        ndarray
            Fraction of the flux in a pixel of ``pixel_area``, of the shape of ``r`` and ``phi``.
        """

    @abstractmethod
    def on_pixels(self, dx: ArrayLike, dy: ArrayLike, jacobian: np.ndarray) -> np.ndarray:
        """PRF at offsets on a detector; 0 beyond the end of the model.

        Parameters
        ----------
        dx, dy : array_like
            Offset of the centre of a pixel from the source along columns and rows, pixels;
            broadcast with each other.
        jacobian : ndarray, shape (2, 2)
            (east, north) arcsec per (x, y) pixel at the source.

        Returns
        -------
        ndarray
            Fraction of the flux in that pixel, of the shape of ``dx`` and ``dy``.
        """

    @abstractmethod
    def fill_stamps(
        self,
        x: np.ndarray,
        y: np.ndarray,
        radius: np.ndarray,
        jacobian: np.ndarray,
        scale: np.ndarray,
        window: np.ndarray,
        offset: np.ndarray,
        points: int = 1,
    ) -> np.ndarray:
        """PRF values of all sources on their windows (see `romanprf.frame.stamps.Stamps`).

        Parameters
        ----------
        x, y : ndarray, shape (nsources,)
            Place of each source, pixels (column, row).
        radius : ndarray, shape (nsources,)
            Values beyond it are zero, pixels.
        jacobian : ndarray, shape (nsources, 2, 2)
            (east, north) arcsec per (x, y) pixel at each source.
        scale : ndarray, shape (nsources,)
            Area of the pixels over ``pixel_area``.
        window : ndarray of int32, shape (nsources, 4)
            row0, row1, column0, column1.
        offset : ndarray of int64, shape (nsources + 1,)
            Start of each window in the result.
        points : int
            The value of a pixel is the mean over a grid of this many points per axis.

        Returns
        -------
        ndarray of float32, shape (offset[-1],)
            Fraction of the flux of each source in the pixels of its window, row by row.
        """

    # places

    @abstractmethod
    def at(self, x: float, y: float) -> Self:
        """Model of one place of the image (pixels: column, row), the same everywhere."""

    @abstractmethod
    def seen_from(self, column: int, row: int) -> Self:
        """Model for a cut-out whose first pixel is this one of the image."""

    # size and light

    @abstractmethod
    def radius(self, threshold: ArrayLike) -> np.ndarray:
        """Radius (arcsec) beyond which the mean over the angles stays below ``threshold``."""

    @property
    @abstractmethod
    def _angles(self) -> np.ndarray:
        """Angles (rad) over which `mean_profile` averages."""

    def mean_profile(self, r: ArrayLike) -> np.ndarray:
        """log10 of the mean over the angles at radii (arcsec, 1-D); NaN where not positive."""
        mean = self.evaluate(np.asarray(r)[:, None], self._angles[None, :]).mean(axis=1)
        return np.log10(np.where(mean > 0.0, mean, np.nan))

    @abstractmethod
    def integral(self) -> float:
        """Total light: inside the end of the model and in an r^-3 wing from there to infinity.

        It is the sum over the pixels, averaged over sub-pixel phases; 1 if catalogue, zero point
        and wings agree.
        """

    def normalised(self) -> Self:
        """Model whose `integral` is 1."""
        return self.brightened(1.0 / self.integral())

    @abstractmethod
    def brightened(self, factor: float) -> Self:
        """Model times a positive factor."""

    # errors

    @property
    @abstractmethod
    def n_errors(self) -> int:
        """Number of likely errors that are known; 0 if the error of the model is unknown."""

    @abstractmethod
    def likely_errors(self, with_scale: bool) -> Iterator[PRF]:
        """Likely errors of the model, each as a model with the footprints of this one.

        Their mean square is the variance of the PRF.  There are none if ``n_errors`` is 0.

        Parameters
        ----------
        with_scale : bool
            Whether the error of the scale, a factor of the whole PRF, is included.
        """

    # tables

    @abstractmethod
    def to_table(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Columns and metadata of the ``prf`` table."""

    @classmethod
    @abstractmethod
    def from_table(cls, columns: Mapping[str, Any], metadata: Mapping[str, str]) -> Self:
        """Model of the columns and metadata of a ``prf`` table.

        Raises
        ------
        ValueError
            If the table is not that of such a model.
        """

    @classmethod
    def _description(cls, metadata: Mapping[str, str]) -> dict[str, Any]:
        """Numbers of a model in the metadata of its table, after a check of its kind."""
        numbers = json.loads(metadata["model"])
        if numbers.pop("kind") != cls.kind:
            raise ValueError(f"expected a {cls.kind} model, got {metadata['model']}")
        return numbers
