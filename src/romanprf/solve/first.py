"""First fluxes of stars, measured on images with a guess of the PRF."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from scipy.ndimage import uniform_filter

from romanprf.core.image import Image
from romanprf.frame.frame import Frame
from romanprf.frame.model import FrameModel
from romanprf.prf import PRF
from romanprf.solve.fluxes import Method, Prior, solve_frame

#: Fraction of the light of a star in 3 x 3 pixels.
_APERTURE = 0.65
#: Prior sigma of a first flux in units of itself, and its least value (e-/s): F146 26.
_WIDE, _FAINTEST = 3.0, 5.0
#: Stars at least this bright (e-/s) show the typical ratio to the catalogue.
_BRIGHT = 100.0
_METHOD = Method(tolerance=1e-3, reweight=1)


def first_fluxes(
    frames: Sequence[Frame], catalogued: np.ndarray, prf: PRF, flux_cut_off: float
) -> np.ndarray:
    """Fluxes of all stars of some frames, to 10 or 20 %: as good as the guess of the PRF.

    All stars of a frame are solved together, starting from sums over 3 x 3 pixels; the result is
    the median over the frames.

    Parameters
    ----------
    frames : sequence of Frame
        With the same stars.
    catalogued : ndarray, shape (nsources,)
        Fluxes in any filter, e-/s, NaN where unknown; their typical ratio to those measured gives
        the fluxes of stars that no frame shows.
    prf : PRF
        A guess.
    flux_cut_off : float
        e-/s per pixel at which the light of a star ends.

    Returns
    -------
    ndarray, shape (nsources,)
        e-/s, positive.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of stars that no frame shows
        flux = np.nanmedian([_solved(frame, prf, flux_cut_off) for frame in frames], axis=0)
    both = (flux > _BRIGHT) & (catalogued > 0.0)
    ratio = float(np.median(flux[both] / catalogued[both])) if both.any() else 1.0
    flux = np.where(np.isfinite(flux), flux, ratio * np.nan_to_num(catalogued))
    return np.maximum(flux, _FAINTEST)


def _solved(frame: Frame, prf: PRF, flux_cut_off: float) -> np.ndarray:
    """Fluxes of a frame, e-/s; NaN where it does not show a star."""
    image = frame.read()
    start = aperture_fluxes(image, *frame.places()) / _APERTURE
    model = FrameModel(frame, prf, np.maximum(start, _FAINTEST), flux_cut_off)
    prior = Prior(model.flux, _WIDE * model.flux)
    return solve_frame(image, model.stamps, prior, _METHOD, model.add_far).flux


def aperture_fluxes(image: Image, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sums over 3 x 3 pixels above the median of the image, at places (pixels), e-/s.

    The largest of them where some of the pixels are rejected, as in saturated cores; 0 outside.
    """
    usable = image.usable
    sky = float(np.median(image.flux[usable]))
    total = 9.0 * uniform_filter(np.where(usable, image.flux - sky, 0.0), 3, mode="constant")
    whole = uniform_filter(usable.astype(float), 3, mode="constant", cval=1.0) > 1.0 - 1e-6
    total[~whole] = total[whole].max(initial=0.0)
    with np.errstate(invalid="ignore"):
        column, row = np.rint(x), np.rint(y)
        inside = (column >= 0) & (row >= 0) & (column < total.shape[1]) & (row < total.shape[0])
    flux = np.zeros(len(x))
    flux[inside] = total[row[inside].astype(int), column[inside].astype(int)]
    return flux
