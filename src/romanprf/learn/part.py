"""A part of the frames in one round of learning the tensor PRF (`romanprf.learn.tensor`)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from romanprf.core.image import Image
from romanprf.frame.background import Mesh
from romanprf.frame.frame import Frame
from romanprf.frame.model import FrameModels
from romanprf.frame.stamps import Stamps
from romanprf.frame.state import FrameState
from romanprf.io.scratch import kept
from romanprf.learn.equations import Equations
from romanprf.learn.patches import Patch
from romanprf.prf import PRF
from romanprf.sky.wcs import STERADIAN, stretch
from romanprf.solve.fluxes import FrameFluxes, Method, Prior, solve_frame
from romanprf.solve.geometry import Seen, shifts_of_cells
from romanprf.solve.noise import CLIP_LEARNING, PRF_ERROR_LEARNING, pixel_variance
from romanprf.solve.register import register

#: Accuracy of the fluxes in units of their errors.
_TOLERANCE = 1e-4
#: Stars whose flux differs between frames by more than this, in errors and in fractions, vary.
_VARIABLE_SIGMA, _VARIABLE_FRACTION = 6.0, 0.03
#: ... if they do in more than this fraction of the frames, and in more than one: there a cosmic ray
#: is as likely.
_VARIABLE_FRAMES = 0.2
#: Relative error of the fluxes of stars that show the scatter beyond the noise.
_PRECISE = 0.003
#: Stars shape the PRF out to where their light falls under this fraction of the noise of a pixel.
_WINGS = 0.15
#: A star is measured where more than this fraction of its light falls on usable pixels.
#: Of one with a saturated core, or beside the image, only wings are seen, but they are brighter
#: than most stars: flux and wings are then known as a product, which is what they give to others.
_SHOWN = 0.02
#: Where less than this is seen, each round draws the flux to the catalogue's by this part of the
#: difference: enough to fix the product's parts, too little to be seen in the product.
_WHOLE, _DRAWN = 0.5, 0.1
#: Factor by which the integral of the PRF may be too small where its wing is hardly constrained:
#: 0.87 on patches of 26 pixels whose catalogue has the right scale.
_UNSURE = 1.25
#: A flux further off the median of the frames than this many errors takes no part in the mean.
_OFF = 6.0
#: Median of the square of a normal deviate.
_MEDIAN_CHI2 = 0.4549


@dataclass(frozen=True, eq=False)
class Stars:
    """The stars that the PRF is learned from.

    Attributes
    ----------
    flux : ndarray, shape (nsources,)
        Catalogued, e-/s.
    prior_sigma : ndarray, shape (nsources,)
        Of the flux in each frame, e-/s.
    bright : ndarray of bool, shape (nsources,)
        Stars that may shape the PRF.
    """

    flux: np.ndarray
    prior_sigma: np.ndarray
    bright: np.ndarray

    def of(self, chosen: np.ndarray | slice) -> Stars:
        """Some of the stars."""
        return Stars(
            flux=self.flux[chosen],
            prior_sigma=self.prior_sigma[chosen],
            bright=self.bright[chosen],
        )


@dataclass(frozen=True, eq=False)
class Part:
    """A patch of the frames in one round, with the PRF that it starts from.

    Attributes
    ----------
    patch : Patch
        Frames with their stars.
    prf : PRF
        As seen from the patch.
    stars : Stars
        Of the patch.
    flux_cut_off : float
        e-/s per pixel at which the light of a star ends.
    background_nodes : int
        Splines per axis of the unknown background of each frame; 0: there is none.
    error : float
        Fraction of its peak by which the PRF may be off, so that a clip of pixels does not take
        just those that would correct it.
    """

    patch: Patch
    prf: PRF
    stars: Stars
    flux_cut_off: float
    background_nodes: int
    error: float

    @classmethod
    def of(
        cls,
        patch: Patch,
        prf: PRF,
        stars: Stars,
        flux_cut_off: float,
        background_nodes: int,
        error: float,
    ) -> Part:
        """A patch, from what is known of the whole frames and all stars."""
        row, column = patch.corner
        return cls(
            patch=patch,
            prf=prf.seen_from(column, row),
            stars=stars.of(patch.sources),
            flux_cut_off=flux_cut_off,
            background_nodes=background_nodes,
            error=error,
        )

    def _models(self, flux: np.ndarray, states: Sequence[FrameState]) -> FrameModels:
        """Each frame under the PRF, with footprints for these fluxes (nsources,), e-/s."""
        row, column = self.patch.corner
        states = [state.seen_from(column, row) for state in states]
        return FrameModels(self.patch.frames, self.prf, flux, self.flux_cut_off, states)

    def register(
        self, states: Sequence[FrameState], chosen: np.ndarray, in_cells: bool
    ) -> list[list[Seen]]:
        """Shift of each frame from these stars, and in its cells, under the present linear terms.

        The first one is that of all; it is the last shift where there are no stars.
        """
        chosen, flux = chosen[self.patch.sources], self.stars.flux
        row, column = self.patch.corner
        found = []
        for model in self._models(flux, states):
            image, (x, y) = model.frame.read(), model.frame.exposure.centre
            shift = register(image, model, flux, chosen)
            seen = [Seen(x + column, y + row, shift)]
            if in_cells:
                start = replace(model, state=model.state.at(shift.x, shift.y))
                seen += shifts_of_cells(image, start, flux, chosen)
            found.append(seen)
        return found

    def fluxes(self, states: Sequence[FrameState], flux: np.ndarray) -> Fluxes:
        """Fluxes with this PRF, NaN where no frame shows a source; ``flux`` is the last guess."""
        prior = Prior(self.stars.flux, self.stars.prior_sigma)
        method = Method(
            _TOLERANCE,
            reweight=1,
            clip=CLIP_LEARNING,
            background_nodes=self.background_nodes,
        )
        # The PRF adds up to less than 1 if the catalogue is too bright.
        total = min(1.0, _UNSURE * self.prf.integral())
        least = _SHOWN * total
        measured, beyond, light = [], [], np.zeros(len(flux))
        for model in self._models(flux, states):
            image = model.frame.read()
            fit = solve_frame(image, model.stamps, prior, method, model.add_far)
            beyond.append(kept(model.far(flux) + self._structure(fit)))
            light = np.fmax(light, fit.light)
            measured.append(np.where(fit.light > least, [fit.flux, fit.flux_err], np.nan))
        each, errors = np.swapaxes(measured, 0, 1)
        drawn = np.where(light < _WHOLE * total, _DRAWN, 0.0)
        return replace(self._typical(each, errors, beyond, flux), drawn=drawn)

    def _structure(self, fit: FrameFluxes) -> np.ndarray | float:
        """What the background of a frame has beyond a constant, e-/s."""
        if self.background_nodes < 2:
            return 0.0
        mesh = Mesh(self.background_nodes, fit.model.shape)
        return mesh.image(fit.background_mesh) - fit.background

    def _typical(
        self, flux: np.ndarray, error: np.ndarray, far: list[np.ndarray], guess: np.ndarray
    ) -> Fluxes:
        """Means over the frames of fluxes and errors, (nframes, nsources), and who varies."""
        catalogued, bright = self.stars.flux, self.stars.bright
        with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of sources that no frame shows
            mean = _robust_mean(flux, np.hypot(error, PRF_ERROR_LEARNING * catalogued))
            off = np.abs(flux - mean)
            measurable = bright & np.isfinite(mean)
            # While the PRF is off, all stars differ between dithers.
            typical = np.nanmedian((off / mean)[:, measurable]) if measurable.any() else 0.0
            fraction = max(_VARIABLE_FRACTION, _VARIABLE_SIGMA * typical)
            allowed = np.maximum(_VARIABLE_SIGMA * error, fraction * catalogued)
            varies = (off > allowed).sum(axis=0) > max(_VARIABLE_FRAMES * len(flux), 1.0)
            precise = bright & (error < _PRECISE * catalogued).all(axis=0) & ~varies
            excess = _excess(off[:, precise] / mean[precise], error[:, precise] / mean[precise])
        return Fluxes(
            mean=mean,
            each=np.where(varies & np.isfinite(flux), flux, mean),
            stars=measurable & ~varies,
            far=far,
            guess=guess,
            excess=excess,
        )

    def add_to(
        self, equations: Equations, fluxes: Fluxes, states: Sequence[FrameState]
    ) -> list[Misfit]:
        """Add the frames to the equations; how well each of them is described."""
        misfits = []
        models = self._models(fluxes.guess, states)
        for model, flux, far in zip(models, fluxes.each, fluxes.far, strict=True):
            image = model.frame.read()
            light = self._model_image(image, model.stamps, flux, far)
            variance = pixel_variance(image, light)
            noise = _WINGS * float(np.sqrt(np.median(variance[image.usable])))
            left, weight = self._weighted(image, light, variance)
            shaping = model.only(fluxes.stars)
            mean = fluxes.mean[fluxes.stars]
            stamps = shaping.footprints(mean, noise)
            brightness = mean * _light_per_area(shaping.frame, stamps)
            equations.add(stamps, brightness, left, weight, self.patch.corner)
            misfits.append(Misfit.of(left, weight, int(np.count_nonzero(image.usable))))
        return misfits

    def _model_image(
        self, image: Image, stamps: Stamps, flux: np.ndarray, far: np.ndarray
    ) -> np.ndarray:
        """All light of a frame: stars of these fluxes, light far from them, typical background."""
        light = stamps.model(flux)
        light += far
        if self.background_nodes:
            light += float(np.median((image.flux - light)[image.usable]))
        return light

    def _weighted(
        self, image: Image, light: np.ndarray, variance: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Image less the model, and inverse variance, 0 where rejected or off the model."""
        variance = variance + (PRF_ERROR_LEARNING * light) ** 2
        left = np.where(image.usable, image.flux - light, 0.0)
        trusted = left**2 < CLIP_LEARNING**2 * (variance + (self.error * light) ** 2)
        return left, np.where(image.usable & trusted, 1.0 / variance, 0.0)


