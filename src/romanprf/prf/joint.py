"""Learning the tensor PRF from all pixels of many frames at once.

What is fitted is bilinear: pixel = sum of flux x PRF + background.  So the fluxes are solved with
the PRF held (`romanprf.photometry.frame.solve_frame`) and the coefficients with the fluxes held,
in turn.  A star has one flux in all frames: what dithers make of it then shows in the PRF, not in
the light curve.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from romanprf.errors import InputError
from romanprf.photometry.frame import pixel_variance, solve_frame
from romanprf.photometry.image import Image
from romanprf.photometry.register import UNKNOWN, Shift, frame_shift, reference_stars
from romanprf.photometry.stamps import Stamps, make_stamps
from romanprf.prf import tensor_nb
from romanprf.prf.shape import UNTRUSTED
from romanprf.prf.tensor import SCALE, STEP, TensorPRF
from romanprf.statistics import typical_ratio
from romanprf.wcs import STERADIAN, TangentWCS

#: The model itself is trusted to this fraction in each pixel, or bright cores would rule the fit.
_MODEL_ERROR = 0.002
#: Prior sigma of a coefficient, as a fraction of the profile at its place.
_PRIOR = 0.3
#: Accuracy of the fluxes in units of their errors.
_TOLERANCE = 1e-4
#: The first guess may be off by this fraction; later, the PRF is off by what it moved last.
_START_ERROR = 0.1
#: Pixels that stand out by so many sigmas take no part.
_CLIP = 7.0
#: Stars whose flux differs between frames by more than this, in errors and in fractions, vary.
_VARIABLE_SIGMA, _VARIABLE_FRACTION = 6.0, 0.03
#: The fit ends when no coefficient moves by more than this fraction of the largest one.
_SETTLED = 2e-4
#: A star is measured where so much of its light falls on usable pixels.
_SHOWN = 0.5
#: The brightest fourth of the stars tell the scale of the catalogue.
_BRIGHTEST = 4
#: Chunks of rows whose sums are made apart; each has a normal matrix.
_CHUNKS = 2
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

    def light(self, stamps: Stamps) -> np.ndarray:
        """What a pixel of the frame gets of each source over what one of the detector would.

        Flat-fielding turns light into surface brightness times one nominal area.
        """
        if self.pixel_area is None:
            return np.ones(len(stamps))
        area = np.abs(np.linalg.det(self.wcs.jacobian(stamps.x, stamps.y)))
        return STERADIAN * self.pixel_area / area


@dataclass(frozen=True)
class Round:
    """What one round of `fit_joint` found.

    ``scale`` is measured over catalogued flux, ``change`` the largest change of the PRF over its
    peak, ``excess`` the scatter of bright stars beyond their errors, relative.
    """

    n_stars: int
    n_pixels: int
    chi2: float
    scale: float
    change: float
    excess: float


def fit_joint(
    exposures: Sequence[Exposure],
    flux: np.ndarray,
    flags: np.ndarray,
    start: TensorPRF,
    settings: Mapping[str, Any],
    prior_sigma: np.ndarray,
    with_background: bool = True,
) -> tuple[TensorPRF, list[Round], list[Shift]]:
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

    Returns
    -------
    prf : TensorPRF
        The model.
    history : list of Round
        One entry per round.
    shifts : list of Shift
        Of the exposures; their mean is 0, as the PRF holds what they have in common.

    Raises
    ------
    InputError
        If no star is bright enough.
    """
    bright = ((flags & UNTRUSTED) == 0) & (flux >= settings["source_flux_limit"])
    if not bright.any():
        raise InputError(
            f"shape: none of {flux.size} sources is brighter than source_flux_limit = "
            f"{settings['source_flux_limit']} e-/s, expected some to fit the PRF to"
        )
    prior_precision = (_PRIOR * start.envelope()) ** -2.0
    shifts = [UNKNOWN] * len(exposures)
    reference = reference_stars(flux, flags)
    prf, history, change = start, [], _START_ERROR
    for _ in range(settings["rounds"]):
        fixed = (flux, settings["flux_cut_off"], prior_sigma, bright, with_background, change)
        frames = _Frames(exposures, prf, *fixed)
        shifts = frames.register(shifts, reference)
        mean, excess = frames.fluxes(shifts)
        stars = bright & np.isfinite(mean)
        if not stars.any():
            raise InputError(
                f"shape: none of {bright.sum()} stars brighter than source_flux_limit is on a "
                f"usable pixel of {len(exposures)} exposures, expected some to fit the PRF to"
            )
        scale = _scale(mean, flux, reference)
        mean = np.where(np.isfinite(mean), mean / scale, flux)
        better, chi2, n_pixels = frames.improved(mean, stars, shifts, start, prior_precision)
        step = np.abs(better.coefficients - prf.coefficients).max()
        change = float(step / prf.coefficients.max())
        prf = better
        history.append(Round(int(stars.sum()), n_pixels, chi2, scale, change, excess))
        if change < _SETTLED:
            break
    # The last coefficients have not been held against the catalogue yet.
    frames = _Frames(exposures, prf, *fixed)
    mean, _ = frames.fluxes(shifts)
    return prf.brightened(_scale(mean, flux, reference)), history, shifts


