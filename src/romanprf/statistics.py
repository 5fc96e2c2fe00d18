"""The robust measure of spread that all steps share."""

import numpy as np

#: Median absolute deviation to standard deviation of a normal distribution.
MAD_SCALE = 1.4826


def robust_spread(values: np.ndarray) -> float:
    """1.4826 times the median absolute deviation of ``values``."""
    return MAD_SCALE * float(np.median(np.abs(values - np.median(values))))
