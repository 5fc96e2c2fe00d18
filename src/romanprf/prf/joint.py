"""Learning the tensor PRF from all pixels of many frames at once.

What is fitted is bilinear: pixel = sum of flux x PRF + background.  So the fluxes are solved frame
by frame with the PRF held (`romanprf.photometry.frame.solve_frame`) and the coefficients with the
fluxes held (`romanprf.prf.equations`), in turn.  A star has one flux in all frames, unless it
varies: what dithers make of it then shows in the PRF, not in the light curve.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from romanprf.errors import InputError
from romanprf.io.scratch import kept
from romanprf.photometry.far import far_light
from romanprf.photometry.frame import pixel_variance, solve_frame
from romanprf.photometry.image import Image
from romanprf.photometry.register import UNKNOWN, Shift, frame_shift, reference_stars
from romanprf.photometry.stamps import SOLVED, Stamps, make_stamps
from romanprf.prf.equations import Equations
from romanprf.prf.shape import UNTRUSTED
from romanprf.prf.tensor import TensorPRF
from romanprf.statistics import typical_ratio
from romanprf.wcs import STERADIAN, TangentWCS, stretch

#: The model itself is trusted to this fraction in each pixel, or bright cores would rule the fit.
_MODEL_ERROR = 0.002
#: Accuracy of the fluxes in units of their errors.
_TOLERANCE = 1e-4
#: The first guess may be off by this fraction, unless it was learned before; later, the PRF is off
#: by what it moved last.
_START_ERROR = 0.1
#: Pixels that stand out by so many sigmas take no part.
_CLIP = 7.0
#: Stars whose flux differs between frames by more than this, in errors and in fractions, vary.
_VARIABLE_SIGMA, _VARIABLE_FRACTION = 6.0, 0.03
#: The fit ends when no coefficient moves by more than this fraction of the largest one.
_SETTLED = 1e-4
#: Stars shape the PRF out to where their light falls under this fraction of the noise of a pixel.
_WINGS = 0.5
#: A star is measured where so much of its light falls on usable pixels.
_SHOWN = 0.5
#: Frames are registered until none of them moves by more than this (pixels).
_STILL = 2e-4
#: Groups of stars that the errors of the coefficients are estimated from.
_GROUPS = 8
#: A flux is off the median of the frames by at most so many errors, or is none of the mean.
_OFF = 6.0
#: All sources of a table.
ALL = slice(None)


@dataclass(frozen=True, eq=False)
class Exposure:
    """A frame to learn from.

    Attributes
    ----------
    read : callable
        Gives the `Image`.
    ra, dec : ndarray, shape (nsources,)
        Degrees ICRS, at the time of the frame.
    wcs : TangentWCS
        Of the frame.
    shape : tuple of int
        Rows and columns.
    pixel_area : float or None
        See `romanprf.photometry.stamps.make_stamps`.
    """

    read: Callable[[], Image]
    ra: np.ndarray
    dec: np.ndarray
    wcs: TangentWCS
    shape: tuple[int, int]
    pixel_area: float | None

    def stamps(
        self,
        prf: TensorPRF,
        flux: np.ndarray,
        flux_cut_off: float,
        chosen: np.ndarray | slice,
        shift: tuple[float, float],
    ) -> Stamps:
        """PRF of the chosen sources on this frame, which is off its WCS by ``shift`` pixels."""
        stars = self.ra[chosen], self.dec[chosen], flux[chosen]
        return make_stamps(
            prf, *stars, self.wcs, self.shape, flux_cut_off, self.pixel_area, shift=shift
        )

    def far_light(
        self,
        prf: TensorPRF,
        flux_cut_off: float,
        stamps: Stamps,
        flux: np.ndarray,
        image: np.ndarray,
    ) -> np.ndarray:
        """Add the light beyond the footprints (see `romanprf.photometry.far`)."""
        return far_light(prf, stamps, flux, self.wcs, flux_cut_off, image, self.pixel_area)

    def light(self, stamps: Stamps) -> np.ndarray:
        """What a pixel of the frame gets of each source over what one of the detector would.

        Flat-fielding turns light into surface brightness times one nominal area.
        """
        if self.pixel_area is None:
            return np.ones(len(stamps))
        area = stretch(self.wcs.jacobian(stamps.x, stamps.y))
        return STERADIAN * self.pixel_area / area


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
        Mean over the frames, e-/s; that of the catalogue where a source varies or is not seen.
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
        Frames; read one after the other, never held together.
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
        Whether the errors of the PRF are estimated, which takes as long as two rounds; otherwise
        they are those of ``start``.

    Raises
    ------
    InputError
        If no star is bright enough.
    """
    bright = _bright(flux, flags, settings["source_flux_limit"])
    shifts = [UNKNOWN] * len(exposures)
    reference = reference_stars(flux, flags)
    calibrators = reference & bright if (reference & bright).any() else reference
    known, moving, mean = len(start.errors) > 0, True, flux
    prf, history, change = start, [], _SETTLED if known else _START_ERROR
    fixed = (settings["flux_cut_off"], prior_sigma, bright, with_background)
    for _ in range(settings["rounds"]):
        frames = _Frames(exposures, prf, flux, *fixed, change)
        if moving:
            before, shifts = shifts, frames.register(shifts, reference)
            moving = np.abs(np.subtract(shifts, before)[:, :2]).max() > _STILL
        fluxes = frames.fluxes(shifts, mean)
        scale = _scale(fluxes.mean, flux, calibrators)
        fluxes = fluxes.scaled(1.0 / scale, flux)
        mean = fluxes.mean
        equations, found = frames.equations(fluxes, shifts, start)
        step = equations.solve()
        change = float(np.abs(step).max() / prf.coefficients.max())
        prf = replace(prf, coefficients=prf.coefficients + step).levelled()
        found |= {"scale": scale, "change": change, "excess": fluxes.excess}
        history.append(Round(iterations=equations.iterations, **found))
        if change < _SETTLED:
            break
    if with_errors:
        prf = replace(prf, errors=np.stack(list(equations.jackknife(step, _GROUPS))))
    # The last coefficients have not been held against the catalogue yet.
    fluxes = _Frames(exposures, prf, flux, *fixed, change).fluxes(shifts, mean)
    scale = _scale(fluxes.mean, flux, calibrators)
    mean = fluxes.scaled(1.0 / scale, flux).mean
    return Joint(prf.brightened(scale), mean, shifts, history)


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


