"""What differs from frame to frame: the state that is solved for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Shift(NamedTuple):
    """Offset (x, y) of the stars of a frame from where its WCS puts them, and errors; pixels.

    The errors (1 sigma) are NaN where the shift was not measured.
    """

    x: float
    y: float
    x_err: float
    y_err: float


#: The stars are where the WCS puts them.
UNREGISTERED = Shift(0.0, 0.0, np.nan, np.nan)


@dataclass(frozen=True)
class FrameState:
    """Parameters of one frame that its header does not state well enough.

    Attributes
    ----------
    shift : Shift
        Of the frame against its WCS.
    """

    shift: Shift = UNREGISTERED

    def at(self, x: float, y: float) -> FrameState:
        """The state with another shift, pixels."""
        return FrameState(self.shift._replace(x=x, y=y))


#: State of a frame of which only the header is known.
AS_IN_HEADER = FrameState()
