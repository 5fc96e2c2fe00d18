"""Effects of the detector: noise, saturation, cosmic rays and bad pixels."""

from __future__ import annotations

import numpy as np

from romanprf.simulate import wfi

#: Mean length of a cosmic-ray track, pixels.
_TRACK_LENGTH = 3.0
#: Median charge of a cosmic ray in a pixel, electrons.
_TRACK_CHARGE = 2000.0


def expose(
    rate: np.ndarray, hits: np.ndarray, bad: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Observe a noiseless image.

    Parameters
    ----------
    rate : ndarray, shape (rows, columns)
        Light of the stars, e-/s.
    hits : ndarray, shape (rows, columns)
        Charge of cosmic rays, electrons.
    bad : ndarray of bool, shape (rows, columns)
        Dead pixels.
    random : Generator
        For the noise.

    Returns
    -------
    flux, flux_err : ndarray of float32, shape (rows, columns)
        e-/s, without the background.  The error is that of the measured flux, as in RImTimSim
        frames, and 0 where the pixel is saturated (flux clipped) or bad (flux NaN).
    """
    t = wfi.EXPOSURE_TIME
    light = np.maximum(rate, 0.0) + wfi.BACKGROUND  # the tabulated PRF is as low as -1e-8 in places
    electrons = random.poisson(light * t) + hits + random.normal(0.0, wfi.READ_NOISE, rate.shape)
    flux = electrons / t - wfi.BACKGROUND
    variance = (np.maximum(flux, 0.0) + wfi.BACKGROUND) / t + (wfi.READ_NOISE / t) ** 2
    saturated = flux > wfi.SATURATION_RATE
    flux = np.where(bad, np.nan, np.minimum(flux, wfi.SATURATION_RATE))
    flux_err = np.where(saturated | bad, 0.0, np.sqrt(variance))
    return flux.astype(np.float32), flux_err.astype(np.float32)


def bad_pixels(shape: tuple[int, int], fraction: float, random: np.random.Generator) -> np.ndarray:
    """Mask of dead pixels, a random fraction."""
    return random.random(shape) < fraction


def cosmic_rays(shape: tuple[int, int], fraction: float, random: np.random.Generator) -> np.ndarray:
    """Charge of cosmic rays, electrons: straight tracks that cover a fraction of the pixels."""
    charge = np.zeros(shape)
    for _ in range(random.poisson(fraction * charge.size / _TRACK_LENGTH)):
        start = random.uniform(-0.5, np.array(shape) - 0.5)
        angle, length = random.uniform(0.0, 2 * np.pi), random.exponential(_TRACK_LENGTH - 1.0)
        steps = np.arange(0.0, length + 0.25, 0.25)
        track = start + np.outer(steps, [np.sin(angle), np.cos(angle)])
        pixels = np.unique(np.rint(track).astype(int), axis=0)
        inside = ((pixels >= 0) & (pixels < shape)).all(axis=1)
        row, column = pixels[inside].T
        charge[row, column] += _TRACK_CHARGE * random.lognormal(0.0, 1.0, inside.sum())
    return charge
