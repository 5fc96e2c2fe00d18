"""Every flag of the package: what it means, and what it does to a pixel or a flux.

Flags are int32 bit fields; 0 is good.  `ROMAN_DQ` translates the data-quality bits of official
Roman files (``roman_datamodels.dqflags.pixel``).  ``python -m romanprf.flags`` prints
``docs/reference/flags.md``; a test keeps the file equal to what is printed.
"""

from __future__ import annotations

from enum import IntFlag
from typing import Self

import numpy as np


class _Flag(IntFlag):
    """Bits, each with its meaning."""

    meaning: str

    def __new__(cls, value: int, meaning: str = "") -> Self:
        """Make a member of its bit and meaning."""
        member = int.__new__(cls, value)
        member._value_, member.meaning = value, meaning
        return member


class PixelFlag(_Flag):
    """State of one pixel of one exposure."""

    BAD = 1, "not to be used: DO_NOT_USE, dead, hot, no ramp fit, not finite"
    NO_ERROR = 2, "error not finite or not positive: the pixel is masked"
    SATURATED = 4, "part of the ramp was saturated; usable while its error is positive"
    JUMP = 8, "a cosmic ray was found and removed from the ramp; usable"
    SUSPECT = 16, "reduced quality (persistence, warm, telegraph ...); usable"
    SPIKE = 32, "stands out of its neighbours as no star can: a hit, a hot pixel; not used"


#: A pixel with one of these bits carries no weight.
REJECTED_PIXEL = int(PixelFlag.BAD | PixelFlag.NO_ERROR | PixelFlag.SPIKE)


class SourceFlag(_Flag):
    """State of one source, in the catalogue or in one exposure."""

    NO_DATA = 1, "no usable pixel in the footprint: flux and error are NaN"
    EDGE = 2, "the core reaches the edge of the image: within 3 pixels of it, or outside"
    MASKED = 4, "part of the light falls on rejected pixels"
    SATURATED = 8, "expected to saturate, or the file or the model has saturated pixels in the core"
    JUMP = 16, "a cosmic ray was removed from a pixel of the core"
    BLENDED = 32, "a neighbour closer than `crossmatch.blend_limit` was merged into it"
    CONTAMINANT = 64, "brighter neighbours dominate the light at its position"
    PRIOR = 128, "the prior holds more information than the pixels"
    BAD_EXPOSURE = 256, "the exposure is flagged; without usable pixels flux and error are NaN"
    AMBIGUOUS = 512, "more than one plausible match in the reference catalogue"
    OUTLIER = 1024, "a pixel of the core stands out of the model, as a cosmic ray does; not used"
    DEGENERATE = (
        2048,
        "error over 3 times that of a flux alone: known only in sum with neighbours",
    )
    POSITION_PRIOR = 4096, "the prior holds more information on the position than the images"
    MISFIT = (
        8192,
        "the model does not describe the pixels around it: light of something that is not listed, "
        "or a PRF that is wrong there",
    )
    CONTRADICTED = 16384, "its magnitude in the catalogue is far off the images, whose own is used"


#: Flags that exclude a measurement from the statistics of light curves.  DEGENERATE does not: the
#: error of such a flux is right, and in a crowded field the flag comes and goes with the dither.
BAD_MEASUREMENT = int(SourceFlag.NO_DATA | SourceFlag.BAD_EXPOSURE | SourceFlag.MISFIT)


class ExposureFlag(_Flag):
    """State of one exposure."""

    UNUSABLE = 1, "every pixel is rejected"
    QUALITY = 2, "the quality word of the file is not zero"
    NOT_CONVERGED = 4, "the solver did not converge: fluxes and errors are NaN"
    MISFIT = (
        8,
        "its pixels are far worse described than those that the PRF was learned from, or its stars "
        "are all too faint or too bright",
    )


#: Name of a bit of ``roman_datamodels.dqflags.pixel`` -> flag of the pixel.  Bits that are not
#: listed do not change how a pixel is used: some pipeline versions set NO_LIN_CORR
#: on half of all pixels.
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


def to_markdown() -> str:
    """Reference page of all flags."""
    lines = [
        "# Flags",
        "",
        "Made by `python -m romanprf.flags`. Flags are int32 bit fields: the sum of the values of",
        "all bits that are set, 0 = good.",
    ]
    for flags in (PixelFlag, SourceFlag, ExposureFlag):
        lines += ["", f"## {flags.__name__}", "", flags.__doc__ or "", ""]
        lines += ["| bit | value | name | meaning |", "|---|---|---|---|"]
        for flag in flags:
            bit = flag.value.bit_length() - 1
            lines.append(f"| {bit} | {flag.value} | `{flag.name}` | {flag.meaning} |")
    lines += ["", "## Data quality of official Roman files", ""]
    lines += ["Bits that are not listed do not change how a pixel is used.", ""]
    lines += ["| bit of the file | PixelFlag |", "|---|---|"]
    lines += [f"| `{name}` | `{flag.name}` |" for name, flag in ROMAN_DQ.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(to_markdown(), end="")