class Misfit(NamedTuple):
    """How well a model describes a frame, or a part of it.

    ``squares``: sum of the squared residuals over the noise; ``n_pixels``: pixels in it;
    ``n_clipped``: usable pixels that are not, because they stand out of the model; ``weight``: sum
    of the inverse variances.
    """

    squares: float
    n_pixels: int
    n_clipped: int
    weight: float

    @classmethod
    def of(cls, left: np.ndarray, weight: np.ndarray, n_usable: int) -> Misfit:
        """From an image less the model (e-/s) and weights, 0 where rejected."""
        used = int(np.count_nonzero(weight))
        return cls(
            squares=float((weight * left**2).sum()),
            n_pixels=used,
            n_clipped=n_usable - used,
            weight=float(weight.sum()),
        )

    @classmethod
    def total(cls, parts: Sequence[Misfit]) -> Misfit:
        """Of all parts together."""
        return cls(*(sum(values) for values in zip(*parts, strict=True)))

    @property
    def chi2(self) -> float:
        """Mean of the squares, in which a clipped pixel counts with the limit of the clip."""
        total = self.n_pixels + self.n_clipped
        return (self.squares + CLIP_LEARNING**2 * self.n_clipped) / max(total, 1)


def _robust_mean(flux: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Mean over the frames, without fluxes (nframes, nsources) far off the median.

    ``total``: errors with that of the PRF, which counts like noise: photon noise alone would
    trust single frames.
    """
    struck = np.abs(flux - np.nanmedian(flux, axis=0)) > _OFF * total
    weight = np.where(struck, 0.0, np.nan_to_num(total**-2.0))
    return (weight * np.nan_to_num(flux)).sum(axis=0) / weight.sum(axis=0)


def _excess(off: np.ndarray, error: np.ndarray) -> float:
    """Scatter beyond the noise, from deviations and errors, both relative."""
    scatter, noise = off**2, error**2
    shown = np.isfinite(scatter)
    if not shown.any():
        return 0.0
    excess = np.median(scatter[shown]) / _MEDIAN_CHI2 - np.median(noise[shown])
    return float(np.sqrt(max(excess, 0.0)))


def _light_per_area(frame: Frame, stamps: Stamps) -> np.ndarray | float:
    """What a pixel of the frame gets of each source over what one of the detector would.

    Flat-fielding turns light into surface brightness times one nominal area.
    """
    if frame.exposure.area is None:
        return np.ones(len(stamps))
    return STERADIAN * frame.exposure.area / stretch(frame.wcs.jacobian(stamps.x, stamps.y))


@dataclass(frozen=True, eq=False)
class Fluxes:
    """Fluxes of the stars of a part in one round.

    Attributes
    ----------
    mean : ndarray, shape (nsources,)
        Over the frames, e-/s; NaN where no frame shows a source.
    each : ndarray, shape (nframes, nsources)
        In each frame: the mean, or where a source varies its own, e-/s.
    stars : ndarray of bool, shape (nsources,)
        That shape the PRF: bright and constant.
    far : list of ndarray
        Light beyond the footprints of the fluxes ``guess`` on each frame, and the structure of its
        background, e-/s.
    guess : ndarray, shape (nsources,)
        Fluxes that set the footprints, e-/s.
    excess : float
        Scatter of precise stars beyond their errors, relative.
    drawn : ndarray, shape (nsources,)
        Part of the difference to the catalogue that is taken away once the scale is known.
    """

    mean: np.ndarray
    each: np.ndarray
    stars: np.ndarray
    far: list[np.ndarray]
    guess: np.ndarray
    excess: float
    drawn: np.ndarray | float = 0.0

    def scaled(self, factor: float, otherwise: np.ndarray) -> Fluxes:
        """Multiply all; where nothing or only wings are seen take, or draw to, the catalogue's."""
        mean, each = (
            np.where(np.isfinite(found), (1.0 - self.drawn) * factor * found, 0.0)
            + np.where(np.isfinite(found), self.drawn, 1.0) * otherwise
            for found in (self.mean, self.each)
        )
        return replace(self, mean=mean, each=each)
