"""Kernel of the registration; p = pixels."""

import numpy as np

from romanprf.core.accelerate import njit_exact
from romanprf.frame.image_nb import swapped


@njit_exact
def shift_equations(
    flux: np.ndarray,
    flux_err: np.ndarray,
    stars: np.ndarray,
    rest: np.ndarray,
    slopes: np.ndarray,
    poisson_slope: float,
    floor: float,
    prf_error: float,
    clip: float,
    normal: np.ndarray,
    right: np.ndarray,
) -> None:
    """Normal equations of a shift -> normal (2, 2), right (2,).

    flux, flux_err, stars, rest (p,): pixels, light of the stars that tell and of all else, e-/s;
    slopes (2, p): change of the light of the stars with a shift in x and y.  The PRF may be off by
    ``prf_error`` of the light; pixels that are off by ``clip`` sigmas do not count.
    """
    for a in range(2):
        right[a] = normal[a, 0] = normal[a, 1] = 0.0
    for p in range(flux.size):
        model = stars[p] + rest[p]
        left = flux[p] - model
        variance = swapped(flux_err[p] ** 2, flux[p], model, poisson_slope, floor)
        variance += (prf_error * stars[p]) ** 2
        if left * left < clip * clip * variance:
            for a in range(2):
                weighted = slopes[a, p] / variance
                right[a] += weighted * left
                for b in range(2):
                    normal[a, b] += weighted * slopes[b, p]
