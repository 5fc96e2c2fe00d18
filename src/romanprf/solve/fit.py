"""The fit of a frame, with the statistics that the photometry tables hold."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from romanprf.core.image import Image
from romanprf.flags import REJECTED_PIXEL, PixelFlag, SourceFlag
from romanprf.frame import image_nb, stamps_nb
from romanprf.frame.background import Mesh
from romanprf.frame.model import FrameModel
from romanprf.frame.stamps import Stamps
from romanprf.solve.fluxes import Far, FrameFluxes, Method, Prior, departed, solve_frame
from romanprf.solve.noise import PRF_ERROR_REGISTRATION

#: A source is MASKED when more than this fraction of its light is on rejected pixels.
_MASKED_FRACTION = 0.02
#: Pixels within this distance of a source are its core (pixels).
_CORE = 1.5
#: A flux is DEGENERATE when its error is this many times that with all other fluxes known.
_DEGENERATE = 3.0
#: A source is a MISFIT when within so many pixels of it a used one is off the model by so many
#: sigmas, though the PRF may be off by 2 %, or several are left out.
_NEAR, _MISFIT, _SEVERAL = 2.5, 6.0, 2
#: Side of the blocks that show whether a frame is wrong everywhere, pixels: a dozen stars each.
_BLOCK = 16
#: A source closer to the border than this, half the core of the PRF, is at the EDGE (pixels).
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
    core_outliers : ndarray of int
        Pixels of the source's core that were left out because they stand out of the model.
    background, background_err : float
        Mean of the background over the used pixels, e-/s per pixel.
    background_mesh : ndarray, shape (nodes, nodes)
        Coefficients of the background (see `romanprf.frame.background.Mesh`), e-/s per pixel.
    residual : ndarray, shape (nrows, ncols)
        Image minus model, e-/s; NaN where rejected.
    weight : ndarray, shape (nrows, ncols)
        Inverse variance of the pixels, 0 where rejected.
    mean_chi2 : float
        Mean squared normalised residual of the used pixels.
    typical_chi2 : float
        Median over blocks of pixels of the same: a track raises it in a few of them, a PRF that is
        wrong in all.
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
    weight: np.ndarray
    mean_chi2: float
    typical_chi2: float
    n_outliers: int
    iterations: int


def fit_frame(
    image: Image, stamps: Stamps, prior: Prior, method: Method, far: Far | None = None
) -> FrameFit:
    """`solve_frame`, whose parameters these are, with statistics and flags of each source."""
    solution = solve_frame(image, stamps, prior, method, far)
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
        flags=source_flags(image, stamps, solution, prior.sigma, masked)
        | np.int32(SourceFlag.MISFIT) * _misfits(stamps, solution, chi2_image),
        core_outliers=_in_core(solution.outlier, stamps),
        background=solution.background,
        background_err=solution.background_err,
        background_mesh=solution.background_mesh,
        residual=residual,
        weight=solution.weight,
        mean_chi2=float(chi2_image.sum() / np.count_nonzero(used)),
        typical_chi2=_typical(chi2_image, used),
        n_outliers=int(np.count_nonzero(solution.outlier)),
        iterations=solution.iterations,
    )


def _typical(chi2: np.ndarray, used: np.ndarray) -> float:
    """Median over blocks of the mean of an image over the pixels that are used."""
    starts = [np.arange(0, length, _BLOCK) for length in chi2.shape]
    total, count = (
        np.add.reduceat(np.add.reduceat(image, starts[0], axis=0), starts[1], axis=1)
        for image in (chi2, used.astype(float))
    )
    return float(np.median(total[count > 0.0] / count[count > 0.0]))


def model_image(
    model: FrameModel, flux: np.ndarray, flux_err: np.ndarray, background_mesh: np.ndarray
) -> np.ndarray:
    """Image (e-/s) of a frame with fluxes that were fitted to it, shape (nrows, ncols).

    Parameters
    ----------
    model : FrameModel
        The frame in the state in which it was fitted.
    flux, flux_err : ndarray, shape (nsources,)
        e-/s.  A source whose flux is NaN, as one without a usable pixel, gives no light.
    background_mesh : ndarray, shape (nodes**2,)
        See `FrameFit`, e-/s per pixel.
    """
    flux = flux.astype(float)
    nodes = math.isqrt(background_mesh.size)
    mesh = Mesh(nodes, model.frame.shape)
    background = mesh.image(background_mesh.astype(float).reshape(nodes, nodes))
    image = model.stamps.model(np.nan_to_num(flux), background)
    return model.add_far(departed(flux, flux_err, model.flux), image)


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
    saturated, jump = _marked_pixels(image, solution.model)
    conditions = {
        SourceFlag.NO_DATA: light <= 0.0,
        SourceFlag.EDGE: _border_distance(stamps) < _EDGE,
        SourceFlag.MASKED: masked > _MASKED_FRACTION,
        SourceFlag.SATURATED: _in_core(saturated, stamps) > 0,
        SourceFlag.JUMP: _in_core(jump, stamps) > 0,
        SourceFlag.OUTLIER: _in_core(solution.outlier, stamps) > 0,
        SourceFlag.PRIOR: ~(sigma <= prior_sigma / np.sqrt(2.0)),
        SourceFlag.DEGENERATE: sigma > _DEGENERATE * solution.alone_err,
    }
    flags = np.zeros(len(stamps), np.int32)
    for flag, condition in conditions.items():
        flags[condition] |= int(flag)
    return flags


def _border_distance(stamps: Stamps) -> np.ndarray:
    """Distance of each source from the border of the image, pixels; negative outside."""
    nrows, ncols = stamps.shape
    x, y = stamps.x, stamps.y
    return np.minimum.reduce([x + 0.5, ncols - 0.5 - x, y + 0.5, nrows - 0.5 - y])


def _marked_pixels(image: Image, model: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Saturated pixels and those with a jump, images of bool."""
    marked = np.divmod(np.flatnonzero(image.flags), image.flags.shape[1])
    bits = image.flags[marked]
    # Formats without data quality only mark pixels without a value; a model above all measured
    # values shows that these are saturated.
    burnt = ((bits & REJECTED_PIXEL) != 0) & (model[marked] > image.flux.max())
    saturated, jump = np.zeros((2, *image.flags.shape), bool)
    saturated[marked] = ((bits & PixelFlag.SATURATED) != 0) | burnt
    jump[marked] = (bits & PixelFlag.JUMP) != 0
    return saturated, jump


def _misfits(stamps: Stamps, solution: FrameFluxes, chi2: np.ndarray) -> np.ndarray:
    """Whether the model is off around each source (``chi2``: image of the squared pulls)."""
    prf_error = PRF_ERROR_REGISTRATION * (solution.model - solution.background)
    off = chi2 > _MISFIT**2 * (1.0 + solution.weight * prf_error**2)
    left_out = _in_core(solution.outlier, stamps, _NEAR)
    return (_in_core(off, stamps, _NEAR) > 0) | (left_out >= _SEVERAL)


def _in_core(marked: np.ndarray, stamps: Stamps, radius: float = _CORE) -> np.ndarray:
    """Number of marked pixels in the core of each source."""
    count = np.zeros(len(stamps), int)
    if marked.any():
        stamps_nb.count_near(stamps.x, stamps.y, radius, marked, count)
        count[np.diff(stamps.offset) == 0] = 0
    return count
