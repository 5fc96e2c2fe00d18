"""The time model of Hedges et al. 2021 (AJ 162, 107), sec. 3: a perturbation of the mean PRF."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.interpolate import NdBSpline
from scipy.sparse import csr_array

from romanprf.core.statistics import robust_spread
from romanprf.prf import PRF
from romanprf.timemodel.solver import normal_equations, posterior
from romanprf.timemodel.vectors import checked, standardised

#: Least mean flux over time of a fitted pixel, in units of its error.
_SIGNAL_TO_NOISE = 10.0
#: Least fraction of the frames of a bin in which a pixel must be good.
_GOOD_FRAMES = 0.5
#: Fits, each without the outliers of the one before.
_ITERATIONS = 3
#: Pixels whose mean chi2 exceeds the median by this many robust spreads are outliers.
_CLIP = 5.0
#: Median of the square of a standard normal variable.
_MEDIAN_CHI2 = 0.4549
#: Samples per axis of the PRF over which the mean of the factor is taken.
_SAMPLES = 400


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pixels of one source each, through time.

    Attributes
    ----------
    source : ndarray of int, shape (npairs,)
        The source of each pixel.
    dx, dy : ndarray, shape (npairs,)
        Offsets of the pixels from their sources, east and north, arcsec.
    flux, flux_err : ndarray, shape (nt, npairs)
        Electrons/s; not used where either is not finite or the error is not positive.
    """

    source: np.ndarray
    dx: np.ndarray
    dy: np.ndarray
    flux: np.ndarray
    flux_err: np.ndarray

    def only(self, chosen: np.ndarray) -> Pairs:
        """Some of the pairs."""
        return Pairs(
            source=self.source[chosen],
            dx=self.dx[chosen],
            dy=self.dy[chosen],
            flux=self.flux[:, chosen],
            flux_err=self.flux_err[:, chosen],
        )

    @property
    def distance(self) -> np.ndarray:
        """Offset along the axis on which it is larger, arcsec, shape (npairs,)."""
        return np.maximum(np.abs(self.dx), np.abs(self.dy))


@dataclass(frozen=True, eq=False)
class TimeModel:
    """Factor by which the PRF at an offset from its source differs from its mean over time.

    factor = 1 + sum_k v_k(t) S_k(dx, dy), each S_k a sum of tensor products of cubic B-splines.
    Its mean over time is 1 at every offset; its mean over the light of the PRF is 1 at all times.

    Attributes
    ----------
    vectors : ndarray, shape (nt, k)
        In time; mean 0, largest value 1.
    knots : ndarray, shape (nknots,)
        Breakpoints of either axis, arcsec, from -radius to radius.
    weights : ndarray, shape (k, (nknots + 2)**2)
        Coefficients, those along dy running fastest.
    """

    vectors: np.ndarray
    knots: np.ndarray
    weights: np.ndarray

    @property
    def radius(self) -> float:
        """Half the side of the box that the splines cover, arcsec."""
        return float(self.knots[-1])

    def design(self, dx: np.ndarray, dy: np.ndarray) -> csr_array:
        """B-splines at offsets (arcsec), shape (npairs, (nknots + 2)**2).

        Offsets beyond the box are held at its edge.
        """
        offsets = np.clip(np.stack([dx, dy], axis=-1), -self.radius, self.radius)
        knots = np.pad(self.knots, 3, mode="edge")
        matrix = NdBSpline.design_matrix(offsets, (knots, knots), (3, 3))
        # SciPy leaves out empty columns at the end.
        shape = (len(offsets), self.weights.shape[1])
        return csr_array((matrix.data, matrix.indices, matrix.indptr), shape=shape)

    def factor(
        self, time_index: int | slice | np.ndarray, dx: np.ndarray, dy: np.ndarray
    ) -> np.ndarray:
        """Perturbed over mean PRF.

        Parameters
        ----------
        time_index : int, slice or ndarray of int
            Frame or frames.
        dx, dy : ndarray, shape (npairs,)
            Offsets of pixels from their sources, east and north, arcsec.

        Returns
        -------
        ndarray, shape (npairs,) or (nframes, npairs)
        """
        return 1.0 + _perturbation(self.vectors[time_index], self.weights, self.design(dx, dy))

    def relative_flux(
        self, flux: np.ndarray, source: np.ndarray, dx: np.ndarray, dy: np.ndarray
    ) -> np.ndarray:
        """Flux of pairs, relative to the light of their source and to the mean in time.

        This is the quantity that `factor` models, free of the variability of the stars.

        Parameters
        ----------
        flux : ndarray, shape (nt, npairs)
            Finite.
        source : ndarray of int, shape (npairs,)
            The source of each pair.
        dx, dy : ndarray, shape (npairs,)
            Arcsec.

        Returns
        -------
        ndarray, shape (nt, npairs)
        """
        factor, frames = self.factor(slice(None), dx, dy), np.ones(len(flux))
        return flux / _constant_shape(flux, _owners(source), factor, frames)

    def normalised(self, prf: PRF) -> TimeModel:
        """Make the mean of the factor over the light of ``prf`` equal to 1 at all times.

        The B-splines add up to 1, so this subtracts a constant from the coefficients of a vector.
        """
        step = 2.0 * prf.rmax / _SAMPLES
        centre = step * (np.arange(_SAMPLES) + 0.5) - prf.rmax
        dx, dy = (axis.ravel() for axis in np.meshgrid(centre, centre))
        light = prf.evaluate(np.hypot(dx, dy), np.arctan2(dy, dx))
        mean = self.weights @ (self.design(dx, dy).T @ light) / light.sum()
        return replace(self, weights=self.weights - mean[:, None])


