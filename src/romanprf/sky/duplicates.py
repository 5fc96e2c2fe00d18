"""Stars that a catalogue lists twice, as catalogues joined from overlapping parts do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import poisson

from romanprf.sky.blends import close_pairs
from romanprf.sky.wcs import ARCSEC

#: Rows this close, arcsec, and this similar, mag, are one star, whatever the density.
_SAME, _SIMILAR = 0.005, 0.1
#: Reach of repeated entries, arcsec: errors of position of the parts of a catalogue.
REACH = 0.1
#: Separations, arcsec, at which similar pairs are counted that are different stars.
_APART = (0.15, 0.3)
#: Repeated entries are a fact beyond this many times the pairs of different stars, if their number
#: has a probability below the second value otherwise.
_TIMES_CHANCE, _CHANCE = 3.0, 1e-5
#: Most rows in a cell of the sky, 0.1 arcsec wide: the densest fields have 0.1 stars.
_CROWD, _CELL = 30, 0.1


@dataclass(frozen=True, eq=False)
class Repeats:
    """Rows that repeat an earlier one.

    Attributes
    ----------
    same : ndarray of bool, shape (n,)
        The row repeats an earlier row, so close that the two would be merged.
    apart : int
        Pairs of similar rows that are further apart, up to `REACH`.
    chance : float
        Number of these that different stars give.
    """

    same: np.ndarray
    apart: int
    chance: float


def crowded_row(ra: np.ndarray, dec: np.ndarray) -> tuple[int, int] | None:
    """First row of a place with absurdly many rows, and their number; None if there is none.

    All pairs of such rows would not fit into memory.

    Parameters
    ----------
    ra, dec : ndarray, shape (n,)
        Degrees.
    """
    east = ra * np.cos(np.deg2rad(dec))
    cells = np.floor(np.stack([east, dec]) * ARCSEC / _CELL).astype(np.int64)
    _, first, counts = np.unique(cells, axis=1, return_index=True, return_counts=True)
    most = int(np.argmax(counts))
    return (int(first[most]), int(counts[most])) if counts[most] > _CROWD else None


def find_repeats(stars: pd.DataFrame, limit: float) -> Repeats:
    """Rows that list a star again.

    Rows within 5 mas and 0.1 mag are one star.  Where similar pairs up to 0.1 arcsec apart are far
    more frequent than at 0.15 to 0.3 arcsec, all of them are: stars do not cluster like that.

    Parameters
    ----------
    stars : DataFrame
        With ``ra``, ``dec`` (degrees) and ``mag``, NaN where unknown.
    limit : float
        Rows closer than this, arcsec, are going to be merged.
    """
    ra, dec, mag = (stars[name].to_numpy() for name in ("ra", "dec", "mag"))
    pairs = close_pairs(ra, dec, _APART[1])
    pairs = np.sort(pairs[np.abs(np.diff(mag[pairs], axis=1)[:, 0]) < _SIMILAR], axis=1)
    distance = _distances(ra, dec, pairs)
    ring = _APART[1] ** 2 - _APART[0] ** 2
    per_area = ((distance > _APART[0]).sum() + 1) / ring

    def frequent(radius: float, least: float = 0.0) -> bool:
        chance = per_area * (radius**2 - least**2)
        found = ((distance <= radius) & (distance > least)).sum()
        return bool(found > _TIMES_CHANCE * chance and poisson.sf(found - 1, chance) < _CHANCE)

    merged = min(limit, REACH) if frequent(min(limit, REACH)) else _SAME
    same = np.zeros(len(stars), dtype=bool)
    same[pairs[distance <= merged, 1]] = True
    apart = limit < REACH and frequent(REACH, limit)
    return Repeats(
        same=same,
        apart=int(((distance <= REACH) & (distance > limit)).sum()) if apart else 0,
        chance=per_area * max(REACH**2 - limit**2, 0.0),
    )


def _distances(ra: np.ndarray, dec: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Separations of close pairs, arcsec."""
    i, j = pairs.T
    turn = np.mod(ra[i] - ra[j] + 180.0, 360.0) - 180.0
    return ARCSEC * np.hypot(turn * np.cos(np.deg2rad(dec[i])), dec[i] - dec[j])
