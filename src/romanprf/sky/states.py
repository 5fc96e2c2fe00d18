"""States of stars: astrometric parameters with their covariance, as columns of a table."""

from __future__ import annotations

import logging
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from romanprf.config import Crossmatch
from romanprf.schemas import ASTROMETRIC, ASTROMETRIC_CORRELATIONS, ASTROMETRIC_ERRORS
from romanprf.sky.motion import propagate

logger = logging.getLogger(__name__)

#: Pairs of parameters, as in `ASTROMETRIC_CORRELATIONS`.
_PAIRS = tuple(combinations(range(len(ASTROMETRIC)), 2))
#: Errors of parallax and motion, which catalogues often leave out.
_MOTION_ERRORS = ASTROMETRIC_ERRORS[2:]
#: A parallax or motion that a catalogue states without an error is better than none by this factor.
_STATED = 0.1
#: 1 sigma of the position of a star that the search found, around where it was found (mas): what
#: is known of it comes from images that are measured again.
FOUND_ERROR = 100.0
_RA, _DEC, _PARALLAX, _PMRA, _PMDEC = range(len(ASTROMETRIC))


def completed(
    table: pd.DataFrame, settings: Crossmatch, file: str | Path = "catalogue"
) -> pd.DataFrame:
    """A catalogue with all parameters and their errors: those of the settings where it has none.

    Parameters
    ----------
    table : DataFrame
        Any of the columns of `ASTROMETRIC` and `ASTROMETRIC_ERRORS`, NaN where unknown (mas and
        mas/yr); an error that is not positive counts as unknown, with a warning in the log.  A
        tenth of the settings' where a parallax or motion is stated without its error.
    settings : Crossmatch
        That section of the configuration.
    file : path
        Of the catalogue, for the log.
    """
    position = 1e3 * settings.position_error
    otherwise = dict(
        zip(
            ASTROMETRIC_ERRORS,
            [position, position, settings.parallax_error, *2 * [settings.proper_motion_error]],
            strict=True,
        )
    )
    columns, given = {}, {}
    for name, error in otherwise.items():
        value, sigma = (_column(table, each) for each in (name.removesuffix("_err"), name))
        unknown = np.isnan(value)
        stated = ~unknown & (name in _MOTION_ERRORS)
        fallback = error * np.where(stated, _STATED, 1.0)
        given[name] = ~unknown & (sigma > 0.0)
        columns[name.removesuffix("_err")] = np.nan_to_num(value, nan=0.0)
        columns[name] = np.where(given[name], sigma, fallback)
        _report(file, name, int((~given[name] & ~unknown).sum()), sigma, fallback[~unknown])
    for (a, b), name in zip(_PAIRS, ASTROMETRIC_CORRELATIONS, strict=True):
        both = given[ASTROMETRIC_ERRORS[a]] & given[ASTROMETRIC_ERRORS[b]]
        columns[name] = np.where(both, np.nan_to_num(_column(table, name)), 0.0).astype(np.float32)
    return table.assign(**columns)


def _report(
    file: str | Path, name: str, missing: int, sigma: np.ndarray, fallback: np.ndarray
) -> None:
    """Warn of errors that are not positive, unless the catalogue states none at all."""
    if missing and not np.isnan(sigma).all():
        logger.warning(
            "%s: %d of %d rows have a %s that is not positive, taken as %g mas or mas/yr",
            file,
            missing,
            len(sigma),
            name,
            np.median(fallback),
        )


def _column(table: pd.DataFrame, name: str) -> np.ndarray:
    """A column as floats, NaN if there is none."""
    return table[name].to_numpy(float) if name in table else np.full(len(table), np.nan)


def covariance(table: pd.DataFrame) -> np.ndarray:
    """Covariance of the parameters of each star, shape (n, 5, 5), mas and mas/yr."""
    sigma = table[list(ASTROMETRIC_ERRORS)].to_numpy(float)
    out = np.zeros((len(table), 5, 5))
    for k in range(5):
        out[:, k, k] = sigma[:, k] ** 2
    for (a, b), name in zip(_PAIRS, ASTROMETRIC_CORRELATIONS, strict=True):
        if name in table:
            out[:, a, b] = out[:, b, a] = table[name].to_numpy(float) * sigma[:, a] * sigma[:, b]
    return out


def with_covariance(table: pd.DataFrame, matrix: np.ndarray) -> pd.DataFrame:
    """The table with errors and correlations of these covariances (n, 5, 5)."""
    sigma = np.sqrt(np.diagonal(matrix, axis1=1, axis2=2))
    columns = dict(zip(ASTROMETRIC_ERRORS, sigma.T, strict=True))
    for (a, b), name in zip(_PAIRS, ASTROMETRIC_CORRELATIONS, strict=True):
        columns[name] = (matrix[:, a, b] / (sigma[:, a] * sigma[:, b])).astype(np.float32)
    return table.assign(**columns)


def place_derivatives(years: np.ndarray | float, factors: np.ndarray) -> np.ndarray:
    """Change of a star's place (east, north) by a unit of each parameter, shape (..., 2, 5).

    Parameters
    ----------
    years : ndarray, shape (...), or float
        Since the epoch.
    factors : ndarray, shape (..., 2)
        From `romanprf.sky.motion.parallax_factors`.
    """
    out = np.zeros((*factors.shape, len(ASTROMETRIC)))
    out[..., 0, _RA] = out[..., 1, _DEC] = 1.0
    out[..., _PARALLAX] = factors
    out[..., 0, _PMRA] = out[..., 1, _PMDEC] = years
    return out


def at_epoch(table: pd.DataFrame, epoch: float) -> pd.DataFrame:
    """Stars at another epoch (Julian year), with their covariance."""
    ra, dec, pmra, pmdec = (table[name].to_numpy() for name in ("ra", "dec", "pmra", "pmdec"))
    years = epoch - table["epoch"].to_numpy()
    ra, dec = propagate(ra, dec, pmra, pmdec, table["epoch"].to_numpy(), epoch)
    change = np.tile(np.eye(5), (len(table), 1, 1))
    change[:, _RA, _PMRA] = change[:, _DEC, _PMDEC] = years
    matrix = change @ covariance(table) @ np.swapaxes(change, 1, 2)
    return with_covariance(table.assign(ra=ra, dec=dec, epoch=epoch), matrix)
