"""Light of the stars beyond the footprints in which their fluxes are solved."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np

from romanprf.frame import stamps_nb
from romanprf.frame.frame import Frame
from romanprf.frame.stamps import Stamps, footprint_radius, light_scale
from romanprf.prf import PRF
from romanprf.sky.wcs import stretch

#: Light beyond footprints ends where it falls under this fraction of the cut-off.
_FAINTEST = 0.2
#: One PRF serves cells of this many pixels a side: so far out a star adds 0.1 of the noise.
_CELL = 1024
#: Sub-pixel phases per axis at which it is tabulated.
_PHASES = 8


def add_far_light(
    prf: PRF,
    frame: Frame,
    stamps: Stamps,
    flux: np.ndarray,
    flux_cut_off: float,
    image: np.ndarray,
) -> np.ndarray:
    """Add the light of the stars beyond their footprints to an image, and return it.

    The light of one star is negligible there, that of all stars is not.  Fluxes known beforehand
    are accurate enough, so that footprints, whose overlaps dominate the time of a fit, stay small.

    Parameters
    ----------
    prf : PRF
        The model.
    frame : Frame
        WCS and pixel area.
    stamps : Stamps
        The footprints.
    flux : ndarray, shape (nsources,)
        e-/s.
    flux_cut_off : float
        e-/s per pixel; the light of a star ends at a fifth of it.
    image : ndarray, shape (nrows, ncols)
        e-/s.
    """
    pixel_scale, wcs = frame.exposure.pixel_scale, frame.wcs
    outer = far_radius(prf, flux, flux_cut_off, pixel_scale)
    shining = np.flatnonzero((flux != 0.0) & (outer > stamps.radius))
    rows, columns = (_middles(length) for length in stamps.shape)
    row, column = (
        np.clip((place[shining] + 0.5) // _CELL, 0, len(cells) - 1).astype(np.uint16)
        for place, cells in ((stamps.y, rows), (stamps.x, columns))
    )
    cell = row * np.uint16(len(columns)) + column
    for i, j in product(range(len(rows)), range(len(columns))):
        some = shining[cell == i * len(columns) + j]
        if some.size:
            jacobian = wcs.jacobian(np.array([columns[j]]), np.array([rows[i]]))
            table = _phases(prf, columns[j], rows[i], tuple(jacobian.ravel().round(6)))
            light = light_scale(prf, jacobian, frame.exposure.area) * flux[some]
            own = stamps.x[some], stamps.y[some], stamps.radius[some], outer[some]
            stamps_nb.add_rings(*own, light, table, image)
    return image


def far_radius(prf: PRF, flux: np.ndarray, flux_cut_off: float, pixel_scale: float) -> np.ndarray:
    """Radius (pixels) at which the light of each source ends; see `footprint_radius`."""
    return footprint_radius(prf, np.abs(flux), _FAINTEST * flux_cut_off, pixel_scale)


def _middles(length: int) -> np.ndarray:
    """Middle of each cell along an axis, pixels."""
    start = np.arange(0, length, _CELL)
    return 0.5 * (start + np.minimum(start + _CELL, length) - 1)


@lru_cache(maxsize=16)
def _phases(prf: PRF, x: float, y: float, jacobian: tuple[float, ...]) -> np.ndarray:
    """PRF at a place for each phase of a star in its pixel, the same for all frames.

    ``jacobian``: that of `romanprf.sky.wcs.TangentWCS.jacobian`, row by row.

    Returns
    -------
    ndarray of float32, shape (phases, phases, 2 reach + 1, 2 reach + 1)
        By phase (y, x) from -0.5 to 0.5 pixel; the star's pixel is the middle one.
    """
    matrix = np.tile(np.reshape(jacobian, (2, 2)), (_PHASES**2, 1, 1))
    reach = int(np.ceil(prf.rmax / np.sqrt(stretch(matrix[0]))))
    side = 2 * reach + 1
    phase = (np.arange(_PHASES) + 0.5) / _PHASES - 0.5
    v, u = (reach + axis.ravel() for axis in np.meshgrid(phase, phase, indexing="ij"))
    values = prf.at(x, y).fill_stamps(
        u,
        v,
        np.full(u.size, 2.0 * side),
        matrix,
        np.ones(u.size),
        np.tile(np.array([0, side, 0, side], np.int32), (u.size, 1)),
        np.arange(u.size + 1) * side**2,
    )
    return values.reshape(_PHASES, _PHASES, side, side)
