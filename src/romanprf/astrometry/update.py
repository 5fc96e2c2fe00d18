"""The step of all states of stars: Gauss-Newton on the pixels of all frames, with fluxes free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import uniform_filter

from romanprf.astrometry.stars import Stars
from romanprf.frame.frame import Frame
from romanprf.frame.groups import Groups, Places, close_groups, place_equations
from romanprf.frame.model import FrameModel, FrameModels
from romanprf.io.scratch import kept
from romanprf.schemas import ASTROMETRIC
from romanprf.sky.motion import julian_year, parallax_factors
from romanprf.sky.states import covariance, place_derivatives
from romanprf.solve.fluxes import Prior
from romanprf.solve.residual import Residual, residual

#: A parameter is solved if within its prior's error the stars could move by this much, mas.
_SEEN = 0.01
#: A star is taken to have at least this part of its expected flux: where it is far off its place
#: the fit gives it none, and without light it would not move.
_LEAST = 0.5
#: Longest step (mas): further away the light is not linear in the place.
_FAR = 30.0
#: Pixels on the side of the square around a star that tells how well it is described.
_AROUND = 5
#: A frame does not count for a star that it describes this many times worse than others do.
_UNLIKE = 10.0
#: Milliarcseconds in an arcsecond.
_MAS = 1e3


@dataclass(frozen=True, eq=False)
class Update:
    """Result of `update`.

    Attributes
    ----------
    stars : Stars
        In their new states.
    moved : ndarray, shape (nsources,)
        Step of each star in units of its error.
    """

    stars: Stars
    moved: np.ndarray


def update(
    models: FrameModels,
    flux: Prior,
    stars: Stars,
    moving: np.ndarray,
    clip: float,
    prf_error: float,
) -> Update:
    """One step of the states of stars, close ones together, with the flux in each frame free.

    Parameters
    ----------
    models : FrameModels
        Of the frames, with the stars in their present states.
    flux : Prior
        Of the flux of each star.
    stars : Stars
        Their present states.
    moving : ndarray of bool, shape (nsources,)
        Stars whose states are free.
    clip : float
        Leave out pixels that stand out by so many sigmas.
    prf_error : float
        By which fraction of its value the PRF may be off.
    """
    epoch = float(stars.prior["epoch"].iloc[0])
    designs = [_Design.of(frame, epoch) for frame in models.frames]
    solved = _solved(designs, covariance(stars.prior))
    groups = close_groups(*models[0].places())
    normal = _Normal(groups, len(stars), len(solved))
    residuals, misfits = [], []
    for model in models:
        left = residual(model, flux, clip, prf_error)
        residuals.append(left._replace(image=kept(left.image), weight=kept(left.weight)))
        misfits.append(_misfit(model, left))
    believed = _believed(np.array(misfits))
    for model, left, design, trust in zip(models, residuals, designs, believed, strict=True):
        normal.add(model, left, flux.sigma, design, solved, trust)
    light = np.maximum(normal.flux(), _LEAST * flux.mu)
    known = replace(stars, combination=_combination(designs, solved))
    return _stepped(known, normal, np.where(moving, light, 0.0), solved)


def _misfit(model: FrameModel, left: Residual) -> np.ndarray:
    """Mean squared pull of the pixels around each star; 0 off the image."""
    nrows, ncols = model.frame.shape
    around = uniform_filter(left.weight * left.image**2, _AROUND, mode="constant")
    x, y = (np.nan_to_num(place, nan=-1.0) for place in model.places())
    inside = (x > -0.5) & (y > -0.5) & (x < ncols - 0.5) & (y < nrows - 0.5)
    found = np.zeros(len(x), np.float32)
    found[inside] = around[np.rint(y[inside]).astype(int), np.rint(x[inside]).astype(int)]
    return found


def _believed(misfits: np.ndarray) -> np.ndarray:
    """Whether each frame tells of each star what the others do, both (nframes, nsources).

    While the stars are off their places no frame fits well.  One that is far worse than the others
    shows something else there: a cosmic ray, an asteroid, a track.
    """
    typical = np.percentile(misfits, 50, axis=0, method="lower")
    return misfits <= _UNLIKE * (1.0 + typical)


@dataclass(frozen=True, eq=False)
class _Design:
    """How the place of a star on the sky at the time of a frame depends on its state.

    ``years`` since the epoch; ``factors`` of the parallax, shape (nsources, 2).
    """

    years: float
    factors: np.ndarray

    @classmethod
    def of(cls, frame: Frame, epoch: float) -> _Design:
        time = frame.exposure.time
        factors = np.stack(parallax_factors(frame.ra, frame.dec, time), axis=1)
        return cls(julian_year(time) - epoch, factors)

    def matrix(self, solved: Sequence[int]) -> np.ndarray:
        """Derivative of (east, north) by the parameters that are solved, (nsources, 2, q)."""
        return place_derivatives(self.years, self.factors)[:, :, list(solved)]


def _solved(designs: Sequence[_Design], prior: np.ndarray) -> list[int]:
    """Numbers of the parameters that the times of the frames can tell apart from the position."""
    years = np.std([design.years for design in designs])
    factor = np.std([design.factors.mean(axis=0) for design in designs], axis=0).max()
    typical = np.sqrt(np.median(np.diagonal(prior, axis1=1, axis2=2), axis=0))
    spread = [np.inf, np.inf, factor, years, years]
    return [k for k in range(len(ASTROMETRIC)) if spread[k] * typical[k] > _SEEN]


def _combination(designs: Sequence[_Design], solved: Sequence[int]) -> np.ndarray:
    """Attribute ``combination`` of `Stars`, from the mean of all stars."""
    every = range(len(ASTROMETRIC))
    mean = np.concatenate([design.matrix(every).mean(axis=0) for design in designs])
    found = np.zeros((len(ASTROMETRIC), len(ASTROMETRIC)))
    found[list(solved)] = np.linalg.lstsq(mean[:, list(solved)], mean, rcond=None)[0]
    return found


class _Normal:
    """Normal equations of the states of the members of all groups, per unit flux."""

    def __init__(self, groups: Groups, n: int, q: int) -> None:
        self.groups = groups
        self.vector = [np.zeros((*members.shape, q)) for members in groups]
        self.matrix = [np.zeros((*members.shape, q, members.shape[1], q)) for members in groups]
        self._light, self._trust = np.zeros(n), np.zeros(n)

    def add(
        self,
        model: FrameModel,
        left: Residual,
        sigma: np.ndarray,
        design: _Design,
        solved: Sequence[int],
        believed: np.ndarray,
    ) -> None:
        """Add a frame, but for the stars that it is not believed on."""
        x, y = (np.nan_to_num(place) for place in model.places())
        sky = np.linalg.inv(_MAS * model.frame.wcs.jacobian(x, y))  # pixels per mas
        change = sky @ design.matrix(solved)
        found = place_equations(model, left.image, left.weight, sigma, self.groups)
        for number, (members, places) in enumerate(zip(self.groups, found, strict=True)):
            self._add(number, places, change[members] * believed[members][:, :, None, None])
        seen = np.isfinite(left.flux) & believed
        precision = left.flux_err[seen] ** -2.0
        self._light[seen] += precision * left.flux[seen]
        self._trust[seen] += precision

    def _add(self, number: int, places: Places, change: np.ndarray) -> None:
        self.vector[number] += np.einsum("gaiq,gai->gaq", change, places.vector)
        once = np.einsum("gaiq,gaibj->gaqbj", change, places.matrix)
        self.matrix[number] += np.einsum("gaqbj,gbjr->gaqbr", once, change)

    def flux(self) -> np.ndarray:
        """Mean flux of each star, at least 0, e-/s."""
        mean = np.divide(
            self._light, self._trust, out=np.zeros(self._light.size), where=self._trust > 0
        )
        return mean.clip(0.0)


def _stepped(
    stars: Stars,
    normal: _Normal,
    light: np.ndarray,
    solved: Sequence[int],
) -> Update:
    """Solve the equations for stars of this light (e-/s; 0: not moved), and move the stars."""
    prior, moving = covariance(stars.prior), light > 0.0
    chosen = np.ix_(solved, solved)
    precision = np.linalg.inv(prior[:, chosen[0], chosen[1]])
    pull = -np.einsum("sqr,sr->sq", precision, stars.offset[:, solved])
    step, spread = np.zeros((len(stars), len(solved))), prior[:, chosen[0], chosen[1]].copy()
    q = len(solved)
    for members, vector, matrix in zip(normal.groups, normal.vector, normal.matrix, strict=True):
        n, m = members.shape
        flux = light[members]
        total = matrix * flux[:, :, None, None, None] * flux[:, None, None, :, None]
        for a in range(m):
            total[:, a, :, a] += precision[members[:, a]]
        inverse = np.linalg.inv(total.reshape(n, m * q, m * q))
        right = (vector * flux[:, :, None] + pull[members]).reshape(n, m * q, 1)
        step[members] = (inverse @ right).reshape(n, m, q)
        inverse = inverse.reshape(n, m, q, m, q)
        for a in range(m):
            spread[members[:, a]] = inverse[:, a, :, a]
    error = np.sqrt(np.diagonal(spread, axis1=1, axis2=2))
    offset, known = stars.offset.copy(), prior.copy()
    offset[:, solved] += _shortened(step) * moving[:, None]
    known[:, chosen[0], chosen[1]] = spread
    new = replace(stars, offset=offset, covariance=known).centred(moving)
    step = new.offset[:, solved] - stars.offset[:, solved]  # without what all have in common
    return Update(new, np.abs(step / error).max(axis=1))


def _shortened(step: np.ndarray) -> np.ndarray:
    """Steps of which none is longer than `_FAR`."""
    length = np.hypot(step[:, 0], step[:, 1])
    return step * (_FAR / np.maximum(length, _FAR))[:, None]
