"""Neighbours on the sky: merging of duplicates and blends, detection of contaminants.

Distances are between unit vectors, so nothing changes at RA 0 or near a pole.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from romanprf.sky.wcs import ARCSEC

#: Positions this close count as equal, arcsec: some times the rounding error of a unit vector.
_ROUNDING = 1e-8


def unit_vectors(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Directions, shape (n, 3), of positions in degrees."""
    ra, dec = np.deg2rad(ra), np.deg2rad(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def close_pairs(ra: np.ndarray, dec: np.ndarray, radius: float) -> np.ndarray:
    """Pairs of positions (degrees) at most ``radius`` arcsec apart.

    Returns
    -------
    ndarray of int, shape (n_pairs, 2)
        Row numbers, each pair once.
    """
    chord = 2.0 * np.sin(np.deg2rad(max(radius, _ROUNDING) / ARCSEC) / 2.0)
    return cKDTree(unit_vectors(ra, dec)).query_pairs(chord, output_type="ndarray")


def nearest(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Distance of each position (degrees) to the nearest other one, arcsec; NaN if alone."""
    if len(ra) < 2:
        return np.full(len(ra), np.nan)
    vectors = unit_vectors(ra, dec)
    chord, _ = cKDTree(vectors).query(vectors, k=[2])
    return ARCSEC * np.rad2deg(2.0 * np.arcsin(np.ravel(chord) / 2.0))


def contaminated(
    ra: np.ndarray, dec: np.ndarray, mag: np.ndarray, radius: float, contrast: float
) -> np.ndarray:
    """Whether each source has a much brighter one close to it.

    Parameters
    ----------
    ra, dec : ndarray, shape (n,)
        Degrees.
    mag : ndarray, shape (n,)
        Magnitudes.
    radius : float
        Reach of the brighter source, arcsec.
    contrast : float
        How much brighter it must be, mag.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    flagged = np.zeros(len(ra), dtype=bool)
    first, second = close_pairs(ra, dec, radius).T
    difference = mag[first] - mag[second]
    flagged[first[difference >= contrast]] = True
    flagged[second[-difference >= contrast]] = True
    return flagged


def merge(sources: pd.DataFrame, limit: float) -> pd.DataFrame:
    """Merge duplicates and sources too close to be separated.

    Sources connected by pairs of at most ``limit`` become one: the brightest keeps its row
    (of equals, the one with the lowest ``source_id``), the fluxes add, the position is the mean
    weighted by flux.  Rows with exactly the same position and magnitude are one star listed
    twice: its flux counts once.  No two of the sources returned are within ``limit``.

    Parameters
    ----------
    sources : DataFrame
        With ``source_id``, ``ra`` and ``dec`` (degrees), ``mag``, ``n_merged``; any index.
    limit : float
        Arcsec; 0 merges exact duplicates only.

    Returns
    -------
    DataFrame
        The remaining rows in their old order, numbered from 0; ``n_merged`` has grown.
    """
    sources = sources.reset_index(drop=True)
    ra, dec, mag = (sources[name].to_numpy() for name in ("ra", "dec", "mag"))
    pairs = close_pairs(ra, dec, limit)
    if not len(pairs):
        return sources
    n = len(sources)
    graph = coo_matrix((np.ones(len(pairs), dtype=bool), tuple(pairs.T)), shape=(n, n))
    group = connected_components(graph, directed=False)[1]
    crowd = np.flatnonzero(np.bincount(group)[group] > 1)
    crowd = crowd[np.lexsort((sources["source_id"].to_numpy()[crowd], mag[crowd], group[crowd]))]
    starts = np.flatnonzero(np.diff(group[crowd], prepend=-1))
    kept = crowd[starts]

    # Fluxes relative to the brightest of the group cannot overflow.
    brightest = np.repeat(mag[kept], np.diff(np.append(starts, len(crowd))))
    flux = 10.0 ** (-0.4 * (mag[crowd] - brightest))
    flux[sources.iloc[crowd].duplicated(["ra", "dec", "mag"]).to_numpy()] = 0.0
    x, y, z = np.add.reduceat(flux[:, None] * unit_vectors(ra[crowd], dec[crowd]), starts).T
    sources.loc[kept, "ra"] = np.mod(np.rad2deg(np.arctan2(y, x)), 360.0)
    sources.loc[kept, "dec"] = np.rad2deg(np.arctan2(z, np.hypot(x, y)))
    sources.loc[kept, "mag"] = mag[kept] - 2.5 * np.log10(np.add.reduceat(flux, starts))
    members = sources["n_merged"].to_numpy()[crowd]
    sources.loc[kept, "n_merged"] = np.add.reduceat(members, starts)
    remain = np.ones(n, dtype=bool)
    remain[crowd] = False
    remain[kept] = True
    # The mean position may be close to a source that was close to none of the members.
    return merge(sources[remain], limit)
