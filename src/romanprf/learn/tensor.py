"""Learning the tensor PRF from all pixels of many frames at once.

What is fitted is bilinear: pixel = sum of flux x PRF + background.  So the fluxes are solved frame
by frame with the PRF held (`romanprf.solve.fluxes.solve_frame`) and the coefficients with the
fluxes held (`romanprf.learn.equations`), in turn.  A star has one flux in all frames, unless it
varies: what dithers make of it then shows in the PRF, not in the light curve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from romanprf.core.statistics import LOCATION_EFFICIENCY, robust_spread, typical_ratio
from romanprf.errors import InputError
from romanprf.frame.frame import ALL, Exposure
from romanprf.learn.equations import Equations
from romanprf.learn.logpolar import UNTRUSTED
from romanprf.learn.part import Fluxes, Part
from romanprf.learn.patches import Patch, inside, make_patches
from romanprf.prf.tensor import TensorPRF
from romanprf.solve.register import UNKNOWN, Shift, reference_stars

#: The first guess may be off by this fraction, unless it was learned before; later, the PRF is off
#: by what it moved last.
_START_ERROR = 0.1
#: The fit ends when no coefficient moves by more than this fraction of the largest one.
_SETTLED = 1e-4
#: Frames are registered until none of them moves by more than this (pixels).
_STILL = 2e-4
#: Stars that calibrate the PRF, at most: with magnitudes good to 0.02 the scale is so to 0.04 %.
_CALIBRATORS = 5000
#: Groups of stars that the errors of the coefficients are estimated from.
_GROUPS = 8


@dataclass(frozen=True)
class Round:
    """What one round of `fit_joint` found.

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


class Joint(NamedTuple):
    """Result of `fit_joint`.

    Attributes
    ----------
    prf : TensorPRF
        The model, calibrated by the catalogue.
    flux : ndarray, shape (nsources,)
        Mean over the frames, e-/s; as given where a source is not seen on what is learned from.
    shifts : list of Shift
        Of the exposures; their mean is 0, as the PRF holds what they have in common.
    rounds : list of Round
        What each one found.
    """

    prf: TensorPRF
    flux: np.ndarray
    shifts: list[Shift]
    rounds: list[Round]


def fit_joint(
    exposures: Sequence[Exposure],
    flux: np.ndarray,
    flags: np.ndarray,
    start: TensorPRF,
    settings: Mapping[str, Any],
    prior_sigma: np.ndarray,
    with_background: bool = True,
    with_errors: bool = True,
) -> Joint:
    """Alternate between shifts and fluxes of all frames and the coefficients of the PRF.

    Parameters
    ----------
    exposures : sequence of Exposure
        Frames; read one after the other, never held together.  Of large ones only patches count
        (`romanprf.learn.patches`).
    flux : ndarray, shape (nsources,)
        Catalogued, e-/s; their typical value calibrates the PRF.
    flags : ndarray, shape (nsources,)
        Of the sources table.
    start : TensorPRF
        First guess, and centre of the prior.
    settings : mapping
        Section ``shape`` of the configuration.
    prior_sigma : ndarray, shape (nsources,)
        Of the fluxes in each frame, e-/s.
    with_background : bool
        Whether each frame has an unknown sky; otherwise it is 0.
    with_errors : bool
        Whether the errors of the PRF and of its scale are estimated, which takes as long as two
        rounds; otherwise they are those of ``start``.

    Raises
    ------
    InputError
        If no star is bright enough.
    """
    bright = _bright(flux, flags, settings["source_flux_limit"])
    shifts = [UNKNOWN] * len(exposures)
    patches = make_patches(exposures, start, flux, settings["flux_cut_off"])
    here = np.where(inside(patches, flux.size), flux, 0.0)
    reference = reference_stars(here, flags)
    calibrators = reference_stars(here, flags, _CALIBRATORS) & bright
    calibrators = calibrators if calibrators.any() else reference
    known, moving, mean = start.n_errors > 0, True, flux
    prf, history, change = start, [], _SETTLED if known else _START_ERROR
    fixed = (flux, settings["flux_cut_off"], prior_sigma, bright, with_background)
    for _ in range(settings["rounds"]):
        parts = [Part.of(patch, prf, *fixed, change) for patch in patches]
        if moving:
            before, shifts = shifts, _registered(parts, shifts, reference)
            moving = np.abs(np.subtract(shifts, before)[:, :2]).max() > _STILL
        fluxes, mean, scale = _calibrated(parts, shifts, mean, flux, calibrators)
        equations, found = _equations(parts, fluxes, shifts, prf, start, with_background)
        step = equations.solve()
        change = float(np.abs(step).max() / prf.coefficients.max())
        prf = replace(prf, coefficients=prf.coefficients + step).levelled()
        excess = float(np.median([each.excess for each in fluxes]))
        found |= {"scale": scale, "change": change, "excess": excess}
        history.append(Round(iterations=equations.iterations, **found))
        if change < _SETTLED:
            break
    if with_errors:
        prf = replace(prf, errors=np.stack(list(equations.jackknife(step, _GROUPS))))
    # The last coefficients have not been held against the catalogue yet.
    parts = [Part.of(patch, prf, *fixed, change) for patch in patches]
    _, mean, scale = _calibrated(parts, shifts, mean, flux, calibrators)
    if with_errors:
        prf = replace(prf, scale_error=_scale_error(mean, flux, calibrators))
    return Joint(prf.brightened(scale), mean, shifts, history)


