"""Learning the log-polar PRF from pixels that one source dominates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from romanprf.config import Shape
from romanprf.core.statistics import MAD_SCALE, robust_spread
from romanprf.errors import InputError
from romanprf.flags import SourceFlag
from romanprf.prf.logpolar import LogPolarPRF, guess_profile
from romanprf.solve.noise import CLIP_LOG_POLAR, PRF_ERROR_LOG_POLAR

#: Use pixels in which the source's own light is expected to exceed this many sigmas.
_SIGNAL_TO_NOISE = 3.0
#: Relative error of the light of neighbours that is subtracted.
_NEIGHBOUR_ERROR = 0.1
#: Sources whose catalogue flux or position cannot be trusted do not shape the PRF.
UNTRUSTED = int(SourceFlag.BLENDED | SourceFlag.CONTAMINANT)
#: Scales of the first guess that are tried, in units of cut_r.
_SCALES = np.geomspace(0.1, 10.0, 61)
#: ... and how often.
_GUESSES = 2
#: Pixels that share a bin are replaced by their median if there are at least this many.
_BINNED = 5
#: Largest correction of the positions in one iteration, pixels.
_LARGEST_MOVE = 0.5
#: Step of the derivatives of the profile, pixels.
_STEP = 0.05


@dataclass(frozen=True)
class LogPolarSettings:
    """How the log-polar PRF is learned.

    Attributes
    ----------
    n_r_knots, n_phi_knots, rmin, cut_r, rmax
        Geometry of the model (see `LogPolarPRF`); arcsec.
    source_flux_limit : float
        Brighter sources are used, e-/s.
    contamination : float
        Use pixels where all other sources give less than this fraction of a source's own light.
    iterations : int
        Repeats of selecting pixels and fitting.
    background : bool
        Whether each exposure has an unknown background; otherwise it is 0.
    common_shift : bool
        Whether all positions may be off by a common shift, which is fitted.
    bins : int
        Bin the pixels in so many cells per axis of angle and radius; 0 uses them one by one.
    flux_limit : float
        Use a source out to where its light falls under this (e-/s per pixel).
    contaminant_limit : float
        Only brighter sources (e-/s) count as contaminants; the light of all is subtracted.
    """

    n_r_knots: int
    n_phi_knots: int
    rmin: float
    cut_r: float
    rmax: float
    source_flux_limit: float
    contamination: float
    iterations: int
    background: bool = True
    common_shift: bool = False
    bins: int = 0
    flux_limit: float = 0.0
    contaminant_limit: float = 0.0

    @classmethod
    def configured(cls, shape: Shape) -> LogPolarSettings:
        """The settings of the section ``shape`` of the configuration."""
        return cls(
            n_r_knots=shape.n_r_knots,
            n_phi_knots=shape.n_phi_knots,
            rmin=shape.rmin,
            cut_r=shape.cut_r,
            rmax=shape.rmax,
            source_flux_limit=shape.source_flux_limit,
            contamination=shape.contamination,
            iterations=shape.iterations,
        )

    def first_guess(self, pixel_area: float, scale: float | None = None) -> LogPolarPRF:
        """The model with these knots that `LogPolarPRF.first_guess` starts from."""
        return LogPolarPRF.first_guess(
            n_r=self.n_r_knots,
            n_phi=self.n_phi_knots,
            rmin=self.rmin,
            cut_r=self.cut_r,
            rmax=self.rmax,
            pixel_area=pixel_area,
            scale=scale,
        )


@dataclass(frozen=True)
class Iteration:
    """Result of one iteration of `learn_logpolar`; ``shift`` is (east, north) in arcsec."""

    n_sources: int
    n_pixels: int
    rms: float
    background: tuple[float, ...]
    shift: tuple[float, float] = (0.0, 0.0)


def learn_logpolar(
    deltas: pd.DataFrame, sources: pd.DataFrame, pixel_area: float, settings: LogPolarSettings
) -> tuple[LogPolarPRF, list[Iteration]]:
    """Fit the log-polar PRF, alternating with the light of the neighbours and the background.

    Each iteration predicts every source with the present model, keeps the pixels in which all
    others give less than ``contamination`` of a source's own light, subtracts the others and
    the background, and fits log10(flux / source flux), with one pass of sigma clipping.

    The fluxes of the sources are calibrated magnitudes in the filter of the images, so the
    result is a fraction of the flux as it stands and is not normalised again: the wings, which
    the pixels of a crowded field hardly constrain, would feed their error into every flux.
    `PRF.integral` of the result is 1 if catalogue, zero point and wings agree.

    Parameters
    ----------
    deltas : DataFrame
        Rows of the ``deltas`` table.  Where exposures have different rolls, a column ``turn`` (rad)
        tells the angle on the sky at which angle 0 of the PRF lies.
    sources : DataFrame
        The ``sources`` table.
    pixel_area : float
        Arcsec^2.
    settings : LogPolarSettings
        How.

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
    pixels = _Pixels(deltas, sources)
    prior = _first_guess(pixels, settings, pixel_area)
    model, history = prior, []
    for _ in range(settings.iterations):
        model, iteration = _iterate(model, prior, pixels, settings)
        history.append(iteration)
    return model, history


