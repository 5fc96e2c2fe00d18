"""Bright peaks of an image: stars whose catalogue position is not needed to find them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import center_of_mass, gaussian_filter, label, maximum, maximum_filter

from romanprf.core.image import Image
from romanprf.core.statistics import robust_spread

#: Width of the matched filter, pixels: about that of the undersampled PRF.
_WIDTH = 0.6
#: Peaks stand out of the filtered image by this many of its spreads.
_SIGMA = 5.0
#: Peaks have this distance (pixels) at least from rejected pixels, which saturated stars have.
_CLEAR = 2
#: Larger groups of rejected pixels are no cores of stars but borders and defects.
_LARGEST = 400


class Peaks(NamedTuple):
    """Places (columns x, rows y, pixels) of peaks and their height, each (n,), brightest first."""

    x: np.ndarray
    y: np.ndarray
    height: np.ndarray


def bright_peaks(image: Image, sigma: float = _SIGMA) -> Peaks:
    """Local maxima of an image after a matched filter, good to a fifth of a pixel."""
    smooth, threshold = _filtered(image, sigma)
    near_rejected = maximum_filter(~image.usable, 2 * _CLEAR + 1)
    peak = (smooth == maximum_filter(smooth, 3)) & (smooth > threshold) & ~near_rejected
    peak[[0, -1]] = peak[:, [0, -1]] = False
    row, column = np.nonzero(peak)
    order = np.argsort(-smooth[row, column], kind="stable")
    row, column = row[order], column[order]
    return Peaks(
        x=column + _vertex(smooth[row, column + np.array([[-1], [0], [1]])]),
        y=row + _vertex(smooth[row + np.array([[-1], [0], [1]]), column]),
        height=smooth[row, column],
    )


def saturated_cores(image: Image, sigma: float = _SIGMA) -> Peaks:
    """Centres of groups of rejected pixels with light around them, good to half a pixel.

    Bad pixels beside a star are among them; unlike cores they do not move with the sky.
    """
    smooth, threshold = _filtered(image, sigma)
    groups, number = label(~image.usable, np.ones((3, 3)))
    every = np.arange(1, number + 1)
    height = np.asarray(maximum(smooth, groups, every))
    size = np.bincount(groups.ravel(), minlength=number + 1)[1:]
    cores = every[(height > threshold) & (size <= _LARGEST)]
    cores = cores[np.argsort(-height[cores - 1], kind="stable")]
    centre = np.reshape(center_of_mass(~image.usable, groups, cores), (-1, 2))
    return Peaks(x=centre[:, 1], y=centre[:, 0], height=height[cores - 1])


def _filtered(image: Image, sigma: float) -> tuple[np.ndarray, float]:
    """An image less its median, after a matched filter, and ``sigma`` of its spreads."""
    usable = image.usable
    sky = np.median(image.flux[usable])
    smooth = gaussian_filter(np.where(usable, image.flux - sky, 0.0), _WIDTH)
    return smooth, sigma * robust_spread(smooth[usable])


def _vertex(values: np.ndarray) -> np.ndarray:
    """Place of the maximum of parabolas through three values, shape (3, n), from the middle one."""
    before, here, after = values
    bend = np.maximum(2.0 * here - before - after, 1e-12 * here)
    return np.clip(0.5 * (after - before) / bend, -0.5, 0.5)
