"""The pixels of one exposure, ready to be fitted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from romanprf.flags import REJECTED_PIXEL, PixelFlag


@dataclass(frozen=True, eq=False)
class Image:
    """One exposure.

    Attributes
    ----------
    flux : ndarray, shape (nrows, ncols), float64
        Electrons per second; 0 where the pixel is rejected.
    flux_err : ndarray, shape (nrows, ncols), float64
        1 sigma, electrons per second; infinite where the pixel is rejected.
    flags : ndarray, shape (nrows, ncols), int32
        Bits of `romanprf.flags.PixelFlag`.
    poisson_slope : float
        Variance of the photon noise per unit of flux, 1/s: ``flux_err**2`` changes by
        ``poisson_slope`` times a change of flux.
    """

    flux: np.ndarray
    flux_err: np.ndarray
    flags: np.ndarray
    poisson_slope: float

    @cached_property
    def usable(self) -> np.ndarray:
        """Whether each pixel carries weight, shape (nrows, ncols)."""
        return (self.flags & REJECTED_PIXEL) == 0


def enough_rows(usable: np.ndarray, pixels: int) -> slice:
    """Evenly spread rows that hold about ``pixels`` pixels; all rows if none of those is usable."""
    some = slice(None, None, max(usable.size // pixels, 1))
    return some if usable[some].any() else slice(None)


def checked_flags(flux: np.ndarray, flux_err: np.ndarray, flags: np.ndarray) -> np.ndarray:
    """Flags, with BAD and NO_ERROR set where a value or error is not finite or not positive."""
    flags = np.array(flags, dtype=np.int32)
    flags[~np.isfinite(flux)] |= int(PixelFlag.BAD)
    flags[~(np.isfinite(flux_err) & (flux_err > 0))] |= int(PixelFlag.NO_ERROR)
    return flags


def masked_image(
    flux: np.ndarray,
    flux_err: np.ndarray,
    flags: np.ndarray,
    poisson_slope: float,
    gain: float = 1.0,
) -> Image:
    """Image (e-/s) in which rejected pixels have flux 0 and an infinite error."""
    flags = checked_flags(flux, flux_err, flags)
    rejected = (flags & REJECTED_PIXEL) != 0
    flux, flux_err = np.array(flux, dtype=np.float64), np.array(flux_err, dtype=np.float64)
    flux *= gain
    flux_err *= gain
    flux[rejected], flux_err[rejected] = 0.0, np.inf
    return Image(flux=flux, flux_err=flux_err, flags=flags, poisson_slope=float(poisson_slope))
