"""Groups of close stars, and the normal equations of their fluxes and places on a frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from romanprf.frame import groups_nb
from romanprf.frame.model import FrameModel
from romanprf.frame.templates import CELL, templates

#: Stars closer than this are solved together (pixels) ...
CLOSE = 1.5
#: ... in groups of at most so many.
MOST = 6

#: Members of the groups of each size: indices of sources, shape (ngroups, size).
Groups = list[np.ndarray]


def close_groups(x: np.ndarray, y: np.ndarray) -> Groups:
    """Link close stars, the closest first; stars without a place (NaN) stay alone.

    Parameters
    ----------
    x, y : ndarray, shape (nsources,)
        Pixels.
    """
    place = np.stack([x, y], axis=1)
    known = np.flatnonzero(np.isfinite(place).all(axis=1))
    pairs = known[cKDTree(place[known]).query_pairs(CLOSE, output_type="ndarray")]
    distance = np.hypot(*(place[pairs[:, 0]] - place[pairs[:, 1]]).T)
    first, second = pairs[np.lexsort((pairs[:, 1], pairs[:, 0], distance))].T
    group = np.empty(len(place), np.int64)
    groups_nb.link(np.ascontiguousarray(first), np.ascontiguousarray(second), MOST, group)
    order = np.argsort(group, kind="stable")
    size = np.bincount(group, minlength=len(place))[group[order]]
    return [
        np.ascontiguousarray(order[size == number].reshape(-1, number))
        for number in range(1, MOST + 1)
        if (size == number).any()
    ]


class Places(NamedTuple):
    """Least squares of flux and place (x, y) of the members of each group, with fluxes free.

    Attributes
    ----------
    vector : ndarray, shape (ngroups, size, 2)
        Per unit flux of the member and pixel.
    matrix : ndarray, shape (ngroups, size, 2, size, 2)
        Per unit fluxes and pixels.
    flux : ndarray, shape (ngroups, size)
        Change of the fluxes at these places, e-/s.
    response : ndarray, shape (ngroups, size, size, 2)
        Change of the fluxes (e-/s) per pixel and unit flux of a member's place.
    """

    vector: np.ndarray
    matrix: np.ndarray
    flux: np.ndarray
    response: np.ndarray


def place_equations(
    model: FrameModel, image: np.ndarray, weight: np.ndarray, sigma: np.ndarray, groups: Groups
) -> Sequence[Places]:
    """Normal equations of the places of stars in what a model leaves of a frame.

    Parameters
    ----------
    model : FrameModel
        Of the frame.
    image, weight : ndarray, shape (nrows, ncols)
        Residual (e-/s) and its inverse variance, 0 where rejected.
    sigma : ndarray, shape (nsources,)
        Of the prior of each flux, e-/s.
    groups : list of ndarray
        From `close_groups`.
    """
    x, y = model.places()
    filters = templates(model.frame, model.prf, derivatives=True)
    found = []
    for members in groups:
        n, m = members.shape
        vector, matrix = np.empty((n, m, 3)), np.empty((n, m, 3, m, 3))
        groups_nb.equations(x, y, image, weight, filters, members, CELL, vector, matrix)
        found.append(_eliminated(vector, matrix, sigma[members] ** -2.0))
    return found


def _eliminated(vector: np.ndarray, matrix: np.ndarray, precision: np.ndarray) -> Places:
    """Equations of the places with the fluxes solved for; precision (n, m) is that of the prior."""
    n, m = precision.shape
    inner = matrix[:, :, 0, :, 0] + precision[:, :, None] * np.eye(m)
    mixed = matrix[:, :, 0, :, 1:].reshape(n, m, 2 * m)
    right = np.concatenate([vector[:, :, :1], mixed], axis=2)
    solved = right / inner if m == 1 else np.linalg.solve(inner, right)
    flux, response = solved[:, :, 0], solved[:, :, 1:]
    turned = np.swapaxes(mixed, 1, 2)
    place = vector[:, :, 1:].reshape(n, 2 * m) - (turned @ flux[:, :, None])[:, :, 0]
    outer = matrix[:, :, 1:, :, 1:].reshape(n, 2 * m, 2 * m) - turned @ response
    return Places(
        vector=place.reshape(n, m, 2),
        matrix=outer.reshape(n, m, 2, m, 2),
        flux=flux,
        response=-response.reshape(n, m, m, 2),
    )
