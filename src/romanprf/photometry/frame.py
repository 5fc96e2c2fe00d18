"""All fluxes of one frame at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from romanprf.flags import PixelFlag, SourceFlag
from romanprf.photometry.image import Image
from romanprf.photometry.normal import leverage, normal_matrix, overlaps
from romanprf.photometry.solver import Solver, make_tiles
from romanprf.photometry.stamps import Stamps

#: The variance of a pixel never falls below this fraction of the file's own.
_VARIANCE_FLOOR = 0.1
#: A residual under this fraction of the stars' light is no outlier: the PRF may be off by as much.
_PRF_ERROR = 0.05
#: A pixel that alone tells a flux shows no residual; at least this part of it is assumed to.
_LEFT = 1e-6
#: A source is MASKED when more than this fraction of its light is on rejected pixels.
_MASKED_FRACTION = 0.02
#: Pixels within this distance of a source are its core (pixels).
_CORE = 1.5
#: Half the core of the PRF: closer to the border than this, a source is at the EDGE (pixels).
_EDGE = 3.0


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
    background, background_err : float
        e-/s per pixel.
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
    background: float
    background_err: float
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
    light : ndarray, shape (nsources,)
        Fraction of the source's light that falls on usable pixels.
    background, background_err : float
        e-/s per pixel.
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
    light: np.ndarray
    background: float
    background_err: float
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
    """
    seen, inner = stamps.seen()
    priors = prior_mu[seen], prior_sigma[seen]
    joint = _fit_seen(image, inner, priors, tolerance, reweight, with_background, clip)
    light = stamps.dot((image.usable & ~joint.outlier).astype(float))
    flux, sigma = np.full((2, len(stamps)), np.nan)
    flux[seen], sigma[seen] = joint.flux, joint.flux_err
    flux[light <= 0.0] = sigma[light <= 0.0] = np.nan
    return joint._replace(flux=flux, flux_err=sigma, light=light)


def fit_frame(
    image: Image,
    stamps: Stamps,
    prior_mu: np.ndarray,
    prior_sigma: np.ndarray,
    tolerance: float,
    reweight: int,
    clip: float = np.inf,
) -> FrameFit:
    """`solve_frame`, with what the photometry tables say of each source and of the frame.

    The parameters are those of `solve_frame`.
    """
    solution = solve_frame(image, stamps, prior_mu, prior_sigma, tolerance, reweight, clip=clip)
    light, used = solution.light, image.usable & ~solution.outlier
    residual = np.where(used, image.flux - solution.model, np.nan)
    chi2_image = solution.weight * np.nan_to_num(residual) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        chi2 = np.where(light > 0.0, stamps.dot(chi2_image) / light, np.nan)
    return FrameFit(
        flux=solution.flux,
        flux_err=solution.flux_err,
        chi2=chi2,
        psf_fraction=light,
        flags=source_flags(image, stamps, solution, prior_sigma),
        background=solution.background,
        background_err=solution.background_err,
        residual=residual,
        mean_chi2=float(chi2_image.sum() / used.sum()),
        n_outliers=int(solution.outlier.sum()),
        iterations=solution.iterations,
    )


def _fit_seen(
    image: Image,
    stamps: Stamps,
    priors: tuple[np.ndarray, np.ndarray],
    tolerance: float,
    reweight: int,
    with_background: bool,
    clip: float,
) -> FrameFluxes:
    """Alternate between the weights of the pixels and the solution (see `solve_frame`)."""
    usable, outlier = image.usable, np.zeros(image.flux.shape, bool)
    pattern, tiles = overlaps(stamps), make_tiles(stamps.x, stamps.y, stamps.shape)
    flux, prior_sigma = priors
    model = stamps.model(flux)
    background = float(np.median((image.flux - model)[usable])) if with_background else 0.0
    model += background
    iterations = 0
    for number in range(reweight + 1):
        weight = np.where(usable & ~outlier, 1.0 / pixel_variance(image, model), 0.0)
        matrix = normal_matrix(stamps, weight, prior_sigma, pattern)
        solver = Solver(matrix, tiles)
        data = image.flux - background
        flux, step, background_err, sigma = _solve(
            solver, stamps, data, weight, flux, priors, tolerance, with_background
        )
        background += step
        iterations += solver.iterations
        model = stamps.model(flux) + background
        if number < reweight and np.isfinite(clip):
            left = np.maximum(1.0 - leverage(stamps, weight, matrix), _LEFT)
            outlier = _outliers(image, model, background, weight > 0.0, left, clip)
    light = np.empty(0)  # of the whole frame, later
    sky = (background, background_err)
    return FrameFluxes(flux, sigma, light, *sky, model, weight, outlier, iterations)


