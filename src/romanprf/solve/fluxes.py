"""All fluxes of one frame and its background, solved jointly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np

from romanprf.config import Fit
from romanprf.core.image import Image, enough_rows
from romanprf.frame import image_nb
from romanprf.frame.background import Mesh
from romanprf.frame.stamps import Stamps
from romanprf.solve.noise import find_outliers, pixel_weight
from romanprf.solve.normal import NormalMatrix, leverage
from romanprf.solve.solver import Solver, Unknowns, make_tiles

#: Precision of the background's coefficients around the start, in units of the best known one:
#: keeps the matrix regular where a part of the frame has no usable pixel, and matters nowhere else.
_RIDGE = 1e-10
#: Pixels of a frame, about, whose median starts the background.
_ENOUGH = 2**18
#: A flux further off its prior than this many sigmas replaces it in the light beyond footprints.
_DEPARTED = 5.0
#: Accuracy of the responses of the fluxes to the background, as a fraction of the largest: they
#: steer the iteration and give the error of the background.
_RESPONSE = 3e-3

#: Adds light for fluxes (e-/s) of all sources to an image (e-/s), and returns it.
Far = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Prior(NamedTuple):
    """Gaussian prior of each flux: centre and sigma, e-/s, shape (nsources,)."""

    mu: np.ndarray
    sigma: np.ndarray

    def of(self, chosen: np.ndarray | slice) -> Prior:
        """The prior of some of the sources."""
        return Prior(self.mu[chosen], self.sigma[chosen])


@dataclass(frozen=True)
class Method:
    """How the fluxes of a frame are solved.

    Attributes
    ----------
    tolerance : float
        Accuracy of the solution in units of each flux's own error.
    reweight : int
        Repeats with the photon noise of the fitted model.  The first pass uses that of the
        prior fluxes; the data's own noise would bias faint fluxes low.
    clip : float
        Between the repeats, leave out pixels that stand out of the model by so many sigmas of
        their variance and of the error of the PRF: cosmic rays.  A star that brightens is not
        one, because its flux is free.
    background_nodes : int
        The background is a mesh of so many splines per axis; 1: constant; 0: none.
    """

    tolerance: float
    reweight: int = 0
    clip: float = np.inf
    background_nodes: int = 1

    @classmethod
    def configured(cls, settings: Fit, background_nodes: int = 1) -> Method:
        """The method that the section ``fit`` of the configuration asks for.

        ``background_nodes`` counts where the section leaves them open.
        """
        return cls(
            tolerance=settings.tolerance,
            reweight=settings.reweight,
            clip=settings.clip,
            background_nodes=settings.background_nodes or background_nodes,
        )


@dataclass(frozen=True, eq=False)
class FrameFluxes:
    """Result of `solve_frame`; fluxes have shape (nsources,), images that of the frame.

    Attributes
    ----------
    flux, flux_err : ndarray
        e-/s; NaN where a source has no usable pixel.  The error is marginal over all other
        sources and the background.
    alone_err : ndarray
        What the error would be if all other fluxes and the background were known, e-/s.
    light : ndarray, shape (nsources,)
        Fraction of the source's light that falls on usable pixels.
    background, background_err : float
        Mean of the background over the used pixels, e-/s per pixel.
    background_mesh : ndarray, shape (nodes, nodes)
        Coefficients of the background (see `romanprf.frame.background.Mesh`), e-/s per pixel.
    model : ndarray
        Image of the sources and the background, e-/s.
    weight : ndarray
        Inverse variance of the pixels that the solution was made with, 0 where rejected.
    outlier : ndarray of bool
        Pixels that were left out because they stand out of the model.
    iterations : int
        Of the solver.
    """

    flux: np.ndarray
    flux_err: np.ndarray
    alone_err: np.ndarray
    light: np.ndarray
    background: float
    background_err: float
    background_mesh: np.ndarray
    model: np.ndarray
    weight: np.ndarray
    outlier: np.ndarray
    iterations: int


def solve_frame(
    image: Image, stamps: Stamps, prior: Prior, method: Method, far: Far | None = None
) -> FrameFluxes:
    """Fit the fluxes of all sources and the background of a frame jointly.

    The linear model with Gaussian priors of Luger, Foreman-Mackey & Hogg 2017 (RNAAS 1, 7); the
    weights of the pixels follow the photon noise of the solution.

    Parameters
    ----------
    image : Image
        Pixels, e-/s; at least one of them usable.
    stamps : Stamps
        PRF of each source on this frame.
    prior : Prior
        Of each flux.
    method : Method
        How.
    far : callable, optional
        Adds the light beyond the footprints for fluxes of all sources to an image (e-/s), as
        `romanprf.frame.model.FrameModel.add_far` does.  The fluxes are those of the prior, or for
        sources that depart from it the ones of the fit before a repeat.
    """
    seen, inner = stamps.seen()
    beyond = _Beyond(far, prior.mu, seen, image.flux.shape)
    fit = _Alternation(image, inner, prior.of(seen), method, beyond)
    for number in range(method.reweight + 1):
        if number > 0:
            fit.reweight()
        fit.solve(last=number == method.reweight)
    light = stamps.dot(fit.weight > 0.0)
    known = np.full((3, len(stamps)), np.nan)
    known[:, seen] = fit.flux, fit.sigma, fit.alone
    known[:, light == 0.0] = np.nan
    background, background_err = fit.mean_background()
    return FrameFluxes(
        flux=known[0],
        flux_err=known[1],
        alone_err=known[2],
        light=light,
        background=background,
        background_err=background_err,
        background_mesh=fit.coefficients,
        model=fit.model,
        weight=fit.weight,
        outlier=fit.outlier,
        iterations=fit.solver.iterations,
    )


class _Alternation:
    """Alternates between the weights of the pixels and the solution (see `solve_frame`)."""

    def __init__(
        self, image: Image, stamps: Stamps, prior: Prior, method: Method, beyond: _Beyond
    ) -> None:
        self._image, self._stamps, self._prior = image, stamps, prior
        self._method, self._beyond = method, beyond
        self._mesh = Mesh(method.background_nodes, stamps.shape)
        self.flux, self.sigma = prior
        stars = stamps.model(prior.mu, beyond.light)
        # The functions of the mesh add up to 1: equal coefficients are a constant background.
        nodes = method.background_nodes
        self.coefficients = np.full((nodes, nodes), _typical(image, stars))
        self._response = np.zeros((nodes**2, len(stamps)))
        self.model = self._mesh.image(self.coefficients, stars)
        self.outlier = np.zeros(image.flux.shape, bool)
        self._normal, self._weighted = NormalMatrix(stamps, prior.sigma), np.empty(stars.shape)
        self._tiles = make_tiles(stamps.x, stamps.y, stamps.shape)
        self._normal.follow(pixel_weight(image, self.model))
        self.solver = Solver(self._normal.matrix, self._tiles)

    @property
    def weight(self) -> np.ndarray:
        """Inverse variance of the pixels of the last solution, 0 where rejected."""
        return self._normal.weight

    @property
    def alone(self) -> np.ndarray:
        """Errors of the fluxes if all else were known, e-/s."""
        return self._normal.diagonal**-0.5

    def solve(self, last: bool) -> None:
        """Solve with the present weights; look for outliers before a repeat, unless ``last``."""
        image_nb.weighted_residual(self._image.flux, self.model, self.weight, self._weighted)
        pull = (self._prior.mu - self.flux) / self._prior.sigma**2
        step = solve_with_background(
            self.solver,
            self._stamps,
            Pull(self._weighted, self.weight, pull),
            self._mesh,
            self._response,
            self._method.tolerance,
        )
        self.flux = self.flux + step.flux
        self.coefficients += step.background.reshape(self.coefficients.shape)
        self._response, self._covariance = step.response, step.covariance
        background_variance = (step.response * (step.covariance @ step.response)).sum(axis=0)
        self.sigma = np.sqrt(self.solver.sigma**2 + background_variance)
        self._follow_model(last)

    def reweight(self) -> None:
        """Let weights, matrix and tiles follow the noise of the present model."""
        changed = self._normal.follow(pixel_weight(self._image, self.model, self.outlier))
        self.solver.renew(self._tiles.touched(changed))

    def _follow_model(self, last: bool) -> None:
        """Draw the model with the new fluxes; before a repeat, look for outliers."""
        if not last:
            self._beyond.follow(self.flux, self.sigma)
        rest = self._mesh.image(self.coefficients, self._beyond.light)
        self.model = self._stamps.model(self.flux, rest)
        if not last and np.isfinite(self._method.clip):
            drawn = leverage(self._stamps, self.weight, self._normal.diagonal)
            images = self._image, self.model, rest, self.weight, drawn
            self.outlier = find_outliers(*images, self._method.clip)

    def mean_background(self) -> tuple[float, float]:
        """Mean over the used pixels and its error, e-/s per pixel."""
        used = self.weight > 0.0
        mean = self._mesh.dot(used) / np.count_nonzero(used)
        error = float(np.sqrt(mean @ self._covariance @ mean))
        return float(mean @ self.coefficients.ravel()), error


def _typical(image: Image, model: np.ndarray) -> float:
    """Median of what a model leaves of an image, e-/s per pixel, from enough of the rows."""
    some = enough_rows(image.usable, _ENOUGH)
    return float(np.median((image.flux[some] - model[some])[image.usable[some]]))


class _Beyond:
    """Light beyond the footprints during a fit (see `solve_frame`), which alters ``light``."""

    def __init__(
        self, far: Far | None, flux: np.ndarray, seen: np.ndarray, shape: tuple[int, ...]
    ) -> None:
        self._far, self._seen = far, seen
        self._prior, self._flux = flux, flux
        self.light = np.zeros(shape)
        if far is not None:
            far(flux, self.light)

    def follow(self, flux: np.ndarray, sigma: np.ndarray) -> None:
        """Take new fluxes of the sources that are seen where they depart from the prior."""
        if self._far is None:
            return
        new = self._prior.copy()
        new[self._seen] = departed(flux, sigma, new[self._seen])
        changed = new != self._flux
        if changed.any():
            # Not the light of the difference, which would end nearer to the star.
            self._far(np.where(changed, new, 0.0), self.light)
            self._far(np.where(changed, -self._flux, 0.0), self.light)
            self._flux = new


def departed(flux: np.ndarray, sigma: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Fluxes of the prior, but those measured of the sources that are significantly off it."""
    return np.where(np.abs(flux - prior) > _DEPARTED * sigma, flux, prior)


