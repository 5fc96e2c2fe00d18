"""Joint Cramer-Rao limit of positions, motions and parallaxes: all fluxes free, the PRF known.

The normal equations of a frame hold flux, x and y of all stars and one background.  Fluxes and
background of each frame are eliminated, and the rest is added up for the astrometric parameters of
each star, those of its neighbours free too.  Stars beyond `NEIGHBOURHOOD` are held fixed:
`tests/unit/test_limit.py` compares with the equations of all stars.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.linalg import block_diag
from scipy.sparse import csr_matrix
from scipy.spatial import KDTree
from truth import PRIOR, Truth, flat_field, ideal_image, true_stamps, true_values

from romanprf.config import Crossmatch
from romanprf.sky.motion import julian_year, parallax_factors
from romanprf.sky.wcs import TangentWCS

#: Positions and fluxes of stars within this distance (pixels) are free together.
NEIGHBOURHOOD = 4.0
#: 1 sigma of the priors of the five parameters (mas, mas/yr): none for positions, those of the
#: workflow for what some fields cannot tell.
PRIORS = (
    *(1e3, 1e3, Crossmatch().parallax_error),
    *(Crossmatch().proper_motion_error, Crossmatch().proper_motion_error),
)
#: Half the step of numerical derivatives of the PRF, pixels.
STEP = 0.01


@dataclass(frozen=True, eq=False)
class Limit:
    """Limits of m stars on nt frames.

    Attributes
    ----------
    covariance : ndarray, shape (m, 5, 5)
        Of the astrometric parameters at the mean epoch of the frames, mas and mas/yr.
    centroid : ndarray, shape (m, nt, 2)
        1 sigma of x and y on each frame alone, with fluxes free and the neighbours in their places,
        pixels.
    """

    covariance: np.ndarray
    centroid: np.ndarray


def joint_limit(
    exposures: pd.DataFrame,
    truth: Truth,
    rows: np.ndarray,
    chosen: np.ndarray,
    radius: float = NEIGHBOURHOOD,
) -> Limit:
    """Limit of ``chosen`` members of ``rows`` (of the true stars), which are the stars to solve."""
    groups = neighbourhoods(exposures.iloc[0], truth, rows, chosen, radius)
    information = [np.diag(np.tile(1.0 / np.square(PRIORS), len(group))) for group in groups]
    centroid = np.empty((len(groups), len(exposures), 2))
    epoch = mean_epoch(exposures)
    for k, (_, exposure) in enumerate(exposures.iterrows()):
        normal = normal_matrix(exposure, truth, rows)
        change = pixel_changes(exposure, truth, rows, epoch)
        for m, group in enumerate(groups):
            matrix = without_fluxes(normal, group)
            own = np.linalg.inv(matrix[:2, :2] + 1e-12 * np.eye(2))
            centroid[m, k] = np.sqrt(np.diag(own))
            by_state = block_diag(*change[group])
            information[m] += by_state.T @ matrix @ by_state
    covariance = [np.linalg.inv(matrix)[:5, :5] for matrix in information]
    return Limit(np.stack(covariance), centroid)


def mean_epoch(exposures: pd.DataFrame) -> float:
    """Mean Julian year of exposures."""
    return julian_year(float(exposures["time"].mean()))


def neighbourhoods(
    exposure: pd.Series, truth: Truth, rows: np.ndarray, chosen: np.ndarray, radius: float
) -> list[np.ndarray]:
    """Members of ``rows`` within ``radius`` (pixels) of each chosen one, itself first."""
    places = np.stack(truth.places(exposure), axis=1)[rows]
    places[~np.isfinite(places).all(axis=1)] = 1e9  # far from all others
    near = KDTree(places).query_ball_point(places[chosen], radius)
    return [
        np.array([own, *(star for star in sorted(others) if star != own)])
        for own, others in zip(chosen, near, strict=True)
    ]


def normal_matrix(exposure: pd.Series, truth: Truth, rows: np.ndarray) -> csr_matrix:
    """Normal equations of a frame: relative flux, x and y (pixels) of each star, the background."""
    x, y = (axis[rows] for axis in truth.places(exposure))
    flux = truth.stars["flux"].to_numpy()[rows]
    stamps = true_stamps(exposure, x, y, flux, truth.settings)
    star, row, column = stamps.entries()
    scale = (flux * flat_field(exposure, stamps.x, stamps.y))[star]

    def light(dx: float, dy: float) -> np.ndarray:
        moved = replace(stamps, x=stamps.x + dx, y=stamps.y + dy)
        return true_values(moved, truth.settings) * scale

    by_x = (light(STEP, 0.0) - light(-STEP, 0.0)) / (2.0 * STEP)
    by_y = (light(0.0, STEP) - light(0.0, -STEP)) / (2.0 * STEP)
    error = ideal_image(exposure, truth).flux_err.ravel()
    n, pixel = len(rows), np.arange(error.size)
    columns = [3 * star, 3 * star + 1, 3 * star + 2, np.full(error.size, 3 * n)]
    place = [*3 * [row * np.int64(stamps.shape[1]) + column], pixel]
    values = [light(0.0, 0.0), by_x, by_y, np.ones(error.size)]
    design = csr_matrix(
        (np.concatenate(values), (np.concatenate(place), np.concatenate(columns))),
        shape=(error.size, 3 * n + 1),
    )
    design = design.multiply(1.0 / error[:, None]).tocsr()
    return (design.T @ design).tocsr()


def without_fluxes(normal: csr_matrix, group: Sequence[int] | np.ndarray) -> np.ndarray:
    """Normal equations of x and y of a group of stars, their fluxes and the background free."""
    group = np.asarray(group)
    index = np.append((3 * group[:, None] + np.arange(3)).ravel(), normal.shape[0] - 1)
    matrix = normal[index][:, index].toarray()
    fluxes = np.append(np.arange(0, 3 * len(group), 3), 3 * len(group))
    places = np.setdiff1d(np.arange(len(index)), fluxes)
    inner = matrix[np.ix_(fluxes, fluxes)]
    inner[np.diag_indices(len(group))] += 1.0 / PRIOR**2
    cross = matrix[np.ix_(fluxes, places)]
    return matrix[np.ix_(places, places)] - cross.T @ np.linalg.solve(inner, cross)


def pixel_changes(exposure: pd.Series, truth: Truth, rows: np.ndarray, epoch: float) -> np.ndarray:
    """Derivatives of (x, y) by the astrometric parameters at an epoch, shape (n, 2, 5)."""
    ra, dec = (truth.stars[name].to_numpy()[rows] for name in ("ra", "dec"))
    east, north = parallax_factors(ra, dec, exposure["time"])
    sky = np.zeros((len(rows), 2, 5))
    sky[:, 0, 0] = sky[:, 1, 1] = 1.0
    sky[:, 0, 2], sky[:, 1, 2] = east, north
    sky[:, 0, 3] = sky[:, 1, 4] = julian_year(exposure["time"]) - epoch
    x, y = (np.nan_to_num(axis[rows]) for axis in truth.places(exposure))
    jacobian = TangentWCS.from_json(exposure["wcs"]).jacobian(x, y)
    return 1e-3 * np.linalg.solve(jacobian, sky)
