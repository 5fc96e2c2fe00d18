"""Finding stars in what the model of all frames leaves over.

The PRF is the matched filter (e.g. Zackay & Ofek 2017, ApJ 836, 187, for a stack of frames with
different PRFs and noise): around each point of a fine grid on the sky, with residuals r and their
weights w, a star of flux f gives

    N = sum w r p,   D = sum w p^2,   f = N / D,   significance = N / sqrt(D)

over the pixels of all frames.  N also holds beside a known star, whose free flux takes a part of
the light of the other; D then is too large, so that the significance is a lower limit.

What is wrong with the PRF along a diffraction spike, or with the background, goes on to both sides
of a point and is subtracted from the significance, which is in units of its own scatter where there
are no stars.  The rest of what is wrong is told from the negative of the stack.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from romanprf.frame import match_nb
from romanprf.frame.model import FrameModel, FrameModels
from romanprf.frame.templates import CELL, templates
from romanprf.io.scratch import kept
from romanprf.search import stack_nb
from romanprf.sky.wcs import MARGIN
from romanprf.solve.fluxes import Prior
from romanprf.solve.noise import PRF_ERROR_SEARCH
from romanprf.solve.residual import residual

#: Points of the grid per pixel and axis, and of a tile of it, which is worked on at a time.
_FINE, _TILE = 3, 192
#: A frame that is off the median of all by so many errors, and by this fraction of the flux (a
#: point of the grid is off the star), does not count.
_CLIP, _SPREAD = 5.0, 0.3
#: Closer to a known star (pixels) two fluxes are degenerate.
_DEGENERATE = 0.7
#: A peak as close as this (pixels) to a more significant one waits for the next search.
_APART = 2.0
#: Peaks count down to the significance at which the negative of the stack has this part of the
#: number of stars found so far.
_FALSE = 0.01
#: Points (rows, columns) on one side of a peak, 3 pixels away in eight directions: a star has
#: little light there, a diffraction spike or a gradient goes on.
_AROUND = ((0, 9), (3, 8), (6, 6), (8, 3), (9, 0), (8, -3), (6, -6), (3, -8))
#: The largest number in it: as many points of a tile on either side are also on the next one.
_SIDE = 9
#: Percentage of the points that are lower than this many sigmas under the median: where there are
#: no stars, which tells the sigma.  It counts down to this part of what noise and PRF errors give.
_LOW, _LOW_SIGMA, _LEAST = 2.275, 2.0, 0.5


class Found(NamedTuple):
    """Stars found, the most significant first.

    Attributes
    ----------
    ra, dec : ndarray, shape (n,)
        Degrees ICRS.
    flux : ndarray, shape (n,)
        e-/s; too low close to a known star, to be fitted with all others.
    significance : ndarray, shape (n,)
        In sigmas, above what goes on to both sides.
    n_negative : int
        Peaks above the threshold in the negative of the stack, beside which stars count only if
        they are more significant.
    """

    ra: np.ndarray
    dec: np.ndarray
    flux: np.ndarray
    significance: np.ndarray
    n_negative: int


def find_stars(models: FrameModels, prior: Prior, threshold: float, n_before: int = 0) -> Found:
    """Find stars in the stacked residuals of frames.

    Beside a bright star that is missing itself only that one is found, and the model is worse while
    bright stars are missing: fit, then look again.

    Parameters
    ----------
    models : FrameModels
        Of the frames, with the known sources; read one after the other.
    prior : Prior
        Of the flux of each known source.
    threshold : float
        Least significance, sigmas; more if the negative of the stack has peaks above it.
    n_before : int
        Number of stars that earlier searches found.
    """
    first = models[0]
    x, y = first.places()
    on_map = np.isfinite(x) & np.isfinite(y)
    known = cKDTree(np.column_stack([x[on_map], y[on_map]]))
    stack = _Stack(models, prior)
    tiles = [stack.peaks(tile, _LEAST * threshold) for tile in _tiles(_box(models))]
    sigma = _sigma(np.concatenate([tile.sample for tile in tiles]))
    positive, negative = (
        _select(_above(np.concatenate(peaks), sigma, threshold), known)
        for peaks in zip(*[tile[:2] for tile in tiles], strict=True)
    )
    positive = positive[: _likely(positive[:, 3], negative[:, 3], n_before)]
    ra, dec = first.to_sky(positive[:, 0], positive[:, 1])
    return Found(
        ra=ra,
        dec=dec,
        flux=positive[:, 2],
        significance=positive[:, 3],
        n_negative=len(negative),
    )


def _box(models: FrameModels) -> tuple[int, int, int, int]:
    """First and last row and column (pixels of the first frame) that the frames cover."""
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for model in models:
        nrows, ncols = model.frame.shape
        corners = np.array(list(product((-0.5, ncols - 0.5), (-0.5, nrows - 0.5)))).T
        x, y = models[0].to_pixels(*model.to_sky(corners[0], corners[1]))
        low = np.fmin(low, np.fmin.reduce([y, x], 1))
        high = np.fmax(high, np.fmax.reduce([y, x], 1))
    # Further out the first WCS is not defined.
    low = np.maximum(np.floor(low), -MARGIN)
    high = np.minimum(np.ceil(high), np.array(models[0].frame.shape) + MARGIN - 1.0)
    return int(low[0]), int(high[0]), int(low[1]), int(high[1])


def _tiles(box: tuple[int, int, int, int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and columns (pixels of the first frame) of each tile of the grid.

    Tiles overlap by `_SIDE` points on either side, for the maxima and their surroundings.
    """
    rows, columns = (
        np.arange(low * _FINE - _SIDE + 1, high * _FINE + _SIDE) / _FINE
        for low, high in (box[:2], box[2:])
    )
    size = _TILE + 2 * _SIDE
    for i, j in product(*(range(0, a.size - 2 * _SIDE, _TILE) for a in (rows, columns))):
        yield rows[i : i + size], columns[j : j + size]