class Pull(NamedTuple):
    """What draws the fluxes to a new solution.

    Attributes
    ----------
    weighted, weight : ndarray, shape (nrows, ncols)
        Image minus model times its weight, and the weight.
    prior : ndarray, shape (nsources,)
        What the priors add to the right-hand side.
    """

    weighted: np.ndarray
    weight: np.ndarray
    prior: np.ndarray


class Step(NamedTuple):
    """Result of `solve_with_background`.

    Attributes
    ----------
    flux : ndarray, shape (nsources,)
        Change, e-/s.
    background : ndarray, shape (ncoefficients,)
        Change, e-/s per pixel.
    covariance : ndarray, shape (ncoefficients, ncoefficients)
        Of the background's coefficients.
    response : ndarray, shape (ncoefficients, nsources)
        Of the fluxes to each of them.
    """

    flux: np.ndarray
    background: np.ndarray
    covariance: np.ndarray
    response: np.ndarray


def solve_with_background(
    solver: Solver,
    stamps: Stamps,
    pull: Pull,
    mesh: Mesh,
    response: np.ndarray,
    tolerance: float,
) -> Step:
    """Changes of the fluxes and of the background's coefficients.

    The background is eliminated exactly: (A - c d^-1 c^T) f = h - c d^-1 e and d b = e - c^T f
    (equations of `romanprf.solve.normal`, for changes).  Responses R = A^-1 c of the fluxes to
    each coefficient are refined from a first guess, such as those of other weights.
    """
    h, *responsible = stamps.dots(chain([pull.weighted], mesh.weighted(pull.weight)))
    c, e = np.reshape(responsible, response.shape), mesh.dot(pull.weighted)
    gram = mesh.gram(pull.weight)
    diagonal = np.einsum("kk->k", gram)
    diagonal += _RIDGE * diagonal.max(initial=0.0)
    for k, largest in enumerate(_RESPONSE * (c * solver.sigma).max(axis=1, initial=0.0)):
        response[k] = solver.solve(c[k], response[k], largest)
    shared = Unknowns(c, gram, response, np.linalg.inv(gram - c @ response.T))
    right = h + pull.prior - np.linalg.solve(gram, e) @ c
    change = solver.solve(right, np.zeros(len(stamps)), tolerance, shared)
    background = np.linalg.solve(gram, e - c @ change)
    return Step(change, background, shared.covariance, response)
