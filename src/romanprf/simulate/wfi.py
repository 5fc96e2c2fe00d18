"""The instrument and the sky of the simulation: F146 exposures of the bulge survey."""

import numpy as np

FILTER = "F146"
#: Arcsec per pixel.
PIXEL_SCALE = 0.11
#: Pixels along a side of a detector.
SIDE = 4088
#: Position angle of the columns' axis (east of north), degrees.
ROLL = 30.0
#: AB magnitude of 1 e-/s.
ZERO_POINT = 27.5777
#: Seconds: the exposure, one read of its ramp, and from one exposure to the next.
EXPOSURE_TIME, READ_TIME, CADENCE = 66.4, 3.16, 12.1 * 60
#: Middle of exposure 0, Julian date (February 2027).
START = 2461450.0
#: Zodiacal and thermal light, e-/s/pixel: subtracted from the images, but its noise stays.
SKY = 5.2
#: Effective read noise of a fitted ramp, electrons.
READ_NOISE = 11.0
#: A ramp has a slope while its first two reads are below the full well (1e5 electrons), so this
#: is the brightest pixel that can be measured, e-/s.  It is reached at F146 of about 15.8.
SATURATION_RATE = 1e5 / (2 * READ_TIME)

#: Stars brighter than each magnitude on one detector of 4088 x 4088 pixels of the bulge fields;
#: log-linear between.  Nothing is drawn that is brighter than the first.
COUNTS_MAGNITUDE = np.array([14.0, 21.0, 23.0, 25.0, 28.0])
COUNTS = np.array([3.3e3, 3.0e5, 7.5e5, 1.9e6, 7.6e6])
COUNTS_AREA = float(SIDE) ** 2


def to_flux(magnitude: np.ndarray) -> np.ndarray:
    """Flux in e-/s of an AB magnitude."""
    return 10.0 ** (-0.4 * (magnitude - ZERO_POINT))


def to_time(exposure: np.ndarray | int) -> np.ndarray:
    """Middle of an exposure by its number, Julian date."""
    return START + np.asarray(exposure) * (CADENCE / 86400.0)