class _Tile(NamedTuple):
    """Peaks of a tile and of its negative (see `_peaks`), and significances of its pixels."""

    positive: np.ndarray
    negative: np.ndarray
    sample: np.ndarray


class _Stack:
    """Residuals and weights of all frames, in temporary files, with the PRF that filters them."""

    def __init__(self, models: FrameModels, prior: Prior) -> None:
        self._models = models
        self._images = []
        for model in models:
            # No pixel is clipped: a missing star stands out as much as a cosmic ray.
            left = residual(model, prior, np.inf, PRF_ERROR_SEARCH, len(models))
            self._images.append((kept(left.image), kept(left.weight)))
        self._filters = [templates(m.frame, m.prf, derivatives=False) for m in models]

    def peaks(self, tile: tuple[np.ndarray, np.ndarray], threshold: float) -> _Tile:
        """Peaks of the stack on a tile, and of its negative; see `_peaks`."""
        rows, columns = tile
        number = rows.size * columns.size
        vector, matrix = np.empty((2, len(self._models), number))
        for n, model in enumerate(self._models):
            x, y = _on_frame(rows, columns, self._models[0], model)
            one = vector[n, :, None], matrix[n, :, None, None]
            match_nb.match(x, y, *self._images[n], self._filters[n], CELL, *one)
        summed, precision = np.empty((2, number))
        stack_nb.combine(vector, matrix, _CLIP, _SPREAD, summed, precision)
        with np.errstate(invalid="ignore", divide="ignore"):
            maps = np.stack([summed / precision, summed / np.sqrt(precision)])
        light, significance = maps.reshape(2, rows.size, columns.size)
        return _Tile(
            positive=_peaks(light, significance, rows, columns, threshold),
            negative=_peaks(-light, -significance, rows, columns, threshold),
            sample=significance[::_FINE, ::_FINE][np.isfinite(significance[::_FINE, ::_FINE])],
        )