def _scale(measured: np.ndarray, flux: np.ndarray, stars: np.ndarray) -> float:
    """Typical ratio of measured and catalogued flux of the stars."""
    known = stars & np.isfinite(measured)
    return typical_ratio(measured[known], flux[known], _BRIGHTEST)


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
        for exposure, last in zip(self.exposures, shifts, strict=True):
            image, start = exposure.read(), (last.x, last.y)
            everything = exposure.stamps(self.prf, self.flux, self.flux_cut_off, ALL, start)
            others = everything.model(rest)
            others += self._sky(image, everything.model(self.flux))
            make = partial(exposure.stamps, self.prf, self.flux, 10.0 * self.flux_cut_off, stars)
            found.append(frame_shift(image, make, self.flux[stars], others, start))
        x, y = np.mean([(shift.x, shift.y) for shift in found], axis=0)
        return [shift._replace(x=shift.x - x, y=shift.y - y) for shift in found]

    def _sky(self, image: Image, model: np.ndarray) -> float:
        """Typical excess of a frame over the light of its stars, e-/s per pixel."""
        if not self.with_background:
            return 0.0
        return float(np.median((image.flux - model)[image.usable]))

    def fluxes(self, shifts: list[Shift]) -> tuple[np.ndarray, float]:
        """Mean flux of each source over the frames, NaN if it varies; excess scatter."""
        measured = []
        for exposure, shift in zip(self.exposures, shifts, strict=True):
            place = (shift.x, shift.y)
            stamps = exposure.stamps(self.prf, self.flux, self.flux_cut_off, ALL, place)
            fit = solve_frame(
                exposure.read(),
                stamps,
                self.flux,
                self.prior_sigma,
                _TOLERANCE,
                reweight=1,
                with_background=self.with_background,
                clip=_CLIP,
            )
            shown = fit.light > _SHOWN
            measured.append(np.where(shown, [fit.flux, fit.flux_err], np.nan))
        flux, error = np.swapaxes(measured, 0, 1)
        # The error of the PRF counts like noise: photon noise alone would trust single frames.
        weight = np.nan_to_num(1.0 / (error**2 + (_MODEL_ERROR * self.flux) ** 2))
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (weight * np.nan_to_num(flux)).sum(axis=0) / weight.sum(axis=0)
            off = np.abs(flux - mean)
            measurable = self.bright & np.isfinite(mean)
            # While the PRF is off, all stars differ between dithers.
            typical = np.nanmedian((off / mean)[:, measurable]) if measurable.any() else 0.0
            fraction = max(_VARIABLE_FRACTION, _VARIABLE_SIGMA * typical)
            allowed = np.maximum(_VARIABLE_SIGMA * error, fraction * self.flux)
            varies = (off > allowed).sum(axis=0) > 0.2 * len(flux)
            mean[varies] = np.nan
            brightest = self.bright & (error < 0.003 * self.flux).all(axis=0) & ~varies
            scatter = (off[:, brightest] / mean[brightest]) ** 2
            noise = (error[:, brightest] / mean[brightest]) ** 2
        excess = np.median(scatter) / 0.4549 - np.median(noise) if brightest.any() else 0.0
        return mean, float(np.sqrt(max(excess, 0.0)))

    def improved(
        self,
        flux: np.ndarray,
        stars: np.ndarray,
        shifts: list[Shift],
        prior: TensorPRF,
        prior_precision: np.ndarray,
    ) -> tuple[TensorPRF, float, int]:
        """Coefficients for these fluxes of the stars, mean chi2 and number of pixels."""
        n = self.prf.coefficients.shape[0]
        matrix, vector = np.zeros((_CHUNKS, n * n, n * n)), np.zeros((_CHUNKS, n * n))
        chi2, n_pixels = 0.0, 0
        for exposure, shift in zip(self.exposures, shifts, strict=True):
            image = exposure.read()
            place = (shift.x, shift.y)
            everything = exposure.stamps(self.prf, flux, self.flux_cut_off, ALL, place)
            model = everything.model(flux)
            model += self._sky(image, model)
            variance = pixel_variance(image, model)
            # Wings under the noise of a pixel tell the PRF nothing, but cost most of the time.
            noise = float(np.sqrt(np.median(variance[image.usable])))
            chosen = exposure.stamps(self.prf, np.where(stars, flux, 0.0), noise, ALL, place)
            others = model - chosen.model(np.where(stars, flux, 0.0))
            variance += (_MODEL_ERROR * model) ** 2
            left = (image.flux - model) ** 2
            trusted = left < _CLIP**2 * (variance + (self.error * model) ** 2)
            weight = np.where(image.usable & trusted, 1.0 / variance, 0.0)
            start, members = _rows(chosen, np.flatnonzero(stars), exposure.shape[0])
            data = np.where(image.usable, image.flux - others, 0.0)
            light = np.where(stars, flux, 0.0) * exposure.light(chosen)
            arrays = (chosen.x, chosen.y, light, chosen.radius)
            tensor_nb.accumulate(
                *arrays, start, members, data, weight, SCALE, STEP, n, matrix, vector
            )
            chi2 += float((weight * left).sum())
            n_pixels += int((weight > 0.0).sum())
        total = matrix.sum(axis=0)
        total[np.diag_indices(n * n)] += prior_precision.ravel()
        right = vector.sum(axis=0) + (prior_precision * prior.coefficients).ravel()
        coefficients = cho_solve(cho_factor(total, lower=True, overwrite_a=True), right)
        return replace(self.prf, coefficients=coefficients.reshape(n, n)), chi2 / n_pixels, n_pixels


def _rows(stamps: Stamps, chosen: np.ndarray, nrows: int) -> tuple[np.ndarray, np.ndarray]:
    """Sources that reach each row of an image: start (nrows + 1,) and members."""
    low, high = (np.clip(stamps.window[chosen, i], 0, nrows) for i in (0, 1))
    count = np.maximum(high - low, 0)
    source = np.repeat(chosen, count)
    row = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    row += np.repeat(low, count)
    order = np.argsort(row, kind="stable")
    start = np.searchsorted(row[order], np.arange(nrows + 1))
    return start.astype(np.int64), source[order].astype(np.int64)
