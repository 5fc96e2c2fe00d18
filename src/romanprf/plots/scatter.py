"""Picture of the scatter of the light curves against magnitude and the photon limit."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from romanprf.core.statistics import small_sample_scatter
from romanprf.flags import SourceFlag
from romanprf.plots.style import BLACK, BLUE, GREY, ORANGE, VERMILLION, empty, new_figure

#: Fewest good measurements of a source whose scatter is drawn.
MIN_GOOD = 3
#: Width of a bin of the running medians, mag.
_BIN = 0.5
#: Fewest points in a bin of the running medians.
_MIN_POINTS = 3
#: Range of the ratio of scatter to photon limit that is shown; it grows with the running median.
_RATIOS = 0.3, 5.0
#: Stars with one of these flags are left out of the bias: their true flux in the image is unknown.
_NO_BIAS = int(SourceFlag.SATURATED | SourceFlag.BLENDED)


def running_median(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Medians of ``x`` and ``y`` in bins of ``x``, 0.5 wide, with at least 3 finite points.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        Points, in any order.

    Returns
    -------
    x, y : ndarray, shape (nbins,)
        Sorted by ``x``; may be empty.
    """
    finite = np.isfinite(x) & np.isfinite(y)
    points = pd.DataFrame({"x": x[finite], "y": y[finite]})
    bins = points.groupby(np.floor(points["x"] / _BIN))
    medians = bins.median()[bins.size() >= _MIN_POINTS]
    return medians["x"].to_numpy(), medians["y"].to_numpy()


def scatter_figure(metrics: pd.DataFrame, truth: pd.DataFrame | None = None) -> Figure:
    """Draw the scatter of light curves, its ratio to the photon limit, and the bias of the flux.

    The photon limit is the marginal error of the joint fit, ``expected_scatter``.  The bias is
    drawn for simulated stars only.

    Parameters
    ----------
    metrics : DataFrame
        Rows of the ``metrics`` table.
    truth : DataFrame, optional
        The ``truth`` table of a simulation.
    """
    rows = metrics[metrics["n_good"] >= MIN_GOOD]
    if rows.empty:
        return empty(f"no scatter: no source has {MIN_GOOD} good exposures")
    heights = [1.6, 1.0] if truth is None else [1.6, 1.0, 1.0]
    figure = new_figure(2.2 + 1.55 * (len(heights) - 1))
    panels = figure.subplots(len(heights), sharex=True, height_ratios=heights)
    rows = rows.assign(scatter=rows["scatter"] / small_sample_scatter(rows["n_good"]))
    variable = np.zeros(len(rows), bool)
    if truth is not None:
        true = truth.set_index("source_id").reindex(rows["source_id"])
        variable = (true["kind"].notna() & (true["kind"] != "constant")).to_numpy()
        keep = ~variable & ((rows["flags"].to_numpy() & _NO_BIAS) == 0)
        _bias(panels[2], rows[keep], true["flux"].to_numpy()[keep])
    _scatter(panels[0], rows, variable)
    _ratio(panels[1], rows[~variable])
    panels[-1].set_xlabel("magnitude [AB]")
    return figure


def _scatter(ax: Axes, rows: pd.DataFrame, variable: np.ndarray) -> None:
    """Scatter and photon limit as fractions of the flux; medians are of constant stars."""
    ax.set_title(f"Scatter of the light curves of {len(rows)} sources")
    ax.set_ylabel("scatter / catalogue flux")
    mag, flux = rows["mag"].to_numpy(), rows["flux"].to_numpy()
    scatter, limit = (rows[name].to_numpy() / flux for name in ("scatter", "expected_scatter"))
    constant = ~variable
    points(ax, mag[constant], scatter[constant])
    ax.plot(*running_median(mag[constant], scatter[constant]), color=BLUE, label="measured, median")
    limits = running_median(mag[constant], limit[constant])
    ax.plot(*limits, "--", color=ORANGE, label="photon limit, median")
    if variable.any():
        ax.plot(
            mag[variable],
            scatter[variable],
            "D",
            markersize=4.5,
            markerfacecolor="none",
            color=VERMILLION,
            label="injected variables",
        )
    ax.set_yscale("log")
    ax.legend(loc="lower right")


def _ratio(ax: Axes, rows: pd.DataFrame) -> None:
    """Scatter in units of the photon limit."""
    ratio = (rows["scatter"] / rows["expected_scatter"]).to_numpy()
    mag = rows["mag"].to_numpy()
    middle, median = running_median(mag, ratio)
    points(ax, mag, ratio)
    ax.axhline(1.0, color=ORANGE, ls="--")
    ax.plot(middle, median, color=BLUE)
    low, high = _RATIOS
    ax.set(title="Scatter in units of the photon limit", ylabel="scatter / limit", yscale="log")
    ax.set_ylim(low, max(high, 1.5 * median.max(initial=0.0)))
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("")


def _bias(ax: Axes, rows: pd.DataFrame, true_flux: np.ndarray) -> None:
    """Median of the measured fluxes over the true flux; the axis is cut at 20 %."""
    mag, bias = rows["mag"].to_numpy(), rows["median_flux"].to_numpy() / true_flux - 1.0
    ax.axhline(0.0, color=BLACK, lw=0.7)
    points(ax, mag, bias)
    ax.plot(*running_median(mag, bias), color=BLUE)
    ax.set(title="Bias of the flux", ylabel=r"flux / true flux $-$ 1", ylim=(-0.2, 0.2))


def points(ax: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """Draw grey dots, smaller ones if there are more."""
    size = float(np.clip(250.0 / np.sqrt(len(x) + 1.0), 0.8, 4.0))
    ax.plot(x, y, ".", ms=size, mew=0, color=GREY)
