"""Kernels that go once over the pixels of an image, all of shape (rows, columns)."""

import numpy as np

from romanprf.core.accelerate import dealt, helper, unsigned

#: Rows of an image that are worth a thread.
ROWS = 64


@helper
def swapped(variance, flux, model, slope, floor):
    """Variance of a pixel with the photon noise of the model in place of the data's."""
    if slope == 0.0:
        return variance
    return max(variance + (model - max(flux, 0.0)) * slope, floor * variance)


@dealt(0, ROWS)
def weights(begin, end, flux, flux_err, model, outlier, slope, floor, out):
    """Inverse variance of the pixels -> out; 0 where one is an outlier or its error infinite."""
    for i in range(unsigned(begin), unsigned(end)):
        for j in range(flux.shape[1]):
            variance = flux_err[i, j] ** 2
            if outlier[i, j] or not np.isfinite(variance):
                out[i, j] = 0.0
            else:
                out[i, j] = 1.0 / swapped(variance, flux[i, j], model[i, j], slope, floor)


@dealt(0, ROWS)
def weighted_residual(begin, end, flux, model, weight, out):
    """Flux minus model, times the weight -> out."""
    for i in range(unsigned(begin), unsigned(end)):
        for j in range(flux.shape[1]):
            out[i, j] = (flux[i, j] - model[i, j]) * weight[i, j]


@dealt(0, ROWS)
def significance(
    begin, end, flux, flux_err, model, rest, leverage, slope, floor, least, prf_error, out
):
    """Residual of each pixel in units of its error -> out, 0 where its error is infinite.

    rest: the model without the light of stars, of which ``prf_error`` may be wrong; leverage: part
    of the pixel's own deviation that the model follows; at least ``least`` is assumed to be left.
    """
    for i in range(unsigned(begin), unsigned(end)):
        for j in range(flux.shape[1]):
            variance, sigmas = flux_err[i, j] ** 2, 0.0
            if np.isfinite(variance):
                left = max(1.0 - leverage[i, j], least)
                variance = swapped(variance, flux[i, j], model[i, j], slope, floor) * left
                variance += (prf_error * (model[i, j] - rest[i, j]) * left) ** 2
                sigmas = abs(flux[i, j] - model[i, j]) / np.sqrt(variance)
            out[i, j] = sigmas


@dealt(0, ROWS)
def residuals(begin, end, flux, model, weight, residual, chi2):
    """Flux minus model -> residual, NaN where the weight is 0; its weighted square -> chi2."""
    for i in range(unsigned(begin), unsigned(end)):
        for j in range(flux.shape[1]):
            left = flux[i, j] - model[i, j]
            residual[i, j] = left if weight[i, j] > 0.0 else np.nan
            chi2[i, j] = weight[i, j] * left * left


@dealt(0, ROWS)
def brighter(begin, end, light, flux_err, sigmas, out):
    """Whether the light of a pixel is more than so many times its error -> out."""
    for i in range(unsigned(begin), unsigned(end)):
        for j in range(light.shape[1]):
            out[i, j] = light[i, j] > sigmas * flux_err[i, j]


@dealt(-1, ROWS)
def add_mesh(begin, end, rows, columns, rest, out):
    """Sum over n of rows (rows, n) times columns (n, columns), on top of ``rest`` -> out."""
    for i in range(unsigned(begin), unsigned(end)):
        for j in range(out.shape[1]):
            out[i, j] = rest[i, j]
        for n in range(rows.shape[1]):
            factor = rows[i, n]
            for j in range(out.shape[1]):
                out[i, j] += factor * columns[n, j]