def _first_guess(pixels: _Pixels, settings: LogPolarSettings, pixel_area: float) -> LogPolarPRF:
    """Round profile of the scale and brightness that the pixels show.

    It is also the centre of the prior, which fills the wings where pixels constrain little; a
    wrong scale would put light there that the normalisation then misses in the core.
    """
    guess = _scaled_guess(pixels, settings, pixel_area, significant=False)
    if _select(guess, pixels, settings)[1].r.size > 0:
        return guess
    # A wing that only the guess has makes all pixels of a few stars noise.
    return _scaled_guess(pixels, settings, pixel_area, significant=True)


def _scaled_guess(
    pixels: _Pixels, settings: LogPolarSettings, pixel_area: float, significant: bool
) -> LogPolarPRF:
    """The guess of the best scale; ``significant``: for the pixels that a star shows clearly."""
    guess = settings.first_guess(pixel_area)
    for _ in range(_GUESSES):
        _, clean, _ = _select(guess, pixels, settings)
        if clean.r.size == 0:
            return guess
        if significant:
            noise = np.log(10.0) * np.sqrt(clean.sigma**2 - PRF_ERROR_LOG_POLAR**2)
            expected = guess.evaluate(clean.r, clean.phi)
            seen = 10.0**clean.value > _SIGNAL_TO_NOISE * noise * expected
            clean = clean.take(seen) if seen.any() else clean
        weight = clean.sigma**-2.0
        scales = _SCALES * settings.cut_r
        residuals = clean.value - guess_profile(clean.r, scales[:, None])
        residuals -= np.average(residuals, axis=1, weights=weight)[:, None]
        best = scales[np.argmin(np.average(np.abs(residuals), axis=1, weights=weight))]
        guess = settings.first_guess(pixel_area, scale=best)
        left = clean.value - np.log10(guess.evaluate(clean.r, clean.phi))
        guess = guess.raised(float(np.average(left, weights=weight)))
    return guess


def fit_shift(
    model: LogPolarPRF,
    deltas: pd.DataFrame,
    sources: pd.DataFrame,
    settings: LogPolarSettings,
) -> tuple[float, float]:
    """Common (east, north) shift of all sources, arcsec, for a PRF that is known already.

    The parameters are those of `learn_logpolar`.

    Raises
    ------
    InputError
        If no pixel belongs to one source only.
    """
    pixels = _Pixels(deltas, sources)
    for _ in range(settings.iterations):
        _, clean, _ = _select(model, pixels, settings)
        if clean.r.size < 3:
            raise InputError("shape: no pixels are left to find the shift of the positions")
        pixels.move(_shift(model.round(), clean))
    return float(pixels.shift[0]), float(pixels.shift[1])


def uncontaminated(own: np.ndarray, contaminants: np.ndarray, contamination: float) -> np.ndarray:
    """Whether a pixel belongs to one source: ``own`` light (e-/s) against that of all others.

    With ``contamination`` under 1, no pixel belongs to two sources.
    """
    return (own > 0.0) & (contaminants <= contamination * own)


