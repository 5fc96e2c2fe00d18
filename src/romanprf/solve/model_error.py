"""Errors of the fluxes of a frame that come from its model: the PRF and uncatalogued stars."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from romanprf.core.image import Image
from romanprf.frame.background import Mesh
from romanprf.frame.model import FrameModel
from romanprf.frame.stamps import Stamps
from romanprf.solve.fluxes import Prior, Pull, solve_with_background
from romanprf.solve.noise import PRF_ERROR_SEARCH, pixel_weight
from romanprf.solve.normal import normal_matrix
from romanprf.solve.solver import Solver, make_tiles
from romanprf.solve.uncatalogued import UncataloguedStars

#: Accuracy of the solutions in units of the errors of the fluxes.
_TOLERANCE = 1e-2
#: Pixels in which the variance of the PRF errors is below this fraction of the noise measure the
#: light of uncatalogued stars ...
_DARK = 0.25
#: ... if there are at least this many ...
_ENOUGH = 1000
#: ... leaving out those further off than this many sigmas plus the brightest uncatalogued star:
#: cosmic rays and stars that vary.
_CLIP = 5.0
#: Seed of the random images.
_SEED = 1


def error_images(model: FrameModel, flux: np.ndarray, with_scale: bool) -> Iterator[np.ndarray]:
    """Light that each of the likely errors of the PRF adds to a frame, e-/s; none if unknown.

    Parameters
    ----------
    model : FrameModel
        Of the frame.
    flux : ndarray, shape (nsources,)
        e-/s.
    with_scale : bool
        Whether the error of the PRF's scale counts; where fluxes are free it leaves nothing.
    """
    for error in model.prf.likely_errors(with_scale):
        yield replace(model, prf=error).stamps.model(flux)


def model_error(
    image: Image,
    stamps: Stamps,
    far: np.ndarray,
    errors: Iterable[np.ndarray],
    uncatalogued: UncataloguedStars | None,
    prior: Prior,
) -> np.ndarray:
    """Error (1 sigma) of each flux from the errors of the model, through the joint solution.

    The errors are those of the PRF, common to all stars, and the light of uncatalogued stars.
    Both are nearly the same in all frames: errors of the flux, but not of its changes.

    How bright an uncatalogued star may be follows from the noise and the errors of the PRF in a
    search: brighter near bright stars.  One amplitude per frame scales their light: the excess of
    the squared residuals of pixels that the PRF hardly affects over noise and PRF errors.

    Parameters
    ----------
    image : Image
        Of the frame.
    stamps : Stamps
        PRF of each source on it.
    far : ndarray, shape (nrows, ncols)
        Light of the sources beyond their stamps, e-/s.
    errors : iterable of ndarray
        From `error_images`.
    uncatalogued : UncataloguedStars, optional
        Without it there are none.
    prior : Prior
        Of the fluxes; its centres are the fluxes, e-/s.

    Returns
    -------
    ndarray, shape (nsources,)
        e-/s; NaN for sources that the frame does not show, or without ``errors``.
    """
    seen, inner = stamps.seen()
    model = stamps.model(prior.mu, far)
    model += np.median((image.flux - model)[image.usable])
    linear = _Linear(inner, pixel_weight(image, model), prior.sigma[seen])
    prf = _mean_squares(linear, errors)
    squares = prf.change
    if uncatalogued is not None:
        known = stamps.model(prior.mu)
        limit = uncatalogued.limit(linear.weight, (PRF_ERROR_SEARCH * known) ** 2 + prf.before)
        light = _mean_squares(linear, uncatalogued.images(limit))
        brightest = uncatalogued.profile(0) * limit
        squares += light.change * _amplitude(linear, image.flux - model, prf, light, brightest)
    out = np.full(len(stamps), np.nan)
    out[seen] = np.sqrt(squares)
    return out


def _amplitude(
    linear: _Linear,
    residual: np.ndarray,
    prf: _Squares,
    light: _Squares,
    brightest: np.ndarray,
) -> float:
    """Mean square of the light of uncatalogued stars in units of that of random ones, ``light``.

    ``brightest``: what the peak of an uncatalogued star may add to each pixel, e-/s.
    """
    weight = linear.weight
    dark = (weight > 0.0) & (weight * prf.before < _DARK)
    random = np.random.default_rng(_SEED)
    sigma = np.sqrt(np.divide(1.0, weight, where=weight > 0.0, out=np.zeros(weight.shape)))
    noise = _mean_squares(linear, (sigma * random.normal(size=sigma.shape) for _ in range(2)))
    found = linear.add(residual)[1]
    dark &= np.abs(found) < _CLIP * sigma + brightest
    if np.count_nonzero(dark) < _ENOUGH:
        return 0.0
    excess = (weight * (found**2 - noise.after - prf.after))[dark].mean()
    return max(float(excess / (weight * light.after)[dark].mean()), 0.0)


class _Linear:
    """Response of the fluxes, and of the residuals, of a frame to small images on top of it."""

    def __init__(self, stamps: Stamps, weight: np.ndarray, prior_sigma: np.ndarray):
        self.weight, self._stamps = weight, stamps
        matrix = normal_matrix(stamps, weight, prior_sigma)
        self._solver = Solver(matrix, make_tiles(stamps.x, stamps.y, stamps.shape))
        self._none, self._mesh = np.zeros(len(stamps)), Mesh(1, stamps.shape)
        self._response = np.zeros((1, len(stamps)))

    def add(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Change of the fluxes (nsources,) and what is left of the image, e-/s."""
        pull = Pull(self.weight * image, self.weight, self._none)
        model = self._solver, self._stamps, pull, self._mesh
        step = solve_with_background(*model, self._response, _TOLERANCE)
        self._response = step.response
        return step.flux, image - self._stamps.model(step.flux) - step.background[0]

    def nothing(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Zeros for changes of the fluxes and for two images."""
        return np.zeros(len(self._stamps)), np.zeros(self.weight.shape), np.zeros(self.weight.shape)


class _Squares(NamedTuple):
    """Mean squares: of changes of fluxes, and of images before and after these took their part."""

    change: np.ndarray
    before: np.ndarray
    after: np.ndarray


def _mean_squares(linear: _Linear, images: Iterable[np.ndarray]) -> _Squares:
    """Mean squares over images; NaN without any."""
    change, before, after = linear.nothing()
    count = 0
    for image in images:
        small, left = linear.add(image)
        change += small**2
        before += image**2
        after += left**2
        count += 1
    part = 1.0 / count if count else np.nan
    return _Squares(change * part, before * part, after * part)
