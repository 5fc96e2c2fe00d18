"""One-to-one matches of two catalogues and the offset between them.

All distances are measured in the tangent plane of the field, where a shift of a whole catalogue
is the same vector everywhere, also near a pole.  Over a field 0.5 degrees across the plane
stretches a separation by at most 2e-5 of itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from astropy import units as u
from astropy.coordinates import SkyCoord, search_around_sky
from scipy.ndimage import uniform_filter
from scipy.stats import poisson

from romanprf.config import Crossmatch
from romanprf.core.statistics import MAD_SCALE
from romanprf.sky.wcs import ARCSEC, deproject, project

#: A match is ambiguous when the next best candidate has a chi2 larger by at most this: a
#: likelihood ratio of exp(-2).
AMBIGUOUS_CHI2 = 4.0
#: Reference stars, the brightest, from which the first offset is estimated: enough for a peak.
_BRIGHT = 50_000
#: Least part of the sources that both catalogues could have that is matched.
LEAST_MATCHED = 0.1
#: Largest probability that chance gives as many matches.
_CHANCE = 1e-3
#: Distance, in match radii, by which a catalogue is moved to count chance matches.
_AWAY = 4.0
#: Directions in which it is moved.
_DIRECTIONS = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
#: The offset is measured from pairs whose errors are at most this times those of the best tenth.
_PRECISE = 2.0
#: Of no more pairs than this all are used.
_FEW = 10
#: The iteration ends when the offset moves by less than this, arcsec.
_SETTLED = 1e-5
#: Most iterations of matching and measuring the offset: matches could alternate for ever.
_MAX_ITERATIONS = 30


@dataclass(frozen=True, eq=False)
class Matches:
    """Matched pairs, by row number of the catalogue.

    Attributes
    ----------
    catalogue, reference : ndarray of int, shape (n,)
        Row numbers of the two members of each pair.
    separation : ndarray, shape (n,)
        Distance after removal of the offset, arcsec.
    ambiguous : ndarray of bool, shape (n,)
        Another candidate, for either member, was nearly as good.
    offset, offset_err : ndarray, shape (2,)
        Reference minus catalogue, arcsec to the east and north at the centre of the field.
    magnitude_offset : float
        Median magnitude in the catalogue minus that in the reference.
    """

    catalogue: np.ndarray
    reference: np.ndarray
    separation: np.ndarray
    ambiguous: np.ndarray
    offset: np.ndarray
    offset_err: np.ndarray
    magnitude_offset: float


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Pairs of a catalogue row and a reference row, shape (n,) or (n, 2), arcsec and mag."""

    catalogue: np.ndarray
    reference: np.ndarray
    delta: np.ndarray  # reference minus catalogue: east, north
    sigma: np.ndarray  # of delta, per axis
    magnitude: np.ndarray  # catalogue minus reference
    magnitude_sigma: np.ndarray

    def chi2(self, offset: np.ndarray, magnitude_offset: float) -> np.ndarray:
        """Squared distance in sigmas of position and magnitude."""
        position = ((self.delta - offset) / self.sigma) ** 2
        magnitude = (self.magnitude - magnitude_offset) / self.magnitude_sigma
        return position.sum(axis=1) + magnitude**2


def match(
    catalogue: pd.DataFrame,
    reference: pd.DataFrame,
    settings: Crossmatch,
    ra0: float,
    dec0: float,
) -> Matches:
    """Match two catalogues one to one and measure the offset between them.

    A pair's score is its distance in sigmas: chi2 = (east / sigma)^2 + (north / sigma)^2 +
    (magnitude difference / sigma)^2, after the offset between the catalogues in position and
    magnitude is taken out.  Each member must be the other's best candidate.  The offset is the
    median over unambiguous matches that are nearly as precise as the best tenth, repeated with new
    matches until it settles.

    Parameters
    ----------
    catalogue, reference : DataFrame
        With ``ra``, ``dec`` (degrees, same epoch), ``mag``, ``ra_err``, ``dec_err`` (mas) and
        ``mag_err``; any index.
    settings : Crossmatch
        Section ``crossmatch`` of the configuration.
    ra0, dec0 : float
        Centre of the field, degrees.

    Returns
    -------
    Matches
        Empty where nothing matches.
    """
    points = plane(catalogue, ra0, dec0), plane(reference, ra0, dec0)
    errors = position_errors(catalogue), position_errors(reference)
    typical = float(np.hypot(_median(errors[0]), _median(errors[1])))
    everything = np.arange(len(reference))
    for rows in (_precise(everything, errors[1]), everything):
        place, mag = points[1][rows], reference["mag"].to_numpy()[rows]
        first = _first_offset(points[0], place, mag, settings.match_radius, typical)
        if first is not None:
            break
    offset = np.zeros(2) if first is None else first
    candidates = _candidates(catalogue, reference, points, errors, offset, settings)

    # Chance pairs are spread evenly over the circle: among the closest pairs, most are true.
    distance = np.hypot(*((candidates.delta - offset) / candidates.sigma).T)
    magnitude_offset = _median(candidates.magnitude[distance < settings.match_sigma])
    for _ in range(_MAX_ITERATIONS):
        chi2 = candidates.chi2(offset, magnitude_offset)
        pairs, ambiguous = _mutual_best(candidates, chi2, settings.match_sigma)
        clear = _precise(pairs[~ambiguous] if not ambiguous.all() else pairs, candidates.sigma)
        if not len(clear):
            break
        previous = offset
        offset = np.median(candidates.delta[clear], axis=0)
        magnitude_offset = _median(candidates.magnitude[clear])
        if np.hypot(*(offset - previous)) < _SETTLED:
            break
    return Matches(
        catalogue=candidates.catalogue[pairs],
        reference=candidates.reference[pairs],
        separation=np.hypot(*(candidates.delta[pairs] - offset).T),
        ambiguous=ambiguous,
        offset=offset,
        offset_err=_median_error(candidates.delta[clear] - offset, candidates.sigma[clear]),
        magnitude_offset=magnitude_offset,
    )


