"""The fluxes of all frames of a machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from romanprf.frame.stamps import Stamps
from romanprf.machine.pointing import jumps, shifts
from romanprf.machine.results import FluxResult, ImageResult, PerturbedFluxes, Results
from romanprf.machine.scene import Scene, centroid_shift
from romanprf.machine.series import FramePixels, Series
from romanprf.solve.fluxes import FrameFluxes, Prior
from romanprf.solve.solver import NotConvergedError

#: `fit_quality` of a frame without a solution, and of one without a usable pixel.
UNSOLVED, EMPTY = 1, 2
#: Sources of a frame are moved if they are off by more than so many sigmas and pixels.  On one grid
#: smaller motions are the matter of the time model.
_SIGMA, _DITHER, _DRIFT = 5.0, 0.01, 0.05


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
    steady = shape.scene.far(series.frame(0)) if not series.dithered else None
    found = np.full((len(series), 2), np.nan)
    start = starts(series)
    for t in frames:
        frame = series.frame(t)
        if not frame.usable.any():
            mean.quality[t] = EMPTY
            continue
        found[t], moved = registered(shape.scene, frame, tuple(start[t]), series.dithered)
        if steady is not None and not moved:
            stamps, far = shape.stamps, steady
        else:
            shift = tuple(found[t]) if moved else (0.0, 0.0)
            model = shape.scene.model(frame, shift)
            stamps, far = model.stamps, shape.scene.far(frame, shift)
        fit = mean.solve(t, stamps, far)
        if images is not None and fit is not None:
            images[t] = series.grid(t).pixels(fit.model)
        if time_model is not None:
            # It knows the motion of the stars on the grid of the mean model.
            moving.solve(t, time_model.stamps(shape.stamps, t), far if steady is None else steady)
    background, background_err = mean.background
    fluxes = FluxResult(
        ws=mean.flux,
        werrs=mean.flux_err,
        fit_quality=np.maximum(mean.quality, moving.quality),
        background=background,
        background_err=background_err,
        frame_shift=found,
    )
    perturbed = PerturbedFluxes(ws_va=moving.flux, werrs_va=moving.flux_err)
    return replace(
        results,
        fluxes=fluxes,
        images=None if images is None else ImageResult(model_flux=images),
        perturbed_fluxes=None if time_model is None else perturbed,
    )


def starts(series: Series) -> np.ndarray:
    """First guess of the (x, y) shift of each frame, pixels, shape (nt, 2).

    0 but for jumps, which registration, for which steep pixels are outliers, would not find.
    """
    if series.dithered:
        return np.zeros((len(series), 2))
    pixels = series.grid(0), series.flux, series.flux_err
    return np.where(jumps(*pixels)[:, None], shifts(*pixels)[0], 0.0)


def registered(
    scene: Scene, frame: FramePixels, start: tuple[float, float], dithered: bool
) -> tuple[tuple[float, float], bool]:
    """(x, y) by which the sources of a frame are off, pixels, and whether they are to be moved.

    NaN where the sources do not tell.
    """
    found = centroid_shift(scene, frame, start)
    if not np.isfinite(found.x_err):
        return (np.nan, np.nan), False
    x, y = found.x - scene.pointing[0], found.y - scene.pointing[1]
    least = max(_DITHER if dithered else _DRIFT, _SIGMA * np.hypot(found.x_err, found.y_err))
    return (x, y), bool(np.hypot(x, y) > least)


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
            self.quality[number] = UNSOLVED
            return None
        self.flux[number] = fit.flux
        self.flux_err[number] = np.hypot(fit.flux_err, self._scale_error * fit.flux)
        self.background[:, number] = fit.background, fit.background_err
        return fit
