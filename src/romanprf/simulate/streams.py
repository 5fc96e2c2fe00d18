"""Independent random numbers for each part of a simulation.

The random numbers of an exposure depend on the seed and on its number only: a longer simulation
starts with exactly the exposures of a shorter one.
"""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """Part of a simulation that draws random numbers."""

    STARS = 1
    EVENTS = 2
    BAD_PIXELS = 3
    DITHER = 4
    NOISE = 5
    COSMIC_RAYS = 6
    CATALOGUE = 7
    MOTIONS = 8
    PARALLAXES = 9
    BRIGHT_STARS = 10


def random(seed: int, stream: Stream, exposure: int = 0) -> np.random.Generator:
    """Generator of one stream of one exposure."""
    return np.random.default_rng([int(stream), exposure, seed])
