"""The documented PRF model: log10 of the PRF as splines in radius and angle on the sky."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import block_diag, cho_factor, cho_solve

from romanprf.prf import logpolar_nb
from romanprf.sky.wcs import points, stretch

#: Prior sigmas, dex: how far the radial profile may be from the first guess and the angular
#: structure from round, and how much either may bend from knot to knot of the radius (second
#: differences, as in P-splines; Eilers & Marx 1996), so that no gap in the data makes a hole.
_RADIAL_SIGMA, _ANGULAR_SIGMA, _BEND_SIGMA = 0.5, 0.2, 0.2
#: ... and how much the PRF may change from knot to knot inside rmin, where few pixels tell.
_CENTRE_SIGMA = 0.05
#: Far from the core a diffraction PRF falls with the cube of the radius; out to 2 arcsec that of
#: Roman in F146 falls a little slower, as the -2.8th power (that of GalSim, within 0.2 dex).
_WING_POWER, _INNER_POWER = 3.0, 2.8


def _bending(n: int) -> np.ndarray:
    """Precision matrix of the second differences of ``n`` numbers."""
    bend = np.diff(np.eye(n), 2, axis=0) / _BEND_SIGMA
    return bend.T @ bend


def guess_profile(r: np.ndarray, scale: float) -> np.ndarray:
    """log10 of the round profile (1 + (r / scale)^2)^-1.4, 0 at the centre."""
    return -0.5 * _INNER_POWER * np.log10(1.0 + (r / scale) ** 2)


@dataclass(frozen=True, eq=False)
class LogPolarPRF:
    """PRF on the sky, as in Hedges et al. 2021 (AJ 162, 107), sec. 2.3.

    The value at an offset is the fraction of a source's flux in a pixel of ``pixel_area`` whose
    centre is at that offset.  Radial functions that end inside ``cut_r`` do not depend on the
    angle; the knots go on at the same step from ``rmin`` to the centre, and beyond ``rmax`` the
    PRF is zero.  The
    light beyond ``rmax`` that a diffraction wing (r^-3) carries is part of the normalisation, so
    the values inside sum to less than 1.

    Attributes
    ----------
    n_r, n_phi : int
        Knots: radial, uniform in sqrt(r) from rmin to rmax; angular, wrapped.
    rmin, cut_r, rmax : float
        Arcsec.
    pixel_area : float
        Arcsec^2.
    coefficients : ndarray, shape (n_radial + (n_radial - core) * n_phi,)
        Radial coefficients first, then the angular ones by radius; log10.
    """

    n_r: int
    n_phi: int
    rmin: float
    cut_r: float
    rmax: float
    pixel_area: float
    coefficients: np.ndarray

    @classmethod
    def first_guess(
        cls,
        n_r: int,
        n_phi: int,
        rmin: float,
        cut_r: float,
        rmax: float,
        pixel_area: float,
        scale: float | None = None,
    ) -> LogPolarPRF:
        """`guess_profile` with this scale (arcsec), or else ``cut_r``, normalised."""
        model = cls(n_r, n_phi, rmin, cut_r, rmax, pixel_area, np.empty(0))
        t = np.linspace(0.0, np.sqrt(rmax), 20 * n_r)
        profile = guess_profile(t**2, cut_r if scale is None else scale)
        n = model.n_radial
        matrix, vector = 1e-4 * _bending(n), np.zeros(n)
        radial_only = (*model._basis[:4], n)
        logpolar_nb.accumulate(
            t**2, np.zeros_like(t), profile, np.ones_like(t), *radial_only, matrix, vector
        )
        radial = cho_solve(cho_factor(matrix, lower=True), vector)
        return replace(model, coefficients=np.pad(radial, (0, model.size - n))).normalised()

    def round(self) -> LogPolarPRF:
        """Return the model without its angular structure."""
        radial = np.arange(self.size) < self.n_radial
        return replace(self, coefficients=np.where(radial, self.coefficients, 0.0))

    @property
    def _t_step(self) -> float:
        return float((np.sqrt(self.rmax) - np.sqrt(self.rmin)) / (self.n_r - 1))

    @property
    def _inner_knots(self) -> int:
        """Knots between ``rmin`` and the centre."""
        return int(np.ceil(np.sqrt(self.rmin) / self._t_step - 1e-9))

    @property
    def _t_min(self) -> float:
        """The first knot, in sqrt(arcsec): at the centre, or one interval from it at most."""
        return float(np.sqrt(self.rmin)) - self._inner_knots * self._t_step

    @property
    def n_radial(self) -> int:
        """Number of radial functions."""
        return self.n_r + self._inner_knots + 2

    @property
    def radial_knots(self) -> np.ndarray:
        """Knots of the radial functions in sqrt(arcsec), three beyond either end."""
        return self._t_min + self._t_step * np.arange(-3.0, self.n_radial + 1.0)

    @property
    def core(self) -> int:
        """First radial function with angles: its support does not lie wholly inside ``cut_r``.

        The functions that reach the centre never have angles, for there they mean nothing.
        """
        below = (np.sqrt(self.cut_r) - self._t_min) / self._t_step
        centre = 3 if self._t_min > -1e-9 else 4
        return min(max(int(below + 1e-9), centre), self.n_radial)

    @property
    def size(self) -> int:
        """Number of coefficients."""
        return self.n_radial + (self.n_radial - self.core) * self.n_phi

    @property
    def _basis(self) -> tuple[float, float, int, int, int]:
        return self._t_min, self._t_step, self.n_radial - 2, self.n_phi, self.core

    @cached_property
    def _evaluation(self) -> tuple[np.ndarray, float, float, float]:
        """What the kernels evaluate the PRF with: table (see `logpolar_nb.ln_prf`), grid, end."""
        table = np.repeat(self.coefficients[: self.n_radial, None], self.n_phi, axis=1)
        table[self.core :] += self.coefficients[self.n_radial :].reshape(-1, self.n_phi)
        table = np.log(10.0) * np.hstack([table, table[:, :3]])
        return table, self._t_min, self._t_step, self.rmax

    def evaluate(self, r: ArrayLike, phi: ArrayLike) -> np.ndarray:
        """PRF at offsets of any shape; r in arcsec, phi = arctan2(north, east) in rad."""
        r, phi = points(r, phi)
        out = np.empty(r.size)
        logpolar_nb.evaluate(r.ravel(), phi.ravel(), *self._evaluation, out)
        return out.reshape(r.shape)

    def on_pixels(self, jacobian: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """PRF at offsets (dx, dy) in pixels, the r^-3 wing beyond ``rmax`` included.

        Parameters
        ----------
        jacobian : ndarray, shape (2, 2)
            (east, north) arcsec per (x, y) pixel.
        """
        phi = np.linspace(-np.pi, np.pi, 4 * self.n_phi, endpoint=False)
        edge = self.evaluate(self.rmax * (1.0 - 1e-9), phi).mean()
        area = stretch(jacobian) / self.pixel_area

        def prf(dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
            offset = np.stack(np.broadcast_arrays(dx, dy))
            east, north = np.einsum("ij,j...->i...", jacobian, offset)
            r = np.hypot(east, north)
            wing = edge * (self.rmax / np.maximum(r, self.rmax)) ** _WING_POWER
            inside = self.evaluate(r, np.arctan2(north, east))
            return area * np.where(r < self.rmax, inside, wing)

        return prf

    def at(self, x: float, y: float) -> LogPolarPRF:
        """PRF of a place on the image: the same everywhere."""
        del x, y
        return self

    def fill_stamps(
        self,
        x: np.ndarray,
        y: np.ndarray,
        radius: np.ndarray,
        jacobian: np.ndarray,
        scale: np.ndarray,
        window: np.ndarray,
        offset: np.ndarray,
        points: int = 1,
    ) -> np.ndarray:
        """PRF values of all sources on their windows (see `romanprf.frame.stamps`).

        Parameters
        ----------
        points : int
            The value of a pixel is the mean over a grid of so many places per axis.
        """
        values = np.empty(offset[-1], np.float32)
        stars = (x, y, radius, jacobian, scale, window, offset)
        if points == 1:
            logpolar_nb.fill_stamps(*stars, *self._evaluation, values)
        else:
            logpolar_nb.integrate_stamps(*stars, *self._evaluation, points, values)
        return values

    def fitted(
        self, r: np.ndarray, phi: np.ndarray, value: np.ndarray, weight: np.ndarray
    ) -> LogPolarPRF:
        """Solve for the coefficients.

        The Gaussian prior is centred on this model's coefficients.

        Parameters
        ----------
        r, phi : ndarray, shape (npixels,)
            Offsets, arcsec and rad.
        value : ndarray, shape (npixels,)
            log10 of the fraction of the source's flux in the pixel.
        weight : ndarray, shape (npixels,)
            Inverse variance of ``value``.
        """
        matrix, vector = np.zeros((self.size, self.size)), np.zeros(self.size)
        logpolar_nb.accumulate(r, phi, value, weight, *self._basis, matrix, vector)
        precision = self._prior_precision()
        matrix += precision
        vector += precision @ self.coefficients
        coefficients = cho_solve(cho_factor(matrix, lower=True), vector)
        return replace(self, coefficients=coefficients)

    def _prior_precision(self) -> np.ndarray:
        """Inverse covariance of the prior, shape (size, size)."""
        n = self.n_radial
        radial = np.eye(n) * _RADIAL_SIGMA**-2.0 + _bending(n)
        flat = np.diff(np.eye(n), axis=0)[: self._inner_knots] / _CENTRE_SIGMA
        radial += flat.T @ flat
        angular = np.eye(n - self.core) * _ANGULAR_SIGMA**-2.0 + _bending(n - self.core)
        return block_diag(radial, np.kron(angular, np.eye(self.n_phi)))

    def normalised(self) -> LogPolarPRF:
        """Make `integral` equal to 1.

        log10 of the integral is subtracted from the constant term.
        """
        return self.brightened(-np.log10(self.integral()))

    def brightened(self, log10_factor: float) -> LogPolarPRF:
        """Multiply the PRF: as the B-splines add up to 1, every radial coefficient rises alike."""
        coefficients = self.coefficients.copy()
        coefficients[: self.n_radial] += log10_factor
        return replace(self, coefficients=coefficients)

    def integral(self) -> float:
        """Sum over the pixel grid averaged over sub-pixel phase, wings to infinity included."""
        t, step = np.linspace(0.0, np.sqrt(self.rmax), 601, retstep=True)
        t = 0.5 * (t[1:] + t[:-1])
        phi = np.linspace(-np.pi, np.pi, 4 * self.n_phi, endpoint=False)
        mean = self.evaluate(t[:, None] ** 2, phi[None, :]).mean(axis=1)
        inside = 2.0 * np.pi * np.sum(mean * t**2 * 2.0 * t) * step  # r dr = 2 t^3 dt
        edge = self.evaluate(np.full(phi.size, self.rmax * (1.0 - 1e-12)), phi).mean()
        beyond = 2.0 * np.pi * edge * self.rmax**2 / (_WING_POWER - 2.0)
        return float((inside + beyond) / self.pixel_area)

    def mean_profile(self, r: ArrayLike) -> np.ndarray:
        """log10 of the PRF's mean over the angles at radii (arcsec, 1-D); NaN beyond rmax."""
        phi = np.linspace(-np.pi, np.pi, 2 * self.n_phi, endpoint=False)
        mean = self.evaluate(np.asarray(r)[:, None], phi[None, :]).mean(axis=1)
        return np.log10(np.where(mean > 0.0, mean, np.nan))

    def radius(self, threshold: np.ndarray) -> np.ndarray:
        """Radius (arcsec) beyond which the mean profile stays below ``threshold``."""
        r, outer_maximum = self._outer_maximum
        index = np.searchsorted(-outer_maximum, -np.asarray(threshold), side="left")
        return r[np.minimum(index, r.size - 1)]

    @cached_property
    def _outer_maximum(self) -> tuple[np.ndarray, np.ndarray]:
        """Radii, and the highest value of the mean profile beyond each: falls monotonically."""
        r = np.linspace(0.0, np.sqrt(self.rmax), 400) ** 2
        phi = np.linspace(-np.pi, np.pi, 2 * self.n_phi, endpoint=False)
        r[-1] *= 1.0 - 1e-12
        profile = self.evaluate(r[:, None], phi[None, :]).mean(axis=1)
        return r, np.maximum.accumulate(profile[::-1])[::-1]

    def to_table(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Columns and metadata of the ``prf`` table."""
        i, j = np.arange(self.n_radial), np.full(self.n_radial, -1)
        ii, jj = np.mgrid[self.core : self.n_radial, 0 : self.n_phi]
        columns = {
            "node": np.zeros(self.size, np.int32),
            "i": np.concatenate([i, ii.ravel()]).astype(np.int32),
            "j": np.concatenate([j, jj.ravel()]).astype(np.int32),
            "coefficient": self.coefficients,
            "errors": [np.empty(0, np.float32)] * self.size,
        }
        numbers = {
            name: getattr(self, name)
            for name in ("n_r", "n_phi", "rmin", "cut_r", "rmax", "pixel_area")
        }
        return columns, {"model": json.dumps({"kind": "log-polar", **numbers})}

    @classmethod
    def from_table(
        cls, columns: Mapping[str, np.ndarray], metadata: Mapping[str, str]
    ) -> LogPolarPRF:
        """Read what `to_table` gave."""
        numbers = json.loads(metadata["model"])
        if numbers.pop("kind") != "log-polar":
            raise ValueError(f"expected a log-polar model, got {metadata['model']}")
        return cls(**numbers, coefficients=np.asarray(columns["coefficient"], dtype=float))
