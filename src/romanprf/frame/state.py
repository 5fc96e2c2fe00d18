"""What differs from frame to frame: the state that is solved for each."""

from __future__ import annotations

from dataclasses import dataclass, replace
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


class Linear(NamedTuple):
    """Change of the offset with the place, pixels per pixel: ``xy`` is that of x along rows."""

    xx: float
    xy: float
    yx: float
    yy: float


#: The stars are where the WCS puts them.
UNREGISTERED = Shift(0.0, 0.0, np.nan, np.nan)
#: The offset is the same everywhere.
RIGID = Linear(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class FrameState:
    """Parameters of one frame that its header does not state well enough.

    A star that the WCS puts at a place p is seen at p + shift + linear (p - origin).

    Attributes
    ----------
    shift : Shift
        Of the frame against its WCS, at the origin.
    linear : Linear
        Turn, scale and shear of the frame against its WCS.
    origin : tuple of float
        Column and row about which the frame is turned: the middle of the image.
    """

    shift: Shift = UNREGISTERED
    linear: Linear = RIGID
    origin: tuple[float, float] = (0.0, 0.0)

    def at(self, x: float, y: float) -> FrameState:
        """The state with another shift, pixels."""
        return replace(self, shift=self.shift._replace(x=x, y=y))

    def seen_from(self, column: int, row: int) -> FrameState:
        """The state of a cut-out whose first pixel is this one of the image."""
        return replace(self, origin=(self.origin[0] - column, self.origin[1] - row))

    def moved(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where stars are seen that the WCS puts at (x, y), pixels."""
        if self.linear == RIGID:
            return x + self.shift.x, y + self.shift.y
        right, down = x - self.origin[0], y - self.origin[1]
        return (
            x + self.shift.x + self.linear.xx * right + self.linear.xy * down,
            y + self.shift.y + self.linear.yx * right + self.linear.yy * down,
        )

    def unmoved(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the WCS puts stars that are seen at (x, y), pixels; the inverse of `moved`."""
        if self.linear == RIGID:
            return x - self.shift.x, y - self.shift.y
        right, down = np.linalg.solve(
            np.eye(2) + np.reshape(self.linear, (2, 2)),
            np.stack(
                [
                    np.ravel(x) - self.shift.x - self.origin[0],
                    np.ravel(y) - self.shift.y - self.origin[1],
                ]
            ),
        )
        shape = np.shape(x)
        return right.reshape(shape) + self.origin[0], down.reshape(shape) + self.origin[1]


#: State of a frame of which only the header is known.
AS_IN_HEADER = FrameState()
