"""The log-polar basis in which psfmachine and roman-lcs exchange PRF models.

Like ours it is log10 of the PRF on cubic B-splines of radius and angle, with the radial knots
uniform in sqrt(r), but

- its radial splines are cubic in r, ours in sqrt(r), and go on below rmin to r = 0;
- a constant function precedes them, and another one ends the list of weights;
- the first ``cut`` radial functions, ``cut`` being the last knot inside cut_r, lose their angles,
  and all but the constant come back, angle-free, after those that have angles.

Both packages put the outermost knots at the smallest and largest radius among the pixels they
evaluate, so their model depends on which pixels those are.  Here the outermost knots are 0 and
rmax, which is what they do for pixels that reach from the centre to rmax.  For pixels beyond rmax
they stretch the last four radial functions, which changes their model from the last but three
knots outwards and which their files do not record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.interpolate import BSpline, make_lsq_spline

from romanprf.prf.logpolar import LogPolarPRF

#: Steps of our radial knots in one of theirs: log10 of the PRF agrees to 1e-4 dex.
_REFINEMENT = 8
#: Keeps the model small when rmin is close to rmax.
_MAX_KNOTS = 1000
#: Points per radial knot interval at which one basis is fitted to the other.
_SAMPLES = 20


@dataclass(frozen=True)
class ExchangeBasis:
    """Geometry of the basis, under the names that the headers of the files use.

    Attributes
    ----------
    n_rknots, n_pknots : int
        Knots: radial, from ``rmin`` to ``rmax``; angular.
    rmin, rmax, cut_r : float
        Arcsec.
    """

    n_rknots: int
    n_pknots: int
    rmin: float
    rmax: float
    cut_r: float

    def __post_init__(self) -> None:
        """Refuse a geometry that has no basis.

        Raises
        ------
        ValueError
            If there are too few knots or the radii are not in order.
        """
        if self.n_rknots < 2 or self.n_pknots < 3:
            raise ValueError(
                f"n_rknots {self.n_rknots} and n_pknots {self.n_pknots}, expected at least 2 and 3"
            )
        if not 0.0 <= self.rmin < self.rmax < np.inf:
            raise ValueError(f"rmin {self.rmin} and rmax {self.rmax}, expected 0 <= rmin < rmax")
        if not self.cut_r >= self._knots[0]:
            raise ValueError(f"cut_r {self.cut_r}, expected at least rmin {self.rmin}")

    @classmethod
    def of(cls, model: LogPolarPRF, geometry: Mapping[str, Any]) -> ExchangeBasis:
        """The basis with the knots of ``model``, where ``geometry`` does not state others."""
        own = {
            "n_rknots": model.n_r,
            "n_pknots": model.n_phi,
            "rmin": model.rmin,
            "rmax": model.rmax,
            "cut_r": max(model.cut_r, float(np.sqrt(model.rmin) ** 2)),  # as `_knots` rounds it
        }
        basis = cls(**{name: geometry.get(name, value) for name, value in own.items()})
        if (basis.n_pknots, basis.rmax) != (model.n_phi, model.rmax):
            raise ValueError(
                f"n_pknots {basis.n_pknots} and rmax {basis.rmax} are not those of the model, "
                f"{model.n_phi} and {model.rmax}: leave out the knots of another model"
            )
        return basis

    @property
    def _knots(self) -> np.ndarray:
        return np.linspace(np.sqrt(self.rmin), np.sqrt(self.rmax), self.n_rknots) ** 2

    @property
    def _cut(self) -> int:
        """Number of radial functions without angles."""
        return int(np.nonzero(self._knots <= self.cut_r)[0][-1])

    @property
    def _n_radial(self) -> int:
        return self.n_rknots + 5

    @property
    def size(self) -> int:
        """Number of weights."""
        return self._order.size + max(self._cut - 1, 0) + 1

    @property
    def _order(self) -> np.ndarray:
        """Radial x angular functions in the order of the weights.

        The packages take them from a Python set of their numbers, so we do: that is ascending
        unless cut_r is a large part of rmax.
        """
        every = set(range(self._n_radial * self.n_pknots))
        return np.array(list(every - set(range(self._cut * self.n_pknots))))

    def _radial(self, r: np.ndarray) -> np.ndarray:
        """Values of the radial functions at ``r`` in (0, rmax), shape (r.size, n_radial)."""
        knots = self._knots
        outer = max(knots[-1], self.rmax)
        splines = BSpline.design_matrix(r, np.r_[[0.0] * 4, knots, [outer] * 4], 3).toarray()
        return np.column_stack([np.ones(r.size), splines])

    def to_prf(self, weights: np.ndarray, pixel_area: float) -> LogPolarPRF:
        """Model that weights in this basis stand for.

        Agrees with them to 1e-3 dex, except within the three innermost knots (some
        milliarcseconds), where the packages may let the PRF depend on the angle at its centre.

        Parameters
        ----------
        weights : ndarray, shape (size,)
            ``psf_w`` of the packages, dex.
        pixel_area : float
            Arcsec^2.
        """
        angular = np.zeros(self._n_radial * self.n_pknots)
        angular[self._order] = weights[: self._order.size]
        radial = np.zeros(self._n_radial)
        radial[1 : self._cut] = weights[self._order.size : -1]
        radial[0] = weights[-1]
        t_max = np.sqrt(self.rmax)
        step = (t_max - np.sqrt(self.rmin)) / (self.n_rknots - 1) / _REFINEMENT
        n_r = min(1 + int(np.ceil(t_max / step - 1e-9)), _MAX_KNOTS)
        model = LogPolarPRF(n_r, self.n_pknots, 0.0, 0.0, self.rmax, pixel_area, np.empty(0))
        t = _midpoints(0.0, t_max, n_r - 1)
        ours = make_lsq_spline(t, self._radial(t**2), model.radial_knots, 3).c
        # Their j-th angular function starts at the j-th knot, ours ends at the (j + 1)-th.
        angles = np.roll(ours @ angular.reshape(self._n_radial, -1), 3, axis=1)
        profile = ours @ radial
        profile[: model.core] += angles[: model.core].mean(axis=1)
        return replace(model, coefficients=np.concatenate([profile, angles[model.core :].ravel()]))

    def weights(self, model: LogPolarPRF) -> np.ndarray:
        """Weights in this basis that come closest to log10 of ``model``, shape (size,).

        Least squares, uniform in sqrt(r) and angle.  The mean over the angles and the rest are
        orthogonal, so they are fitted one after the other.  Where knots finer than these keep the
        centre of ``model`` free of angles, there is nothing to fit angles to.
        """
        n = model.n_radial
        knots = model.radial_knots
        t = _midpoints(0.0, np.sqrt(self.rmax), max(model.n_r, self.n_rknots) - 1)
        ours = BSpline.design_matrix(t, knots, 3).toarray()
        angles = np.zeros((n, self.n_pknots))
        angles[model.core :] = model.coefficients[n:].reshape(-1, self.n_pknots)
        mean = angles.mean(axis=1)
        angles = np.roll(angles - mean[:, None], -3, axis=1)
        theirs, cut = self._radial(t**2), self._cut
        radial = np.linalg.lstsq(theirs, ours @ (model.coefficients[:n] + mean), rcond=None)[0]
        angular = np.zeros((self._n_radial, self.n_pknots))
        has = t > (knots[6] if model.n_r > self.n_rknots else 0.0)
        angular[cut:] = np.linalg.lstsq(theirs[has, cut:], ours[has] @ angles, rcond=None)[0]
        angular[cut:] += radial[cut:, None]  # the angular functions add up to 1
        constant = radial[0] if cut else 0.0
        return np.concatenate([angular.ravel()[self._order], radial[1:cut], [constant]])


def _midpoints(lower: float, upper: float, intervals: int) -> np.ndarray:
    """Points inside (lower, upper), `_SAMPLES` to an interval, none at its ends."""
    n = _SAMPLES * intervals
    return lower + (upper - lower) * (np.arange(n) + 0.5) / n
