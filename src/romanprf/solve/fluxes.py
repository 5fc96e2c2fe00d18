"""All fluxes of one frame at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, product
from typing import NamedTuple

import numpy as np

from romanprf.core.image import Image, enough_rows
from romanprf.flags import REJECTED_PIXEL, PixelFlag, SourceFlag
from romanprf.frame import image_nb, stamps_nb
from romanprf.frame.background import Mesh
from romanprf.frame.stamps import Stamps
from romanprf.solve.normal import NormalMatrix, leverage
from romanprf.solve.solver import Sky, Solver, make_tiles

#: The variance of a pixel never falls below this fraction of the file's own.
VARIANCE_FLOOR = 0.1
#: A residual under this fraction of the stars' light is no outlier: the PRF may be off by as much.
_PRF_ERROR = 0.05
#: A pixel that alone tells a flux shows no residual; at least this part of it is assumed to.
_LEFT = 1e-6
#: A source is MASKED when more than this fraction of its light is on rejected pixels.
_MASKED_FRACTION = 0.02
#: Pixels within this distance of a source are its core (pixels).
_CORE = 1.5
#: A flux is DEGENERATE when its error is this many times that with all other fluxes known.
_DEGENERATE = 3.0
#: Precision of the sky's coefficients around the start, in units of the best known one: keeps the
#: matrix regular where a part of the frame has no usable pixel, and matters nowhere else.
_RIDGE = 1e-10
#: About so many pixels of a frame tell its sky to start from.
_ENOUGH = 2**18
#: A flux is off its prior by so many sigmas when that is taken for the light beyond its footprint.
_DEPARTED = 5.0
#: The responses of the fluxes to the sky are known to this fraction of the largest: they tell the
#: iteration where to go, and the error of the sky.
_RESPONSE = 3e-3
#: Half the core of the PRF: closer to the border than this, a source is at the EDGE (pixels).
_EDGE = 3.0


#: Adds light for fluxes (e-/s) of all sources to an image (e-/s), and returns it.
Far = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class FrameFit:
    """Result of `fit_frame`; arrays have shape (nsources,) unless said otherwise.

    Attributes
    ----------
    flux, flux_err : ndarray
        e-/s; NaN where a source has no usable pixel.  The error is marginal over all other
        sources and the background.
    chi2 : ndarray
        Mean squared normalised residual, weighted by the PRF.
    psf_fraction : ndarray
        Fraction of the source's light that falls on usable pixels.
    flags : ndarray of int32
        Bits of `SourceFlag`.
    core_outliers : ndarray of int
        Pixels of the source's core that were left out because they stand out of the model.
    background, background_err : float
        Mean of the sky over the used pixels, e-/s per pixel.
    background_mesh : ndarray, shape (nodes, nodes)
        Coefficients of the sky (see `romanprf.frame.background.Mesh`), e-/s per pixel.
    residual : ndarray, shape (nrows, ncols)
        Image minus model, e-/s; NaN where rejected.
    mean_chi2 : float
        Mean squared normalised residual of the used pixels.
    n_outliers : int
        Pixels left out because they stand out of the model.
    iterations : int
        Of the solver.
    """

    flux: np.ndarray
    flux_err: np.ndarray
    chi2: np.ndarray
    psf_fraction: np.ndarray
    flags: np.ndarray
    core_outliers: np.ndarray
    background: float
    background_err: float
    background_mesh: np.ndarray
    residual: np.ndarray
    mean_chi2: float
    n_outliers: int
    iterations: int


class FrameFluxes(NamedTuple):
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
        Mean of the sky over the used pixels, e-/s per pixel.
    background_mesh : ndarray, shape (nodes, nodes)
        Coefficients of the sky (see `romanprf.frame.background.Mesh`), e-/s per pixel.
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
    image: Image,
    stamps: Stamps,
    prior_mu: np.ndarray,
    prior_sigma: np.ndarray,
    tolerance: float,
    reweight: int = 0,
    with_background: bool = True,
    clip: float = np.inf,
    background_nodes: int = 1,
    far: Far | None = None,
) -> FrameFluxes:
    """Fit the fluxes of all sources and the background of a frame jointly.

    Parameters
    ----------
    image : Image
        Pixels, e-/s; at least one of them usable.
    stamps : Stamps
        PRF of each source on this frame.
    prior_mu, prior_sigma : ndarray, shape (nsources,)
        Gaussian prior of each flux, e-/s.
    tolerance : float
        Accuracy of the solution in units of each flux's own error.
    reweight : int
        Repeats with the photon noise of the fitted model.  The first pass uses that of the
        prior fluxes; the data's own noise would bias faint fluxes low.
    with_background : bool
        Whether the sky is unknown; otherwise it is 0.
    clip : float
        Between the repeats, leave out pixels that stand out of the model by so many sigmas of
        their variance and of the error of the PRF: cosmic rays.  A star that brightens is not
        one, because its flux is free.
    background_nodes : int
        The sky is a mesh of so many splines per axis; 1: constant.
    far : callable, optional
        Adds the light beyond the footprints for fluxes of all sources to an image (e-/s), as
        `romanprf.frame.far.far_light` does.  The fluxes are those of the prior, or for
        sources that depart from it the ones of the fit before a repeat.
    """
    seen, inner = stamps.seen()
    priors = prior_mu[seen], prior_sigma[seen]
    mesh = Mesh(background_nodes if with_background else 0, stamps.shape)
    beyond = _Beyond(far, prior_mu, seen, image.flux.shape)
    joint = _fit_seen(image, inner, priors, tolerance, reweight, mesh, clip, beyond)
    light = stamps.dot(joint.weight > 0.0)
    known = np.full((3, len(stamps)), np.nan)
    known[:, seen] = joint.flux, joint.flux_err, joint.alone_err
    known[:, light == 0.0] = np.nan
    flux, sigma, alone = known
    return joint._replace(flux=flux, flux_err=sigma, alone_err=alone, light=light)


def fit_frame(
    image: Image,
    stamps: Stamps,
    prior_mu: np.ndarray,
    prior_sigma: np.ndarray,
    tolerance: float,
    reweight: int,
    clip: float = np.inf,
    background_nodes: int = 1,
    far: Far | None = None,
) -> FrameFit:
    """`solve_frame`, with what the photometry tables say of each source and of the frame.

    The parameters are those of `solve_frame`.
    """
    solution = solve_frame(
        image,
        stamps,
        prior_mu,
        prior_sigma,
        tolerance,
        reweight,
        clip=clip,
        background_nodes=background_nodes,
        far=far,
    )
    light, used = solution.light, solution.weight > 0.0
    residual, chi2_image = np.empty(used.shape), np.empty(used.shape)
    image_nb.residuals(image.flux, solution.model, solution.weight, residual, chi2_image)
    chi2, masked = stamps.dots([chi2_image, ~image.usable])
    with np.errstate(invalid="ignore", divide="ignore"):
        chi2 = np.where(light > 0.0, chi2 / light, np.nan)
    return FrameFit(
        flux=solution.flux,
        flux_err=solution.flux_err,
        chi2=chi2,
        psf_fraction=light,
        flags=source_flags(image, stamps, solution, prior_sigma, masked),
        core_outliers=_in_core(solution.outlier, stamps),
        background=solution.background,
        background_err=solution.background_err,
        background_mesh=solution.background_mesh,
        residual=residual,
        mean_chi2=float(chi2_image.sum() / np.count_nonzero(used)),
        n_outliers=int(np.count_nonzero(solution.outlier)),
        iterations=solution.iterations,
    )


def _fit_seen(
    image: Image,
    stamps: Stamps,
    priors: tuple[np.ndarray, np.ndarray],
    tolerance: float,
    reweight: int,
    mesh: Mesh,
    clip: float,
    beyond: _Beyond,
) -> FrameFluxes:
    """Alternate between the weights of the pixels and the solution (see `solve_frame`)."""
    outlier = np.zeros(image.flux.shape, bool)
    flux, prior_sigma = priors
    model = stamps.model(flux, beyond.light)
    # The functions of the mesh add up to 1: equal coefficients are a constant sky.
    coefficients = np.full((mesh.nodes, mesh.nodes), _typical(image, model))
    response = np.zeros((mesh.nodes**2, len(stamps)))
    model = mesh.image(coefficients, model)
    normal, weighted = NormalMatrix(stamps, prior_sigma), np.empty(model.shape)
    tiles = make_tiles(stamps.x, stamps.y, stamps.shape)
    for number in range(reweight + 1):
        changed = normal.follow(pixel_weight(image, model, outlier))
        if number == 0:
            solver = Solver(normal.matrix, tiles)
        else:
            solver.renew(tiles.touched(changed))
        weight = normal.weight
        pull = (priors[0] - flux) / prior_sigma**2
        image_nb.weighted_residual(image.flux, model, weight, weighted)
        change, step, covariance, response = solve_under_sky(
            solver, stamps, weighted, weight, pull, response, tolerance, mesh
        )
        flux = flux + change
        coefficients += step.reshape(coefficients.shape)
        sigma = np.sqrt(solver.sigma**2 + (response * (covariance @ response)).sum(axis=0))
        if number < reweight:
            beyond.follow(flux, sigma)
        rest = mesh.image(coefficients, beyond.light)
        model = stamps.model(flux, rest)
        if number < reweight and np.isfinite(clip):
            drawn = leverage(stamps, weight, normal.diagonal)
            outlier = _outliers(image, model, rest, weight, drawn, clip)
    used, alone = weight > 0.0, normal.diagonal**-0.5
    mean = mesh.dot(used) / np.count_nonzero(used)
    sky = float(mean @ coefficients.ravel()), float(np.sqrt(mean @ covariance @ mean))
    light = np.empty(0)  # of the whole frame, later
    images = model, weight, outlier
    return FrameFluxes(flux, sigma, alone, light, *sky, coefficients, *images, solver.iterations)


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


def _outliers(
    image: Image,
    model: np.ndarray,
    rest: np.ndarray,
    weight: np.ndarray,
    drawn: np.ndarray,
    clip: float,
) -> np.ndarray:
    """Pixels that stand out by ``clip`` sigmas of what the others say.

    A cosmic ray on a star raises its flux: of the ray the residual still shows what the leverage
    ``drawn`` has left, and there are residuals of the other sign in the pixels around.  So only the
    worst pixel of a neighbourhood is left out at a time; those left out before stay so unless
    the model without the ray explains them.  ``rest`` is the model without the stars.
    """
    significance = np.empty(weight.shape)
    numbers = image.poisson_slope, VARIANCE_FLOOR, _LEFT, _PRF_ERROR
    images = image.flux, image.flux_err, model, rest, drawn
    image_nb.significance(*images, *numbers, significance)
    row, column = np.divmod(np.flatnonzero(significance > clip), weight.shape[1])
    worst = np.ones(row.size, bool)
    for i, j in product((-1, 0, 1), (-1, 0, 1)):
        near = tuple(
            np.clip(place + step, 0, length - 1)
            for place, step, length in zip((row, column), (i, j), weight.shape, strict=True)
        )
        worst &= (significance[row, column] >= significance[near]) | (weight[near] == 0.0)
    out = np.zeros(weight.shape, bool)
    out[row, column] = worst | (weight[row, column] == 0.0)
    return out


def pixel_weight(image: Image, model: np.ndarray, outlier: np.ndarray | None = None) -> np.ndarray:
    """Inverse of `pixel_variance`, 0 where a pixel is rejected or an ``outlier``."""
    weight = np.empty(image.flux.shape)
    rejected = np.zeros(weight.shape, bool) if outlier is None else outlier
    numbers = image.poisson_slope, VARIANCE_FLOOR
    image_nb.weights(image.flux, image.flux_err, model, rejected, *numbers, weight)
    return weight


def pixel_variance(image: Image, model: np.ndarray) -> np.ndarray:
    """Variance of the pixels with the photon noise of the model in place of the data's."""
    measured = image.flux_err**2
    if image.poisson_slope == 0.0:
        return measured
    swapped = measured + (model - np.maximum(image.flux, 0.0)) * image.poisson_slope
    return np.maximum(swapped, VARIANCE_FLOOR * measured)


