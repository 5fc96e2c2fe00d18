"""Tables of the astrometric solution, and the series of displacements that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from romanprf.astrometry.offsets import Offsets, half_side
from romanprf.astrometry.solution import Solution, StarResults
from romanprf.astrometry.star_fit import Prior
from romanprf.config import Crossmatch
from romanprf.flags import SourceFlag
from romanprf.io.exposure import Exposure
from romanprf.schemas import ASTROMETRIC, ASTROMETRY, FRAME_TERMS
from romanprf.sky.motion import MAS, moved
from romanprf.sky.states import FOUND_ERROR, at_epoch, covariance, with_covariance
from romanprf.sky.wcs import project


def state_changes(new: pd.DataFrame, old: pd.DataFrame) -> np.ndarray:
    """Differences of the parameters of two tables of states of one epoch, (n, 5), mas and mas/yr.

    Positions differ in the tangent planes of the old ones.
    """
    places = (table[name].to_numpy() for table in (new, old) for name in ASTROMETRIC[:2])
    position = np.stack(project(*places), axis=1) / MAS  # type: ignore[arg-type]
    motion = [(new[name] - old[name]).to_numpy() for name in ASTROMETRIC[2:]]
    return np.column_stack([position, *motion])


def changed(states: pd.DataFrame, parameters: np.ndarray, matrix: np.ndarray) -> pd.DataFrame:
    """The states after changes (n, 5), with these covariances (n, 5, 5)."""
    old = [states[name].to_numpy() for name in ASTROMETRIC]
    ra, dec = moved(old[0], old[1], parameters[:, 0], parameters[:, 1])
    motion = {name: old[k] + parameters[:, k] for k, name in enumerate(ASTROMETRIC) if k > 1}
    return with_covariance(states.assign(ra=ra, dec=dec, **motion), matrix)


def state_prior(catalogue: pd.DataFrame, sources: pd.DataFrame, settings: Crossmatch) -> Prior:
    """Priors of all sources: those of the catalogue, or of the settings for stars found.

    The states in ``sources`` are no priors: they come from some of the images.

    Parameters
    ----------
    catalogue, sources : DataFrame
        Tables ``catalogue_sources`` and ``sources``, which begins with the same rows.
    settings : Crossmatch
        That section of the configuration, for its errors of parallax and motion.
    """
    listed = at_epoch(catalogue, sources["epoch"].iloc[0])
    found = sources.iloc[len(listed) :]
    motion = settings.parallax_error, settings.proper_motion_error, settings.proper_motion_error
    errors = np.array([FOUND_ERROR, FOUND_ERROR, *motion])
    still = found.assign(**dict.fromkeys(ASTROMETRIC[2:], 0.0))
    means = [
        state_changes(listed, sources.iloc[: len(listed)]),
        state_changes(still, found),
    ]
    precisions = [
        np.linalg.inv(covariance(listed)),
        np.tile(np.diag(errors**-2.0), (len(found), 1, 1)),
    ]
    return Prior(np.concatenate(means), np.concatenate(precisions))


def star_rows(sources: pd.DataFrame, stars: StarResults, prior: Prior) -> pd.DataFrame:
    """Rows of the ``astrometry`` table."""
    table = changed(sources, stars.parameters, stars.covariance)
    own = np.linalg.inv(stars.covariance)[:, :2, :2] - prior.precision[:, :2, :2]
    known = np.trace(own, axis1=1, axis2=2) < np.trace(prior.precision[:, :2, :2], axis1=1, axis2=2)
    flags = table["flags"].to_numpy().copy()
    flags[stars.n_used == 0] |= int(SourceFlag.NO_DATA)
    flags[known] |= int(SourceFlag.PRIOR)
    table = table.assign(
        chi2=_mean_square(stars.squares, stars.freedom),
        n_exposures=stars.n_used.astype(np.int32),
        n_rejected=stars.n_rejected.astype(np.int32),
        flags=flags.astype(np.int32),
    )
    return table[ASTROMETRY.names]


def frame_rows(solution: Solution, exposures: Sequence[Exposure]) -> pd.DataFrame:
    """Rows of the ``frame_astrometry`` table, by exposure number."""
    frames, sums = solution.sweep.frames, solution.sweep.sums
    unit = _units(exposures)
    columns = dict(zip(FRAME_TERMS, (frames.value / unit).T, strict=True))
    errors = (f"{name}_err" for name in FRAME_TERMS)
    columns |= dict(zip(errors, (frames.error / unit).T, strict=True))
    table = pd.DataFrame({"exposure": [e.number for e in exposures]} | columns).assign(
        astrometric_excess=solution.excess,
        n_stars=sums.n_used.astype(np.int32),
        n_rejected=sums.n_rejected.astype(np.int32),
        chi2=_mean_square(sums.squares, sums.freedom),
    )
    return table.sort_values("exposure", ignore_index=True)


def frame_terms(table: pd.DataFrame, exposures: Sequence[Exposure]) -> np.ndarray:
    """Terms (nt, 6) of these exposures, as in `Frames`, from the ``frame_astrometry`` table."""
    rows = table.set_index("exposure").loc[[exposure.number for exposure in exposures]]
    return rows[list(FRAME_TERMS)].to_numpy() * _units(exposures)


class Displacements(NamedTuple):
    """Of stars from their states, and 1 sigma, (n, nt), mas; NaN where not measured."""

    east: np.ndarray
    north: np.ndarray
    east_err: np.ndarray
    north_err: np.ndarray


def displacements(
    offsets: Offsets, parameters: np.ndarray, terms: np.ndarray, excess: np.ndarray
) -> Displacements:
    """What is left of offsets without changes (n, 5) of the states and terms (nt, 6) of the frames.

    ``excess``, (nt,) in mas, is added to the errors in quadrature.
    """
    left = offsets.value - (offsets.terms() @ terms[:, :, None])[..., 0]
    left -= (offsets.design() @ parameters[:, None, :, None])[..., 0]
    error = np.sqrt(offsets.covariance[..., [0, 2]] + excess[:, None] ** 2)
    both = np.concatenate([left, error], axis=-1)
    both[~offsets.usable] = np.nan
    return Displacements(*np.moveaxis(both, -1, 0))


def _units(exposures: Sequence[Exposure]) -> np.ndarray:
    """Units of the terms in the table in those of `romanprf.astrometry.frames`, (nt, 6)."""
    half = np.array([half_side(exposure) for exposure in exposures])
    ones = np.ones_like(half)
    return np.stack([ones, half, half, ones, half, half], axis=1)


def _mean_square(squares: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Sum of squares over its expectation; NaN without any."""
    some = freedom > 0.0
    return np.divide(squares, freedom, out=np.full(len(squares), np.nan), where=some)
