"""Learning the log-polar PRF from pixels that one source dominates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from romanprf.errors import InputError
from romanprf.flags import SourceFlag
from romanprf.prf.logpolar import LogPolarPRF
from romanprf.statistics import MAD_SCALE, robust_spread

#: Use pixels in which the source's own light is expected to exceed this many sigmas.
_SIGNAL_TO_NOISE = 3.0
#: What the model cannot follow (undersampling, catalogue errors), dex: keeps bright cores from
#: ruling the fit.
_MODEL_ERROR = 0.02
_CLIP = 4.0
#: The light of neighbours that is subtracted is known to this fraction.
_NEIGHBOUR_ERROR = 0.1
#: Sources whose catalogue flux or position cannot be trusted do not shape the PRF.
_UNTRUSTED = int(SourceFlag.BLENDED | SourceFlag.CONTAMINANT)


@dataclass(frozen=True)
class Iteration:
    """What one iteration of `fit_shape` used and left."""

    n_sources: int
    n_pixels: int
    rms: float
    background: tuple[float, ...]


def fit_shape(
    deltas: pd.DataFrame, sources: pd.DataFrame, settings: Mapping, pixel_area: float
) -> tuple[LogPolarPRF, list[Iteration]]:
    """Fit the log-polar PRF, alternating with the light of the neighbours and the background.

    Each iteration predicts every source with the present model, keeps the pixels in which all
    others give less than ``contamination`` of a source's own light, subtracts the others and
    the background, and fits log10(flux / source flux), with one pass of sigma clipping.

    The fluxes of the sources are calibrated magnitudes in the filter of the images, so the
    result is a fraction of the flux as it stands and is not normalised again: the wings, which
    the pixels of a crowded field hardly constrain, would feed their error into every flux.
    `LogPolarPRF.integral` of the result tells how well catalogue, zero point and wings agree.

    Parameters
    ----------
    deltas : DataFrame
        Rows of the ``deltas`` table.
    sources : DataFrame
        The ``sources`` table.
    settings : mapping
        Section ``shape`` of the configuration.
    pixel_area : float
        Arcsec^2.

    Returns
    -------
    model : LogPolarPRF
        The PRF.
    history : list of Iteration
        One entry per iteration.

    Raises
    ------
    InputError
        If too few pixels are left to fit the model.
    """
    prior = LogPolarPRF.first_guess(
        settings["n_r_knots"],
        settings["n_phi_knots"],
        settings["rmin"],
        settings["cut_r"],
        settings["rmax"],
        pixel_area,
    )
    pixels = _Pixels(deltas, sources)
    model, history = prior, []
    for _ in range(settings["iterations"]):
        model, iteration = _iterate(model, prior, pixels, settings)
        history.append(iteration)
    return model, history


class _Pixels:
    """The columns of deltas as arrays, with each pixel of each exposure numbered."""

    def __init__(self, deltas: pd.DataFrame, sources: pd.DataFrame):
        source = deltas["source"].to_numpy()
        self.source = source
        self.source_flux = sources["flux"].to_numpy()[source]
        self.trusted = (sources["flags"].to_numpy()[source] & _UNTRUSTED) == 0
        self.r, self.phi = deltas["r"].to_numpy(), deltas["phi"].to_numpy()
        self.flux = deltas["flux"].to_numpy(dtype=float)
        self.flux_err = deltas["flux_err"].to_numpy(dtype=float)
        _, exposure = np.unique(deltas["exposure"].to_numpy(), return_inverse=True)
        row, column = deltas["row"].to_numpy(np.int64), deltas["column"].to_numpy(np.int64)
        place = (exposure * (row.max(initial=0) + 1) + row) * (column.max(initial=0) + 1) + column
        _, first, self.pixel = np.unique(place, return_index=True, return_inverse=True)
        self.first, self.exposure = first, exposure

    def background(self, model: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Median and spread (1.4826 MAD) of data minus model over the usable pixels of exposures.

        The spread holds what the model lacks: wings beyond ``rmax``, stars not in the catalogue.
        """
        left = (self.flux - model[self.pixel])[self.first]
        left[~np.isfinite(self.flux_err[self.first])] = np.nan
        by_exposure = pd.Series(left).groupby(self.exposure[self.first])
        median = by_exposure.median().to_numpy()
        left = np.abs(left - median[self.exposure[self.first]])
        spread = MAD_SCALE * pd.Series(left).groupby(self.exposure[self.first]).median().to_numpy()
        return median, spread


def _iterate(
    model: LogPolarPRF, prior: LogPolarPRF, pixels: _Pixels, settings: Mapping
) -> tuple[LogPolarPRF, Iteration]:
    """Select pixels with the mean profile of ``model``, subtract its neighbours, fit.

    The selection ignores the angular structure: otherwise directions that come out too bright
    would admit contaminated pixels and grow brighter still.
    """
    expected = pixels.source_flux * model.round().evaluate(pixels.r, pixels.phi)
    own = pixels.source_flux * model.evaluate(pixels.r, pixels.phi)
    total = np.bincount(pixels.pixel, own)
    background, spread = pixels.background(total)
    others = total[pixels.pixel] - own
    clean = pixels.flux - others - background[pixels.exposure]
    noise = np.sqrt(
        pixels.flux_err**2 + spread[pixels.exposure] ** 2 + (_NEIGHBOUR_ERROR * others) ** 2
    )
    keep = (
        pixels.trusted
        & (pixels.source_flux >= settings["source_flux_limit"])
        & (others <= settings["contamination"] * expected)
        & (expected > _SIGNAL_TO_NOISE * noise)
        & (clean > 0.0)
    )
    if keep.sum() < model.size:
        raise InputError(
            f"shape: {keep.sum()} pixels are left to fit {model.size} coefficients; lower "
            "shape.source_flux_limit or raise shape.contamination or shape.max_exposures"
        )
    value = np.log10(clean[keep] / pixels.source_flux[keep])
    sigma = np.hypot(noise[keep] / (expected[keep] * np.log(10.0)), _MODEL_ERROR)
    r, phi = pixels.r[keep], pixels.phi[keep]
    fitted = prior.fitted(r, phi, value, sigma**-2.0)
    left = (value - np.log10(fitted.evaluate(r, phi))) / sigma
    left -= np.median(left)
    spread_left = robust_spread(left)
    # What the knots cannot follow is not noise that averages down: it must not outweigh the prior.
    sigma *= max(1.0, spread_left)
    inlier = np.abs(left) < _CLIP * spread_left
    fitted = prior.fitted(r[inlier], phi[inlier], value[inlier], sigma[inlier] ** -2.0)
    left = (value - np.log10(fitted.evaluate(r, phi)))[inlier]
    iteration = Iteration(
        n_sources=int(np.unique(pixels.source[keep]).size),
        n_pixels=int(inlier.sum()),
        rms=float(np.std(left)),
        background=tuple(float(b) for b in background),
    )
    return fitted, iteration