class _Pixels:
    """The columns of deltas as arrays, with each pixel of each exposure numbered."""

    def __init__(self, deltas: pd.DataFrame, sources: pd.DataFrame):
        source = deltas["source"].to_numpy()
        self.source = source
        self.source_flux = sources["flux"].to_numpy()[source]
        self.trusted = (sources["flags"].to_numpy()[source] & UNTRUSTED) == 0
        self.r, self.phi = deltas["r"].to_numpy(), deltas["phi"].to_numpy()
        self.turn = deltas["turn"].to_numpy() if "turn" in deltas else np.zeros(len(deltas))
        self.shift = np.zeros(2)
        self.flux = deltas["flux"].to_numpy(dtype=float)
        self.flux_err = deltas["flux_err"].to_numpy(dtype=float)
        _, exposure = np.unique(deltas["exposure"].to_numpy(), return_inverse=True)
        row, column = deltas["row"].to_numpy(np.int64), deltas["column"].to_numpy(np.int64)
        place = (exposure * (row.max(initial=0) + 1) + row) * (column.max(initial=0) + 1) + column
        _, first, self.pixel = np.unique(place, return_index=True, return_inverse=True)
        self.first, self.exposure = first, exposure

    @property
    def angle(self) -> np.ndarray:
        """Angle in the axes of the PRF, rad."""
        return (
            np.mod(self.phi - self.turn + np.pi, 2.0 * np.pi) - np.pi
            if self.turn.any()
            else self.phi
        )

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

    def move(self, shift: np.ndarray) -> None:
        """Move all sources by ``shift`` = (east, north) arcsec."""
        east = self.r * np.cos(self.phi) - shift[0]
        north = self.r * np.sin(self.phi) - shift[1]
        self.r, self.phi = np.hypot(east, north), np.arctan2(north, east)
        self.shift = self.shift + shift


class _Clean(NamedTuple):
    """Pixels that belong to one source: log10 of the fraction of its flux, and its sigma.

    ``phi`` is in the axes of the PRF, which are turned by ``turn`` on the sky.
    """

    r: np.ndarray
    phi: np.ndarray
    value: np.ndarray
    sigma: np.ndarray
    turn: np.ndarray

    def take(self, index: np.ndarray) -> _Clean:
        return _Clean(*(getattr(self, name)[index] for name in self._fields))


def _iterate(
    model: LogPolarPRF,
    prior: LogPolarPRF,
    pixels: _Pixels,
    settings: LogPolarSettings,
) -> tuple[LogPolarPRF, Iteration]:
    """Select clean pixels with ``model``, fit, clip, and correct the positions."""
    keep, clean, background = _select(model, pixels, settings)
    if keep.sum() < model.n_radial:
        raise InputError(
            f"shape: {keep.sum()} pixels are left to fit a PRF of {model.n_radial} radial functions"
            "; lower source_flux_limit, allow more contamination, or use more exposures"
        )
    chosen = _binned(clean, settings.bins) if settings.bins else clean
    fitted = _fit(prior, chosen)
    left = (chosen.value - np.log10(fitted.evaluate(chosen.r, chosen.phi))) / chosen.sigma
    left -= np.median(left)
    spread_left = robust_spread(left)
    # What the knots cannot follow is not noise that averages down: it must not outweigh the prior.
    chosen = chosen._replace(sigma=chosen.sigma * max(1.0, spread_left))
    inlier = np.abs(left) < CLIP_LOG_POLAR * spread_left
    chosen = chosen.take(inlier)
    fitted = _fit(prior, chosen)
    left = chosen.value - np.log10(fitted.evaluate(chosen.r, chosen.phi))
    if settings.common_shift:
        pixels.move(_shift(fitted.round(), chosen))
    iteration = Iteration(
        n_sources=int(np.unique(pixels.source[keep]).size),
        n_pixels=int(inlier.sum()),
        rms=float(np.std(left)),
        background=tuple(float(b) for b in background),
        shift=(float(pixels.shift[0]), float(pixels.shift[1])),
    )
    return fitted, iteration


