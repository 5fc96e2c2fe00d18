"""Shift and rotation of a catalogue as a whole, from the pattern that its stars form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter
from scipy.spatial import cKDTree

from romanprf.core.statistics import MAD_SCALE
from romanprf.sky.wcs import ARCSEC, deproject, project

#: Largest displacement that is searched for, arcsec, by a shift and by a rotation.
REACH = 2.2
#: Cells of the plane of offsets, arcsec; pairs are counted in 3 x 3 of them.
_CELL = 0.055
#: A pattern stands out of the chance pairs by this many of their standard deviations, and pairs.
_SIGMA, _PAIRS = 6.0, 4.0
#: The search ends once this part of the peaks have a star, chance pairs not counted.
_ALMOST_ALL = 0.5
#: Stars and peaks further than this from the middle of the peaks take part in the refinement only.
_WINDOW = 28.0
#: Most peaks of the search, and stars per peak: some of the brightest stars are saturated.
_PEAKS, _STARS_PER_PEAK = 400, 1.5
#: Most stars of the search where it is unknown which are bright.
_STARS = 3000
#: Radius of a match at first, later at least, arcsec, and in units of the scatter.
_MATCH, _CLOSEST, _CLIP = 0.17, 0.05, 3.0
#: Rounds of matching and least squares.
_REFINEMENTS = 6
#: A motion is significant beyond this many sigmas, which chance matches make a little too small.
_SURE = 4.0


@dataclass(frozen=True, eq=False)
class Alignment:
    """Motion of a catalogue onto the images, in the tangent plane of the field.

    Attributes
    ----------
    offset : ndarray, shape (2,)
        Shift to the east and north, arcsec, of the point ``pivot``.
    angle : float
        Rotation about ``pivot`` from east to north, rad.
    pivot : ndarray, shape (2,)
        arcsec.
    offset_err, angle_err : float
        1 sigma of either component (arcsec) and of the angle (rad).
    lever : float
        Distance from ``pivot`` of the furthest peak, arcsec.
    n_matched : int
        Stars that it is measured from.
    """

    offset: np.ndarray
    angle: float
    pivot: np.ndarray
    offset_err: float
    angle_err: float
    lever: float
    n_matched: int

    def matters(self, least: float) -> bool:
        """Whether it moves stars significantly and by more than ``least`` arcsec."""
        shifted = np.hypot(*self.offset) > max(least, _SURE * self.offset_err)
        turned = abs(self.angle) * self.lever > max(least, _SURE * self.angle_err * self.lever)
        return bool(shifted or turned)

    def applied(self, points: np.ndarray) -> np.ndarray:
        """Points (n, 2), arcsec, where they belong."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        turned = (points - self.pivot) @ np.array([[cos, sin], [-sin, cos]])
        return turned + self.pivot + self.offset

    def moved(
        self, ra: np.ndarray, dec: np.ndarray, ra0: float, dec0: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Positions (degrees) where they belong, by the tangent plane at (ra0, dec0)."""
        points = ARCSEC * np.stack(project(ra, dec, ra0, dec0), axis=1)
        xi, eta = self.applied(points).T / ARCSEC
        return deproject(xi, eta, ra0, dec0)


def find_alignment(
    peaks: np.ndarray, stars: np.ndarray, ranked: bool, start: Alignment | None = None
) -> Alignment | None:
    """Shift and rotation that bring stars onto peaks.

    Pairs of a star and a peak vote for their offset, for each rotation of a grid; the most popular
    cell is refined by least squares of the pairs that then lie close to each other.

    Parameters
    ----------
    peaks, stars : ndarray, shape (n, 2) and (m, 2)
        Points of the tangent plane, arcsec; the brightest peaks come first.
    ranked : bool
        Whether the brightest stars come first, too; otherwise all take part.
    start : Alignment, optional
        One to refine; searched for if not given.

    Returns
    -------
    Alignment or None
        None where no pattern stands out.
    """
    if not len(peaks) or not len(stars):
        return None
    if start is None:
        pivot = 0.5 * (peaks.min(axis=0) + peaks.max(axis=0))
        lever = float(np.hypot(*(peaks - pivot).T).max())
        start = _search(*_selected(peaks, stars, pivot, ranked), pivot, lever)
    return None if start is None else _refined(start, peaks, stars)


def _selected(
    peaks: np.ndarray, stars: np.ndarray, pivot: np.ndarray, ranked: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Bright peaks and stars near the middle, few enough for all pairs to be counted."""
    distance = np.abs(stars - pivot).max(axis=1)
    window = min(_WINDOW, float(np.abs(peaks - pivot).max()))
    if not ranked and len(stars) > _STARS:
        window = min(window, np.partition(distance, _STARS)[_STARS] - REACH)
    peaks = peaks[np.abs(peaks - pivot).max(axis=1) <= window][:_PEAKS]
    stars = stars[distance < window + REACH]
    area = (1.0 + REACH / max(window, REACH)) ** 2  # in which the stars of the peaks may be
    return peaks, stars[: int(_STARS_PER_PEAK * area * len(peaks)) + 1] if ranked else stars


def _search(
    peaks: np.ndarray, stars: np.ndarray, pivot: np.ndarray, lever: float
) -> Alignment | None:
    """Best cell of offsets and angles."""
    if not len(peaks) or not len(stars):
        return None
    reach = min(lever, _WINDOW)
    steps = int(np.ceil(REACH / max(lever, REACH) * reach / _CELL))
    angles = np.arange(-steps, steps + 1) * _CELL / max(reach, _CELL)
    best, least = None, 0.0
    for angle in angles[np.argsort(np.abs(angles), kind="stable")]:
        trial = Alignment(np.zeros(2), float(angle), pivot, np.nan, np.nan, lever, 0)
        offset, excess, count = _vote(peaks, trial.applied(stars))
        if excess > least:
            best = Alignment(offset, float(angle), pivot, np.nan, np.nan, lever, count)
            least = excess + np.sqrt(count)  # a larger rotation has to be clearly better
        if excess > _ALMOST_ALL * len(peaks):
            break
    return best


def _vote(peaks: np.ndarray, stars: np.ndarray) -> tuple[np.ndarray, float, int]:
    """Most popular offset, its votes beyond those of chance that would be believed, its votes."""
    n = round(2.0 * REACH / _CELL)
    delta = (peaks[:, None] - stars).reshape(-1, 2)
    cell = np.floor((delta + REACH) / _CELL).astype(np.int64)
    cell = cell[(cell >= 0).all(axis=1) & (cell < n).all(axis=1)]
    counts = np.bincount(n * cell[:, 0] + cell[:, 1], minlength=n * n).astype(float)
    votes = 9.0 * uniform_filter(counts.reshape(n, n), 3, mode="constant")
    chance = 9.0 * len(cell) / n**2
    top = np.unravel_index(np.argmax(votes), votes.shape)
    offset = (np.array(top) + 0.5) * _CELL - REACH
    believed = chance + _SIGMA * np.sqrt(chance) + _PAIRS
    return offset, float(votes[top] - believed), round(float(votes[top]))


def _refined(start: Alignment, peaks: np.ndarray, stars: np.ndarray) -> Alignment:
    """Least squares of shift and angle over mutual nearest neighbours, repeated."""
    found, radius = start, _MATCH
    for _ in range(_REFINEMENTS):
        moved = found.applied(stars)
        ours, theirs = _mutual(moved, peaks, radius)
        if len(ours) < _PAIRS:
            break
        left = peaks[theirs] - moved[ours]
        arm = moved[ours] - found.pivot - found.offset
        typical = np.median(left, axis=0)
        square = float((arm**2).sum())
        turn = float((arm[:, 0] * left[:, 1] - arm[:, 1] * left[:, 0]).sum()) / max(square, 1e-9)
        scatter = MAD_SCALE * float(np.median(np.abs(left - typical)))
        radius = max(_CLOSEST, _CLIP * scatter)
        found = Alignment(
            offset=found.offset + typical,
            angle=found.angle + turn,
            pivot=found.pivot,
            offset_err=np.sqrt(0.5 * np.pi / len(ours)) * scatter,
            angle_err=scatter / np.sqrt(max(square, 1e-9)),
            lever=found.lever,
            n_matched=len(ours),
        )
    return found


def _mutual(stars: np.ndarray, peaks: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows of stars and peaks that are each other's nearest, at most ``radius`` apart."""
    distance, theirs = cKDTree(peaks).query(stars)
    _, back = cKDTree(stars).query(peaks)
    ours = np.flatnonzero((distance < radius) & (back[theirs] == np.arange(len(stars))))
    return ours, theirs[ours]