def common_flux(
    exposures: Sequence[Exposure],
    prf: TensorPRF,
    flux: np.ndarray,
    prior_sigma: np.ndarray,
    shifts: Sequence[Shift],
    flux_cut_off: float,
) -> np.ndarray:
    """Mean flux of each source over all pixels of the frames, e-/s, with the PRF held.

    Parameters
    ----------
    exposures, flux, prior_sigma
        See `fit_joint`; ``flux`` is also the answer where a source is not seen.
    prf : TensorPRF
        The model.
    shifts : sequence of Shift
        Of the frames.
    flux_cut_off : float
        e-/s per pixel at which footprints end.
    """
    bright = np.zeros(flux.size, bool)  # nobody asks how much they vary
    whole = Patch(exposures, ALL, (0, 0))
    part = Part.of(whole, prf, flux, flux_cut_off, prior_sigma, bright, True, _SETTLED)
    return part.fluxes(shifts, flux).scaled(1.0, flux).mean


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
    """Relative error that the stars, whose calibrated fluxes these are, leave to the scale."""
    ratio = (mean / flux)[stars & (mean != flux)]  # those not measured have that of the catalogue
    if ratio.size == 0:
        return 0.0
    return robust_spread(ratio) / np.sqrt(LOCATION_EFFICIENCY * ratio.size)


def _registered(parts: Sequence[Part], shifts: Sequence[Shift], stars: np.ndarray) -> list[Shift]:
    """Shift of each frame, less their mean, from these stars on all its patches."""
    if not stars.any():
        return list(shifts)
    found = [
        _combined(each) for each in zip(*(p.register(shifts, stars) for p in parts), strict=True)
    ]
    x, y = np.mean([(shift.x, shift.y) for shift in found], axis=0)
    return [shift._replace(x=shift.x - x, y=shift.y - y) for shift in found]


def _combined(shifts: Sequence[Shift]) -> Shift:
    """Mean of measurements of one shift, by their errors; those that failed have none."""
    known = [shift for shift in shifts if np.isfinite(shift.x_err)]
    if len(known) < 2:
        return known[0] if known else shifts[0]
    place, error = np.array([shift[:2] for shift in known]), np.array([s[2:] for s in known])
    total = (error**-2.0).sum(axis=0)
    return Shift(*((place * error**-2.0).sum(axis=0) / total), *total**-0.5)


def _calibrated(
    parts: Sequence[Part],
    shifts: Sequence[Shift],
    mean: np.ndarray,
    flux: np.ndarray,
    calibrators: np.ndarray,
) -> tuple[list[Fluxes], np.ndarray, float]:
    """Fluxes on each patch and of all sources, calibrated; what they were divided by for it.

    ``mean``: last guess; ``flux``: of the catalogue; both (nsources,), e-/s.
    """
    found = [part.fluxes(shifts, mean[part.patch.sources]) for part in parts]
    measured = np.full(flux.size, np.nan)
    for part, fluxes in zip(parts, found, strict=True):
        seen = np.isfinite(fluxes.mean)
        measured[part.patch.sources] = np.where(seen, fluxes.mean, measured[part.patch.sources])
    scale = _scale(measured, flux, calibrators)
    scaled = [
        fluxes.scaled(1.0 / scale, part.flux) for part, fluxes in zip(parts, found, strict=True)
    ]
    return scaled, np.where(np.isfinite(measured), measured * (1.0 / scale), flux), scale


def _equations(
    parts: Sequence[Part],
    fluxes: Sequence[Fluxes],
    shifts: Sequence[Shift],
    prf: TensorPRF,
    prior: TensorPRF,
    with_background: bool,
) -> tuple[Equations, dict[str, Any]]:
    """Equations of the coefficients for these fluxes; what a `Round` tells of them."""
    n_stars = sum(int(each.stars.sum()) for each in fluxes)
    if n_stars == 0:
        raise InputError(
            f"shape: none of {sum(part.bright.sum() for part in parts)} stars brighter than "
            f"source_flux_limit is on a usable pixel of {len(shifts)} exposures, expected some to "
            "fit the PRF to"
        )
    equations, chi2, n_pixels = Equations(prf, prior, with_background), 0.0, 0
    for part, each in zip(parts, fluxes, strict=True):
        if each.stars.any():
            squares, count = part.add_to(equations, each, shifts)
            chi2, n_pixels = chi2 + squares, n_pixels + count
    return equations, {"n_stars": n_stars, "n_pixels": n_pixels, "chi2": chi2 / n_pixels}
