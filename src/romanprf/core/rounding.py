"""Rounding of measurements to what their errors tell: further digits are noise."""

from __future__ import annotations

import numpy as np


def rounded(values: np.ndarray, reference: np.ndarray | np.float32, bits: int) -> np.ndarray:
    """Nearest multiples of 2**-bits times the power of two at or below a reference.

    The change is at most 2**-(bits + 1) of the reference and has no preferred sign.  Rounding
    again changes nothing.  Values are kept where the reference is not positive and finite.

    Parameters
    ----------
    values : ndarray of float32
        Any shape.
    reference : ndarray of float32
        Scale of the precision wanted, such as their errors; broadcasts with the values.
    bits : int
        Of the precision.
    """
    exponent = np.frexp(reference)[1] - 1
    scaled = np.isfinite(reference) & (reference > 0.0)
    step = np.where(scaled, np.ldexp(np.float32(1.0), exponent - bits), np.float32(0.0))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        near = np.rint(values / step) * step
    return np.where(np.isfinite(near), near, values)