def _on_frame(
    rows: np.ndarray, columns: np.ndarray, first: FrameModel, model: FrameModel
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (x, y) on a frame of all points of a tile, from those of its corners.

    Within a tile two frames of a detector differ by a linear map to 0.01 pixel.
    """
    x, y = np.meshgrid(columns[[0, -1]], rows[[0, -1]])
    t, u = ((a - a[0]) / (a[-1] - a[0]) for a in (rows, columns))
    across, down = np.stack([1.0 - u, u]), np.stack([1.0 - t, t], axis=1)
    x, y = (down @ corners @ across for corners in model.to_pixels(*first.to_sky(x, y)))
    return x.ravel(), y.ravel()


def _peaks(
    flux: np.ndarray,
    significance: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    threshold: float,
) -> np.ndarray:
    """Local maxima inside the border of maps (NaN: not seen), refined by a paraboloid.

    Returns
    -------
    ndarray, shape (n, 4)
        x, y (pixels), flux (e-/s) and significance above what goes on to both sides.
    """
    steps = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    seen = np.nan_to_num(significance)
    middle, *around = (_moved(seen, *step) for step in [(0, 0), *steps])
    i, j = np.nonzero((middle > threshold) & (middle >= np.maximum.reduce(around)))
    near = np.stack([view[i, j] for view in around])
    ridge = _ridge(significance)[i, j]
    slope = 0.5 * np.stack([near[5] - near[3], near[7] - near[1]])
    xx, yy = near[5] - 2.0 * near[4] + near[3], near[7] - 2.0 * near[4] + near[1]
    xy = 0.25 * (near[8] - near[6] - near[2] + near[0])
    determinant = np.maximum(xx * yy - xy**2, 1e-12)
    step = np.stack([xy * slope[1] - yy * slope[0], xy * slope[0] - xx * slope[1]]) / determinant
    step = np.clip(step, -1.0, 1.0)
    gain = 1.0 + 0.5 * (slope * step).sum(axis=0) / near[4]
    x, y = columns[j + _SIDE] + step[0] / _FINE, rows[i + _SIDE] + step[1] / _FINE
    peaks = np.stack([x, y, gain * flux[i + _SIDE, j + _SIDE], gain * near[4] - ridge], axis=1)
    return peaks[peaks[:, 3] > threshold]


def _moved(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """Inside of a map, ``_SIDE`` points less on all sides, from so many points away."""
    height, width = (length - 2 * _SIDE for length in image.shape)
    return image[_SIDE + down :, _SIDE + right :][:height, :width]


def _ridge(significance: np.ndarray) -> np.ndarray:
    """What goes on to both sides of each point in some direction: the lesser of the two sides.

    Where one side is not seen, it is the other.
    """
    sides = [np.fmin(_moved(significance, i, j), _moved(significance, -i, -j)) for i, j in _AROUND]
    return np.fmax(np.fmax.reduce(sides), 0.0)


def _sigma(significance: np.ndarray) -> float:
    """Scatter of the significance where there are no stars: 1 if the errors of the model are right.

    Stars raise the significance, so that the low side tells.
    """
    if significance.size == 0:
        return 1.0
    low, middle = np.percentile(significance, [_LOW, 50.0])
    return max(float(middle - low) / _LOW_SIGMA, _LEAST)


def _above(peaks: np.ndarray, sigma: float, threshold: float) -> np.ndarray:
    """Peaks above the threshold, with significances in units of their scatter."""
    peaks = peaks / [1.0, 1.0, 1.0, sigma]
    return peaks[peaks[:, 3] > threshold]


def _select(peaks: np.ndarray, known: cKDTree) -> np.ndarray:
    """Peaks away from known stars, the most significant first and far from the next one."""
    if known.n > 0:
        distance, _ = known.query(peaks[:, :2], distance_upper_bound=_DEGENERATE)
        peaks = peaks[~np.isfinite(distance)]
    peaks = peaks[np.argsort(-peaks[:, 3], kind="stable")]
    pairs = cKDTree(peaks[:, :2]).query_pairs(_APART, output_type="ndarray")
    return np.delete(peaks, pairs.max(axis=1), axis=0)


def _likely(positive: np.ndarray, negative: np.ndarray, n_before: int) -> int:
    """Number of peaks, the most significant first, of which few are false.

    As many are false as there are in the negative of the stack (target-decoy: Elias & Gygi 2007,
    Nature Methods 4, 207).

    Parameters
    ----------
    positive, negative : ndarray, shape (npeaks,)
        Significances, descending.
    n_before : int
        Number of stars found before.
    """
    false = np.searchsorted(-negative, -positive, side="right")
    number = np.arange(1, positive.size + 1)
    return int(number[false <= _FALSE * (n_before + number)].max(initial=0))
