"""Instrument, background and star counts of the simulation: F146 exposures of the bulge survey."""

import numpy as np

#: Optical element of all simulated exposures.
FILTER = "F146"
#: Side of a pixel on the sky, arcsec.
PIXEL_SCALE = 0.11
#: Side of a detector, pixels.
SIDE = 4088
#: Position angle of the direction of increasing column, from north through east, degrees.
ROLL = 30.0
#: AB magnitude of 1 e-/s.
ZERO_POINT = 27.5777
#: Exposure time, s.
EXPOSURE_TIME = 66.4
#: Time between two reads of a ramp, s.
READ_TIME = 3.16
#: Middle of exposure 0, Julian date (February 2027).
START = 2461450.0
#: Zodiacal and thermal light, e-/s per pixel; subtracted from the images, which keep its noise.
BACKGROUND = 5.2
#: Effective read noise of a fitted ramp, electrons.
READ_NOISE = 11.0
#: Flux of a pixel at which it saturates, e-/s: the second read of the ramp then reaches the full
#: well of 1e5 electrons, and no slope can be measured.  Stars of F146 15.8 reach it.
SATURATION_RATE = 1e5 / (2 * READ_TIME)

#: F146 magnitudes of `COUNTS`; no star brighter than the first is drawn.
COUNTS_MAGNITUDE = np.array([8.0, 14.0, 21.0, 23.0, 25.0, 28.0])
#: Stars of the bulge fields on one detector that are brighter than each of `COUNTS_MAGNITUDE`;
#: their logarithm is linear in between.  Those brighter than 8 continue the slope.
COUNTS = np.array([60.0, 3.3e3, 3.0e5, 7.5e5, 1.9e6, 7.6e6])
#: Area to which `COUNTS` refer, square pixels.
COUNTS_AREA = float(SIDE) ** 2


def to_flux(magnitude: np.ndarray) -> np.ndarray:
    """Flux in e-/s of an AB magnitude."""
    return 10.0 ** (-0.4 * (magnitude - ZERO_POINT))


def to_time(exposure: np.ndarray | int, cadence: float) -> np.ndarray:
    """Middle of an exposure by its number, Julian date; ``cadence`` in minutes."""
    return START + np.asarray(exposure) * (cadence * 60 / 86400.0)
