"""Terms of frames from the offsets of their stars, and the gauge that stars and frames share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from romanprf.astrometry.offsets import N_TERMS, Offsets, Whitened, linear
from romanprf.astrometry.star_fit import Frames, Prior, StarFit

#: Stars, counted by their weights, from which the slopes of frames are solved; a single frame may
#: have half of them.
_ENOUGH = 20.0
#: Common motions of stars: five parameters, constant and with two slopes over the field.
N_MODES = 15
#: Terms that are solved in frames with few stars.
_SHIFTS = np.array([0, 3])
#: Median of the squares of normal deviates, and its relative 1 sigma for one deviate.
_MEDIAN_SQUARE, _MEDIAN_ERROR = 0.4549, 2.33
#: Sigmas at which the median square of a frame shows an excess.
_SIGNIFICANT = 3.0
#: Stars with errors up to this many times that of the star of this rank show the excess.
_ALIKE, _BEST = 2.0, 25


class Sums:
    """Sums over the stars that determine the terms of nt frames and the common motion of stars.

    ``vector`` is what is left with the terms for which the stars were fitted: steps follow from it.
    """

    def __init__(self, nt: int) -> None:
        self.normal, self.vector = np.zeros((nt, N_TERMS, N_TERMS)), np.zeros((nt, N_TERMS))
        #: Change of ``vector`` by the common motions.
        self.motion = np.zeros((nt, N_TERMS, N_MODES))
        #: Prior information on the common motions, and their pull.
        self.tie, self.pull = np.zeros((N_MODES, N_MODES)), np.zeros(N_MODES)
        self.n_used, self.n_rejected = np.zeros(nt, int), np.zeros(nt, int)
        self.squares, self.freedom = np.zeros(nt), np.zeros(nt)
        self._weight, self._weight2 = np.zeros(nt), np.zeros(nt)

    def add(self, equations: Whitened, fit: StarFit, prior: Prior, field: np.ndarray) -> None:
        """Add stars at these places ``field`` (n, 2) of the field."""
        used, basis = fit.used, linear(field)
        rows = _by_frame(equations.frames * used[..., None, None])
        across = np.swapaxes(rows, 1, 2)
        modes = np.einsum("ntik,nj->ntijk", equations.stars, basis)
        modes = _by_frame(modes.reshape(*used.shape, 2, N_MODES))
        weight = (equations.frames[..., 0] ** 2).sum(axis=-1) * used
        self.normal += across @ rows
        self.vector += (across @ _by_frame(fit.residual[..., None]))[..., 0]
        self.motion += across @ modes
        self._weight += weight.sum(axis=0)
        self._weight2 += (weight**2).sum(axis=0)
        self.n_used += used.sum(axis=0)
        self.n_rejected += (equations.usable & ~used).sum(axis=0)
        self.squares += ((fit.residual**2).sum(axis=-1) * used).sum(axis=0)
        self.freedom += (fit.freedom * used).sum(axis=0)
        self._add_prior(fit.parameters, prior, basis, used.sum(axis=1) > 0)

    def _add_prior(
        self, parameters: np.ndarray, prior: Prior, basis: np.ndarray, measured: np.ndarray
    ) -> None:
        """Add to the tie; a star without offsets does not move with the others."""
        b, precision = basis[measured], prior.precision[measured]
        moved = (parameters - prior.mean)[measured]
        shape = N_MODES, N_MODES
        self.tie += np.einsum("ni,nj,nkl->ikjl", b, b, precision, optimize=True).reshape(shape)
        self.pull += np.einsum("ni,nkl,nl->ik", b, precision, moved, optimize=True).ravel()

    @property
    def sloped(self) -> np.ndarray:
        """Whether the slopes of each frame are solved, (nt,)."""
        seen = self._weight2 > 0.0
        number = np.divide(self._weight**2, self._weight2, out=np.zeros(len(seen)), where=seen)
        if not seen.any() or np.median(number[seen]) < _ENOUGH:
            return np.zeros(len(seen), bool)
        return number >= 0.5 * _ENOUGH

    def gauge(self) -> np.ndarray:
        """Common motion of the stars that moves them off their priors, shape (N_MODES,).

        Frames that all move their stars alike cannot be told from stars that all move alike.  The
        mean over the stars of (parameter - mean of the prior), weighted by the inverse covariance
        of the prior, is 0 by definition, for each parameter, and for its slopes over the field if
        frames have slopes.
        """
        modes = N_MODES if self.sloped.any() else N_MODES // 3
        motion = np.zeros(N_MODES)
        motion[:modes] = np.linalg.lstsq(self.tie[:modes, :modes], self.pull[:modes])[0]
        return motion

    def solve(self, before: Frames, motion: np.ndarray) -> Frames:
        """Terms of each frame after the stars have lost a common motion; exact given the stars.

        ``before`` are those for which the stars were fitted.
        """
        vector = (self.normal @ before.value[..., None])[..., 0]
        vector += self.vector + self.motion @ motion
        new, sloped = Frames.unsolved(len(vector)), self.sloped
        for frames, solved in (
            (np.flatnonzero(sloped), np.arange(N_TERMS)),
            (np.flatnonzero(~sloped & (self.n_used > 0)), _SHIFTS),
        ):
            some = np.ix_(frames, solved)
            covariance = np.linalg.inv(self.normal[np.ix_(frames, solved, solved)])
            new.value[some] = (covariance @ vector[some][..., None])[..., 0]
            new.covariance[np.ix_(frames, solved, solved)] = covariance
        return new


def moved_by(motion: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Parameters (n, 5) of a common motion at places (n, 2) of the field."""
    return linear(field) @ motion.reshape(3, 5)


