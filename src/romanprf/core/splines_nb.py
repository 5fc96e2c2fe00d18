"""Cubic B-splines on uniform knots: the basis of every PRF model.

Letters: m = breakpoints, n = basis functions.  A point in interval k of a uniform grid touches
the four functions k ... k+3; their values depend only on the position u in [0, 1) inside the
interval (de Boor 2001, A Practical Guide to Splines, ch. IX).
"""

import numpy as np

from romanprf.core.accelerate import helper


@helper
def uniform_cubic(u):
    """Values of the four cubic B-splines that touch an interval, at ``u`` in [0, 1]."""
    v = 1.0 - u
    return (
        v * v * v / 6.0,
        (3.0 * u * u * u - 6.0 * u * u + 4.0) / 6.0,
        (3.0 * v * v * v - 6.0 * v * v + 4.0) / 6.0,
        u * u * u / 6.0,
    )


@helper
def locate(x, lower, step, intervals):
    """Interval index and position in it of ``x``, held inside [lower, lower + step * intervals]."""
    s = (x - lower) / step
    k = int(s)
    if s < 0.0:
        return 0, 0.0
    if k >= intervals:
        return intervals - 1, 1.0
    return k, s - k


@helper
def locate_wrapped(x, lower, step, intervals):
    """Interval index and position of ``x`` on a closed ring of ``intervals``."""
    s = (x - lower) / step
    if s < 0.0 or s >= intervals:  # the floor costs more than all the rest
        s -= intervals * np.floor(s / intervals)
    k = int(s)
    if k < 0 or k >= intervals:  # s rounded up to a full turn, or is NaN
        return 0, s - intervals if k < 0 else 0.0
    return k, s - k
