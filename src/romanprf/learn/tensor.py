"""Learning the tensor PRF from all pixels of many frames at once.

The model is bilinear: pixel = sum of flux x PRF + background.  So the fluxes are solved frame by
frame with the PRF held (`romanprf.solve.fluxes`) and the coefficients with the fluxes held
(`romanprf.learn.equations`), in turn.  A star has one flux in all frames, unless it varies: its
differences between dithers then change the PRF, not the light curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from romanprf.config import Shape
from romanprf.core.statistics import LOCATION_EFFICIENCY, robust_spread, typical_ratio
from romanprf.errors import InputError
from romanprf.frame.frame import Frame
from romanprf.frame.model import FrameModels
from romanprf.frame.state import FrameState, Shift
from romanprf.learn.equations import Equations
from romanprf.learn.logpolar import UNTRUSTED
from romanprf.learn.part import Fluxes, Misfit, Part, Stars
from romanprf.learn.patches import ALL, Patch, inside, make_patches
from romanprf.prf.tensor import TensorPRF
from romanprf.solve.fluxes import Prior
from romanprf.solve.geometry import turned_apart
from romanprf.solve.register import reference_stars

#: Fraction of its peak by which a first guess of the PRF may be off, unless it was learned before;
#: later that is the last change.
_START_ERROR = 0.1
#: The fit ends when no coefficient changes by more than this fraction of the largest one.
_SETTLED = 1e-4
#: Frames are registered until none of them moves by more than this (pixels).
_STILL = 2e-4
#: Stars that calibrate the PRF, at most: with magnitudes good to 0.02 the scale is good to 0.04 %.
_CALIBRATORS = 5000
#: Relative error of the integral of a PRF, as its wings can hardly be told from uncatalogued stars
#: and the background: 1 to 3 % in fields of 96 x 96 pixels.
_INTEGRAL_ERROR = 0.02
#: Groups of stars from which the errors of the coefficients are estimated.
_GROUPS = 8


@dataclass(frozen=True)
class TensorSettings:
    """How the tensor PRF is learned.

    Attributes
    ----------
    rounds : int
        Most repeats of shifts, fluxes and coefficients.
    flux_cut_off : float
        e-/s per pixel at which the light of a star ends.
    source_flux_limit : float
        Brighter stars shape the PRF, e-/s.
    background_nodes : int
        Splines per axis of the unknown background of each frame; 0: there is none.
    with_errors : bool
        Whether the errors of the PRF and of its scale are estimated, which takes as long as two
        rounds; otherwise they are those of the first guess.
    normalised : bool
        Whether the integral of the PRF is 1, with the file's own calibration; otherwise the fluxes
        of the catalogue set its scale.
    """

    rounds: int
    flux_cut_off: float
    source_flux_limit: float
    background_nodes: int = 1
    with_errors: bool = True
    normalised: bool = False

    @classmethod
    def configured(cls, shape: Shape, calibrates: bool, background_nodes: int) -> TensorSettings:
        """The settings of the section ``shape``; ``calibrates``: the catalogue sets the scale."""
        return cls(
            rounds=shape.rounds,
            flux_cut_off=shape.flux_cut_off,
            source_flux_limit=shape.source_flux_limit,
            background_nodes=background_nodes,
            normalised=not calibrates,
        )


@dataclass(frozen=True)
class Round:
    """Result of one round of `learn_tensor`.

    ``scale`` is measured over catalogued flux, ``change`` the largest change of the PRF over its
    peak, ``excess`` the scatter of bright stars beyond their errors, relative; ``iterations`` are
    those of the solver of the coefficients.
    """

    n_stars: int
    n_pixels: int
    chi2: float
    scale: float
    change: float
    excess: float
    iterations: int


@dataclass(frozen=True, eq=False)
class LearnedPRF:
    """Result of `learn_tensor`.

    Attributes
    ----------
    prf : TensorPRF
        The model, calibrated by the catalogue or normalised.
    flux : ndarray, shape (nsources,)
        Mean over the frames, e-/s; as given where a source is not seen on what is learned from.
    states : list of FrameState
        Of the frames; the mean of their shifts is 0, as the PRF holds what they have in common.
    rounds : list of Round
        Results of each.
    misfits : list of Misfit
        Of the frames, in the last round.
    """

    prf: TensorPRF
    flux: np.ndarray
    states: list[FrameState]
    rounds: list[Round]
    misfits: list[Misfit]


def learn_tensor(
    frames: Sequence[Frame],
    prior: Prior,
    flags: np.ndarray,
    start: TensorPRF,
    settings: TensorSettings,
    likely: TensorPRF | None = None,
) -> LearnedPRF:
    """Alternate between shifts and fluxes of all frames and the coefficients of the PRF.

    Parameters
    ----------
    frames : sequence of Frame
        Read one after the other, never held together.  Of large ones only patches count
        (`romanprf.learn.patches`).
    prior : Prior
        Of the flux in each frame; the centres are the catalogue's, whose typical value calibrates
        the PRF.
    flags : ndarray, shape (nsources,)
        Of the sources table.
    start : TensorPRF
        First guess.
    settings : TensorSettings
        How.
    likely : TensorPRF, optional
        Centre of the prior of the PRF, if it is not the first guess: a PRF that was learned with
        stars in wrong places must not be what the next one is drawn to.

    Raises
    ------
    InputError
        If no star is bright enough.
    """
    learning = _Learning(frames, prior, flags, start, settings, likely or start)
    for _ in range(settings.rounds):
        if learning.round() < _SETTLED:
            break
    return learning.result()


def common_flux(models: FrameModels, prior_sigma: np.ndarray) -> np.ndarray:
    """Mean flux of each source over all pixels of the frames, e-/s, with the PRF held.

    Parameters
    ----------
    models : FrameModels
        Of the frames, under a tensor PRF; their fluxes are the centres of the prior, and the
        answer where a source is not seen.
    prior_sigma : ndarray, shape (nsources,)
        e-/s.
    """
    part = Part(
        patch=Patch(models.frames, ALL, (0, 0)),
        prf=models.prf,
        # None is bright: how much they vary is not asked.
        stars=Stars(models.flux, prior_sigma, np.zeros(models.flux.size, bool)),
        flux_cut_off=models.flux_cut_off,
        background_nodes=models.background_nodes,
        error=_SETTLED,
    )
    return part.fluxes(models.states, models.flux).scaled(1.0, models.flux).mean


class _Learning:
    """The rounds of `learn_tensor`: PRF, states of the frames, and mean fluxes so far."""

    def __init__(
        self,
        frames: Sequence[Frame],
        prior: Prior,
        flags: np.ndarray,
        start: TensorPRF,
        settings: TensorSettings,
        likely: TensorPRF,
    ) -> None:
        self._likely, self._settings, flux = likely, settings, prior.mu
        self._stars = Stars(flux, prior.sigma, _bright(flux, flags, settings.source_flux_limit))
        self._patches = make_patches(frames, start, flux, settings.flux_cut_off)
        here = np.where(inside(self._patches, flux.size), flux, 0.0)
        self._reference = reference_stars(here, flags)
        calibrators = reference_stars(here, flags, _CALIBRATORS) & self._stars.bright
        self._calibrators = calibrators if calibrators.any() else self._reference
        self._prf, self._mean, self._history = start, flux, list[Round]()
        self._misfits = list[Misfit]()
        self._states, self._moving = [FrameState(origin=f.exposure.centre) for f in frames], True
        self._reach = 0.5 * max(frames[0].shape)
        self._change = _SETTLED if start.n_errors > 0 else _START_ERROR

    def round(self) -> float:
        """One round; the largest change of the PRF over its peak."""
        parts = self._parts()
        if self._moving:
            self._register(parts)
        fluxes, scale = self._calibrated(parts)
        data = self._collected(parts, fluxes)
        self._equations, self._step = data.equations, data.equations.solve()
        self._misfits, together = data.frames, Misfit.total(data.frames)
        self._change = float(np.abs(self._step).max() / self._prf.coefficients.max())
        self._prf = replace(self._prf, coefficients=self._prf.coefficients + self._step).levelled()
        self._history.append(
            Round(
                n_stars=data.n_stars,
                n_pixels=together.n_pixels,
                chi2=together.squares / max(together.n_pixels, 1),
                scale=scale,
                change=self._change,
                excess=float(np.median([each.excess for each in fluxes])),
                iterations=self._equations.iterations,
            )
        )
        return self._change

    def result(self) -> LearnedPRF:
        """The PRF with its errors, calibrated."""
        prf, with_errors = self._prf, self._settings.with_errors
        if with_errors:
            errors = list(self._equations.jackknife(self._step, _GROUPS))
            self._prf = prf = replace(prf, errors=np.stack(errors))
        # The last coefficients have not been held against the catalogue yet.
        _, scale = self._calibrated(self._parts())
        if with_errors:
            error = _scale_error(self._mean, self._stars.flux, self._calibrators)
            error = _INTEGRAL_ERROR if self._settings.normalised else error
            prf = replace(prf, scale_error=error)
        return LearnedPRF(
            prf=prf.brightened(scale),
            flux=self._mean,
            states=self._states,
            rounds=self._history,
            misfits=self._misfits,
        )

    def _parts(self) -> list[Part]:
        """The patches with the present PRF."""
        settings = self._settings
        return [
            Part.of(
                patch=patch,
                prf=self._prf,
                stars=self._stars,
                flux_cut_off=settings.flux_cut_off,
                background_nodes=settings.background_nodes,
                error=self._change,
            )
            for patch in self._patches
        ]

    def _register(self, parts: Sequence[Part]) -> None:
        """Geometry of each frame, less their mean, from the reference stars on all its patches."""
        if not self._reference.any():
            self._moving = False
            return
        alone = len(parts) == 1
        measured = [part.register(self._states, self._reference, alone) for part in parts]
        frames = list(zip(*measured, strict=True))
        cells = [seen[0][1:] if alone else [one[0] for one in seen] for seen in frames]
        before, shifts = (
            self._states,
            [_combined([one[0].shift for one in seen]) for seen in frames],
        )
        starts = [replace(s, shift=shift) for s, shift in zip(before, shifts, strict=True)]
        self._states = _centred(turned_apart(starts, cells))
        self._moving = _largest_move(before, self._states, self._reach) > _STILL

    def _calibrated(self, parts: Sequence[Part]) -> tuple[list[Fluxes], float]:
        """Fluxes on each patch, calibrated, and the scale that they are divided by.

        Updates the mean fluxes of all sources.
        """
        found = [part.fluxes(self._states, self._mean[part.patch.sources]) for part in parts]
        catalogued = self._stars.flux
        measured = np.full(catalogued.size, np.nan)
        for part, fluxes in zip(parts, found, strict=True):
            seen = np.isfinite(fluxes.mean)
            measured[part.patch.sources] = np.where(seen, fluxes.mean, measured[part.patch.sources])
        scale = 1.0 / self._prf.integral()
        if not self._settings.normalised:
            scale = _scale(measured, catalogued, self._calibrators)
        scaled = [
            fluxes.scaled(1.0 / scale, part.stars.flux)
            for part, fluxes in zip(parts, found, strict=True)
        ]
        self._mean = np.where(np.isfinite(measured), measured * (1.0 / scale), catalogued)
        return scaled, scale

    def _collected(self, parts: Sequence[Part], fluxes: Sequence[Fluxes]) -> _Data:
        """Equations of the coefficients for these fluxes."""
        n_stars = sum(int(each.stars.sum()) for each in fluxes)
        if n_stars == 0:
            raise InputError(
                f"shape: none of {sum(part.stars.bright.sum() for part in parts)} stars brighter "
                "than source_flux_limit is on a usable pixel of "
                f"{len(self._states)} exposures, expected some to fit the PRF to"
            )
        equations = Equations(self._prf, self._likely, self._settings.background_nodes > 0)
        misfits = [
            part.add_to(equations, each, self._states)
            for part, each in zip(parts, fluxes, strict=True)
            if each.stars.any()
        ]
        frames = [Misfit.total(frame) for frame in zip(*misfits, strict=True)]
        return _Data(equations, n_stars, frames)


class _Data(NamedTuple):
    """Equations of the coefficients, with the number of stars in them and each frame's misfit."""

    equations: Equations
    n_stars: int
    frames: list[Misfit]


