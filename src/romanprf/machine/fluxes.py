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
    mean, moving = (_Fluxes(series, prior, with_background) for _ in range(2))
    images = np.full(series.flux.shape, np.nan) if with_images else None
    for t in frames:
        stamps = shape.scene.stamps(series.frame(t)) if series.dithered else shape.stamps
        fit = mean.solve(t, stamps)
        if images is not None and fit is not None:
            images[t] = series.grid(t).pixels(fit.model)
        if time_model is not None:
            moving.solve(t, time_model.stamps(stamps, t))
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

    def __init__(self, series: Series, prior: Prior, with_background: bool):
        self._series, self._prior, self._with_background = series, prior, with_background
        nt = len(series)
        self.flux, self.flux_err = np.full((2, nt, prior.mu.size), np.nan)
        self.background = np.full((2, nt), np.nan)
        self.quality = np.zeros(nt, int)

    def solve(self, number: int, stamps: Stamps) -> FrameFluxes | None:
        """Fit one frame; None if the solver does not converge."""
        try:
            frame = self._series.frame(number)
            fit = frame.solve(stamps, self._prior, self._with_background)
        except NotConvergedError:
            self.quality[number] = 1
            return None
        self.flux[number], self.flux_err[number] = fit.flux, fit.flux_err
        self.background[:, number] = fit.background, fit.background_err
        return fit