def fit_time_model(
    vectors: np.ndarray,
    pairs: Pairs,
    prf: PRF,
    *,
    starts: np.ndarray,
    nknots: int,
    radius: float,
    spacing: str,
    resolution: int,
) -> tuple[TimeModel, np.ndarray]:
    """Fit the change of the PRF to pixels of one source each.

    Flux over its mean in time is modelled as the light of the source, free in each bin of time,
    times the factor: variability of a star does not enter the model.

    Parameters
    ----------
    vectors : ndarray, shape (nt, k)
        In time, of any mean and scale; constant ones are dropped.
    pairs : Pairs
        The pixels; those outside the box of the splines are not used.
    prf : PRF
        The mean PRF.
    starts : ndarray of int, shape (nsegments,)
        First frame of each segment; no bin spans two.
    nknots : int
        Breakpoints per axis.
    radius : float
        Half the side of the box that the splines cover, arcsec; pairs outside it are not used.
    spacing : {"linear", "sqrt"}
        Of the breakpoints: uniform in the offset or in its square root, closest at the core.
    resolution : int
        Most frames in a bin.

    Returns
    -------
    model : TimeModel
        The perturbation.
    used : ndarray of bool, shape (npairs,)
        Pairs that it was fitted to.

    Raises
    ------
    ValueError
        If an argument is wrong or the data cannot determine a model.
    """
    vectors = _checked(vectors, len(pairs.flux), resolution)
    knots = _breakpoints(nknots, radius, spacing)
    weights = np.zeros((vectors.shape[1], (nknots + 2) ** 2))
    model = TimeModel(vectors=vectors, knots=knots, weights=weights)
    bins = _Bins.of(vectors, pairs, starts, resolution)
    chosen = _usable(bins, pairs.source, pairs.distance <= radius)
    for _ in range(_ITERATIONS):
        fitted = chosen
        design = model.design(pairs.dx[chosen], pairs.dy[chosen])
        owners = _owners(pairs.source[chosen])
        weights, chi2 = _improved(model.weights, bins.take(chosen), design, owners)
        model = replace(model, weights=weights)
        chosen = chosen[chi2 - np.median(chi2) <= _CLIP * robust_spread(chi2)]
    used = np.zeros(pairs.source.size, bool)
    used[fitted] = True
    return model.normalised(prf), used


@dataclass(frozen=True, eq=False)
class _Bins:
    """Means over bins of frames: flux and its error (nbins, npairs), vectors (nbins, k)."""

    flux: np.ndarray
    error: np.ndarray
    vectors: np.ndarray
    frames: np.ndarray

    @classmethod
    def of(
        cls,
        vectors: np.ndarray,
        pairs: Pairs,
        starts: np.ndarray,
        resolution: int,
    ) -> _Bins:
        """Bin frames of each segment; the flux of a pixel is NaN where few frames are good."""
        flux, flux_err = pairs.flux, pairs.flux_err
        first = _bin_starts(len(vectors), starts, resolution)
        frames = np.diff(first, append=len(vectors)).astype(float)
        good = np.isfinite(flux) & np.isfinite(flux_err) & (flux_err > 0.0)
        count = np.add.reduceat(good, first, axis=0, dtype=float)
        count[count < _GOOD_FRAMES * frames[:, None]] = np.nan
        size = frames[:, None] + 0.0 * count
        mean = np.add.reduceat(_interpolated(flux, good), first, axis=0) / size
        error = np.sqrt(np.add.reduceat(np.where(good, flux_err, 0.0) ** 2, first, axis=0)) / count
        steps = np.add.reduceat(vectors, first, axis=0) / frames[:, None]
        seen = np.isfinite(mean).any(axis=1)  # bins without any good pixel are left out
        if seen.sum() < vectors.shape[1]:
            raise ValueError(
                f"{seen.sum()} bins of time_resolution={resolution} frames cannot determine "
                f"{vectors.shape[1]} vectors; lower time_resolution or give fewer vectors"
            )
        return cls(flux=mean[seen], error=error[seen], vectors=steps[seen], frames=frames[seen])

    def take(self, pairs: np.ndarray) -> _Bins:
        """The same bins, of some pairs only."""
        return replace(self, flux=self.flux[:, pairs], error=self.error[:, pairs])


