"""What the model of a frame leaves over, for searches and for the positions of stars."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from romanprf.frame.model import FrameModel
from romanprf.solve.fluxes import Method, Prior, solve_frame

#: Accuracy of the fluxes in units of their errors.
_TOLERANCE = 1e-3


class Residual(NamedTuple):
    """Frame minus model (e-/s) and inverse variance, float32 images; all fluxes and errors."""

    image: np.ndarray
    weight: np.ndarray
    flux: np.ndarray
    flux_err: np.ndarray


def residual(
    model: FrameModel, prior: Prior, clip: float, prf_error: float, common: float = 1.0
) -> Residual:
    """Fit all fluxes of a frame and subtract the model.

    The variance of a pixel includes the error of the PRF.

    Parameters
    ----------
    model : FrameModel
        Of the frame.
    prior : Prior
        Of the fluxes.
    clip : float
        That of `romanprf.solve.fluxes.Method`.
    prf_error : float
        Relative error of the PRF beyond the known errors of its coefficients.
    common : float
        The errors of the PRF count so many times: as often as they are added up, where they are
        the same in all frames that are stacked and do not average out.
    """
    image = model.frame.read()
    method = Method(
        _TOLERANCE,
        reweight=int(np.isfinite(clip)),
        clip=clip,
        background_nodes=model.background_nodes,
    )
    fit = solve_frame(image, model.stamps, prior, method, model.add_far)
    light = np.nan_to_num(fit.flux)
    error = _model_variance(model, light, prf_error)
    error *= common
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


def _model_variance(model: FrameModel, light: np.ndarray, prf_error: float) -> np.ndarray:
    """Square of the likely error of the model of these fluxes (e-/s), also beyond footprints."""
    variance = (prf_error * model.add_far(light, model.stamps.model(light))) ** 2
    for error in model.prf.likely_errors(with_scale=False):
        wrong = replace(model, prf=error)
        variance += wrong.add_far(light, wrong.stamps.model(light)) ** 2 / model.prf.n_errors
    return variance
