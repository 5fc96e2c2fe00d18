"""Common style of all pictures, and how they are written to files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure

from romanprf.io.atomic import replacing

#: Colours that the colour-blind can tell apart (Okabe & Ito 2008, Color Universal Design).
BLACK, GREY = "#000000", "#999999"
BLUE, SKY = "#0072B2", "#56B4E9"
ORANGE, VERMILLION = "#E69F00", "#D55E00"

#: Width of a picture, inch: two columns of a journal.
WIDTH = 7.1

_STYLE: dict[Any, Any] = {
    "font.size": 8.5,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.3,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "savefig.facecolor": "white",
}


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in the style of the package, independent of the user's Matplotlib settings."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


class Picture(Figure):
    """A figure that a notebook shows, and that keeps its style when it is drawn later.

    By itself a notebook shows figures of pyplot only, and those stay in memory until closed.
    """

    def draw(self, renderer: RendererBase) -> None:
        """Draw in the style of the package: Matplotlib makes ticks when they are first drawn."""
        with drawing():
            super().draw(renderer)

    def _repr_png_(self) -> bytes:
        """PNG for notebooks."""
        png = BytesIO()
        self.savefig(png, format="png")
        return png.getvalue()


def new_figure(
    height: float, layout: Literal["constrained", "compressed"] = "constrained"
) -> Picture:
    """Return an empty figure, `WIDTH` wide and ``height`` (inch) high."""
    return Picture(figsize=(WIDTH, height), layout=layout)


def save(figure: Figure, path: str | Path, dpi: int) -> None:
    """Write a figure as PNG; its bytes depend on the figure only."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi, metadata={"Software": None})


def empty(reason: str) -> Figure:
    """Picture with the reason why there is nothing to draw."""
    figure = new_figure(2.0)
    ax = figure.add_subplot()
    ax.set_axis_off()
    ax.text(0.5, 0.5, reason, ha="center", va="center", color="0.35")
    return figure