def _interpolated(flux: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Flux with bad frames interpolated: leaving them out would shift the centre of a bin."""
    filled, bad = flux.astype(float), ~good.all(axis=0)
    series = pd.DataFrame(np.where(good[:, bad], flux[:, bad], np.nan))
    filled[:, bad] = series.interpolate(limit_direction="both").to_numpy()
    return filled


def _bin_starts(nt: int, starts: np.ndarray, resolution: int) -> np.ndarray:
    """First frame of each bin."""
    segments = np.split(np.arange(nt), starts[1:])
    bins = [np.array_split(frames, -(-frames.size // resolution)) for frames in segments]
    return np.array([part[0] for parts in bins for part in parts])


def _usable(bins: _Bins, source: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Indices of pairs inside the box that are good in all bins, bright and not alone."""
    finite = inside & np.isfinite(bins.flux).all(axis=0)
    total = bins.frames.sum()
    error = np.sqrt(bins.frames**2 @ bins.error**2) / total
    bright = finite & (bins.frames @ bins.flux / total > _SIGNAL_TO_NOISE * error)
    pairs = np.flatnonzero(bright)
    owners = _owners(source[pairs])
    # A single pixel cannot separate variability from a change of shape; a star needs light, too.
    light = bins.flux[:, pairs] @ owners
    shining = (light > 0.0).all(axis=0) & (owners.sum(axis=0) > 1)
    pairs = pairs[owners @ shining.astype(float) > 0.0]
    if not pairs.size:
        raise ValueError(
            f"no pixel of {inside.size} can be fitted: {inside.sum()} are within time_radius, "
            f"{finite.sum()} of these good at all times, {bright.sum()} of these brighter than "
            f"{_SIGNAL_TO_NOISE:.0f} sigma; raise time_radius or time_resolution or add stars"
        )
    return pairs


def _owners(source: np.ndarray) -> csr_array:
    """Matrix (npairs, sources that occur) of ones where a pair is of a source."""
    number = np.unique(source, return_inverse=True)[1]
    shape = (number.size, number.max(initial=-1) + 1)
    return csr_array((np.ones(number.size), number, np.arange(number.size + 1)), shape=shape)


def _constant_shape(
    flux: np.ndarray, owners: csr_array, factor: np.ndarray, frames: np.ndarray
) -> np.ndarray:
    """Flux of pairs for a PRF of constant shape: level of the pixel times light of its source.

    The light is the total flux of a source's pixels relative to that of a constant source with the
    given factor: a drift across the edge of the pixels does not count as variability.
    """
    level = frames @ flux / (frames @ factor)
    light = (flux @ owners) / ((level * factor) @ owners)
    light = light @ owners.T
    level = frames @ (flux / light) / (frames @ factor)
    return level * light


def _perturbation(vectors: np.ndarray, weights: np.ndarray, design: csr_array) -> np.ndarray:
    """Sum over k of v_k S_k, shape (npairs,) or (nframes, npairs)."""
    return (design @ (vectors @ weights).T).T


def _improved(
    weights: np.ndarray, bins: _Bins, design: csr_array, owners: csr_array
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients, and chi2 per bin of the pairs."""
    known = _perturbation(bins.vectors, weights, design)
    scale = _constant_shape(bins.flux, owners, 1.0 + known, bins.frames)
    change, error = bins.flux / scale - 1.0, bins.error / scale
    # In the first fit all change counts as noise, so that bright outliers do not dominate it.
    weight = 1.0 / _variance(change - known, error)
    matrix, vector = normal_equations(design, owners, bins.vectors, change, weight)
    weights = posterior(matrix, vector)[0].reshape(weights.shape)
    left = change - _perturbation(bins.vectors, weights, design)
    left -= ((weight * left) @ owners / (weight @ owners)) @ owners.T
    return weights, np.mean(left**2 / _variance(left, error), axis=0)


def _variance(left: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Variance of pixels: that of their noise plus a common s^2, of changes beyond the splines.

    The median of left^2 / 0.4549 - error^2 is s^2 in each pixel, and so in all together.
    """
    return error**2 + max(np.median(left**2 / _MEDIAN_CHI2 - error**2), 0.0)


def _checked(vectors: np.ndarray, nt: int, resolution: int) -> np.ndarray:
    """Checked and standardised vectors for a fit to ``nt`` frames."""
    if nt < 3:
        raise ValueError(f"{nt} frames; a time model needs 3 or more")
    if resolution < 1:
        raise ValueError(f"time_resolution={resolution}; use 1 frame per bin or more")
    return standardised(checked(vectors, nt))


def _breakpoints(nknots: int, radius: float, spacing: str) -> np.ndarray:
    """Breakpoints of an axis, arcsec."""
    if nknots < 4:
        raise ValueError(f"time_nknots={nknots} cannot follow a PRF; use 4 or more")
    if not 0.0 < radius < np.inf:
        raise ValueError(f"time_radius={radius}; give a positive number of arcsec")
    u = np.linspace(-1.0, 1.0, nknots)
    if spacing == "linear":
        return radius * u
    if spacing == "sqrt":
        return radius * np.sign(u) * u**2
    raise ValueError(f"cartesian_knot_spacing={spacing!r}; use 'linear' or 'sqrt'")
