"""One exposure of a simulated field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS

from romanprf.config import Simulate
from romanprf.simulate import wfi
from romanprf.simulate.detector import bad_pixels, cosmic_rays, expose
from romanprf.simulate.field import Field, plane_matrix
from romanprf.simulate.render import inject
from romanprf.simulate.streams import Stream, random
from romanprf.sky.motion import positions_at
from romanprf.sky.wcs import project

#: Steps of the R2 sequence (Roberts 2018) along columns and rows, pixels: powers of 1/g with
#: g^3 = g + 1.  Sub-pixel phases then fill the pixel evenly whatever the number of exposures.
_R2 = 1.0 / 1.32471795724474602596 ** np.array([1, 2])


@dataclass(frozen=True, eq=False)
class SimulatedExposure:
    """One calibrated exposure.

    Attributes
    ----------
    number : int
        Exposure number, from 0.
    time : float
        Middle of the exposure, Julian date.
    sca : int
        Detector, 1 ... 18.
    flux, flux_err : ndarray of float32, shape (rows, columns)
        e-/s, without the background.  ``flux_err`` is 0 where a pixel is saturated or bad, and
        ``flux`` is NaN where it is bad.  Cosmic-ray hits are not marked.
    wcs : astropy.wcs.WCS
        ICRS; axis 1 is the column, as astropy expects.
    """

    number: int
    time: float
    sca: int
    flux: np.ndarray
    flux_err: np.ndarray
    wcs: WCS


def make_exposure(field: Field, settings: Simulate, number: int) -> SimulatedExposure:
    """Observe a field.

    The exposure depends on the settings and on its number, not on the number of exposures.

    Parameters
    ----------
    field : Field
        From `make_field` with the same settings.
    settings : Simulate
        ``exposures`` is not used.
    number : int
        Exposure number, from 0.
    """
    shape = (settings.size, settings.size)
    dx, dy = dither(settings, number)
    time = float(wfi.to_time(number, settings.cadence))
    x, y = places(field, settings, time)
    x, y = x + dx, y + dy
    fluxes = field.fluxes(time)
    rate = inject(np.zeros(shape), x, y, fluxes, settings.sca, settings.prf_span)
    hits = cosmic_rays(
        shape, settings.cosmic_rays, random(settings.seed, Stream.COSMIC_RAYS, number)
    )
    bad = bad_pixels(shape, settings.bad_pixels, random(settings.seed, Stream.BAD_PIXELS))
    noise = random(settings.seed, Stream.NOISE, number)
    flux, flux_err = expose(rate, hits, bad, noise)
    wcs = pointing(settings, dx, dy)
    return SimulatedExposure(
        number=number, time=time, sca=settings.sca, flux=flux, flux_err=flux_err, wcs=wcs
    )


def places(field: Field, settings: Simulate, time: float) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of the stars at a Julian date in an exposure without dither, pixels."""
    stars, centre = field.stars, (settings.ra, settings.dec)
    then = project(stars["ra"].to_numpy(), stars["dec"].to_numpy(), *centre)
    now = project(*positions_at(stars, time), *centre)
    dx, dy = np.linalg.solve(plane_matrix(), np.subtract(now, then))
    # Stars that do not move keep their place to the bit.
    return stars["x"].to_numpy() + dx, stars["y"].to_numpy() + dy


def dither(settings: Simulate, number: int) -> tuple[float, float]:
    """Shift of the stars along columns and rows, pixels.

    Sub-pixel phases fill the pixel evenly, whatever the number of exposures; whole pixels are
    random.
    """
    width = 2.0 * settings.dither
    whole = max(int(width), 1)
    start = random(settings.seed, Stream.DITHER).random(2)
    phase = (start + number * _R2) % 1.0
    jump = random(settings.seed, Stream.DITHER, number + 1).integers(0, whole, 2)
    dx, dy = min(width, 1.0) * (jump + phase - 0.5 * whole)
    return float(dx), float(dy)


def pointing(settings: Simulate, dx: float, dy: float) -> WCS:
    """World coordinates of an exposure whose stars are shifted by (dx, dy) pixels."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.crval = [settings.ra, settings.dec]
    wcs.wcs.crpix = 0.5 * (settings.size - 1) + np.array([dx, dy]) + 1.0  # FITS counts from 1
    wcs.wcs.cdelt = [1.0, 1.0]
    wcs.wcs.pc = plane_matrix()
    wcs.pixel_shape = (settings.size, settings.size)
    wcs.wcs.set()
    return wcs
