"""Parameters of all stars and terms of all frames from the centroids, in alternating blocks."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from romanprf.astrometry.frames import N_MODES, Reference, Sums, astrometric_excess, moved_by
from romanprf.astrometry.offsets import Offsets
from romanprf.astrometry.star_fit import Frames, Prior, fit_stars

logger = logging.getLogger(__name__)

#: The alternation ends when nothing moves by more than this fraction of its error, or after so
#: many sweeps.
_SETTLED, _SWEEPS = 1e-3, 100
#: The first stars, which are bright, are enough to start with.
_START = 20_000
#: Offsets further off than so many sigma are left out, in so many stages at most.
_CLIP, _ROBUST = 5.0, 6
#: The excess of a frame is settled when it changes by less than this fraction.
_SAME = 0.2

#: Gives the offsets of ranges of stars, all of them at each call.
Reader = Callable[[], Iterator[tuple[slice, Offsets]]]


@dataclass(frozen=True, eq=False)
class Problem:
    """What is to be solved.

    Attributes
    ----------
    read : callable
        Gives the offsets of ranges of stars from their states.
    n_frames : int
        Their number.
    prior : Prior
        Of all n stars.
    field : ndarray, shape (n, 2)
        Places of the stars in the field, from -1 to 1 about.
    bright : ndarray of bool, shape (n,)
        Stars from which the excess of the frames is measured.
    """

    read: Reader
    n_frames: int
    prior: Prior
    field: np.ndarray
    bright: np.ndarray

    def of_first(self, most: int) -> Problem:
        """The same without the offsets of all but the first stars."""

        def read() -> Iterator[tuple[slice, Offsets]]:
            for which, offsets in self.read():
                if which.start >= most:
                    return
                high = min(which.stop, most)
                yield slice(which.start, high), offsets.only(slice(0, high - which.start))

        return replace(self, read=read)


@dataclass(frozen=True, eq=False)
class StarResults:
    """Results of n stars.

    Attributes
    ----------
    parameters, covariance : ndarray, shapes (n, 5) and (n, 5, 5)
        Changes of the states, mas and mas/yr, as in `romanprf.schemas.ASTROMETRIC`.
    squares, freedom : ndarray, shape (n,)
        Sum of squared normalised residuals, and its expectation.
    n_used, n_rejected : ndarray of int, shape (n,)
        Offsets that were used and left out as outliers.
    """

    parameters: np.ndarray
    covariance: np.ndarray
    squares: np.ndarray
    freedom: np.ndarray
    n_used: np.ndarray
    n_rejected: np.ndarray

    @classmethod
    def unmeasured(cls, prior: Prior) -> StarResults:
        """As the prior has them."""
        n = len(prior.mean)
        return cls(
            parameters=prior.mean.copy(),
            covariance=np.linalg.inv(prior.precision),
            squares=np.zeros(n),
            freedom=np.zeros(n),
            n_used=np.zeros(n, int),
            n_rejected=np.zeros(n, int),
        )

    @property
    def error(self) -> np.ndarray:
        """1 sigma of the parameters, shape (n, 5)."""
        return np.sqrt(np.diagonal(self.covariance, axis1=1, axis2=2))


class Sweep(NamedTuple):
    """Result of one sweep: stars, then frames, and the sums over stars behind them."""

    stars: StarResults
    frames: Frames
    sums: Sums
    reference: Reference


class Solution(NamedTuple):
    """Result: the last sweep, the excess (nt,) in mas, 1 sigma of the gauge, number of sweeps."""

    sweep: Sweep
    excess: np.ndarray
    tie_error: np.ndarray
    sweeps: int


def solve(problem: Problem) -> Solution:
    """Solve stars and frames in turn, each exactly given the other, until none moves.

    First the brightest stars without rejection, then all without outliers and with the excess of
    the frames that the residuals have shown before, until the excess does not change.
    """
    excess = np.zeros(problem.n_frames)
    sweep, sweeps = _settled(problem.of_first(_START), None, excess, math.inf)
    for number in range(_ROBUST):
        before, excess = excess, astrometric_excess(sweep.reference)
        if number > 0 and np.allclose(excess, before, rtol=_SAME, atol=0.0):
            break
        sweep, more = _settled(problem, sweep, excess, _CLIP)
        sweeps += more
    return Solution(sweep=sweep, excess=excess, tie_error=_tie_error(sweep.sums), sweeps=sweeps)


def _settled(
    problem: Problem, start: Sweep | None, excess: np.ndarray, clip: float
) -> tuple[Sweep, int]:
    """Sweep until nothing moves; the last sweep and their number."""
    frames = Frames.unsolved(problem.n_frames) if start is None else start.frames
    before = problem.prior.mean if start is None else start.stars.parameters
    for number in range(1, _SWEEPS + 1):
        sweep = _swept(problem, frames, excess, clip)
        moved = np.abs(sweep.stars.parameters - before) / sweep.stars.error
        turned = np.abs(sweep.frames.value - frames.value) / sweep.frames.error
        largest = max(moved.max(initial=0.0), np.nanmax(turned, initial=0.0))
        logger.info("sweep %d: largest move %.2g sigma", number, largest)
        before, frames = sweep.stars.parameters, sweep.frames
        if largest <= _SETTLED:
            return sweep, number
    logger.warning("not converged after %d sweeps: a move of %.2g sigma", _SWEEPS, largest)
    return sweep, _SWEEPS


def _swept(problem: Problem, before: Frames, excess: np.ndarray, clip: float) -> Sweep:
    """Solve all stars with the terms before, take out their common motion, solve the frames."""
    stars, sums = StarResults.unmeasured(problem.prior), Sums(problem.n_frames)
    references = []
    for which, offsets in _blocks(problem):
        equations, prior = offsets.whitened(excess), problem.prior.of(which)
        fit = fit_stars(equations, before, prior, clip)
        sums.add(equations, fit, prior, problem.field[which])
        references.append(Reference.of(offsets, fit, before, problem.bright[which]))
        stars.parameters[which], stars.covariance[which] = fit.parameters, fit.covariance
        stars.squares[which] = ((fit.residual**2).sum(axis=-1) * fit.used).sum(axis=1)
        stars.freedom[which] = (fit.freedom * fit.used).sum(axis=1)
        stars.n_used[which] = fit.used.sum(axis=1)
        stars.n_rejected[which] = (equations.usable & ~fit.used).sum(axis=1)
    motion = sums.gauge()
    measured = stars.n_used > 0
    stars.parameters[measured] -= moved_by(motion, problem.field[measured])
    frames = sums.solve(before, motion)
    reference = Reference(*(np.concatenate(parts) for parts in zip(*references, strict=True)))
    return Sweep(stars=stars, frames=frames, sums=sums, reference=reference)


def _blocks(problem: Problem) -> Iterator[tuple[slice, Offsets]]:
    """Offsets of all stars, few at a time."""
    for which, offsets in problem.read():
        for part, some in offsets.blocks():
            yield slice(which.start + part.start, which.start + part.stop), some


def _tie_error(sums: Sums) -> np.ndarray:
    """1 sigma of the five parameters that all stars share, shape (5,); NaN without stars."""
    tie = sums.tie[: N_MODES // 3, : N_MODES // 3]
    if not tie.any():
        return np.full(len(tie), np.nan)
    return np.sqrt(np.diagonal(np.linalg.inv(tie)))