def _bright(flux: np.ndarray, flags: np.ndarray, limit: float) -> np.ndarray:
    """Stars that may shape the PRF."""
    bright = ((flags & UNTRUSTED) == 0) & (flux >= limit)
    if not bright.any():
        raise InputError(
            f"shape: none of {flux.size} sources is brighter than source_flux_limit = {limit} "
            "e-/s, expected some to fit the PRF to"
        )
    return bright


def _scale(measured: np.ndarray, flux: np.ndarray, stars: np.ndarray) -> float:
    """Typical ratio of measured and catalogued flux of the stars.

    The errors of the catalogue are larger than those of any of these fluxes: all count alike.
    """
    known = stars & np.isfinite(measured)
    return typical_ratio(measured[known], flux[known], 1)


def _scale_error(mean: np.ndarray, flux: np.ndarray, stars: np.ndarray) -> float:
    """Relative error of the scale, from the calibrated fluxes of the stars."""
    ratio = (mean / flux)[stars & (mean != flux)]  # those not measured have that of the catalogue
    if ratio.size == 0:
        return 0.0
    return robust_spread(ratio) / np.sqrt(LOCATION_EFFICIENCY * ratio.size)


def _centred(states: Sequence[FrameState]) -> list[FrameState]:
    """States less the mean of their shifts, which the PRF holds."""
    x, y = np.mean([state.shift[:2] for state in states], axis=0)
    return [state.at(state.shift.x - x, state.shift.y - y) for state in states]


def _largest_move(before: Sequence[FrameState], after: Sequence[FrameState], reach: float) -> float:
    """Largest change of an offset, pixels, within ``reach`` of the middle of the image."""
    pairs = list(zip(before, after, strict=True))
    shift = [np.subtract(new.shift[:2], old.shift[:2]) for old, new in pairs]
    linear = [np.subtract(new.linear, old.linear) for old, new in pairs]
    return float(max(np.abs(shift).max(), reach * np.abs(linear).max()))


def _combined(shifts: Sequence[Shift]) -> Shift:
    """Mean of measurements of one shift, by their errors; those that failed have none."""
    known = [shift for shift in shifts if np.isfinite(shift.x_err)]
    if len(known) < 2:
        return known[0] if known else shifts[0]
    place, error = np.array([shift[:2] for shift in known]), np.array([s[2:] for s in known])
    total = (error**-2.0).sum(axis=0)
    return Shift(*((place * error**-2.0).sum(axis=0) / total), *total**-0.5)
