"""Positions of stars from the residuals of all frames."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from romanprf.frame import match_nb
from romanprf.frame.model import FrameModel, FrameModels
from romanprf.frame.templates import CELL, templates
from romanprf.sky.wcs import ARCSEC
from romanprf.solve.fluxes import Prior
from romanprf.solve.noise import CLIP_LEARNING
from romanprf.solve.residual import Residual, residual

#: 1 sigma of the prior of a step (arcsec): steps are short, and repeated.
_STEP = 0.011


class Steps(NamedTuple):
    """Corrections of positions and their 1 sigma errors, degrees of ra and dec, shape (n,)."""

    ra: np.ndarray
    dec: np.ndarray
    ra_err: np.ndarray
    dec_err: np.ndarray


def refine_positions(models: FrameModels, prior: Prior, which: np.ndarray) -> Steps:
    """Linear least-squares steps of stars, each alone with its flux in every frame.

    To be repeated, as neighbours move too.

    Parameters
    ----------
    models : FrameModels
        Of the frames, with all known sources.
    prior : Prior
        Of the flux of each source.
    which : ndarray of bool, shape (nsources,)
        The n stars whose positions to correct.
    """
    n = int(np.count_nonzero(which))
    normal = _Normal(n)
    for model in models:
        left = residual(model, prior, len(models), CLIP_LEARNING)
        normal.add(model.only(which), left, which)
    mean = np.divide(normal.light, normal.trust, out=np.zeros(n), where=normal.trust > 0.0)
    mean = mean.clip(0.0)[:, None]
    covariance = np.linalg.inv(mean[..., None] ** 2 * normal.matrix + np.eye(2) / _STEP**2)
    dec = models[0].frame.dec[which]
    degrees = np.stack([1.0 / np.cos(np.deg2rad(dec)), np.ones(n)]) / ARCSEC
    step = degrees * (covariance @ (mean * normal.vector)[..., None])[..., 0].T
    error = degrees * np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)).T
    return Steps(ra=step[0], dec=step[1], ra_err=error[0], dec_err=error[1])


class _Normal:
    """Normal equations of the positions of n stars per unit flux, in (east, north) arcsec."""

    def __init__(self, n: int) -> None:
        self.vector, self.matrix = np.zeros((n, 2)), np.zeros((n, 2, 2))
        #: Sum over the frames of flux over variance, and of 1 / variance.
        self.light, self.trust = np.zeros(n), np.zeros(n)

    def add(self, stars: FrameModel, left: Residual, which: np.ndarray) -> None:
        """Add a frame with these stars, whose residual ``left`` holds all sources."""
        n, (x, y), frame = len(stars.frame), stars.places(), stars.frame
        h, a = np.empty((n, 3)), np.empty((n, 3, 3))
        filters = templates(frame, stars.prf, derivatives=True)
        match_nb.match(x, y, left.image, left.weight, filters, CELL, h, a)
        seen = (a[:, 0, 0] > 0.0) & np.isfinite(left.flux[which])
        h, a = h[seen], a[seen]
        response = a[:, 1:, 0] / a[:, :1, 0]  # the flux in the frame is free
        sky = np.linalg.inv(frame.wcs.jacobian(x[seen], y[seen]))
        self.vector[seen] += np.einsum("nij,ni->nj", sky, h[:, 1:] - response * h[:, :1])
        inner = a[:, 1:, 1:] - response[:, :, None] * a[:, :1, 1:]
        self.matrix[seen] += np.swapaxes(sky, 1, 2) @ inner @ sky
        precision = left.flux_err[which][seen] ** -2.0
        self.light[seen] += precision * left.flux[which][seen]
        self.trust[seen] += precision
