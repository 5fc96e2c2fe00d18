"""A part of the frames in one round of the joint fit (`romanprf.learn.tensor`)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from romanprf.core.image import Image
from romanprf.frame.frame import ALL
from romanprf.frame.stamps import SOLVED
from romanprf.io.scratch import kept
from romanprf.learn.equations import Equations
from romanprf.learn.patches import Patch
from romanprf.prf.tensor import TensorPRF
from romanprf.solve.fluxes import pixel_variance, solve_frame
from romanprf.solve.register import Shift, frame_shift

#: The model itself is trusted to this fraction in each pixel, or bright cores would rule the fit.
_MODEL_ERROR = 0.002
#: Accuracy of the fluxes in units of their errors.
_TOLERANCE = 1e-4
#: Pixels that stand out by so many sigmas take no part.
_CLIP = 7.0
#: Stars whose flux differs between frames by more than this, in errors and in fractions, vary.
_VARIABLE_SIGMA, _VARIABLE_FRACTION = 6.0, 0.03
#: Stars shape the PRF out to where their light falls under this fraction of the noise of a pixel.
_WINGS = 0.5
#: A star is measured where so much of its light falls on usable pixels.
_SHOWN = 0.5
#: A flux is off the median of the frames by at most so many errors, or is none of the mean.
_OFF = 6.0


@dataclass(frozen=True, eq=False)
class Part:
    """A patch of the frames in one round, with the PRF and fluxes that it starts from.

    ``error``: fraction of its peak by which the PRF may be off, so that a clip of pixels does not
    take just those that would mend it.
    """

    patch: Patch
    prf: TensorPRF
    flux: np.ndarray
    flux_cut_off: float
    prior_sigma: np.ndarray
    bright: np.ndarray
    with_background: bool
    error: float

    @classmethod
    def of(
        cls,
        patch: Patch,
        prf: TensorPRF,
        flux: np.ndarray,
        flux_cut_off: float,
        prior_sigma: np.ndarray,
        bright: np.ndarray,
        *rest: Any,
    ) -> Part:
        """A patch, from what is known of the whole frames and all sources."""
        row, column = patch.corner
        flux, prior_sigma, bright = (a[patch.sources] for a in (flux, prior_sigma, bright))
        here = prf.seen_from(column, row)
        return cls(patch, here, flux, flux_cut_off, prior_sigma, bright, *rest)

    def register(self, shifts: Sequence[Shift], stars: np.ndarray) -> list[Shift]:
        """Shift of each frame from these stars; the last one where there are none."""
        stars = stars[self.patch.sources]
        rest, found = np.where(stars, 0.0, self.flux), []
        cut_off = SOLVED * self.flux_cut_off
        for exposure, last in zip(self.patch.exposures, shifts, strict=True):
            image, start = exposure.read(), (last.x, last.y)
            everything = exposure.stamps(self.prf, self.flux, cut_off, ALL, start)
            make = partial(exposure.stamps, self.prf, self.flux, cut_off, stars)
            others = everything.model(rest)
            found.append(frame_shift(image, make, self.flux[stars], others, start))
        return found

    def _sky(self, image: Image, model: np.ndarray) -> float:
        """Typical excess of a frame over the light of its stars, e-/s per pixel."""
        if not self.with_background:
            return 0.0
        return float(np.median((image.flux - model)[image.usable]))

    def fluxes(self, shifts: Sequence[Shift], flux: np.ndarray) -> Fluxes:
        """Fluxes with this PRF, NaN where no frame shows a source; ``flux`` is the last guess."""
        measured, beyond = [], []
        for exposure, shift in zip(self.patch.exposures, shifts, strict=True):
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
    ) -> Fluxes:
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
        return Fluxes(mean, each, stars, far, guess, float(np.sqrt(max(excess, 0.0))))

    def add_to(
        self, equations: Equations, fluxes: Fluxes, shifts: Sequence[Shift]
    ) -> tuple[float, int]:
        """Add the frames to the equations; sum of squares over the noise, and pixels."""
        mean, stars = fluxes.mean, fluxes.stars
        chi2, n_pixels = 0.0, 0
        known = zip(self.patch.exposures, shifts, fluxes.each, fluxes.far, strict=True)
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
            equations.add(chosen, light, left, weight, self.patch.corner)
            chi2 += float((weight * left**2).sum())
            n_pixels += int((weight > 0.0).sum())
        return chi2, n_pixels


class Fluxes(NamedTuple):
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

    def scaled(self, factor: float, otherwise: np.ndarray) -> Fluxes:
        """Multiply all, and put in the catalogue's fluxes where there are none."""
        mean = np.where(np.isfinite(self.mean), factor * self.mean, otherwise)
        each = np.where(np.isfinite(self.each), factor * self.each, otherwise)
        return self._replace(mean=mean, each=each)
