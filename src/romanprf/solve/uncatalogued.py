"""Statistical model of the stars that neither the catalogue nor a search gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import correlate

#: Random images that are drawn, and their seed.
_DRAWS, _SEED = 8, 1
#: Pixels on either side of a star that are drawn.
_REACH = 10
#: Pixels on either side of a star that a search looks at.
_HALF = 2
#: The light of uncatalogued stars goes as the detection limit to this power.  Towards the bulge the
#: number of stars brighter than a flux goes as its power -0.5, so the rms of the light of all
#: fainter ones as 0.75; but rare bright ones make up most of that, and do not touch most stars.
_POWER = 0.5


@dataclass(frozen=True)
class UncataloguedStars:
    """Statistical model of the uncatalogued stars of an exposure.

    Attributes
    ----------
    catalogue_limit : float
        Flux at which the catalogue ends, e-/s.
    threshold : float
        Significance at which a search finds a star, sigmas; infinite if there was none.
    n_frames : int
        Number of frames that were searched.
    prf : callable
        Fraction of a star's light in a pixel at offsets (x, y) in pixels, of any shape.
    """

    catalogue_limit: float
    threshold: float
    n_frames: int
    prf: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def profile(self, half: int, x: float = 0.0, y: float = 0.0) -> np.ndarray:
        """Light of a star at x, y of a pixel on the ``half`` pixels on either side of it."""
        offset = np.arange(-half, half + 1.0)
        return self.prf(*np.meshgrid(offset - x, offset - y))

    def limit(self, weight: np.ndarray, model_variance: np.ndarray) -> np.ndarray:
        """Largest flux of an uncatalogued star on each pixel, e-/s.

        Parameters
        ----------
        weight : ndarray, shape (nrows, ncols)
            Inverse variance of the pixels of a frame, 0 where rejected.
        model_variance : ndarray, shape (nrows, ncols)
            Square of the likely error of the model, the same in all frames, (e-/s)^2.
        """
        stacked = self.n_frames * weight
        stacked /= 1.0 + stacked * model_variance
        precision = correlate(stacked, self.profile(_HALF) ** 2, mode="nearest")
        with np.errstate(divide="ignore"):
            return np.fmin(self.threshold / np.sqrt(precision), self.catalogue_limit)

    def images(self, limit: np.ndarray) -> Iterator[np.ndarray]:
        """Random images of such stars, one in every pixel, with fluxes of either sign.

        Their light scales with the limit, up to a factor that is the same everywhere; its mean
        would be taken for background.  In mean squares many faint stars equal few bright ones.

        Parameters
        ----------
        limit : ndarray, shape (nrows, ncols)
            From `limit`.
        """
        from scipy.signal import oaconvolve  # noqa: PLC0415  (slow to import, once a batch)

        random = np.random.default_rng(_SEED)
        typical = self.catalogue_limit * (limit / self.catalogue_limit) ** _POWER
        for _ in range(_DRAWS):
            profile = self.profile(_REACH, *random.uniform(-0.5, 0.5, 2))
            yield oaconvolve(typical * random.normal(size=limit.shape), profile, mode="same")
