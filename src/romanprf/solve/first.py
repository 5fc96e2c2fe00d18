"""First fluxes of stars, measured on images with a guess of the PRF."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

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
#: A catalogued flux is wrong if it differs by more than this factor from the measured one, and so
#: do the sums over all stars within so many pixels, which may exchange light, ...
_WRONG, _BLENDED = 4.0, 2.0
#: ... by more than this part of the light of other stars in the same place, as the guess of the PRF
#: is off by 10 or 20 %, ...
_OTHERS = 0.5
#: ... if so much of its light is seen that the flux does not hang on the wings of the guess, ...
_WHOLE = 0.6
#: ... and if the larger of the two is at least this (e-/s): F146 20.1; fainter stars are easily
#: outshone by the spikes of bright ones, which the guess lacks.
_CLEAR = 1000.0


class FirstFluxes(NamedTuple):
    """Fluxes measured with a guess of the PRF, e-/s, shape (nsources,).

    ``flux``: of the stars, positive; ``each``: in each frame, (nframes, nsources), NaN where not
    seen; ``others``: what the light of all other stars would add to a flux if they were not fitted
    with it; ``shown``: part of the star's light on usable pixels; ``blends``: 1 for each two stars
    that are close, and for each star with itself, sparse (nsources, nsources).
    """

    flux: np.ndarray
    each: np.ndarray
    others: np.ndarray
    shown: np.ndarray
    blends: csr_matrix

    def typical(self, catalogued: np.ndarray) -> float:
        """Typical ratio of the measured fluxes to those of a catalogue (e-/s)."""
        bright = (self.shown > _WHOLE) & (self.flux > _BRIGHT)
        return float(np.median((self.flux / catalogued)[bright])) if bright.any() else 1.0

    def contradict(self, catalogued: np.ndarray) -> np.ndarray:
        """Whether the catalogued flux (e-/s) of each star is far off that of the images."""
        expected = self.typical(catalogued) * catalogued
        together = (self.blends @ np.nan_to_num(self.each).T).T, self.blends @ expected
        apart = _apart(self.each, expected) & _apart(*together)
        sure = np.abs(self.flux - expected) > _OTHERS * self.others
        return self._clear(catalogued) & apart & sure

    def _clear(self, catalogued: np.ndarray) -> np.ndarray:
        """Whether each star is bright, by one or the other, and seen as a whole."""
        return (self.shown > _WHOLE) & (np.fmax(self.flux, catalogued) > _CLEAR)


def _apart(each: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Whether fluxes of all frames (nframes, nsources) are far off those expected, e-/s."""
    ratio = np.maximum(each, 1.0) / np.maximum(expected, 1.0)
    least = np.nanmin(np.abs(np.log(ratio)), axis=0, initial=np.inf)
    return least > np.log(_WRONG)


def first_fluxes(
    frames: Sequence[Frame], catalogued: np.ndarray, prf: PRF, flux_cut_off: float
) -> FirstFluxes:
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
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of stars that no frame shows
        measured = np.array([_solved(frame, prf, flux_cut_off) for frame in frames])
        flux, others, shown = np.nanmedian(measured, axis=0)
    both = (flux > _BRIGHT) & (catalogued > 0.0)
    ratio = float(np.median(flux[both] / catalogued[both])) if both.any() else 1.0
    flux = np.where(np.isfinite(flux), flux, ratio * np.nan_to_num(catalogued))
    return FirstFluxes(
        flux=np.maximum(flux, _FAINTEST),
        each=measured[:, 0],
        others=np.nan_to_num(others),
        shown=np.nan_to_num(shown),
        blends=_blends(frames[0]),
    )


def _blends(frame: Frame) -> csr_matrix:
    """Stars that are close on a frame (see `FirstFluxes`)."""
    places = np.stack(frame.places(), axis=1)
    seen = np.flatnonzero(np.isfinite(places).all(axis=1))
    pairs = seen[cKDTree(places[seen]).query_pairs(_BLENDED, output_type="ndarray")]
    row, column = np.concatenate([pairs, pairs[:, ::-1], np.repeat(seen, 2).reshape(-1, 2)]).T
    return csr_matrix((np.ones(row.size), (row, column)), shape=2 * (len(places),))


def _solved(frame: Frame, prf: PRF, flux_cut_off: float) -> np.ndarray:
    """Fluxes of a frame, what others would add to them, e-/s, and parts seen, (3, nsources).

    They are NaN where it does not show a star.
    """
    image = frame.read()
    start = aperture_fluxes(image, *frame.places()) / _APERTURE
    model = FrameModel(frame, prf, np.maximum(start, _FAINTEST), flux_cut_off)
    prior = Prior(model.flux, _WIDE * model.flux)
    fit = solve_frame(image, model.stamps, prior, _METHOD, model.add_far)
    stamps, light = model.stamps, np.nan_to_num(fit.flux)
    own = np.add.reduceat(np.append(stamps.values.astype(float) ** 2, 0.0), stamps.offset[:-1])
    own[np.diff(stamps.offset) == 0] = np.nan
    others = stamps.dot(stamps.model(light)) / own - light
    return np.stack([fit.flux, others, np.where(np.isfinite(fit.flux), fit.light, np.nan)])


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