def doubt(
    catalogue: pd.DataFrame,
    reference: pd.DataFrame,
    found: Matches,
    settings: Crossmatch,
    ra0: float,
    dec0: float,
) -> str | None:
    """Why matches prove nothing about the offset between two catalogues; None if they do.

    They do if a tenth of the sources that both catalogues could have are matched, and chance gives
    as many with a probability below 1e-3.  What chance gives is counted with the catalogue moved
    away, four times.  One match more comes from each offset that a chance pair suggests.

    Parameters
    ----------
    catalogue, reference, settings, ra0, dec0
        As for `match`.
    found : Matches
        Its result.

    Returns
    -------
    str or None
        The numbers, for a message.
    """
    brightest = np.argsort(reference["mag"].to_numpy(), kind="stable")[:_BRIGHT]
    points = plane(catalogue, ra0, dec0) + found.offset, plane(reference, ra0, dec0)
    errors = position_errors(catalogue), position_errors(reference)[brightest]
    ours, theirs = _within_both(*points, settings.match_radius)
    possible, n = int(min(ours.sum(), theirs.sum())), len(found.catalogue)

    def count(away: np.ndarray) -> int:
        moved = points[0] + _AWAY * settings.match_radius * away, points[1][brightest]
        pairs = _candidates(
            catalogue, reference.iloc[brightest], moved, errors, np.zeros(2), settings
        )
        chi2 = pairs.chi2(np.zeros(2), found.magnitude_offset)
        return len(_mutual_best(pairs, chi2, settings.match_sigma)[0])

    chance = float(np.mean([count(away) for away in _DIRECTIONS]))
    bright = int(np.isin(found.reference, brightest).sum())
    pairs = _expected_pairs(points[0][ours], points[1][theirs], settings.match_radius)
    # Each pair within the radius could have given the offset, and itself as a match.
    if n and n >= LEAST_MATCHED * possible and pairs * poisson.sf(bright - 2, chance) < _CHANCE:
        return None
    share = len(brightest) / max(len(reference), 1)
    return f"{n} of {possible} sources ({chance / share:.1f} would by chance)"