def solve_under_sky(
    solver: Solver,
    stamps: Stamps,
    weighted: np.ndarray,
    weight: np.ndarray,
    pull: np.ndarray,
    response: np.ndarray,
    tolerance: float,
    mesh: Mesh,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Changes of the fluxes and of the sky's coefficients, covariance of these; responses.

    The sky is eliminated exactly: (A - c d^-1 c^T) f = h - c d^-1 e and d b = e - c^T f (equations
    of `normal`, for changes).  ``weighted`` is the image minus the model, times ``weight``;
    ``pull`` is what the priors add to h.  Responses R = A^-1 c of the fluxes to each coefficient
    of the sky that other weights gave are a good first guess.
    """
    h, *responsible = stamps.dots(chain([weighted], mesh.weighted(weight)))
    c, e, gram = np.reshape(responsible, response.shape), mesh.dot(weighted), mesh.gram(weight)
    diagonal = np.einsum("kk->k", gram)
    diagonal += _RIDGE * diagonal.max(initial=0.0)
    for k, largest in enumerate(_RESPONSE * (c * solver.sigma).max(axis=1, initial=0.0)):
        response[k] = solver.solve(c[k], response[k], largest)
    sky = Sky(c, gram, response, np.linalg.inv(gram - c @ response.T))
    right = h + pull - np.linalg.solve(gram, e) @ c
    change = solver.solve(right, np.zeros(len(stamps)), tolerance, sky)
    return change, np.linalg.solve(gram, e - c @ change), sky.covariance, response


def source_flags(
    image: Image,
    stamps: Stamps,
    solution: FrameFluxes,
    prior_sigma: np.ndarray,
    masked: np.ndarray,
) -> np.ndarray:
    """Bits of `SourceFlag` of each source on a frame, int32, shape (nsources,).

    ``masked``: fraction of each source's light on rejected pixels.
    """
    light, sigma = solution.light, solution.flux_err
    nrows, ncols = stamps.shape
    edge = np.minimum.reduce(
        [stamps.x + 0.5, ncols - 0.5 - stamps.x, stamps.y + 0.5, nrows - 0.5 - stamps.y]
    )
    marked = np.divmod(np.flatnonzero(image.flags), ncols)
    bits = image.flags[marked]

    def pixels(condition: np.ndarray) -> np.ndarray:
        out = np.zeros(stamps.shape, bool)
        out[marked] = condition
        return out

    rejected = (bits & REJECTED_PIXEL) != 0
    # Formats without data quality only say that a pixel has no value; the wings say that it is
    # brighter than all that is measured.
    burnt = rejected & (solution.model[marked] > image.flux.max())
    saturated = ((bits & PixelFlag.SATURATED) != 0) | burnt
    conditions = {
        SourceFlag.NO_DATA: light <= 0.0,
        SourceFlag.EDGE: edge < _EDGE,
        SourceFlag.MASKED: masked > _MASKED_FRACTION,
        SourceFlag.SATURATED: _in_core(pixels(saturated), stamps) > 0,
        SourceFlag.JUMP: _in_core(pixels((bits & PixelFlag.JUMP) != 0), stamps) > 0,
        SourceFlag.OUTLIER: _in_core(solution.outlier, stamps) > 0,
        SourceFlag.PRIOR: ~(sigma <= prior_sigma / np.sqrt(2.0)),
        SourceFlag.DEGENERATE: sigma > _DEGENERATE * solution.alone_err,
    }
    flags = np.zeros(len(stamps), np.int32)
    for flag, condition in conditions.items():
        flags[condition] |= int(flag)
    return flags


def _in_core(marked: np.ndarray, stamps: Stamps) -> np.ndarray:
    """Number of marked pixels in the core of each source."""
    count = np.zeros(len(stamps), int)
    if marked.any():
        stamps_nb.count_near(stamps.x, stamps.y, _CORE, marked, count)
        count[np.diff(stamps.offset) == 0] = 0
    return count
