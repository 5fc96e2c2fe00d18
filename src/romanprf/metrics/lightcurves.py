"""Statistics of light curves."""

from __future__ import annotations

import numpy as np

from romanprf.core.statistics import MAD_SCALE
from romanprf.flags import BAD_MEASUREMENT


def light_curve_statistics(
    flux: np.ndarray, flux_err: np.ndarray, flags: np.ndarray
) -> dict[str, np.ndarray]:
    """Statistics over the good measurements of each source.

    Parameters
    ----------
    flux, flux_err : ndarray, shape (nsources, nt)
        e-/s.
    flags : ndarray of int, shape (nsources, nt)
        Bits of `romanprf.flags.SourceFlag`.

    Returns
    -------
    dict of ndarray, shape (nsources,)
        ``n_good``, ``median_flux``, ``scatter`` (1.4826 MAD), ``expected_scatter`` (median
        error), ``reduced_chi2`` of a constant flux, ``flags`` (of any good measurement); NaN
        where too few measurements are good (one, or two for the scatter and chi2).
    """
    good = ((flags & BAD_MEASUREMENT) == 0) & np.isfinite(flux) & (flux_err > 0.0)
    n_good = good.sum(axis=1)
    value = np.where(good, flux.astype(float), np.nan)
    error = np.where(good, flux_err.astype(float), np.nan)
    median = _nanmedian(value)
    weight = np.where(good, error**-2.0, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (weight * np.nan_to_num(value)).sum(axis=1) / weight.sum(axis=1)
        squares = (weight * np.nan_to_num(value - mean[:, None]) ** 2).sum(axis=1)
        reduced_chi2 = squares / (n_good - 1.0)
    scatter = MAD_SCALE * _nanmedian(np.abs(value - median[:, None]))
    single = n_good < 2
    return {
        "n_good": n_good.astype(np.int32),
        "median_flux": median,
        "scatter": np.where(single, np.nan, scatter),
        "expected_scatter": _nanmedian(error),
        "reduced_chi2": np.where(single, np.nan, reduced_chi2),
        "flags": np.bitwise_or.reduce(np.where(good, flags, 0), axis=1).astype(np.int32),
    }


def centroid_statistics(
    east: np.ndarray, north: np.ndarray, east_err: np.ndarray, north_err: np.ndarray
) -> dict[str, np.ndarray]:
    """Statistics of the displacements of each source, both directions together.

    Parameters
    ----------
    east, north, east_err, north_err : ndarray, shape (nsources, nt)
        mas; NaN where not measured.

    Returns
    -------
    dict of ndarray, shape (nsources,)
        ``centroid_scatter`` (1.4826 MAD) and ``expected_centroid_scatter`` (median error), mas; NaN
        with fewer than two measurements.
    """
    centred = np.hstack([a - _nanmedian(a)[:, None] for a in (east, north)])
    single = np.isfinite(east).sum(axis=1) < 2
    scatter = MAD_SCALE * _nanmedian(np.abs(centred))
    expected = _nanmedian(np.hstack([east_err, north_err]))
    return {
        "centroid_scatter": np.where(single, np.nan, scatter),
        "expected_centroid_scatter": np.where(single, np.nan, expected),
    }


def _nanmedian(values: np.ndarray) -> np.ndarray:
    """Median along the second axis, without NaN; NaN where all values are."""
    out = np.full(values.shape[0], np.nan)
    some = np.isfinite(values).any(axis=1)
    out[some] = np.nanmedian(values[some], axis=1)
    return out