def _within_both(
    ours: np.ndarray, theirs: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Which points of either catalogue lie in the rectangle of the other."""

    def inside(points: np.ndarray, others: np.ndarray) -> np.ndarray:
        low, high = others.min(axis=0) - radius, others.max(axis=0) + radius
        return ((points >= low) & (points <= high)).all(axis=1)

    return inside(ours, theirs), inside(theirs, ours)


def _expected_pairs(ours: np.ndarray, theirs: np.ndarray, radius: float) -> float:
    """Pairs at most ``radius`` apart among points spread at random over the larger rectangle."""
    areas = [np.prod(np.ptp(points, axis=0)) for points in (ours, theirs) if len(points)]
    return len(ours) * len(theirs) * np.pi * radius**2 / max([radius**2, *areas])


def plane(table: pd.DataFrame, ra0: float, dec0: float) -> np.ndarray:
    """Positions in the tangent plane, shape (n, 2), arcsec east and north."""
    xi, eta = project(table["ra"].to_numpy(), table["dec"].to_numpy(), ra0, dec0)
    return ARCSEC * np.stack([xi, eta], axis=1)


def shift(
    ra: np.ndarray, dec: np.ndarray, offset: np.ndarray, ra0: float, dec0: float
) -> tuple[np.ndarray, np.ndarray]:
    """Move positions (degrees) by ``offset`` (arcsec) in the tangent plane of the field."""
    xi, eta = project(ra, dec, ra0, dec0)
    return deproject(xi + offset[0] / ARCSEC, eta + offset[1] / ARCSEC, ra0, dec0)


def position_errors(table: pd.DataFrame) -> np.ndarray:
    """Position errors, shape (n, 2), arcsec."""
    return 1e-3 * table[["ra_err", "dec_err"]].to_numpy(float)


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _median_error(residuals: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """1 sigma of a median over rows, per axis; from the scatter if there are 3 rows or more."""
    if len(residuals) == 0:
        return np.full(2, np.nan)
    scatter = MAD_SCALE * np.median(np.abs(residuals), axis=0)
    if len(residuals) < 3:
        scatter = np.median(sigma, axis=0)
    return np.sqrt(0.5 * np.pi / len(residuals)) * scatter


def _pairs(first: np.ndarray, second: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of all pairs at most ``radius`` (arcsec) apart, by first, then second."""
    if not len(first) or not len(second):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    # Points of the tangent plane, projected to the sky about RA 0, Dec 0.
    sky = [
        SkyCoord(*deproject(p[:, 0] / ARCSEC, p[:, 1] / ARCSEC, 0.0, 0.0), unit="deg")
        for p in (first, second)
    ]
    i, j, _, _ = search_around_sky(*sky, radius * u.arcsec)
    order = np.lexsort((j, i))
    return i[order], j[order]


def _first_offset(
    catalogue: np.ndarray, reference: np.ndarray, mag: np.ndarray, radius: float, sigma: float
) -> np.ndarray | None:
    """The offset (arcsec) that the most pairs share, or None where no value stands out.

    True pairs pile up in one spot of the plane of offsets, chance pairs spread evenly; in a
    crowded field nearest neighbours are mostly chance and would give a wrong offset.
    """
    if not len(catalogue) or not len(reference):
        return None
    reach = 2.0 * radius
    bright = np.argsort(mag, kind="stable")[:_BRIGHT]
    i, j = _pairs(reference[bright], catalogue, reach)
    delta = reference[bright][i] - catalogue[j]
    n_bins = int(np.clip(reach / sigma, 10, 200))  # bins about 2 sigma wide
    edges = np.linspace(-reach, reach, n_bins + 1)
    counts, _, _ = np.histogram2d(delta[:, 0], delta[:, 1], bins=[edges, edges])
    smooth = 9.0 * uniform_filter(counts, 3, mode="constant")
    chance = len(delta) * 9.0 / (0.25 * np.pi * n_bins**2)
    peak = np.unravel_index(np.argmax(smooth), smooth.shape)
    if smooth[peak] < max(5.0, chance + 5.0 * np.sqrt(chance)):
        return None
    width = edges[1] - edges[0]
    centre = edges[list(peak)] + 0.5 * width
    near = np.abs(delta - centre).max(axis=1) < 1.5 * width
    return np.median(delta[near], axis=0)


def _precise(pairs: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Pairs that are nearly as precise as the best tenth, or the best ten, of them.

    Stars of unknown motion are not: a common motion, as of a cluster, does not average out.
    """
    if len(pairs) <= _FEW:
        return pairs
    errors = sigma[pairs].max(axis=1)
    best = np.partition(errors, max(_FEW, len(pairs) // 10))[max(_FEW, len(pairs) // 10)]
    return pairs[errors <= _PRECISE * best]


def _candidates(
    catalogue: pd.DataFrame,
    reference: pd.DataFrame,
    points: tuple[np.ndarray, np.ndarray],
    errors: tuple[np.ndarray, np.ndarray],
    offset: np.ndarray,
    settings: Crossmatch,
) -> _Candidates:
    """Pairs within the match radius once the first offset is removed."""
    i, j = _pairs(points[0] + offset, points[1], settings.match_radius)
    # The bands differ, so colours add to the magnitude errors of both catalogues.
    first, second = (t["mag_err"].fillna(0.0).to_numpy() ** 2 for t in (catalogue, reference))
    return _Candidates(
        catalogue=i,
        reference=j,
        delta=points[1][j] - points[0][i],
        sigma=np.hypot(errors[0][i], errors[1][j]),
        magnitude=catalogue["mag"].to_numpy()[i] - reference["mag"].to_numpy()[j],
        magnitude_sigma=np.sqrt(settings.magnitude_error**2 + first[i] + second[j]),
    )


def _mutual_best(
    candidates: _Candidates, chi2: np.ndarray, limit: float
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates that are the best of both their members, and which of them are ambiguous."""
    plausible = np.flatnonzero(chi2 <= limit**2)
    chi2 = chi2[plausible]
    best, lead = _ranking(candidates.catalogue[plausible], chi2)
    best_back, lead_back = _ranking(candidates.reference[plausible], chi2)
    mutual = best & best_back
    ambiguous = np.minimum(lead, lead_back)[mutual] <= AMBIGUOUS_CHI2
    return plausible[mutual], ambiguous


def _ranking(member: np.ndarray, chi2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each candidate is the best of its member, and its lead in chi2 over the second."""
    order = np.lexsort((chi2, member))
    starts = np.diff(member[order], prepend=-1) != 0
    best = np.zeros(len(member), dtype=bool)
    best[order[starts]] = True
    lead = np.full(len(member), np.inf)
    followed = np.flatnonzero(starts[:-1] & ~starts[1:])
    lead[order[followed]] = chi2[order[followed + 1]] - chi2[order[followed]]
    return best, lead