def _select(
    model: LogPolarPRF,
    pixels: _Pixels,
    settings: LogPolarSettings,
) -> tuple[np.ndarray, _Clean, np.ndarray]:
    """Choose pixels with the mean profile of ``model`` and subtract their neighbours.

    The selection ignores the angular structure: otherwise directions that come out too bright
    would admit contaminated pixels and grow brighter still.
    """
    angle = pixels.angle
    expected = pixels.source_flux * model.round().evaluate(pixels.r, angle)
    own = pixels.source_flux * model.evaluate(pixels.r, angle)
    total = np.bincount(pixels.pixel, own)
    others = total[pixels.pixel] - own
    counted = np.where(pixels.source_flux > settings.contaminant_limit, own, 0.0)
    contaminants = np.bincount(pixels.pixel, counted)[pixels.pixel] - counted
    background, spread = np.zeros((2, pixels.exposure.max(initial=-1) + 1))
    if settings.background:
        background, spread = pixels.background(total)
    clean = pixels.flux - others - background[pixels.exposure]
    noise = np.sqrt(
        pixels.flux_err**2 + spread[pixels.exposure] ** 2 + (_NEIGHBOUR_ERROR * others) ** 2
    )
    keep = (
        pixels.trusted
        & (pixels.source_flux >= settings.source_flux_limit)
        & (pixels.source_flux > settings.contaminant_limit)
        & uncontaminated(expected, contaminants, settings.contamination)
        & (expected > np.maximum(_SIGNAL_TO_NOISE * noise, settings.flux_limit))
        & (clean > 0.0)
    )
    value = np.log10(clean[keep] / pixels.source_flux[keep])
    sigma = np.hypot(noise[keep] / (expected[keep] * np.log(10.0)), PRF_ERROR_LOG_POLAR)
    clean_pixels = _Clean(pixels.r[keep], angle[keep], value, sigma, pixels.turn[keep])
    return keep, clean_pixels, background


def _fit(prior: LogPolarPRF, clean: _Clean) -> LogPolarPRF:
    return prior.fitted(clean.r, clean.phi, clean.value, clean.sigma**-2.0)


def _binned(clean: _Clean, bins: int) -> _Clean:
    """Medians of the pixels that share a cell of angle and sqrt(radius); the rest as they are."""
    t = np.sqrt(clean.r)
    across = np.floor(bins * (clean.phi + np.pi) / (2.0 * np.pi)).astype(np.int64)
    down = np.floor(bins * t / (t.max() * (1.0 + 1e-9))).astype(np.int64)
    _, roll = np.unique(clean.turn, return_inverse=True)
    table = pd.DataFrame(clean._asdict()).assign(
        cell=(roll * bins + np.minimum(across, bins - 1)) * bins + down, weight=clean.sigma**-2.0
    )
    crowd = table.groupby("cell")["r"].transform("size") >= _BINNED
    cells = table[crowd].groupby("cell")
    medians = cells[["r", "phi", "value", "turn"]].median()
    # The median's variance is pi / 2 that of the mean; the model error does not average down.
    medians["sigma"] = np.hypot(np.sqrt(0.5 * np.pi / cells["weight"].sum()), PRF_ERROR_LOG_POLAR)
    merged = pd.concat([medians, table.loc[~crowd, list(_Clean._fields)]])
    return _Clean(*(merged[name].to_numpy() for name in _Clean._fields))


def _shift(profile: LogPolarPRF, clean: _Clean) -> np.ndarray:
    """Common (east, north) displacement, arcsec, by which a round profile fits the pixels best."""
    scale = np.sqrt(profile.pixel_area)
    step = _STEP * scale
    phi = clean.phi + clean.turn
    east, north = clean.r * np.cos(phi), clean.r * np.sin(phi)

    def log_profile(east: np.ndarray, north: np.ndarray) -> np.ndarray:
        inside = np.minimum(np.hypot(east, north), profile.rmax * (1.0 - 1e-9))
        return np.log10(profile.evaluate(inside, 0.0))

    here = log_profile(east, north)
    gradient = [
        log_profile(east - de, north - dn) - log_profile(east + de, north + dn)
        for de, dn in ((step, 0.0), (0.0, step))
    ]
    design = np.stack([*gradient, np.full(here.size, 2.0 * step)], axis=1) / (2.0 * step)
    left = clean.value - here
    # Asymmetry of the PRF dominates the residual: all pixels of the core count alike.
    weight = np.sqrt(profile.evaluate(clean.r, 0.0))
    solution = np.linalg.lstsq(design * weight[:, None], left * weight, rcond=None)[0]
    return np.clip(solution[:2], -_LARGEST_MOVE * scale, _LARGEST_MOVE * scale)
