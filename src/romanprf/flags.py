"""Every flag of the package: what it means, and what it does to a pixel or a flux.

Flags are int32 bit fields; 0 is good.  ``ROMAN_DQ`` is the one table that turns the data-quality
bits of official Roman files (``roman_datamodels.dqflags.pixel``) into ours.
"""

from __future__ import annotations

from enum import IntFlag

import numpy as np


class PixelFlag(IntFlag):
    """State of one pixel of one exposure."""

    BAD = 1  # not to be used: DO_NOT_USE, dead, hot, no fit, non-finite
    NO_ERROR = 2  # error not finite or not positive: the pixel is masked
    SATURATED = 4  # part of the ramp was saturated; usable while its error is positive
    JUMP = 8  # a cosmic ray was found and removed from the ramp; usable
    SUSPECT = 16  # reduced quality, usable (persistence, warm, telegraph ...)


#: A pixel with one of these bits carries no weight.
REJECTED_PIXEL = int(PixelFlag.BAD | PixelFlag.NO_ERROR)


class SourceFlag(IntFlag):
    """State of one source, in the catalogue or in one exposure."""

    NO_DATA = 1  # no usable pixel in the footprint: flux and error are NaN
    EDGE = 2  # the core reaches the border: within 3 pixels of it, or outside
    MASKED = 4  # part of the light falls on rejected pixels
    SATURATED = 8  # expected to saturate, or pixels in the core that did, by the file or the model
    JUMP = 16  # a removed cosmic ray in the core
    BLENDED = 32  # a neighbour closer than crossmatch.blend_limit was merged into it
    CONTAMINANT = 64  # brighter neighbours dominate the light at its position
    PRIOR = 128  # the prior holds more information than the pixels
    BAD_EXPOSURE = 256  # the exposure is flagged; without usable pixels flux and error are NaN
    OUTLIER = 1024  # a pixel of the core stands out of the model, as a cosmic ray, and is not used
    DEGENERATE = 2048  # error over 3 times that of a flux alone: known only in sum with neighbours
    AMBIGUOUS = 512  # more than one plausible match in the reference catalogue


#: Flags that exclude a measurement from light-curve metrics.  DEGENERATE does not: its error says
#: how little is known, and in a crowded field that depends on the dither.
BAD_MEASUREMENT = int(SourceFlag.NO_DATA | SourceFlag.BAD_EXPOSURE)


class ExposureFlag(IntFlag):
    """State of one exposure."""

    UNUSABLE = 1  # every pixel is flagged
    QUALITY = 2  # the file's own quality word is not zero
    NOT_CONVERGED = 4  # the solver gave up on the frame


#: Name of a bit of ``roman_datamodels.dqflags.pixel`` -> what it makes of the pixel.  Bits not
#: listed do not change how a pixel is used: NO_LIN_CORR was set on half of all pixels by some
#: pipeline versions and must not reject.
ROMAN_DQ: dict[str, PixelFlag] = {
    "DO_NOT_USE": PixelFlag.BAD,
    "SATURATED": PixelFlag.SATURATED,
    "JUMP_DET": PixelFlag.JUMP,
    "DROPOUT": PixelFlag.BAD,
    "GW_AFFECTED_DATA": PixelFlag.BAD,
    "PERSISTENCE": PixelFlag.SUSPECT,
    "AD_FLOOR": PixelFlag.BAD,
    "OUTLIER": PixelFlag.BAD,
    "UNRELIABLE_ERROR": PixelFlag.SUSPECT,
    "NON_SCIENCE": PixelFlag.BAD,
    "DEAD": PixelFlag.BAD,
    "HOT": PixelFlag.BAD,
    "WARM": PixelFlag.SUSPECT,
    "LOW_QE": PixelFlag.SUSPECT,
    "TELEGRAPH": PixelFlag.SUSPECT,
    "NONLINEAR": PixelFlag.SUSPECT,
    "NO_FLAT_FIELD": PixelFlag.BAD,
    "NO_GAIN_VALUE": PixelFlag.BAD,
    "UNRELIABLE_SLOPE": PixelFlag.SUSPECT,
    "OTHER_BAD_PIXEL": PixelFlag.BAD,
    "REFERENCE_PIXEL": PixelFlag.BAD,
}


def from_roman_dq(dq: np.ndarray) -> np.ndarray:
    """Translate the data-quality array of an official Roman file.

    Parameters
    ----------
    dq : ndarray of uint32
        Bits of ``roman_datamodels.dqflags.pixel``, any shape.

    Returns
    -------
    ndarray of int32
        Bits of `PixelFlag`, same shape.
    """
    from roman_datamodels.dqflags import pixel  # noqa: PLC0415  (a slow import, L2 files only)

    dq = np.asarray(dq)
    bits = {np.uint32(pixel[name]): int(flag) for name, flag in ROMAN_DQ.items()}
    marked = (dq & np.bitwise_or.reduce(list(bits))) != 0  # few pixels of a large image
    marks = dq[marked]
    found = np.zeros(marks.shape, dtype=np.int32)
    for bit, flag in bits.items():
        found[(marks & bit) != 0] |= flag
    flags = np.zeros(dq.shape, dtype=np.int32)
    flags[marked] = found
    return flags
