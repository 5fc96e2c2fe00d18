"""Picture of the time model."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from romanprf.core.statistics import robust_spread
from romanprf.plots.style import drawing, new_figure
from romanprf.timemodel import TimeModel

#: Colour map from blue to red through white, which colour-blind readers can tell apart.
_MAP = "RdBu_r"
#: Fraction of the pixels whose change may exceed the range of the colours.
_OUTSIDE = 0.02
#: Area that all dots of a panel share, square typographic points.
_INK = 8000.0
#: Smallest and largest area of a dot, square typographic points.
_DOT = (2.0, 30.0)


def time_model_figure(
    model: TimeModel, dx: np.ndarray, dy: np.ndarray, flux_normalised: np.ndarray, used: np.ndarray
) -> Figure:
    """Draw the change of the PRF in the first and last frame: data, model, residual.

    The spread of a panel is 1.4826 times the median absolute deviation.

    Parameters
    ----------
    model : TimeModel
        The perturbation.
    dx, dy : ndarray, shape (npairs,)
        Offsets of pixels from their sources, east and north, arcsec.
    flux_normalised : ndarray, shape (nt, npairs)
        From `TimeModel.relative_flux`; finite in the first and last frame where used.
    used : ndarray of bool, shape (npairs,)
        Pairs that the model was fitted to; only these are drawn.
    """
    dx, dy = dx[used], dy[used]
    frames = np.array([0, len(flux_normalised) - 1])
    data = 100.0 * (flux_normalised[frames][:, used] - 1.0)
    change = 100.0 * (model.factor(frames, dx, dy) - 1.0)
    limit = max(np.quantile(np.abs([data, change]), 1.0 - _OUTSIDE), 1e-6)
    dot = np.clip(_INK / dx.size, *_DOT)
    with drawing():
        figure = new_figure(4.9)
        panels = figure.subplots(2, 3, sharex=True, sharey=True)
        for axes, name, *values in zip(panels, ("First", "Last"), data, change, strict=True):
            parts = {"data": values[0], "model": values[1], "data - model": values[0] - values[1]}
            for ax, (part, value) in zip(axes, parts.items(), strict=True):
                ax.set_title(f"{name} frame, {part}\nspread {robust_spread(value):.2g} %")
                colours = ax.scatter(
                    dx, dy, s=dot, c=value, cmap=_MAP, norm=Normalize(-limit, limit), lw=0
                )
                ax.set(aspect="equal", facecolor="0.85")
        side = 1.05 * model.radius
        panels[0, 0].set(xlim=(side, -side), ylim=(-side, side))  # east to the left
        figure.supxlabel("east offset [arcsec]", size="medium")
        figure.supylabel("north offset [arcsec]", size="medium")
        bar = figure.colorbar(colours, ax=panels, extend="both", shrink=0.8)
        bar.set_label("change of the PRF [%]")
    return figure
