"""Parameters of stars from their offsets, when the terms of the frames are known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from romanprf.astrometry.offsets import N_TERMS, Whitened

#: Repeats of the rejection at most; each leaves out what is at least half as far off as the worst.
_REPEATS = 12


class Prior(NamedTuple):
    """Gaussian priors of the parameters of n stars, as changes of their states (mas, mas/yr).

    ``mean`` has shape (n, 5), ``precision``, the inverse covariance, (n, 5, 5).
    """

    mean: np.ndarray
    precision: np.ndarray

    def of(self, stars: slice | np.ndarray) -> Prior:
        """Those of some stars."""
        return Prior(self.mean[stars], self.precision[stars])


class Frames(NamedTuple):
    """Terms of nt frames (pixels), (nt, 6), with ``covariance`` (nt, 6, 6); 0 if not solved."""

    value: np.ndarray
    covariance: np.ndarray

    @classmethod
    def unsolved(cls, nt: int) -> Frames:
        """No terms."""
        return cls(np.zeros((nt, N_TERMS)), np.zeros((nt, N_TERMS, N_TERMS)))

    @property
    def error(self) -> np.ndarray:
        """1 sigma, (nt, 6); NaN if not solved."""
        variance = np.diagonal(self.covariance, axis1=1, axis2=2)
        return np.sqrt(np.where(variance > 0.0, variance, np.nan))


class StarFit(NamedTuple):
    """Parameters of n stars.

    ``parameters`` (n, 5) and ``covariance`` (n, 5, 5): changes of the states, mas and mas/yr;
    ``residual`` (n, nt, 2): of each offset, in its errors; ``used`` (n, nt): not left out as an
    outlier; ``freedom`` (n, nt): expected squares of the residual, 2 minus what stars and frames
    absorb.
    """

    parameters: np.ndarray
    covariance: np.ndarray
    residual: np.ndarray
    used: np.ndarray
    freedom: np.ndarray


def fit_stars(equations: Whitened, frames: Frames, prior: Prior, clip: float) -> StarFit:
    """Solve the parameters of each star; each is exact given the terms of the frames.

    Parameters
    ----------
    equations : Whitened
        Of the offsets.
    frames : Frames
        Their terms.
    prior : Prior
        Of these stars.
    clip : float
        Offsets further off than this many sigma are left out, the worst of a star first.
    """
    left = equations.value - (equations.frames @ frames.value[:, :, None])[..., 0]
    shared = np.einsum("ntik,ntik->nt", equations.frames @ frames.covariance, equations.frames)
    used = equations.usable.copy()
    fit = _solved(left, shared, equations.stars, used, prior)
    for _ in range(_REPEATS):
        far = _distance(fit)
        limit = np.maximum(clip, 0.5 * np.where(used, far, 0.0).max(axis=1, initial=0.0))
        keep = equations.usable & (far <= limit[:, None])
        changed = np.flatnonzero((keep != used).any(axis=1))
        if changed.size == 0:
            break
        used[changed] = keep[changed]
        rows = left[changed], shared[changed], equations.stars[changed], used[changed]
        again = _solved(*rows, prior.of(changed))
        for old, new in zip(fit, again, strict=True):
            old[changed] = new
    return fit


def _solved(
    left: np.ndarray, shared: np.ndarray, design: np.ndarray, used: np.ndarray, prior: Prior
) -> StarFit:
    """Least squares of the offsets that are used; frames absorb ``shared`` of their squares."""
    n, nt = used.shape
    rows = (design * used[..., None, None]).reshape(n, 2 * nt, 5)
    across = np.swapaxes(rows, 1, 2)
    covariance = np.linalg.inv(across @ rows + prior.precision)
    vector = across @ left.reshape(n, 2 * nt, 1) + prior.precision @ prior.mean[..., None]
    parameters = (covariance @ vector)[..., 0]
    residual = left - (design @ parameters[:, None, :, None])[..., 0]
    absorbed = np.einsum("ntik,nkl,ntil->nt", design, covariance, design, optimize=True)
    absorbed += shared
    return StarFit(
        parameters=parameters,
        covariance=covariance,
        residual=residual,
        used=used.copy(),
        freedom=2.0 - np.where(used, absorbed, -absorbed),
    )


def _distance(fit: StarFit) -> np.ndarray:
    """Distance of each offset from the fit in sigmas of their difference, shape (n, nt)."""
    squares = (fit.residual**2).sum(axis=-1)
    return np.sqrt(squares / np.maximum(0.5 * fit.freedom, 1e-6))
