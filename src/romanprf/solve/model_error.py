"""Errors of the fluxes of a frame that come from its model: the PRF, and stars nobody knows of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from romanprf.core.image import Image
from romanprf.frame.background import Mesh
from romanprf.frame.stamps import Stamps
from romanprf.prf import PRF
from romanprf.solve.fluxes import pixel_weight, solve_under_sky
from romanprf.solve.normal import normal_matrix
from romanprf.solve.solver import Solver, make_tiles
from romanprf.solve.uncatalogued import Unknown

#: Accuracy of the solutions in units of the errors of the fluxes.
_TOLERANCE = 1e-2
#: The PRF may be off by this fraction of a star's light in a pixel, beyond its known errors.
PRF_ERROR = 0.01
#: Where the errors of the PRF are less than half the noise, residuals tell of unknown stars; it
#: takes so many pixels.  Those that are off by more than so many sigmas and the brightest unknown
#: star are cosmic rays and stars that vary.
_DARK, _ENOUGH, _CLIP = 0.25, 1000, 5.0
_SEED = 1


def error_images(
    prf: PRF, stamps: Callable[[PRF], Stamps], flux: np.ndarray, with_scale: bool
) -> Iterator[np.ndarray]:
    """Light that each of the likely errors of a PRF adds to a frame, e-/s; none if unknown.

    Parameters
    ----------
    prf : PRF
        The model; a log-polar one does not know its errors.
    stamps : callable
        Stamps of all sources on the frame for a PRF.
    flux : ndarray, shape (nsources,)
        e-/s.
    with_scale : bool
        Whether the error of its scale counts; where fluxes are free it leaves nothing.
    """
    for error in prf.likely_errors(with_scale):
        yield stamps(error).model(flux)


def model_error(
    image: Image,
    stamps: Stamps,
    beyond: np.ndarray,
    errors: Iterable[np.ndarray],
    unknown: Unknown | None,
    flux: np.ndarray,
    prior_sigma: np.ndarray,
) -> np.ndarray:
    """1 sigma of each flux from what is wrong in the model, through the joint solution.

    That is the PRF of all stars, and the light of stars that nobody knows of.  Both are much the
    same in all frames: errors of the flux, but not of its changes.

    How bright an unknown star may be follows from what a search could tell from the noise and the
    errors of the PRF: more near bright stars.  How many of them there are the residuals tell, of
    pixels where the PRF matters little: what they have more than the noise and the errors of the
    PRF would leave there.

    Parameters
    ----------
    image : Image
        Of the frame.
    stamps : Stamps
        PRF of each source on it.
    beyond : ndarray, shape (nrows, ncols)
        Light of the sources beyond their stamps, e-/s.
    errors : iterable of ndarray
        From `error_images`.
    unknown : Unknown, optional
        The stars that nobody knows of; without it there are none.
    flux, prior_sigma : ndarray, shape (nsources,)
        e-/s.

    Returns
    -------
    ndarray, shape (nsources,)
        e-/s; NaN for sources that the frame does not show, or without ``errors``.
    """
    seen, inner = stamps.seen()
    model = stamps.model(flux, beyond)
    model += np.median((image.flux - model)[image.usable])
    linear = _Linear(inner, pixel_weight(image, model), prior_sigma[seen])
    prf = _mean_squares(linear, errors)
    squares = prf.change
    if unknown is not None:
        known = stamps.model(flux)
        limit = unknown.limit(linear.weight, (PRF_ERROR * known) ** 2 + prf.before)
        light = _mean_squares(linear, unknown.images(limit))
        brightest = unknown.profile(0) * limit
        squares += light.change * _amount(linear, image.flux - model, prf, light, brightest)
    out = np.full(len(stamps), np.nan)
    out[seen] = np.sqrt(squares)
    return out


def _amount(
    linear: _Linear,
    residual: np.ndarray,
    prf: _Squares,
    light: _Squares,
    brightest: np.ndarray,
) -> float:
    """Mean square of the light of unknown stars in units of that of random ones, ``light``.

    ``brightest``: what the peak of an unknown star may add to each pixel, e-/s.
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
    """What small images on top of a frame do to its fluxes, and leave in its residuals."""

    def __init__(self, stamps: Stamps, weight: np.ndarray, prior_sigma: np.ndarray):
        self.weight, self._stamps = weight, stamps
        matrix = normal_matrix(stamps, weight, prior_sigma)
        self._solver = Solver(matrix, make_tiles(stamps.x, stamps.y, stamps.shape))
        self._none, self._mesh = np.zeros(len(stamps)), Mesh(1, stamps.shape)
        self._response = np.zeros((1, len(stamps)))

    def add(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Change of the fluxes (nsources,) and what is left of the image, e-/s."""
        change, sky, _, self._response = solve_under_sky(
            self._solver,
            self._stamps,
            self.weight * image,
            self.weight,
            self._none,
            self._response,
            _TOLERANCE,
            self._mesh,
        )
        return change, image - self._stamps.model(change) - sky[0]

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
