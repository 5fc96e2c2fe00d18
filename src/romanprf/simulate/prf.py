"""The pixel-integrated Roman PRF of GalSim, tabulated for fast drawing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from romanprf.simulate.wfi import PIXEL_SCALE, SIDE

#: Wavelength at which the PSF is drawn, nm: the effective one of GalSim's F146 bandpass.
WAVELENGTH = 1472.4357507
#: Samples of the PRF per pixel and axis.  Its spectrum ends at 0.84 cycles per pixel; a cubic
#: spline through five samples per pixel keeps the error of a drawn star below 2e-4 of its peak.
OVERSAMPLING = 5
#: A star is drawn at most this far along rows and columns, pixels: 99.5 % of its light.
RADIUS = 100
#: A star is drawn as far as a pixel gets this flux, e-/s: 1/150 of the noise of the background.
FAINTEST = 0.002
#: Places per axis of a detector at which GalSim draws the PRF, the edges included.  Bilinear
#: interpolation between them is off by at most 2.2e-4 of the peak (7e-4 with 3 places).
NODES = 5


@dataclass(frozen=True, eq=False)
class SampledPRF:
    """PRF at one position on a detector.

    Attributes
    ----------
    coefficients : ndarray, shape (n, n)
        Cubic B-spline coefficients of the PRF (fraction of the flux in a pixel) over (row, column)
        offsets from the star, `OVERSAMPLING` per pixel, the star at the middle.
    envelope : ndarray, shape (RADIUS + 1,)
        Largest PRF at or beyond a distance of 0, 1, 2 ... pixels along rows or columns.
    """

    coefficients: np.ndarray
    envelope: np.ndarray

    def radius(self, flux: np.ndarray) -> np.ndarray:
        """Half-width in pixels of the square that a star of some flux (e-/s) is drawn in."""
        faintest = FAINTEST / np.maximum(np.abs(flux), FAINTEST)
        return np.searchsorted(-self.envelope, -faintest).clip(1, RADIUS).astype(np.int64)

    def evaluate(self, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
        """PRF at offsets from the star along columns and rows, pixels; 0 beyond the table."""
        from scipy.ndimage import map_coordinates  # noqa: PLC0415  (slow; drawing has its kernel)

        places = len(self.coefficients) // 2 + OVERSAMPLING * np.stack([dy, dx])
        return map_coordinates(self.coefficients, places, order=3, prefilter=False)


def nodes_at(
    x: np.ndarray, y: np.ndarray, shape: tuple[int, int], sca: int, span: float
) -> Iterator[tuple[SampledPRF, np.ndarray]]:
    """PRFs whose weighted sum is that of each star, bilinear between `NODES` x `NODES` places.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        Columns and rows of stars, pixels; beyond the detector's edge the PRF is that of the edge.
    shape : (int, int)
        Rows and columns of the image, whose middle is that of the detector.
    sca : int
        Detector, 1 ... 18.
    span : float
        Pixels of the detector that the image stands for, along either axis; 0: its centre only.

    Yields
    ------
    prf : SampledPRF
    weight : ndarray, shape (n,)
        Not 0 everywhere.
    """
    u, v = (
        (NODES - 1) * np.clip(0.5 + (place - 0.5 * (n - 1)) * span / (n * SIDE), 0.0, 1.0)
        for place, n in ((x, shape[1]), (y, shape[0]))
    )
    step = SIDE / (NODES - 1)
    for row, column in np.ndindex(NODES, NODES):
        weight = np.maximum(1.0 - np.abs(v - row), 0.0) * np.maximum(1.0 - np.abs(u - column), 0.0)
        if weight.any():
            yield sample_prf(sca, column * step, row * step), weight


@cache
def sample_prf(sca: int, x: float = SIDE / 2, y: float = SIDE / 2) -> SampledPRF:
    """Draw the PRF of a detector (1 ... 18) with GalSim, by default that of its centre.

    ``x`` and ``y`` are distances from the outer edge of the first column and row, pixels: 0 to
    `SIDE`.

    One image is drawn for each sub-pixel phase at the true pixel scale, and the images are
    interleaved.  A single image with small pixels would keep power beyond the cut-off of the
    telescope, with a peak 0.9 % lower.
    """
    # Slow imports that only this function needs.
    import galsim.roman  # noqa: PLC0415
    from scipy.ndimage import spline_filter  # noqa: PLC0415

    place = galsim.PositionD(x, y)
    psf = galsim.roman.getPSF(sca, "W146", place, pupil_bin=8, wavelength=WAVELENGTH)
    prf = galsim.Convolve(psf, galsim.Pixel(PIXEL_SCALE))
    pixels = 2 * (RADIUS + 2) + 1  # the spline reaches a little beyond the outermost pixel
    table = np.empty((pixels * OVERSAMPLING, pixels * OVERSAMPLING))
    middle = OVERSAMPLING // 2
    for row, column in np.ndindex(OVERSAMPLING, OVERSAMPLING):
        # A star moved to the left is sampled to the right of its centre.
        offset = galsim.PositionD(middle - column, middle - row) / OVERSAMPLING
        image = galsim.ImageD(pixels, pixels, scale=PIXEL_SCALE)
        prf.drawImage(image, method="no_pixel", offset=offset)
        table[row::OVERSAMPLING, column::OVERSAMPLING] = image.array
    coefficients = spline_filter(table, order=3, mode="mirror")
    return SampledPRF(coefficients=coefficients, envelope=_envelope(table))


def _envelope(table: np.ndarray) -> np.ndarray:
    offset = np.abs(np.arange(len(table)) - len(table) // 2) / OVERSAMPLING
    largest = np.abs(table).max(axis=1), np.abs(table).max(axis=0)
    return np.array(
        [max(profile[offset >= r].max() for profile in largest) for r in range(RADIUS + 1)]
    )