@dataclass(frozen=True, eq=False)
class _Frames:
    """The frames of one round, with the PRF and fluxes that it starts from.

    ``error``: fraction of its peak by which the PRF may be off, so that a clip of pixels does not
    take just those that would mend it.
    """

    exposures: Sequence[Exposure]
    prf: TensorPRF
    flux: np.ndarray
    flux_cut_off: float
    prior_sigma: np.ndarray
    bright: np.ndarray
    with_background: bool
    error: float

    def register(self, shifts: list[Shift], stars: np.ndarray) -> list[Shift]:
        """Shift of each frame, less their mean, from these stars."""
        if not stars.any():
            return shifts
        rest, found = np.where(stars, 0.0, self.flux), []
        cut_off = SOLVED * self.flux_cut_off
        for exposure, last in zip(self.exposures, shifts, strict=True):
            image, start = exposure.read(), (last.x, last.y)
            everything = exposure.stamps(self.prf, self.flux, cut_off, ALL, start)
            make = partial(exposure.stamps, self.prf, self.flux, cut_off, stars)
            others = everything.model(rest)
            found.append(frame_shift(image, make, self.flux[stars], others, start))
        x, y = np.mean([(shift.x, shift.y) for shift in found], axis=0)
        return [shift._replace(x=shift.x - x, y=shift.y - y) for shift in found]

    def _sky(self, image: Image, model: np.ndarray) -> float:
        """Typical excess of a frame over the light of its stars, e-/s per pixel."""
        if not self.with_background:
            return 0.0
        return float(np.median((image.flux - model)[image.usable]))

    def fluxes(self, shifts: list[Shift], flux: np.ndarray) -> _Fluxes:
        """Fluxes with this PRF, NaN where no frame shows a source; ``flux`` is the last guess."""
        measured, beyond = [], []
        for exposure, shift in zip(self.exposures, shifts, strict=True):
            place = (shift.x, shift.y)
            stamps = exposure.stamps(self.prf, flux, SOLVED * self.flux_cut_off, ALL, place)
            far = partial(exposure.far_light, self.prf, self.flux_cut_off, stamps)
            beyond.append(kept(far(flux, np.zeros(stamps.shape))))
            fit = solve_frame(
                exposure.read(),
                stamps,
                self.flux,
                self.prior_sigma,
                _TOLERANCE,
                reweight=1,
                clip=_CLIP,
                far=far,
                with_background=self.with_background,
            )
            shown = fit.light > _SHOWN
            measured.append(np.where(shown, [fit.flux, fit.flux_err], np.nan))
        each, errors = np.swapaxes(measured, 0, 1)
        return self._typical(each, errors, beyond, flux)

    def _typical(
        self, flux: np.ndarray, error: np.ndarray, far: list[np.ndarray], guess: np.ndarray
    ) -> _Fluxes:
        """Means over the frames of fluxes and errors, (nframes, nsources), and who varies."""
        # The error of the PRF counts like noise: photon noise alone would trust single frames.
        total = np.hypot(error, _MODEL_ERROR * self.flux)
        with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of sources that no frame shows
            struck = np.abs(flux - np.nanmedian(flux, axis=0)) > _OFF * total
            weight = np.where(struck, 0.0, np.nan_to_num(total**-2.0))
            mean = (weight * np.nan_to_num(flux)).sum(axis=0) / weight.sum(axis=0)
            off = np.abs(flux - mean)
            measurable = self.bright & np.isfinite(mean)
            # While the PRF is off, all stars differ between dithers.
            typical = np.nanmedian((off / mean)[:, measurable]) if measurable.any() else 0.0
            fraction = max(_VARIABLE_FRACTION, _VARIABLE_SIGMA * typical)
            allowed = np.maximum(_VARIABLE_SIGMA * error, fraction * self.flux)
            varies = (off > allowed).sum(axis=0) > 0.2 * len(flux)
            brightest = self.bright & (error < 0.003 * self.flux).all(axis=0) & ~varies
            scatter = (off[:, brightest] / mean[brightest]) ** 2
            noise = (error[:, brightest] / mean[brightest]) ** 2
        shown = np.isfinite(scatter)
        excess = 0.0
        if shown.any():
            excess = np.median(scatter[shown]) / 0.4549 - np.median(noise[shown])
        each = np.where(varies & np.isfinite(flux), flux, mean)
        stars = measurable & ~varies
        return _Fluxes(mean, each, stars, far, guess, float(np.sqrt(max(excess, 0.0))))

    def equations(
        self, fluxes: _Fluxes, shifts: list[Shift], prior: TensorPRF
    ) -> tuple[Equations, dict[str, Any]]:
        """Equations of the coefficients for these fluxes; what a `Round` tells of them."""
        mean, stars = fluxes.mean, fluxes.stars
        if not stars.any():
            raise InputError(
                f"shape: none of {self.bright.sum()} stars brighter than source_flux_limit is on "
                f"a usable pixel of {len(shifts)} exposures, expected some to fit the PRF to"
            )
        equations = Equations(self.prf, prior, self.with_background)
        chi2, n_pixels = 0.0, 0
        known = zip(self.exposures, shifts, fluxes.each, fluxes.far, strict=True)
        for exposure, shift, flux, far in known:
            image = exposure.read()
            place = (shift.x, shift.y)
            footprints = self.prf, fluxes.guess, SOLVED * self.flux_cut_off
            everything = exposure.stamps(*footprints, ALL, place)
            model = everything.model(flux)
            model += far
            model += self._sky(image, model)
            variance = pixel_variance(image, model)
            noise = _WINGS * float(np.sqrt(np.median(variance[image.usable])))
            chosen = exposure.stamps(self.prf, mean, noise, stars, place)
            variance += (_MODEL_ERROR * model) ** 2
            left = np.where(image.usable, image.flux - model, 0.0)
            trusted = left**2 < _CLIP**2 * (variance + (self.error * model) ** 2)
            weight = np.where(image.usable & trusted, 1.0 / variance, 0.0)
            light = mean[stars] * exposure.light(chosen)
            equations.add(chosen, light, left, weight)
            chi2 += float((weight * left**2).sum())
            n_pixels += int((weight > 0.0).sum())
        found = {"n_stars": int(stars.sum()), "n_pixels": n_pixels, "chi2": chi2 / n_pixels}
        return equations, found


class _Fluxes(NamedTuple):
    """Mean over the frames, (nsources,), and that of each frame, (nframes, nsources), e-/s.

    They differ where a source varies; ``stars`` (nsources,) are bright and do not.  ``far``: light
    beyond the footprints of the fluxes ``guess`` (nsources,) on each frame, images.
    """

    mean: np.ndarray
    each: np.ndarray
    stars: np.ndarray
    far: list[np.ndarray]
    guess: np.ndarray
    excess: float

    def scaled(self, factor: float, otherwise: np.ndarray) -> _Fluxes:
        """Multiply all, and put in the catalogue's fluxes where there are none."""
        mean = np.where(np.isfinite(self.mean), factor * self.mean, otherwise)
        each = np.where(np.isfinite(self.each), factor * self.each, otherwise)
        return self._replace(mean=mean, each=each)
