"""Jumps of the pointing in a series on one pixel grid, found without a PRF."""

from __future__ import annotations

import numpy as np

from romanprf.machine.grid import PixelGrid

#: Frames further than this (pixels) from where most of them point, at so many sigmas, have jumped:
#: less hardly widens the mean of the PRF.
_FAR, _SIGMA = 0.15, 5.0
#: Side of the cells in which frames are counted, pixels.
_CELL = 0.1


def jumps(grid: PixelGrid, flux: np.ndarray, flux_err: np.ndarray) -> np.ndarray:
    """Frames whose stars are elsewhere on the grid than those of most frames.

    Parameters
    ----------
    grid : PixelGrid
        Of all frames.
    flux, flux_err : ndarray, shape (nt, npixels)
        e-/s; pixels in which either is not finite do not count.

    Returns
    -------
    ndarray of bool, shape (nt,)
    """
    shift, error = shifts(grid, flux, flux_err)
    distance = np.hypot(*shift.T)
    return (distance > _FAR) & (distance > _SIGMA * error)


def shifts(
    grid: PixelGrid, flux: np.ndarray, flux_err: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rough shift (x, y) of the stars of each frame from where most frames have them; its error.

    The parameters are those of `jumps`; pixels, shapes (nt, 2) and (nt,).
    """
    shift, error = _from_mean(grid, flux, flux_err)
    cell = np.floor(shift / _CELL).astype(np.int64)
    _, number, count = np.unique(cell, axis=0, return_inverse=True, return_counts=True)
    return shift - np.median(shift[number.ravel() == np.argmax(count)], axis=0), error


def _from_mean(
    grid: PixelGrid, flux: np.ndarray, flux_err: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Shift (x, y) of each frame from the mean, pixels, by the slopes of that; and its error.

    Undersampled stars are steeper than the differences of neighbouring pixels: the scale is rough.
    """
    good = np.isfinite(flux) & np.isfinite(flux_err)
    count = good.sum(axis=0)
    mean = np.where(good, flux, 0.0).sum(axis=0) / np.maximum(count, 1)
    image = np.full(grid.shape, np.nan)
    image[grid.row, grid.column] = np.where(count > 0, mean, np.nan)
    slopes = np.stack([grid.pixels(np.gradient(image, axis=axis)) for axis in (1, 0)])
    use = np.isfinite(slopes).all(axis=0) & (count > 0)
    noise = np.array(
        [np.median(e[g]) if g.any() else np.inf for e, g in zip(flux_err.T, good.T, strict=True)]
    )
    weight = 1.0 / noise[use]
    design = np.stack([*slopes[:, use], mean[use], np.ones(use.sum())]) * weight
    inverse = np.linalg.pinv(design.T)
    left = np.where(good, flux - mean, 0.0)[:, use] * weight
    error = float(np.sqrt((inverse[:2] ** 2).sum(axis=1).max()))
    return -(left @ inverse.T)[:, :2], np.full(len(flux), error)
