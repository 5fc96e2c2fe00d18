"""What the model of a frame leaves over, for searches and for the positions of stars."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from romanprf.frame.model import FrameModel
from romanprf.solve.fluxes import Method, Prior, solve_frame
from romanprf.solve.model_error import error_images
from romanprf.solve.noise import PRF_ERROR_SEARCH

#: Accuracy of the fluxes in units of their errors.
_TOLERANCE = 1e-3


class Residual(NamedTuple):
    """Frame minus model (e-/s) and inverse variance, float32 images; all fluxes and errors."""

    image: np.ndarray
    weight: np.ndarray
    flux: np.ndarray
    flux_err: np.ndarray


def residual(model: FrameModel, prior: Prior, n_frames: int, clip: float = np.inf) -> Residual:
    """Fit all fluxes of one of ``n_frames`` frames and subtract the model.

    The variance of a pixel includes the error of the PRF.  That is the same in all frames and does
    not average out among them: it counts ``n_frames`` times.

    Parameters
    ----------
    model : FrameModel
        Of the frame.
    prior : Prior
        Of the fluxes.
    n_frames : int
        Frames that are stacked.
    clip : float
        That of `romanprf.solve.fluxes.Method`.
    """
    image = model.frame.read()
    method = Method(_TOLERANCE, reweight=int(np.isfinite(clip)), clip=clip)
    fit = solve_frame(image, model.stamps, prior, method, model.add_far)
    light = np.nan_to_num(fit.flux)
    error = (PRF_ERROR_SEARCH * model.stamps.model(light)) ** 2
    for one in error_images(model, light, with_scale=False):
        error += one**2 / model.prf.n_errors
    error *= n_frames
    left = image.flux - fit.model
    # Missing stars and cosmic rays have raised the background.
    left = np.where(fit.weight > 0.0, left - np.median(left[fit.weight > 0.0]), 0.0)
    weight = fit.weight / (1.0 + fit.weight * error)
    return Residual(
        image=left.astype(np.float32),
        weight=weight.astype(np.float32),
        flux=fit.flux,
        flux_err=fit.flux_err,
    )
