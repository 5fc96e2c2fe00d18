"""Frames of pixels in memory, dithered or on one grid."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from romanprf.core.image import Image
from romanprf.frame.frame import Frame
from romanprf.frame.stamps import Stamps
from romanprf.machine.grid import PixelGrid
from romanprf.solve.fluxes import FrameFluxes, Method, Prior, solve_frame

#: Accuracy of the fluxes in units of their errors.
TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class FramePixels:
    """Pixels of one frame.

    Attributes
    ----------
    grid : PixelGrid
        Their positions.
    flux, flux_err : ndarray, shape (npixels,)
        e-/s; a pixel is rejected where either is not finite.
    poisson_slope : float
        See `romanprf.core.image.Image`; with 0 the errors count as they are, otherwise the photon
        noise in them is replaced by that of the model.
    """

    grid: PixelGrid
    flux: np.ndarray
    flux_err: np.ndarray
    poisson_slope: float = 0.0

    @property
    def usable(self) -> np.ndarray:
        """Whether each pixel carries weight, shape (npixels,)."""
        return np.isfinite(self.flux) & np.isfinite(self.flux_err)

    @property
    def noise(self) -> float:
        """Median error of the usable pixels, e-/s; 1 if there is none."""
        errors = self.flux_err[self.usable]
        return float(np.median(errors)) if errors.size else 1.0

    def image(self) -> Image:
        """The smallest image that contains all pixels."""
        return self.grid.image(self.flux, self.flux_err, self.poisson_slope)

    def frame(self, ra: np.ndarray, dec: np.ndarray) -> Frame:
        """Frame of sources at these positions, degrees ICRS."""
        return self.grid.frame(ra, dec, self.image)

    def solve(
        self, stamps: Stamps, prior: Prior, with_background: bool, far: np.ndarray
    ) -> FrameFluxes:
        """Fit all fluxes (see `romanprf.solve.fluxes.solve_frame`).

        ``far`` is the light beyond the footprints (e-/s), an image.
        """
        method = Method(
            tolerance=TOLERANCE,
            reweight=int(self.poisson_slope > 0.0),
            background_nodes=int(with_background),
        )
        image = self.image()
        left = np.where(image.usable, image.flux - far, 0.0)
        fit = solve_frame(replace(image, flux=left), stamps, prior, method)
        return replace(fit, model=fit.model + far)


@dataclass(frozen=True, eq=False)
class Series:
    """Frames in time.

    Attributes
    ----------
    time : ndarray, shape (nt,)
        Julian date.
    grids : list of PixelGrid
        One for all frames, or one each.
    flux, flux_err : ndarray, shape (nt, npixels)
        e-/s.
    time_mask : ndarray of bool, shape (nt,)
        Frames that `mean` and `choose` use.
    poisson_slope : ndarray, shape (nt,)
        See `FramePixels`.
    """

    time: np.ndarray
    grids: list[PixelGrid]
    flux: np.ndarray
    flux_err: np.ndarray
    time_mask: np.ndarray
    poisson_slope: np.ndarray

    def __len__(self) -> int:
        return len(self.flux)

    @property
    def dithered(self) -> bool:
        """Whether the frames have grids of their own."""
        return len(self.grids) > 1

    def grid(self, frame: int) -> PixelGrid:
        """Pixels of a frame."""
        return self.grids[frame if self.dithered else 0]

    def frame(self, number: int) -> FramePixels:
        """Pixels of one frame."""
        return FramePixels(
            grid=self.grid(number),
            flux=self.flux[number],
            flux_err=self.flux_err[number],
            poisson_slope=float(self.poisson_slope[number]),
        )

    def choose(self, frame_index: str | int) -> list[FramePixels]:
        """The frame of this number, the "mean" of the unmasked ones, or "all" of those.

        Raises
        ------
        IndexError
            If there is no such frame.
        ValueError
            If it is neither a number nor one of the words, or asks for the mean of dithered frames.
        """
        n = len(self)
        if isinstance(frame_index, str) and frame_index == "all":
            return [self.frame(int(t)) for t in np.flatnonzero(self.time_mask)]
        if isinstance(frame_index, str) and frame_index == "mean":
            return [self.mean()]
        if isinstance(frame_index, (int, np.integer)) and not isinstance(frame_index, bool):
            if -n <= frame_index < n:
                return [self.frame(int(frame_index) % n)]
            raise IndexError(f"frame_index={frame_index}, expected 0 ... {n - 1}")
        raise ValueError(
            f'frame_index={frame_index!r}, expected the number of a frame, "mean" or "all"'
        )

    def mean(self) -> FramePixels:
        """Mean of the unmasked frames; a pixel's bad frames are left out."""
        if self.dithered:
            raise ValueError(
                'frame_index="mean": the frames are dithered, so pixels do not show the same sky; '
                'use frame_index="all"'
            )
        flux, flux_err = self.flux[self.time_mask], self.flux_err[self.time_mask]
        good = np.isfinite(flux) & np.isfinite(flux_err)
        n = np.where(good.any(axis=0), good.sum(axis=0), np.nan)
        error = np.sqrt((np.where(good, flux_err, 0.0) ** 2).sum(axis=0)) / n
        slope = float(self.poisson_slope[self.time_mask].mean()) / len(flux)
        mean = np.where(good, flux, 0.0).sum(axis=0) / n
        return FramePixels(grid=self.grid(0), flux=mean, flux_err=error, poisson_slope=slope)


def make_grids(
    row: np.ndarray, column: np.ndarray, ra: np.ndarray, dec: np.ndarray
) -> list[PixelGrid]:
    """One grid if all frames share their pixels, otherwise one for each.

    The arrays have shape (npixels,) or (nt, npixels) (see `PixelGrid.from_arrays`).
    """
    coordinates = (row, column, ra, dec)
    if all(a.ndim == 1 or (a == a[0]).all() for a in coordinates):
        return [PixelGrid.from_arrays(*(a if a.ndim == 1 else a[0] for a in coordinates))]
    nt = max(len(a) for a in coordinates if a.ndim == 2)
    frames = zip(*(np.broadcast_to(a, (nt, a.shape[-1])) for a in coordinates), strict=True)
    return [PixelGrid.from_arrays(*frame) for frame in frames]


def unsaturated_errors(
    grids: list[PixelGrid], flux: np.ndarray, flux_err: np.ndarray, limit: float
) -> np.ndarray:
    """Errors that are infinite in pixels at or above a limit (e-/s) and those that touch them.

    All arrays have shape (nt, npixels).
    """
    errors = flux_err.copy()
    for t, frame in enumerate(flux):
        grid = grids[t if len(grids) > 1 else 0]
        errors[t, grid.touching(frame >= limit)] = np.inf
    return errors
