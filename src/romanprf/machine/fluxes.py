"""The fluxes of all frames of a machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from romanprf.frame.stamps import Stamps
from romanprf.machine.results import FluxResult, ImageResult, PerturbedFluxes, Results
from romanprf.machine.series import Series
from romanprf.solve.fluxes import FrameFluxes, Prior
from romanprf.solve.solver import NotConvergedError


def fit_series(
    series: Series,
    results: Results,
    prior: Prior,
    frames: Iterable[int],
    *,
    with_background: bool,
    with_images: bool,
) -> Results:
    """Fit the fluxes of each frame with the mean model and, if there is one, the perturbed model.

    Parameters
    ----------
    series : Series
        The frames.
    results : Results
        Shape model and time model.
    prior : Prior
        Of the flux in each frame.
    frames : iterable of int
        Numbers of all frames, such as a progress bar.
    with_background : bool
        Whether each frame has an unknown background; otherwise it is 0.
    with_images : bool
        Whether to keep the model images.

    Returns
    -------
    Results
        With new fluxes in place of the old ones.
    """
    shape, time_model = results.need("shape", "scene"), results.time_model
    shared = shape.scene.scale_error
    mean, moving = (_Fluxes(series, prior, with_background, shared) for _ in range(2))
    images = np.full(series.flux.shape, np.nan) if with_images else None
    far = None
    for t in frames:
        frame = series.frame(t)
        stamps = shape.scene.stamps(frame) if series.dithered else shape.stamps
        far = shape.scene.far(frame) if series.dithered or far is None else far
        fit = mean.solve(t, stamps, far)
        if images is not None and fit is not None:
            images[t] = series.grid(t).pixels(fit.model)
        if time_model is not None:
            moving.solve(t, time_model.stamps(stamps, t), far)
    background, background_err = mean.background
    fluxes = FluxResult(
        ws=mean.flux,
        werrs=mean.flux_err,
        fit_quality=np.maximum(mean.quality, moving.quality),
        background=background,
        background_err=background_err,
    )
    perturbed = PerturbedFluxes(ws_va=moving.flux, werrs_va=moving.flux_err)
    return replace(
        results,
        fluxes=fluxes,
        images=None if images is None else ImageResult(model_flux=images),
        perturbed_fluxes=None if time_model is None else perturbed,
    )


class _Fluxes:
    """Fluxes, errors and backgrounds by frame; NaN, and quality 1, where there is no solution."""

    def __init__(self, series: Series, prior: Prior, with_background: bool, scale_error: float):
        self._series, self._prior, self._with_background = series, prior, with_background
        self._scale_error = scale_error
        nt = len(series)
        self.flux, self.flux_err = np.full((2, nt, prior.mu.size), np.nan)
        self.background = np.full((2, nt), np.nan)
        self.quality = np.zeros(nt, int)

    def solve(self, number: int, stamps: Stamps, far: np.ndarray) -> FrameFluxes | None:
        """Fit one frame, with this light beyond the footprints; None if there is no solution."""
        try:
            frame = self._series.frame(number)
            fit = frame.solve(stamps, self._prior, self._with_background, far)
        except NotConvergedError:
            self.quality[number] = 1
            return None
        self.flux[number] = fit.flux
        self.flux_err[number] = np.hypot(fit.flux_err, self._scale_error * fit.flux)
        self.background[:, number] = fit.background, fit.background_err
        return fit
