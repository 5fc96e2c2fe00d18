"""Centroids of stars in all frames as offsets on the sky, and what they depend on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from romanprf.flags import BAD_MEASUREMENT
from romanprf.io.exposure import Exposure
from romanprf.sky.motion import julian_year, parallax_factors
from romanprf.sky.states import place_derivatives
from romanprf.sky.wcs import ARCSEC, project

#: Columns of ``photometry`` from which offsets are made.
CENTROIDS = ("dx", "dy", "dx_err", "dy_err", "dxy_corr", "flags")
#: Terms of a frame: along columns, then along rows, a constant and two slopes each.
N_TERMS = 6
#: Offsets of a block, and its fewest stars.
_BLOCK, _FEWEST = 16_000, 16
#: Centroids further off along an axis (pixels) are not used: they come from a linear fit.
_FARTHEST = 1.0
#: Milliarcseconds in an arcsecond.
_MAS = 1e3


class Whitened(NamedTuple):
    """Equations of offsets divided by their errors: value = stars @ p + frames @ c + unit noise.

    ``value`` has shape (n, nt, 2), ``stars`` (n, nt, 2, 5), ``frames`` (n, nt, 2, 6); rows that are
    not ``usable`` (n, nt) are 0.
    """

    value: np.ndarray
    stars: np.ndarray
    frames: np.ndarray
    usable: np.ndarray


@dataclass(frozen=True, eq=False)
class Offsets:
    """Offsets of n stars from their states in nt frames, (east, north), mas.

    Attributes
    ----------
    value : ndarray, shape (n, nt, 2)
        0 where not usable.
    covariance : ndarray, shape (n, nt, 3)
        East-east, east-north, north-north, mas^2; 1, 0, 1 where not usable.
    usable : ndarray of bool, shape (n, nt)
        Measured, and not flagged.
    jacobian : ndarray, shape (n, nt, 2, 2)
        (east, north) mas per (x, y) pixel.
    place : ndarray, shape (n, nt, 2)
        Pixel (x, y) from the image centre, in units of `half_side` of the image.
    factors : ndarray, shape (n, nt, 2)
        Of the parallax.
    years : ndarray, shape (nt,)
        From the epoch of the states.
    """

    value: np.ndarray
    covariance: np.ndarray
    usable: np.ndarray
    jacobian: np.ndarray
    place: np.ndarray
    factors: np.ndarray
    years: np.ndarray

    @classmethod
    def measured(
        cls,
        columns: Mapping[str, np.ndarray],
        sources: pd.DataFrame,
        exposures: Sequence[Exposure],
    ) -> Offsets:
        """Turn columns `CENTROIDS`, each (n, nt), of these sources and exposures into offsets.

        The places of the stars are those of their positions in the table of sources: motions and
        shifts of a pixel change the Jacobian of Roman's WCS by a few parts in a million.
        """
        place, jacobian = _geometry(sources, exposures)
        times = np.array([exposure.time for exposure in exposures])
        ra, dec = (sources[name].to_numpy()[:, None] for name in ("ra", "dec"))
        offset = np.stack([columns["dx"], columns["dy"]], axis=-1).astype(float)
        sx, sy, corr = (columns[name].astype(float) for name in ("dx_err", "dy_err", "dxy_corr"))
        value = np.einsum("ntij,ntj->nti", jacobian, offset)
        covariance = _turned(jacobian, sx**2, corr * sx * sy, sy**2)
        usable = (columns["flags"] & BAD_MEASUREMENT) == 0
        usable &= np.isfinite(value).all(axis=-1) & np.isfinite(covariance).all(axis=-1)
        usable &= (np.abs(offset) < _FARTHEST).all(axis=-1)
        usable &= (sx > 0.0) & (sy > 0.0) & (np.abs(corr) < 1.0)
        return cls(
            value=np.where(usable[..., None], value, 0.0),
            covariance=np.where(usable[..., None], covariance, [1.0, 0.0, 1.0]),
            usable=usable,
            jacobian=np.nan_to_num(jacobian),
            place=np.nan_to_num(place),
            factors=np.stack(parallax_factors(ra, dec, times), axis=-1),
            years=np.array([julian_year(time) for time in times]) - sources["epoch"].iloc[0],
        )

    def only(self, stars: np.ndarray | slice) -> Offsets:
        """Those of some stars."""
        return replace(
            self,
            **{f.name: getattr(self, f.name)[stars] for f in fields(self) if f.name != "years"},
        )

    def blocks(self) -> Iterator[tuple[slice, Offsets]]:
        """Ranges of stars whose equations fit into the cache of a core."""
        n, nt = self.usable.shape
        size = max(_FEWEST, _BLOCK // max(nt, 1))
        for low in range(0, n, size):
            part = slice(low, min(low + size, n))
            yield part, self.only(part)

    def design(self) -> np.ndarray:
        """Offsets by unit changes of the parameters of `ASTROMETRIC`, shape (n, nt, 2, 5)."""
        return place_derivatives(self.years, self.factors)

    def terms(self) -> np.ndarray:
        """Offsets by unit terms of the frames (pixels), shape (n, nt, 2, 6)."""
        basis = linear(self.place)
        along = self.jacobian[..., None] * basis[..., None, None, :]
        return along.reshape(*self.usable.shape, 2, N_TERMS)

    def whitened(self, excess: np.ndarray) -> Whitened:
        """Equations of the offsets with this excess (nt,), mas, of the frames."""
        ee, en, nn = np.moveaxis(self.covariance, -1, 0)
        first = np.sqrt(ee + excess**2)
        cross = en / first
        second = np.sqrt(nn + excess**2 - cross**2)

        def divided(rows: np.ndarray) -> np.ndarray:
            rows = np.moveaxis(rows, 2, 0).copy()  # the axis of east and north
            scale = [a.reshape(a.shape + (1,) * (rows.ndim - 3)) for a in (first, cross, second)]
            rows[0] /= scale[0]
            rows[1] = (rows[1] - scale[1] * rows[0]) / scale[2]
            rows *= self.usable.reshape(self.usable.shape + (1,) * (rows.ndim - 3))
            return np.ascontiguousarray(np.moveaxis(rows, 0, 2))

        return Whitened(
            value=divided(self.value),
            stars=divided(self.design()),
            frames=divided(self.terms()),
            usable=self.usable,
        )


def linear(place: np.ndarray) -> np.ndarray:
    """Constant and two slopes at places of shape (..., 2): (..., 3)."""
    return np.concatenate([np.ones_like(place[..., :1]), place], axis=-1)


def half_side(exposure: Exposure) -> float:
    """Half of the longer side of an image, pixels."""
    return 0.5 * max(exposure.shape)


def field_places(sources: pd.DataFrame) -> np.ndarray:
    """Places of stars in the field, each axis from -1 to 1 about, shape (n, 2)."""
    ra, dec = sources["ra"].to_numpy(), sources["dec"].to_numpy()
    plane = np.stack(project(ra, dec, ra[0], dec[0]), axis=1)
    plane -= plane.mean(axis=0)
    return plane / max(np.abs(plane).max(), 1.0 / ARCSEC)


def _geometry(
    sources: pd.DataFrame, exposures: Sequence[Exposure]
) -> tuple[np.ndarray, np.ndarray]:
    """``place`` and ``jacobian`` of `Offsets`; NaN where a WCS does not reach."""
    ra, dec = sources["ra"].to_numpy(), sources["dec"].to_numpy()
    place = np.empty((len(ra), len(exposures), 2))
    jacobian = np.empty((len(ra), len(exposures), 2, 2))
    for t, exposure in enumerate(exposures):
        x, y = exposure.wcs.sky_to_pixel(ra, dec)
        jacobian[:, t] = _MAS * exposure.wcs.jacobian(x, y)
        place[:, t] = np.stack([x, y], axis=1) - exposure.centre
        place[:, t] /= half_side(exposure)
    return place, jacobian


def _turned(jacobian: np.ndarray, xx: np.ndarray, xy: np.ndarray, yy: np.ndarray) -> np.ndarray:
    """Covariance on the sky, as in `Offsets`, of one in pixels."""
    (a, b), (c, d) = np.moveaxis(jacobian, (-2, -1), (0, 1))
    return np.stack(
        [
            a * a * xx + 2.0 * a * b * xy + b * b * yy,
            a * c * xx + (a * d + b * c) * xy + b * d * yy,
            c * c * xx + 2.0 * c * d * xy + d * d * yy,
        ],
        axis=-1,
    )
