"""The log-polar basis of the PRF models that psfmachine and roman-lcs save.

As in `romanprf.prf.logpolar`, log10 of the PRF is a sum of cubic B-splines in radius and angle with
radial knots uniform in sqrt(r).  The differences:

- the radial splines are cubic in r, not in sqrt(r), and continue below rmin to r = 0;
- a constant is the first radial function, and another constant has the last weight;
- the radial functions before number ``cut``, the last knot inside cut_r, have no angles; without
  the constant they follow those that have angles.

Both packages put the outermost knots at the smallest and the largest radius among the pixels they
evaluate, so their model depends on these pixels.  Here the outermost knots are 0 and rmax, as there
for pixels that reach from the centre to rmax.  For pixels beyond rmax the packages stretch the last
four radial functions, which changes the model outside the last but third knot; their files do not
record it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.interpolate import BSpline, make_lsq_spline

from romanprf.prf.logpolar import LogPolarPRF

#: Intervals of our radial knots per interval of theirs: log10 of the PRF agrees to 1e-4 dex (rms).
_REFINEMENT = 8
#: Largest number of our radial knots, which would have no limit for rmin close to rmax.
_MAX_KNOTS = 1000
#: Points per interval of the radial knots at which one basis is fitted to the other; four functions
#: are not zero there.
_SAMPLES = 20


@dataclass(frozen=True)
class ExchangeBasis:
    """Geometry of the basis, by the names in the headers of the files.

    Attributes
    ----------
    n_rknots, n_pknots : int
        Numbers of radial knots, from ``rmin`` to ``rmax``, and of angular knots.
    rmin, rmax, cut_r : float
        First and last radial knot, and radius inside which there are no angles, arcsec.
    """

    n_rknots: int
    n_pknots: int
    rmin: float
    rmax: float
    cut_r: float

    def __post_init__(self) -> None:
        """Check the geometry.

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
        """Basis with the knots in ``geometry`` or, where it lacks them, with those of ``model``.

        Raises
        ------
        ValueError
            If the geometry is not one that ``model`` can have.
        """
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
        """Numbers of the radial x angular functions in the order of their weights.

        The packages iterate over a Python set of these numbers: ascending unless cut_r is a large
        part of rmax.
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
        """Model with these weights.

        It agrees with them to 1e-3 dex, except inside the third knot (some milliarcseconds), where
        a PRF of the packages may depend on the angle even at its centre.

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
        # Their angular function j starts at knot j, ours ends at knot j + 1.
        angles = np.roll(ours @ angular.reshape(self._n_radial, -1), 3, axis=1)
        profile = ours @ radial
        profile[: model.core] += angles[: model.core].mean(axis=1)
        return replace(model, coefficients=np.concatenate([profile, angles[model.core :].ravel()]))

    def weights(self, model: LogPolarPRF) -> np.ndarray:
        """Weights that come closest to log10 of ``model``, shape (size,), dex.

        Least squares, uniform in sqrt(r) and angle.  The mean over the angles and the rest are
        orthogonal, so they are fitted one after the other.  Angles are not fitted at the centre of
        a ``model`` of more knots than these, which has none there.
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
    """Midpoints of `_SAMPLES` parts of each of the intervals between two numbers."""
    n = _SAMPLES * intervals
    return lower + (upper - lower) * (np.arange(n) + 0.5) / n