class Reference(NamedTuple):
    """Residuals of bright stars, (n, nt, 2) mas, and their expected variances without excess."""

    residual: np.ndarray
    variance: np.ndarray

    @classmethod
    def of(cls, offsets: Offsets, fit: StarFit, frames: Frames, stars: np.ndarray) -> Reference:
        """Residuals of those of the stars; NaN where not used."""
        some = offsets.only(stars)
        design, terms, used = some.design(), some.terms(), fit.used[stars][..., None]
        residual = some.value - (terms @ frames.value[:, :, None])[..., 0]
        residual -= (design @ fit.parameters[stars][:, None, :, None])[..., 0]
        absorbed = np.einsum("ntik,nkl,ntil->nti", design, fit.covariance[stars], design)
        absorbed += np.einsum("ntik,ntik->nti", terms @ frames.covariance, terms)
        own = some.covariance[..., [0, 2]]
        variance = np.maximum(own - absorbed, 0.1 * own)
        return cls(np.where(used, residual, np.nan), np.where(used, variance, np.nan))


def astrometric_excess(reference: Reference) -> np.ndarray:
    """Scatter per axis of bright stars beyond their errors in each frame, mas, shape (nt,).

    The variance that makes the median of the squared normalised residuals that of normal deviates;
    0 where it is not significant.  From the stars with the smallest errors, which are much alike.
    """
    residual, variance = (np.swapaxes(a, 0, 1).reshape(a.shape[1], -1) for a in reference)
    out = np.zeros(len(residual))
    if residual.size == 0:
        return out
    finite = np.isfinite(variance)
    best = np.clip(finite.sum(axis=1), 1, 2 * _BEST) - 1  # of either axis
    limit = np.sort(np.where(finite, variance, np.inf), axis=1)[np.arange(len(best)), best]
    squares = np.where(variance <= _ALIKE**2 * limit[:, None], residual, np.nan) ** 2
    number = np.isfinite(squares).sum(axis=1)
    some = np.flatnonzero(number > 1)
    ratio = np.nanmedian(squares[some] / variance[some], axis=1) / _MEDIAN_SQUARE
    significant = ratio - 1.0 > _SIGNIFICANT * _MEDIAN_ERROR / np.sqrt(number[some])
    some = some[significant]
    more = np.nanmedian(squares[some] / _MEDIAN_SQUARE - variance[some], axis=1)
    out[some] = np.sqrt(np.maximum(more, 0.0))
    return out


def _by_frame(rows: np.ndarray) -> np.ndarray:
    """Rows (n, nt, 2, k) as (nt, 2 n, k)."""
    n, nt, two, k = rows.shape
    return np.swapaxes(rows, 0, 1).reshape(nt, n * two, k)
