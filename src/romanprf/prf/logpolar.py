"""The log-polar PRF model: log10 of the PRF as splines in radius and angle on the sky."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import block_diag, cho_factor, cho_solve

from romanprf.prf import logpolar_nb
from romanprf.prf.base import PRF
from romanprf.sky.wcs import points, stretch

#: Prior sigma of the radial coefficients about those of the first guess, dex: a factor of 3 is wide
#: for a guess that has the scale and the brightness of the data.
_RADIAL_SIGMA = 0.5
#: Prior sigma of the angular coefficients about 0, dex: a PRF is nearly round where no pixel
#: constrains its angles.
_ANGULAR_SIGMA = 0.2
#: Prior sigma of the second differences of coefficients along the radius, dex, as in P-splines
#: (Eilers & Marx 1996, Stat. Sci. 11, 89): radii without data are interpolated smoothly.
_BEND_SIGMA = 0.2
#: Prior sigma of the first differences of radial coefficients inside ``rmin``, dex: few pixels lie
#: so close to a source.
_CENTRE_SIGMA = 0.05
#: Power of the radius with which a diffraction PRF falls far from its core.
_WING_POWER = 3.0
#: Power of the radius in the wing of the first guess: that of GalSim's Roman PRF in F146 out to 2
#: arcsec, within 0.2 dex.
_INNER_POWER = 2.8
#: Weight of the second differences, relative to `_BEND_SIGMA`, where the first guess is fitted to
#: its profile: as small as keeps the equations regular.
_SMOOTHING = 1e-4
#: Midpoints in sqrt(r) at which `LogPolarPRF.integral` samples the mean profile: its sum is
#: exact to 1e-7.
_MIDPOINTS = 600
#: Radii, uniform in sqrt(r), among which `LogPolarPRF.radius` chooses: 0.5 % of ``rmax`` apart at
#: most.
_RADII = 400


def _bending(n: int) -> np.ndarray:
    """Precision matrix of the second differences of ``n`` numbers."""
    bend = np.diff(np.eye(n), 2, axis=0) / _BEND_SIGMA
    return bend.T @ bend


def guess_profile(r: np.ndarray, scale: float | np.ndarray) -> np.ndarray:
    """log10 of the round profile (1 + (r / scale)^2)^-1.4, 0 at the centre."""
    return -0.5 * _INNER_POWER * np.log10(1.0 + (r / scale) ** 2)


@dataclass(frozen=True, eq=False)
class LogPolarPRF(PRF):
    """PRF on the sky, as in Hedges et al. 2021 (AJ 162, 107), sec. 2.3.

    Radial functions that end inside ``cut_r`` do not depend on the angle.  The knots continue at
    the same step from ``rmin`` to the centre.  The model is the same all over the image, and its
    errors are unknown.

    Attributes
    ----------
    n_r, n_phi : int
        Numbers of radial knots, uniform in sqrt(r) from ``rmin`` to ``rmax``, and of periodic
        angular knots.
    rmin, cut_r, rmax : float
        First radial knot, radius inside which the PRF is round, and last radial knot, arcsec.
    pixel_area : float
        Arcsec^2.
    coefficients : ndarray, shape (n_radial + (n_radial - core) * n_phi,)
        Radial coefficients, then the angular ones by radius, dex.
    turn : float
        Angle on the sky, from east to north, at which angle 0 of the model lies, rad (see
        `turned`).
    """

    n_r: int
    n_phi: int
    rmin: float
    cut_r: float
    rmax: float
    pixel_area: float
    coefficients: np.ndarray
    turn: float = 0.0

    kind: ClassVar[str] = "log-polar"

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
        """Normalised `guess_profile` of this scale (arcsec; ``cut_r`` if not given)."""
        model = cls(n_r, n_phi, rmin, cut_r, rmax, pixel_area, np.empty(0))
        t = np.linspace(0.0, np.sqrt(rmax), 20 * n_r)
        profile = guess_profile(t**2, cut_r if scale is None else scale)
        n = model.n_radial
        matrix, vector = _SMOOTHING * _bending(n), np.zeros(n)
        radial_only = (*model._basis[:4], n)
        logpolar_nb.accumulate(
            t**2, np.zeros_like(t), profile, np.ones_like(t), *radial_only, matrix, vector
        )
        radial = cho_solve(cho_factor(matrix, lower=True), vector)
        return replace(model, coefficients=np.pad(radial, (0, model.size - n))).normalised()

    def round(self) -> LogPolarPRF:
        """Model without the angular structure."""
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
        """First radial function with angles: its support reaches beyond ``cut_r``.

        Functions that reach the centre never have angles, which are undefined there.
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
        """Geometry of the splines as `logpolar_nb.accumulate` takes it."""
        return self._t_min, self._t_step, self.n_radial - 2, self.n_phi, self.core

    @cached_property
    def _evaluation(self) -> tuple[np.ndarray, float, float, float]:
        """Table of coefficients (see `logpolar_nb.ln_prf`), first knot and step, ``rmax``."""
        table = np.repeat(self.coefficients[: self.n_radial, None], self.n_phi, axis=1)
        table[self.core :] += self.coefficients[self.n_radial :].reshape(-1, self.n_phi)
        table = np.log(10.0) * np.hstack([table, table[:, :3]])
        return table, self._t_min, self._t_step, self.rmax

    def evaluate(self, r: ArrayLike, phi: ArrayLike) -> np.ndarray:
        """See `PRF.evaluate`."""
        if self.turn:
            phi = np.mod(np.asarray(phi) - self.turn + np.pi, 2.0 * np.pi) - np.pi
        r, phi = points(r, phi)
        out = np.empty(r.size)
        logpolar_nb.evaluate(r.ravel(), phi.ravel(), *self._evaluation, out)
        return out.reshape(r.shape)

    def on_pixels(self, dx: ArrayLike, dy: ArrayLike, jacobian: np.ndarray) -> np.ndarray:
        """PRF at offsets on a detector: that on the sky times the ratio of pixel areas.

        See `PRF.on_pixels`.
        """
        r, phi = _on_sky(dx, dy, jacobian)
        return stretch(jacobian) / self.pixel_area * self.evaluate(r, phi)

    def with_wing(self, jacobian: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """`on_pixels` as a function of (dx, dy), continued beyond ``rmax`` by an r^-3 wing.

        Parameters
        ----------
        jacobian : ndarray, shape (2, 2)
            (east, north) arcsec per (x, y) pixel.
        """
        phi = np.linspace(-np.pi, np.pi, 4 * self.n_phi, endpoint=False)
        edge = self.evaluate(self.rmax * (1.0 - 1e-9), phi).mean()
        area = stretch(jacobian) / self.pixel_area

        def prf(dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
            r, phi = _on_sky(dx, dy, jacobian)
            wing = edge * (self.rmax / np.maximum(r, self.rmax)) ** _WING_POWER
            return area * np.where(r < self.rmax, self.evaluate(r, phi), wing)

        return prf

    def turned(self, angle: float) -> LogPolarPRF:
        """Model on a detector that is turned on the sky by an angle (rad, from east to north).

        A PRF belongs to its detector; this model is on the axes of the sky.
        """
        return replace(self, turn=self.turn + angle) if angle else self

    def at(self, x: float, y: float) -> LogPolarPRF:
        """Return this model, which is the same everywhere."""
        del x, y
        return self

    def seen_from(self, column: int, row: int) -> LogPolarPRF:
        """Return this model, which is the same everywhere."""
        del column, row
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
        """See `PRF.fill_stamps`."""
        values = np.empty(offset[-1], np.float32)
        if self.turn:
            cos, sin = np.cos(self.turn), np.sin(self.turn)
            jacobian = np.array([[cos, sin], [-sin, cos]]) @ jacobian
        stars = (x, y, radius, jacobian, scale, window, offset)
        if points == 1:
            logpolar_nb.fill_stamps(*stars, *self._evaluation, values)
        else:
            logpolar_nb.integrate_stamps(*stars, *self._evaluation, points, values)
        return values

    def fitted(
        self, r: np.ndarray, phi: np.ndarray, value: np.ndarray, weight: np.ndarray
    ) -> LogPolarPRF:
        """Model fitted to pixels, under a Gaussian prior that is centred on this one.

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
        """See `PRF.normalised`."""
        return self.raised(-np.log10(self.integral()))

    def brightened(self, factor: float) -> LogPolarPRF:
        """See `PRF.brightened`."""
        return self.raised(np.log10(factor))

    def raised(self, dex: float) -> LogPolarPRF:
        """Model times 10^dex: as B-splines add up to 1, all radial coefficients gain this."""
        coefficients = self.coefficients.copy()
        coefficients[: self.n_radial] += dex
        return replace(self, coefficients=coefficients)

    def integral(self) -> float:
        """See `PRF.integral`."""
        t, step = np.linspace(0.0, np.sqrt(self.rmax), _MIDPOINTS + 1, retstep=True)
        t = 0.5 * (t[1:] + t[:-1])
        phi = np.linspace(-np.pi, np.pi, 4 * self.n_phi, endpoint=False)
        mean = self.evaluate(t[:, None] ** 2, phi[None, :]).mean(axis=1)
        inside = 2.0 * np.pi * np.sum(mean * t**2 * 2.0 * t) * step  # r dr = 2 t^3 dt
        edge = self.evaluate(np.full(phi.size, self.rmax * (1.0 - 1e-12)), phi).mean()
        beyond = 2.0 * np.pi * edge * self.rmax**2 / (_WING_POWER - 2.0)
        return float((inside + beyond) / self.pixel_area)

    @property
    def _angles(self) -> np.ndarray:
        return np.linspace(-np.pi, np.pi, 2 * self.n_phi, endpoint=False)

    def radius(self, threshold: ArrayLike) -> np.ndarray:
        """See `PRF.radius`."""
        r, outer_maximum = self._outer_maximum
        index = np.searchsorted(-outer_maximum, -np.asarray(threshold), side="left")
        return r[np.minimum(index, r.size - 1)]

    @cached_property
    def _outer_maximum(self) -> tuple[np.ndarray, np.ndarray]:
        """Radii (arcsec), and the largest value of the mean profile from each outwards."""
        r = np.linspace(0.0, np.sqrt(self.rmax), _RADII) ** 2
        r[-1] *= 1.0 - 1e-12
        profile = self.evaluate(r[:, None], self._angles[None, :]).mean(axis=1)
        return r, np.maximum.accumulate(profile[::-1])[::-1]

    @property
    def n_errors(self) -> int:
        """The errors of this model are unknown: 0."""
        return 0

    def likely_errors(self, with_scale: bool) -> Iterator[LogPolarPRF]:
        """None: the errors of this model are unknown."""
        del with_scale
        return iter(())

    def to_table(self) -> tuple[dict[str, Any], dict[str, str]]:
        """See `PRF.to_table`."""
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
        return columns, {"model": json.dumps({"kind": self.kind, **numbers})}

    @classmethod
    def from_table(cls, columns: Mapping[str, Any], metadata: Mapping[str, str]) -> LogPolarPRF:
        """See `PRF.from_table`."""
        numbers = cls._description(metadata)
        return cls(**numbers, coefficients=np.asarray(columns["coefficient"], dtype=float))


def _on_sky(dx: ArrayLike, dy: ArrayLike, jacobian: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Radius (arcsec) and angle (rad) on the sky of offsets in pixels."""
    offset = np.stack(np.broadcast_arrays(dx, dy))
    east, north = np.einsum("ij,j...->i...", jacobian, offset)
    return np.hypot(east, north), np.arctan2(north, east)
