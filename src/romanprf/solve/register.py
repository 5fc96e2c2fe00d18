"""How far a frame is off its WCS, from the images of its stars."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from romanprf.core.image import Image
from romanprf.flags import SourceFlag
from romanprf.frame import image_nb, stamps_nb
from romanprf.frame.stamps import Stamps
from romanprf.solve import register_nb
from romanprf.solve.fluxes import VARIANCE_FLOOR

#: Half the step of the derivatives, pixels.
_STEP = 0.05
#: Relative error of the PRF that is allowed for, so that the brightest stars do not rule alone.
_PRF_ERROR = 0.02
#: A pixel further off than this many sigmas does not take part.
_CLIP = 5.0
#: Pixels to which the stars give less than so many sigmas would add next to nothing; one that is
#: rejected has an infinite error.
_LIT = 2.0
#: Steps at most; they end when one is shorter than this fraction of the error.  A frame that is far
#: off takes several: its steepest pixels look like outliers at first.
_ITERATIONS, _SETTLED = 8, 0.1
#: After a shorter step (pixels) the slopes are still those of before.
_CURVED = 0.02
#: So many stars, brighter than this (e-/s), tell where a frame is.
_STARS, _FAINTEST = 500, 100.0
_UNFIT = int(SourceFlag.BLENDED | SourceFlag.CONTAMINANT | SourceFlag.SATURATED)

#: Stamps of the stars for a shift (x, y) of the frame in pixels.
MakeStamps = Callable[[tuple[float, float]], Stamps]


class Shift(NamedTuple):
    """Pixels (x, y) by which a frame is off its WCS, and the 1 sigma errors."""

    x: float
    y: float
    x_err: float
    y_err: float


#: The WCS as it is.
UNKNOWN = Shift(0.0, 0.0, np.nan, np.nan)


def reference_stars(flux: np.ndarray, flags: np.ndarray, most: int = _STARS) -> np.ndarray:
    """Choose stars whose place and light are known best: bright, alone, not saturated.

    Parameters
    ----------
    flux : ndarray, shape (nsources,)
        e-/s.
    flags : ndarray, shape (nsources,)
        Bits of `SourceFlag` of the sources table.
    most : int
        So many, the brightest.  The default is enough to tell where a frame is.

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


def frame_shift(
    image: Image, make: MakeStamps, flux: np.ndarray, others: np.ndarray, start: tuple[float, float]
) -> Shift:
    """Least-squares shift of bright stars (Gauss-Newton, the fluxes held).

    Parameters
    ----------
    image : Image
        Of the frame.
    make : callable
        Stamps of the stars.
    flux : ndarray, shape (nstars,)
        e-/s.
    others : ndarray, shape (nrows, ncols)
        Light of all other stars, e-/s; the sky is what is left at the pixels of these.
    start : tuple of float
        First guess, pixels; also the answer, with errors NaN, if the stars are not in the image.
    """
    shift, normal, right = np.array(start, float), np.empty((2, 2)), np.empty(2)
    lit = np.empty(image.flux.shape, bool)
    image_nb.brighter(make(start).model(flux), image.flux_err, _LIT, lit)
    near = np.flatnonzero(lit)
    if near.size == 0:
        return Shift(*start, np.nan, np.nan)
    data, error, rest = (a.ravel()[near] for a in (image.flux, image.flux_err, others))
    place = np.full(image.flux.shape, -1, np.int32)
    place.ravel()[near] = np.arange(near.size)

    def model(x: float, y: float) -> np.ndarray:
        stamps, light = make((shift[0] + x, shift[1] + y)), np.zeros(near.size)
        stamps_nb.add_listed(stamps.window, stamps.offset, stamps.values, flux, place, light)
        return light

    step = np.full(2, np.inf)
    for _ in range(_ITERATIONS):
        if np.abs(step).max() > _CURVED:
            ahead = np.stack([model(_STEP, 0.0), model(0.0, _STEP)])
            behind = np.stack([model(-_STEP, 0.0), model(0.0, -_STEP)])
            slopes = (ahead - behind) / (2.0 * _STEP)
        stars = model(0.0, 0.0)
        sky = np.median(data - stars - rest)
        pixels = data, error, stars, rest + sky, slopes
        numbers = image.poisson_slope, VARIANCE_FLOOR, _PRF_ERROR, _CLIP
        register_nb.shift_equations(*pixels, *numbers, normal, right)
        if np.linalg.matrix_rank(normal) < 2:
            return Shift(*start, np.nan, np.nan)
        covariance = np.linalg.inv(normal)
        step = covariance @ right
        shift += step
        if (np.abs(step) < _SETTLED * np.sqrt(np.diag(covariance))).all():
            break
    x_err, y_err = np.sqrt(np.diag(covariance))
    return Shift(float(shift[0]), float(shift[1]), float(x_err), float(y_err))
