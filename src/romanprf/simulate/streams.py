"""Independent random numbers for each part of a simulation.

The numbers of one exposure depend on the seed and on its number alone, so a longer simulation
repeats a shorter one exactly.
"""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What the random numbers are for."""

    STARS = 1
    EVENTS = 2
    BAD_PIXELS = 3
    DITHER = 4
    NOISE = 5
    COSMIC_RAYS = 6


def random(seed: int, stream: Stream, exposure: int = 0) -> np.random.Generator:
    """Generator of one stream of one exposure."""
    return np.random.default_rng([int(stream), exposure, seed])
