"""Frames of pixels in memory, dithered or on one grid."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np

from romanprf.core.image import Image
from romanprf.frame.frame import Frame
from romanprf.frame.stamps import Stamps
from romanprf.machine.grid import PixelGrid
from romanprf.machine.pointing import jumps
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
            return [self.frame(int(t)) for t in np.flatnonzero(self.steady())]
        if isinstance(frame_index, str) and frame_index == "mean":
            return [self.mean()]
        if isinstance(frame_index, (int, np.integer)) and not isinstance(frame_index, bool):
            if not -n <= frame_index < n:
                raise IndexError(f"frame_index={frame_index}, expected 0 ... {n - 1}")
            chosen = self.frame(int(frame_index) % n)
            if chosen.usable.any():
                return [chosen]
            raise ValueError(
                f"frame_index={frame_index}: the frame has no pixel with a finite flux and error, "
                "expected usable pixels: choose another one"
            )
        raise ValueError(
            f'frame_index={frame_index!r}, expected the number of a frame, "mean" or "all"'
        )

    def steady(self) -> np.ndarray:
        """Frames of the mask that have usable pixels and, on one grid, no jump of the pointing.

        Warns of jumps.

        Raises
        ------
        ValueError
            If there are none.
        """
        usable = (np.isfinite(self.flux) & np.isfinite(self.flux_err)).any(axis=1)
        chosen = np.flatnonzero(self.time_mask & usable)
        if chosen.size == 0:
            raise ValueError(
                "no frame of time_mask has a pixel with a finite flux and error, expected one"
            )
        if not self.dithered and chosen.size > 1:
            away = jumps(self.grid(0), self.flux[chosen], self.flux_err[chosen])
            if away.any():
                warnings.warn(
                    f"the stars of {np.count_nonzero(away)} of {chosen.size} frames are elsewhere, "
                    f"the first one is {chosen[away][0]}: the PRF is learned without them",
                    stacklevel=6,
                )
            chosen = chosen[~away]
        kept = np.zeros(len(self), bool)
        kept[chosen] = True
        return kept

    def mean(self) -> FramePixels:
        """Mean of the unmasked frames; a pixel's bad frames are left out."""
        if self.dithered:
            raise ValueError(
                'frame_index="mean": the frames are dithered, so pixels do not show the same sky; '
                'use frame_index="all"'
            )
        chosen = self.steady()
        flux, flux_err = self.flux[chosen], self.flux_err[chosen]
        good = np.isfinite(flux) & np.isfinite(flux_err)
        n = np.where(good.any(axis=0), good.sum(axis=0), np.nan)
        error = np.sqrt((np.where(good, flux_err, 0.0) ** 2).sum(axis=0)) / n
        slope = float(self.poisson_slope[chosen].mean()) / len(flux)
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
