"""Frames of pixels in memory, dithered or on one grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from romanprf.frame.stamps import Stamps
from romanprf.machine.grid import PixelGrid
from romanprf.solve.fluxes import FrameFluxes, solve_frame

#: Accuracy of the solver in units of each flux's own error.
TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Frame:
    """Flux and error (e-/s, both (npixels,)) on a grid of pixels; not finite where unusable.

    ``poisson_slope`` is that of `romanprf.core.image.Image`; with 0 the errors count as
    they are, otherwise the photon noise in them is replaced by that of the model.
    """

    grid: PixelGrid
    flux: np.ndarray
    flux_err: np.ndarray
    poisson_slope: float = 0.0

    @property
    def usable(self) -> np.ndarray:
        """Whether each pixel carries weight, shape (npixels,)."""
        return np.isfinite(self.flux) & np.isfinite(self.flux_err)

    def fit(
        self, stamps: Stamps, prior_mu: np.ndarray, prior_sigma: np.ndarray, with_background: bool
    ) -> FrameFluxes:
        """Fit all fluxes (see `romanprf.solve.fluxes.solve_frame`)."""
        image = self.grid.image(self.flux, self.flux_err, self.poisson_slope)
        reweight = 1 if self.poisson_slope > 0.0 else 0
        priors = prior_mu, prior_sigma
        return solve_frame(image, stamps, *priors, TOLERANCE, reweight, with_background)


@dataclass(frozen=True, eq=False)
class Series:
    """Frames in time.

    Attributes
    ----------
    grids : list of PixelGrid
        One for all frames, or one each.
    flux, flux_err : ndarray, shape (nt, npixels)
        e-/s.
    time_mask : ndarray of bool, shape (nt,)
        Frames that `mean` and `choose` use.
    poisson_slope : ndarray, shape (nt,)
        See `Frame`.
    """

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

    def frame(self, number: int) -> Frame:
        """One frame."""
        slope = float(self.poisson_slope[number])
        return Frame(self.grid(number), self.flux[number], self.flux_err[number], slope)

    def choose(self, frame_index: str | int) -> list[Frame]:
        """The frame of this number, the "mean" of the unmasked ones, or "all" of those.

        Raises
        ------
        IndexError
            If there is no such frame.
        ValueError
            If it is neither a number nor one of the words, or asks for the mean of dithers.
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

    def mean(self) -> Frame:
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
        return Frame(self.grid(0), np.where(good, flux, 0.0).sum(axis=0) / n, error, slope)


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