def _outliers(
    image: Image,
    model: np.ndarray,
    background: float,
    used: np.ndarray,
    left: np.ndarray,
    clip: float,
) -> np.ndarray:
    """Pixels that stand out by ``clip`` sigmas of what the others say.

    A cosmic ray on a star raises its flux: ``left`` is the part of the ray that the residual
    still shows, and there are residuals of the other sign in the pixels around.  So only the
    worst pixel of a neighbourhood is left out at a time; those left out before stay so unless
    the model without the ray explains them.
    """
    from scipy.ndimage import maximum_filter  # noqa: PLC0415  (slow to import)

    noise = np.sqrt(pixel_variance(image, model) * left)
    error = np.hypot(noise, _PRF_ERROR * (model - background) * left)
    residual = np.abs(image.flux - model)
    significance = np.divide(residual, error, out=np.zeros_like(error), where=image.usable)
    worst = significance >= maximum_filter(np.where(used, significance, 0.0), 3)
    return (significance > clip) & (worst | ~used)


def pixel_variance(image: Image, model: np.ndarray) -> np.ndarray:
    """Variance of the pixels with the photon noise of the model in place of the data's."""
    measured = image.flux_err**2
    if image.poisson_slope == 0.0:
        return measured
    swapped = measured + (model - np.maximum(image.flux, 0.0)) * image.poisson_slope
    return np.maximum(swapped, _VARIANCE_FLOOR * measured)


def _solve(
    solver: Solver,
    stamps: Stamps,
    data: np.ndarray,
    weight: np.ndarray,
    start: np.ndarray,
    priors: tuple[np.ndarray, np.ndarray],
    tolerance: float,
    with_background: bool,
) -> tuple[np.ndarray, float, float, np.ndarray]:
    """Fluxes, background, its error, and errors of the fluxes (equations of `normal`).

    The background is eliminated exactly: f = A^-1 h - b A^-1 c.
    """
    prior_mu, prior_sigma = priors
    h = stamps.dot(weight * data) + prior_mu / prior_sigma**2
    without = solver.solve(h, start, tolerance)
    if not with_background:
        return without, 0.0, 0.0, solver.sigma
    c, d = stamps.dot(weight), weight.sum()
    response = solver.solve(c, np.zeros_like(c), tolerance)
    schur = d - c @ response
    background = float(((weight * data).sum() - c @ without) / schur)
    sigma = np.sqrt(solver.sigma**2 + response**2 / schur)
    return without - background * response, background, float(schur**-0.5), sigma


def source_flags(
    image: Image, stamps: Stamps, solution: FrameFluxes, prior_sigma: np.ndarray
) -> np.ndarray:
    """Bits of `SourceFlag` of each source on a frame, int32, shape (nsources,)."""
    light, sigma = solution.light, solution.flux_err
    nrows, ncols = stamps.shape
    edge = np.minimum.reduce(
        [stamps.x + 0.5, ncols - 0.5 - stamps.x, stamps.y + 0.5, nrows - 0.5 - stamps.y]
    )
    conditions = {
        SourceFlag.NO_DATA: light <= 0.0,
        SourceFlag.EDGE: edge < _EDGE,
        SourceFlag.MASKED: stamps.dot((~image.usable).astype(float)) > _MASKED_FRACTION,
        SourceFlag.SATURATED: _in_core(image.flags & PixelFlag.SATURATED, stamps),
        SourceFlag.JUMP: _in_core(image.flags & PixelFlag.JUMP, stamps),
        SourceFlag.OUTLIER: _in_core(solution.outlier, stamps),
        SourceFlag.PRIOR: ~(sigma <= prior_sigma / np.sqrt(2.0)),
    }
    flags = np.zeros(len(stamps), np.int32)
    for flag, condition in conditions.items():
        flags[condition] |= int(flag)
    return flags


def _in_core(marked: np.ndarray, stamps: Stamps) -> np.ndarray:
    """Whether a marked pixel lies in the core of each source."""
    rows, columns = np.nonzero(marked)
    if rows.size == 0:
        return np.zeros(len(stamps), bool)
    from scipy.spatial import cKDTree  # noqa: PLC0415  (a fifth of the time to import Machine)

    tree = cKDTree(np.column_stack([columns, rows]))
    distance, _ = tree.query(np.column_stack([stamps.x, stamps.y]), distance_upper_bound=_CORE)
    return np.isfinite(distance)
