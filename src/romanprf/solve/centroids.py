"""Centroids of all stars on a frame: where each is seen, and the flux that goes with it.

Around the places of the model, light is linear in flux and place: a star of flux f that is off by
(dx, dy) pixels leaves f (dx dP/dx + dy dP/dy) of the frame.  Each star's place is free on its own,
together with its flux and the fluxes of its neighbours; these stay where the model has them.
The fluxes of the frame are those of the joint fit, so that only the derivatives have anything left
to explain; all other fluxes and the background are eliminated as in the errors of the fluxes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from romanprf.frame import centroids_nb
from romanprf.frame.model import FrameModel
from romanprf.frame.templates import CELL, templates
from romanprf.solve.fit import FrameFit

#: Neighbours within so many pixels have free fluxes: further out they do not share the core.
_REACH = 3.0
#: A star is taken to have at least this part of its expected flux: without light it has no place.
_LEAST = 0.5
#: Determinant of the information on a place, as a part of that with the fluxes known, from which
#: on both coordinates are measured.
_REGULAR = 1e-3


class Centroids(NamedTuple):
    """Result of `centroids`; arrays have shape (nsources,), NaN where not measured.

    Attributes
    ----------
    dx, dy : ndarray
        Seen minus modelled place along columns and rows, pixels.
    dx_err, dy_err, dxy_corr : ndarray
        Errors with the fluxes of the star and of its neighbours free, and their correlation.
    free_flux : ndarray
        Flux of the star at the place where it is seen, e-/s.
    """

    dx: np.ndarray
    dy: np.ndarray
    dx_err: np.ndarray
    dy_err: np.ndarray
    dxy_corr: np.ndarray
    free_flux: np.ndarray


def centroids(model: FrameModel, fit: FrameFit, sigma: np.ndarray) -> Centroids:
    """Measure the place of each star on a frame.

    Parameters
    ----------
    model : FrameModel
        Of the frame, in the state in which it was fitted.
    fit : FrameFit
        Its fluxes.
    sigma : ndarray, shape (nsources,)
        Of the prior of each flux, e-/s.
    """
    vector, matrix = _equations(model, fit, sigma)
    light = np.fmax(fit.flux, _LEAST * model.flux)
    mixed, flux = matrix[:, 0, 1:], matrix[:, 0, 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        place = matrix[:, 1:, 1:] - mixed[:, :, None] * (mixed / flux[:, None])[:, None, :]
        (xx, yy), xy = np.diagonal(place, axis1=1, axis2=2).T, place[:, 0, 1]
        determinant = xx * yy - xy**2
        # Otherwise too few pixels are left to tell the place.
        known = (determinant > _REGULAR * matrix[:, 1, 1] * matrix[:, 2, 2]) & (light > 0.0)
        x = (yy * vector[:, 0] - xy * vector[:, 1]) / determinant
        y = (xx * vector[:, 1] - xy * vector[:, 0]) / determinant
        found = Centroids(
            dx=x / light,
            dy=y / light,
            dx_err=np.sqrt(yy / determinant) / light,
            dy_err=np.sqrt(xx / determinant) / light,
            dxy_corr=-xy / np.sqrt(xx * yy),
            free_flux=fit.flux - (mixed[:, 0] * x + mixed[:, 1] * y) / flux,
        )
    return Centroids(*(np.where(known, values, np.nan) for values in found))


def _equations(
    model: FrameModel, fit: FrameFit, sigma: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What `centroids_nb.information` gives for all stars."""
    x, y = model.places()
    first, following = np.empty(model.frame.shape, np.int32), np.empty(x.size, np.int32)
    centroids_nb.chain(x, y, first, following)
    vector, matrix = np.empty((x.size, 2)), np.empty((x.size, 3, 3))
    centroids_nb.information(
        x,
        y,
        first,
        following,
        _REACH,
        fit.residual,
        fit.weight,
        templates(model.frame, model.prf, derivatives=True),
        CELL,
        sigma**-2.0,
        vector,
        matrix,
    )
    return vector, matrix
