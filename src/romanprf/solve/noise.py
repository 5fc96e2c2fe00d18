"""Noise model of a pixel: variance, assumed errors of the PRF, and what counts as an outlier.

The variance of a pixel is that of its file, with the photon noise of the measured value replaced by
that of the model (`romanprf.core.image.Image`): weights that follow the data's own noise would
bias faint fluxes low.  To it comes a relative error of the model, because no PRF is exact.  Its
size depends on what a too small value would do, hence one number per purpose:
"""

from __future__ import annotations

from itertools import product

import numpy as np

from romanprf.core.image import Image
from romanprf.frame import image_nb

#: The variance of a pixel never falls below this fraction of the file's own.
VARIANCE_FLOOR = 0.1

#: Relative error of the PRF when the fluxes of a frame are solved and outliers are left out: cores
#: of bright stars, where the PRF is steep, must not be taken for cosmic rays.
PRF_ERROR_CLIPPING = 0.05
#: ... when a frame is registered: a few of the brightest stars must not decide alone.
PRF_ERROR_REGISTRATION = 0.02
#: ... beyond the known errors of its coefficients, in searches and in the errors of the fluxes:
#: residuals of bright stars must not be taken for uncatalogued ones.
PRF_ERROR_SEARCH = 0.01
#: ... when the PRF itself is learned: just enough that bright cores do not outweigh all wings.
PRF_ERROR_LEARNING = 0.002
#: ... of the log-polar model, dex: it cannot follow undersampled cores or catalogue errors.
PRF_ERROR_LOG_POLAR = 0.02

#: Pixels further off the model than this many sigmas take no part in a registration ...
CLIP_REGISTRATION = 5.0
#: ... and in learning the PRF or positions.  The clip of the final fluxes is a setting, `fit.clip`.
CLIP_LEARNING = 7.0
#: ... and in learning the log-polar model.
CLIP_LOG_POLAR = 4.0

#: Pixels of a track stand out by at least this part of what the worst one beside them does.
_TRACK = 0.5

#: A pixel that alone determines a flux has zero residual; this part of its deviation is assumed to
#: be left at least.
LEAST_RESIDUAL = 1e-6


def pixel_weight(image: Image, model: np.ndarray, outlier: np.ndarray | None = None) -> np.ndarray:
    """Inverse of `pixel_variance`, 0 where a pixel is rejected or an ``outlier``."""
    weight = np.empty(image.flux.shape)
    rejected = np.zeros(weight.shape, bool) if outlier is None else outlier
    noise = image.poisson_slope, VARIANCE_FLOOR
    image_nb.weights(image.flux, image.flux_err, model, rejected, *noise, weight)
    return weight


def pixel_variance(image: Image, model: np.ndarray) -> np.ndarray:
    """Variance of the pixels with the photon noise of the model in place of the data's."""
    measured = image.flux_err**2
    if image.poisson_slope == 0.0:
        return measured
    swapped = measured + (model - np.maximum(image.flux, 0.0)) * image.poisson_slope
    return np.maximum(swapped, VARIANCE_FLOOR * measured)


def find_outliers(
    image: Image,
    model: np.ndarray,
    rest: np.ndarray,
    weight: np.ndarray,
    leverage: np.ndarray,
    clip: float,
) -> np.ndarray:
    """Pixels that stand out by ``clip`` sigmas of what the other pixels predict.

    A cosmic ray on a star raises the star's flux: of the ray the residual keeps only what the
    leverage has left, with residuals of the other sign around it.  So only the worst pixel of a
    neighbourhood is left out at a time, and of a track those that are almost as bad and too bright
    as well; those left out before stay so unless the model without the ray explains them.

    Parameters
    ----------
    image : Image
        Of the frame.
    model, rest : ndarray, shape (nrows, ncols)
        Model with and without the light of the stars, e-/s.
    weight : ndarray, shape (nrows, ncols)
        Inverse variance of the pixels of the last solution, 0 where rejected.
    leverage : ndarray, shape (nrows, ncols)
        See `romanprf.solve.normal.leverage`.
    clip : float
        Sigmas.

    Returns
    -------
    ndarray of bool, shape (nrows, ncols)
    """
    significance = np.empty(weight.shape)
    noise = image.poisson_slope, VARIANCE_FLOOR, LEAST_RESIDUAL, PRF_ERROR_CLIPPING
    images = image.flux, image.flux_err, model, rest, leverage
    image_nb.significance(*images, *noise, significance)
    row, column = np.divmod(np.flatnonzero(significance > clip), weight.shape[1])
    worst, track = np.ones((2, row.size), bool)
    track &= (image.flux > model)[row, column]
    for i, j in product((-1, 0, 1), (-1, 0, 1)):
        near = tuple(
            np.clip(place + step, 0, length - 1)
            for place, step, length in zip((row, column), (i, j), weight.shape, strict=True)
        )
        out_of_play = weight[near] == 0.0
        worst &= (significance[row, column] >= significance[near]) | out_of_play
        track &= (significance[row, column] >= _TRACK * significance[near]) | out_of_play
    out = np.zeros(weight.shape, bool)
    out[row, column] = worst | track | (weight[row, column] == 0.0)
    return out
