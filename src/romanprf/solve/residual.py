"""What the model of a frame leaves over."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from romanprf.frame.frame import ALL, Exposure
from romanprf.frame.stamps import SOLVED, Stamps
from romanprf.prf import PRF
from romanprf.solve.fluxes import solve_frame
from romanprf.solve.model_error import PRF_ERROR, error_images
from romanprf.solve.register import Shift

#: Accuracy of the fluxes in units of their errors.
_TOLERANCE = 1e-3


class Residual(NamedTuple):
    """Frame minus model (e-/s) and inverse variance, float32 images; all fluxes and errors."""

    image: np.ndarray
    weight: np.ndarray
    flux: np.ndarray
    flux_err: np.ndarray


@dataclass(frozen=True, eq=False)
class Known:
    """What is known: PRF, prior of the fluxes (e-/s), where footprints end."""

    prf: PRF
    flux: np.ndarray
    prior_sigma: np.ndarray
    flux_cut_off: float

    def residual(
        self, exposure: Exposure, shift: Shift, n_exposures: int, clip: float = np.inf
    ) -> Residual:
        """Fit all fluxes of one of so many frames; ``clip`` is that of `solve_frame`."""
        image, off = exposure.read(), (shift.x, shift.y)

        def stamps(prf: PRF) -> Stamps:
            return exposure.stamps(prf, self.flux, SOLVED * self.flux_cut_off, ALL, off)

        known = stamps(self.prf)
        far = partial(exposure.far_light, self.prf, self.flux_cut_off, known)
        priors, reweight = (self.flux, self.prior_sigma), int(np.isfinite(clip))
        fit = solve_frame(image, known, *priors, _TOLERANCE, reweight, clip=clip, far=far)
        light = np.nan_to_num(fit.flux)
        # The error of the PRF is the same in all frames: it does not average out among them.
        error = (PRF_ERROR * known.model(light)) ** 2
        for one in error_images(self.prf, stamps, light, with_scale=False):
            error += one**2 / self.prf.n_errors
        error *= n_exposures
        left = image.flux - fit.model
        # Missing stars and cosmic rays have raised the sky.
        left = np.where(fit.weight > 0.0, left - np.median(left[fit.weight > 0.0]), 0.0)
        weight = fit.weight / (1.0 + fit.weight * error)
        images = left.astype(np.float32), weight.astype(np.float32)
        return Residual(*images, fit.flux, fit.flux_err)


def place(
    exposure: Exposure, shift: Shift, ra: np.ndarray, dec: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (x, y) of positions (degrees ICRS) on a frame that is off its WCS by ``shift``."""
    x, y = exposure.wcs.sky_to_pixel(ra, dec)
    return x + shift.x, y + shift.y
