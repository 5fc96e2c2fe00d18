"""Better positions of stars from the residuals of all frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from romanprf.frame.frame import Exposure
from romanprf.frame.templates import CELL, templates
from romanprf.prf.tensor import TensorPRF
from romanprf.search import stack_nb
from romanprf.sky.wcs import ARCSEC
from romanprf.solve.register import Shift
from romanprf.solve.residual import Known, place

#: 1 sigma of the prior of a step (arcsec): steps are short, and repeated.
_STEP = 0.011
#: Pixels that stand out by so many sigmas take no part.
_CLIP = 7.0


class Steps(NamedTuple):
    """Corrections of positions and their 1 sigma errors, degrees of ra and dec, shape (n,)."""

    ra: np.ndarray
    dec: np.ndarray
    ra_err: np.ndarray
    dec_err: np.ndarray


def refine_positions(
    exposures: Sequence[Exposure],
    prf: TensorPRF,
    flux: np.ndarray,
    prior_sigma: np.ndarray,
    shifts: Sequence[Shift],
    flux_cut_off: float,
    which: np.ndarray,
) -> Steps:
    """Linear least-squares steps of stars, each alone with its flux in every frame.

    To be repeated, as neighbours move too.

    Parameters
    ----------
    exposures, prf, flux, prior_sigma, shifts, flux_cut_off
        As in `romanprf.search.find.find_stars`.
    which : ndarray of bool, shape (nsources,)
        The n stars whose positions to correct.
    """
    known = Known(prf, flux, prior_sigma, flux_cut_off)
    n = int(np.count_nonzero(which))
    vector, matrix, light, trust = np.zeros((n, 2)), np.zeros((n, 2, 2)), np.zeros(n), np.zeros(n)
    for exposure, shift in zip(exposures, shifts, strict=True):
        left = known.residual(exposure, shift, len(exposures), _CLIP)
        x, y = place(exposure, shift, exposure.ra[which], exposure.dec[which])
        h, a = np.empty((n, 3)), np.empty((n, 3, 3))
        filters = templates(exposure, prf, derivatives=True)
        stack_nb.match(x, y, left.image, left.weight, filters, CELL, h, a)
        seen = (a[:, 0, 0] > 0.0) & np.isfinite(left.flux[which])
        h, a = h[seen], a[seen]
        response = a[:, 1:, 0] / a[:, :1, 0]  # the flux in the frame is free
        sky = np.linalg.inv(exposure.wcs.jacobian(x[seen], y[seen]))
        vector[seen] += np.einsum("nij,ni->nj", sky, h[:, 1:] - response * h[:, :1])
        inner = a[:, 1:, 1:] - response[:, :, None] * a[:, :1, 1:]
        matrix[seen] += np.swapaxes(sky, 1, 2) @ inner @ sky
        precision = left.flux_err[which][seen] ** -2.0
        light[seen] += precision * left.flux[which][seen]
        trust[seen] += precision
    mean = np.divide(light, trust, out=np.zeros(n), where=trust > 0.0).clip(0.0)[:, None]
    covariance = np.linalg.inv(mean[..., None] ** 2 * matrix + np.eye(2) / _STEP**2)
    degrees = np.stack([1.0 / np.cos(np.deg2rad(exposures[0].dec[which])), np.ones(n)]) / ARCSEC
    step = degrees * (covariance @ (mean * vector)[..., None])[..., 0].T
    error = degrees * np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)).T
    return Steps(*step, *error)
