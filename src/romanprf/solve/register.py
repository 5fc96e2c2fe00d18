"""Registration: how far a frame is off its WCS, from the images of its stars."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree

from romanprf.core.accelerate import get_threads
from romanprf.core.image import Image
from romanprf.flags import SourceFlag
from romanprf.frame import image_nb, stamps_nb
from romanprf.frame.model import FrameModel
from romanprf.frame.state import Shift
from romanprf.solve import register_nb
from romanprf.solve.noise import CLIP_REGISTRATION, PRF_ERROR_REGISTRATION, VARIANCE_FLOOR

#: Half the step of the derivatives, pixels.
_STEP = 0.05
#: Pixels to which the stars give less than this many sigmas would add next to nothing; one that is
#: rejected has an infinite error.
_LIT = 2.0
#: Steps at most; they end when one is shorter than this fraction of the error.  A frame that is far
#: off takes several: its steepest pixels look like outliers at first.
_ITERATIONS, _SETTLED = 8, 0.1
#: After a shorter step (pixels) the slopes are still those of before.
_CURVED = 0.02
#: Stars that are enough to measure a shift, and their least flux (e-/s).
_STARS, _FAINTEST = 500, 100.0
_UNFIT = int(SourceFlag.BLENDED | SourceFlag.CONTAMINANT | SourceFlag.SATURATED)


def reference_stars(flux: np.ndarray, flags: np.ndarray, most: int = _STARS) -> np.ndarray:
    """Choose stars whose position and light are known best: bright, alone, not saturated.

    Parameters
    ----------
    flux : ndarray, shape (nsources,)
        e-/s.
    flags : ndarray, shape (nsources,)
        Bits of `SourceFlag` of the sources table.
    most : int
        Keep this many, the brightest.  The default is enough to measure a shift.

    Returns
    -------
    ndarray of bool, shape (nsources,)
    """
    good = np.flatnonzero(((flags & _UNFIT) == 0) & (flux >= _FAINTEST))
    if good.size > most:
        good = good[np.argpartition(-flux[good], most)[:most]]
    chosen = np.zeros(flux.shape, bool)
    chosen[good] = True
    return chosen


def register(
    image: Image, model: FrameModel, flux: np.ndarray, stars: np.ndarray, nearby: float = np.inf
) -> Shift:
    """Least-squares shift of chosen stars, all fluxes held.

    Parameters
    ----------
    image : Image
        Of the frame.
    model : FrameModel
        Of the frame; its state is the first guess.
    flux : ndarray, shape (nsources,)
        e-/s.
    stars : ndarray of bool, shape (nsources,)
        The stars that are shifted; the light of the others stays where it is.
    nearby : float
        Others further than this (pixels) from all of them are left out.

    Returns
    -------
    Shift
        The first guess, with errors NaN, if the stars are not in the image.
    """
    others = ~stars
    if np.isfinite(nearby):
        others &= _close(np.stack(model.frame.places(), axis=1), stars, nearby)
    rest = model.only(others).stamps.model(flux[others])
    return frame_shift(image, model.only(stars), flux[stars], rest)


def _close(places: np.ndarray, stars: np.ndarray, nearby: float) -> np.ndarray:
    """Whether each place (n, 2) is within ``nearby`` pixels of one of the stars."""
    tree = cKDTree(np.nan_to_num(places[stars]))
    distance, _ = tree.query(
        np.nan_to_num(places), distance_upper_bound=nearby, workers=get_threads()
    )
    return np.isfinite(distance)


def frame_shift(image: Image, stars: FrameModel, flux: np.ndarray, others: np.ndarray) -> Shift:
    """Gauss-Newton shift of the stars of a model (see `register`).

    Parameters
    ----------
    image : Image
        Of the frame.
    stars : FrameModel
        The stars that are shifted, and the first guess.
    flux : ndarray, shape (nstars,)
        e-/s.
    others : ndarray, shape (nrows, ncols)
        Light of all other stars, e-/s; the background is what is left at the pixels of the stars.
    """
    start = stars.state.shift
    unknown = Shift(start.x, start.y, np.nan, np.nan)
    lit = np.empty(image.flux.shape, bool)
    image_nb.brighter(stars.stamps.model(flux), image.flux_err, _LIT, lit)
    near = np.flatnonzero(lit)
    if near.size == 0:
        return unknown
    pixels = _Lit(image, others, near)
    shift, normal, right = np.array([start.x, start.y], float), np.empty((2, 2)), np.empty(2)

    def light(x: float, y: float) -> np.ndarray:
        state = stars.state.at(shift[0] + x, shift[1] + y)
        return pixels.light(replace(stars, state=state), flux)

    step = np.full(2, np.inf)
    for _ in range(_ITERATIONS):
        if np.abs(step).max() > _CURVED:
            ahead = np.stack([light(_STEP, 0.0), light(0.0, _STEP)])
            behind = np.stack([light(-_STEP, 0.0), light(0.0, -_STEP)])
            slopes = (ahead - behind) / (2.0 * _STEP)
        pixels.add_to(light(0.0, 0.0), slopes, normal, right)
        if np.linalg.matrix_rank(normal) < 2:
            return unknown
        covariance = np.linalg.inv(normal)
        step = covariance @ right
        shift += step
        if (np.abs(step) < _SETTLED * np.sqrt(np.diag(covariance))).all():
            break
    x_err, y_err = np.sqrt(np.diag(covariance))
    return Shift(float(shift[0]), float(shift[1]), float(x_err), float(y_err))


class _Lit:
    """The pixels that the stars light up, as lists."""

    def __init__(self, image: Image, others: np.ndarray, near: np.ndarray) -> None:
        self._flux, self._error, self._rest = (
            a.ravel()[near] for a in (image.flux, image.flux_err, others)
        )
        self._poisson_slope = image.poisson_slope
        self._place = np.full(image.flux.shape, -1, np.int32)
        self._place.ravel()[near] = np.arange(near.size)

    def light(self, stars: FrameModel, flux: np.ndarray) -> np.ndarray:
        """Light of stars in each of the pixels, e-/s."""
        stamps, light = stars.stamps, np.zeros(self._flux.size)
        stamps_nb.add_listed(stamps.footprints, flux, self._place, light)
        return light

    def add_to(
        self, stars: np.ndarray, slopes: np.ndarray, normal: np.ndarray, right: np.ndarray
    ) -> None:
        """Fill the normal equations of the shift; see `register_nb.shift_equations`."""
        background = np.median(self._flux - stars - self._rest)
        register_nb.shift_equations(
            self._flux,
            self._error,
            stars,
            self._rest + background,
            slopes,
            self._poisson_slope,
            VARIANCE_FLOOR,
            PRF_ERROR_REGISTRATION,
            CLIP_REGISTRATION,
            normal,
            right,
        )
