"""The pixels of one exposure, ready to be fitted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np

from romanprf.flags import REJECTED_PIXEL, PixelFlag

#: No star stands out of its surroundings by more than this many times what the brightest of the
#: four pixels beside it does: a centred one by 5.4 with the PRF of F146.
_CONTRAST = 15.0
#: ... and by this many sigmas.
_CONTRAST_SIGMA = 20.0
#: At least so many pixels that equal the largest value to this fraction, so many sigmas high, are
#: saturated: noise and sub-pixel phases make all peaks of stars different.
_FULL, _EQUAL, _FULL_SIGMA = 3, 1e-4, 100.0
#: Pixels of an image, about, that tell what is typical.
_ENOUGH = 2**18


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


def without_full_pixels(image: Image) -> Image:
    """Image in which pixels at full well are rejected and marked, though no flag says so."""
    usable = image.usable
    if not usable.any():
        return image
    largest, some = image.flux.max(), enough_rows(usable, _ENOUGH)
    if largest <= _FULL_SIGMA * np.median(image.flux_err[some][usable[some]]):
        return image
    full = usable & (image.flux >= (1.0 - _EQUAL) * largest)
    if np.count_nonzero(full) < _FULL:
        return image
    return _rejecting(image, full, PixelFlag.SATURATED | PixelFlag.BAD)


def without_spikes(image: Image) -> Image:
    """Image in which pixels that stand out of their neighbours as no star can are rejected.

    Hits of cosmic rays, hot pixels and corrupt values that nobody flagged: in a fit of stars such a
    pixel would first of all raise the fluxes around it.
    """
    if not image.usable.any():
        return image
    # Only those pixels are looked at that are higher than the ones beside them, and high.
    bottom = np.min(image.flux, where=image.usable, initial=np.inf)
    high = image.usable & (image.flux - bottom > _CONTRAST_SIGMA * image.flux_err)
    if not high.any():
        return image
    row, column = np.nonzero(high & _peaks(np.where(image.usable, image.flux, -np.inf)))
    around = {
        step: _beside(image, row, column, *step)
        for step in product((-1, 0, 1), (-1, 0, 1))
        if step != (0, 0)
    }
    some = enough_rows(image.usable, _ENOUGH)
    typical = np.median(image.flux[some][image.usable[some]])
    # Beside rejected pixels, as in saturated cores, what is left of the surroundings may be one.
    lowest = np.fmin(np.fmin.reduce(list(around.values())), typical)
    highest = np.fmax.reduce([around[step] for step in ((-1, 0), (1, 0), (0, -1), (0, 1))])
    with np.errstate(invalid="ignore", over="ignore"):
        limit = _CONTRAST * (highest - lowest) + _CONTRAST_SIGMA * image.flux_err[row, column]
        found = image.flux[row, column] - lowest > limit
    spikes = np.zeros(image.flux.shape, bool)
    spikes[row[found], column[found]] = True
    if not spikes.any():
        return image
    return _rejecting(image, spikes, PixelFlag.SPIKE)


def _peaks(flux: np.ndarray) -> np.ndarray:
    """Whether each pixel is higher than the four beside it."""
    peaks = flux > -np.inf
    for higher, lower in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        peaks[higher] &= flux[higher] > flux[lower]
        peaks[lower] &= flux[lower] > flux[higher]
    return peaks


def _beside(image: Image, row: np.ndarray, column: np.ndarray, down: int, right: int) -> np.ndarray:
    """Flux so many pixels from some pixels, reflected at the border; NaN where rejected."""
    last = np.array(image.flux.shape) - 1
    near = (
        last[0] - np.abs(last[0] - np.abs(row + down)),
        last[1] - np.abs(last[1] - np.abs(column + right)),
    )
    return np.where(image.usable[near], image.flux[near], np.nan)


def _rejecting(image: Image, pixels: np.ndarray, bits: PixelFlag) -> Image:
    """Image with these bits set, which reject a pixel, in some of its pixels."""
    return replace(
        image,
        flux=np.where(pixels, 0.0, image.flux),
        flux_err=np.where(pixels, np.inf, image.flux_err),
        flags=np.where(pixels, image.flags | int(bits), image.flags).astype(np.int32),
    )
