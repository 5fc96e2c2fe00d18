"""Joint Cramer-Rao limit of positions, motions and parallaxes: all fluxes free, the PRF known.

The normal equations of a frame hold flux, x and y of all stars and one background.  Fluxes and
background of each frame are eliminated, and the rest is added up for the astrometric parameters of
each star, those of its neighbours free too.  Stars beyond `NEIGHBOURHOOD` are held fixed and pixels
beyond `REACH` are left out: a test compares with the equations of all stars and pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from scipy.spatial import KDTree
from truth import PRIOR, Truth, flat_field, ideal_image, true_stamps, true_values

from romanprf.config import Crossmatch
from romanprf.sky.motion import julian_year, parallax_factors
from romanprf.sky.wcs import TangentWCS

#: Positions and fluxes of stars within this distance (pixels) are free together.
NEIGHBOURHOOD = 4.0
#: Pixels further from a star (along either axis) do not tell where it is.
REACH = 8.0
#: 1 sigma of the position of a star that a catalogue lacks, or gives exactly: in effect none, mas.
NO_POSITION = 100.0
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


@dataclass(frozen=True, eq=False)
class Normal:
    """Normal equations of a frame.

    Attributes
    ----------
    matrix : csr_matrix, shape (3 n, 3 n)
        Relative flux, x and y (pixels) of each star.
    border : ndarray, shape (3 n,)
        Of these and the background (e-/s per pixel).
    corner : float
        Of the background alone.
    """

    matrix: csr_matrix
    border: np.ndarray
    corner: float

    def of(self, index: np.ndarray) -> np.ndarray:
        """Dense equations of some unknowns and, last, the background."""
        start, stop = self.matrix.indptr[index], self.matrix.indptr[index + 1]
        row = np.repeat(np.arange(len(index)), stop - start)
        entry = np.arange(len(row)) + np.repeat(stop - np.cumsum(stop - start), stop - start)
        order = np.argsort(index)
        other = self.matrix.indices[entry]
        place = np.searchsorted(index[order], other).clip(max=len(index) - 1)
        column = order[place]
        some = index[column] == other
        out = np.empty((len(index) + 1, len(index) + 1))
        out[:-1, :-1] = 0.0
        out[row[some], column[some]] = self.matrix.data[entry[some]]
        out[-1, :-1] = out[:-1, -1] = self.border[index]
        out[-1, -1] = self.corner
        return out


def joint_limit(
    exposures: pd.DataFrame,
    truth: Truth,
    rows: np.ndarray,
    chosen: np.ndarray,
    radius: float = NEIGHBOURHOOD,
    reach: float = REACH,
) -> Limit:
    """Limit of ``chosen`` members of ``rows`` (of the true stars), which are the stars to solve."""
    groups = neighbourhoods(exposures.iloc[0], truth, rows, chosen, radius)
    prior = 1.0 / np.square(prior_errors(truth, rows))
    information = [np.diag(prior[group].ravel()) for group in groups]
    centroid = np.empty((len(groups), len(exposures), 2))
    epoch = mean_epoch(exposures)
    for k, (_, exposure) in enumerate(exposures.iterrows()):
        normal = normal_matrix(exposure, truth, rows, reach)
        change = pixel_changes(exposure, truth, rows, epoch)
        for m, group in enumerate(groups):
            matrix = without_fluxes(normal, group)
            own = np.linalg.inv(matrix[:2, :2] + 1e-12 * np.eye(2))
            centroid[m, k] = np.sqrt(np.diag(own))
            by_state = by_states(change[group])
            information[m] += by_state.T @ matrix @ by_state
    covariance = [np.linalg.inv(matrix)[:5, :5] for matrix in information]
    return Limit(np.stack(covariance), centroid)


def prior_errors(truth: Truth, rows: np.ndarray) -> np.ndarray:
    """1 sigma of the five parameters that the workflow is told, shape (n, 5), mas and mas/yr.

    The position of a faint star beside a brighter one is what a catalogue says: the images alone do
    not tell it, and what the light of the pair then costs would reach far.
    """
    told = Crossmatch()
    sigma = np.empty((len(rows), 5))
    position = truth.settings.position_error or NO_POSITION
    listed = truth.stars["listed"].to_numpy()[rows] if "listed" in truth.stars else True
    sigma[:, :2] = np.where(listed, position, NO_POSITION)[..., None]
    sigma[:, 2:] = told.parallax_error, told.proper_motion_error, told.proper_motion_error
    return sigma


def by_states(change: np.ndarray) -> np.ndarray:
    """Blocks (n, 2, 5) on the diagonal of a matrix."""
    n = len(change)
    out = np.zeros((n, 2, n, 5))
    out[np.arange(n), :, np.arange(n)] = change
    return out.reshape(2 * n, 5 * n)


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


def normal_matrix(
    exposure: pd.Series, truth: Truth, rows: np.ndarray, reach: float = REACH
) -> Normal:
    """Normal equations of a frame: relative flux, x and y (pixels) of each star, the background."""
    x, y = (axis[rows] for axis in truth.places(exposure))
    flux = truth.stars["flux"].to_numpy()[rows]
    stamps = true_stamps(exposure, x, y, flux, truth.settings, reach)
    star, row, column = stamps.entries()
    scale = (flux * flat_field(exposure, stamps.x, stamps.y))[star]

    def light(dx: float, dy: float) -> np.ndarray:
        moved = replace(stamps, x=stamps.x + dx, y=stamps.y + dy)
        return true_values(moved, truth.settings) * scale

    by_x = (light(STEP, 0.0) - light(-STEP, 0.0)) / (2.0 * STEP)
    by_y = (light(0.0, STEP) - light(0.0, -STEP)) / (2.0 * STEP)
    error = ideal_image(exposure, truth).flux_err.ravel()
    place = row * np.int64(stamps.shape[1]) + column
    columns = np.concatenate([3 * star, 3 * star + 1, 3 * star + 2])
    values = np.concatenate([light(0.0, 0.0), by_x, by_y]) / np.tile(error[place], 3)
    design = csr_matrix((values, (np.tile(place, 3), columns)), shape=(error.size, 3 * len(rows)))
    matrix = (design.T @ design).tocsr()
    return Normal(matrix, design.T @ (1.0 / error), float(np.sum(error**-2)))


def without_fluxes(normal: Normal, group: np.ndarray) -> np.ndarray:
    """Normal equations of x and y of a group of stars, their fluxes and the background free."""
    matrix = normal.of((3 * group[:, None] + np.arange(3)).ravel())
    flux = np.arange(len(matrix)) % 3 == 0  # the background is the last of them
    inner = matrix[flux][:, flux]
    inner[np.diag_indices(len(group))] += 1.0 / PRIOR**2
    cross = matrix[flux][:, ~flux]
    return matrix[~flux][:, ~flux] - cross.T @ np.linalg.solve(inner, cross)


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
