"""Picture of the scatter of the light curves against magnitude."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from romanprf.flags import SourceFlag
from romanprf.plots.style import BLACK, BLUE, GREY, ORANGE, VERMILLION, empty, new_figure

#: A scatter of fewer measurements says little.
MIN_GOOD = 3
#: Running medians: width of a bin (mag) and the fewest points in one.
_BIN, _MIN_POINTS = 0.5, 3
#: Magnitudes of stars that are saturated or several in one do not tell the bias.
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
    """Draw the scatter of light curves and, of simulated stars, the bias of the flux.

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
    figure = new_figure(3.6 if truth is None else 5.0)
    if truth is None:
        _scatter(figure.subplots(), rows, np.zeros(len(rows), bool))
        return figure
    true = truth.set_index("source_id").reindex(rows["source_id"])
    variable = (true["kind"].notna() & (true["kind"] != "constant")).to_numpy()
    upper, lower = figure.subplots(2, sharex=True, height_ratios=[1.7, 1.0])
    _scatter(upper, rows, variable)
    upper.set_xlabel("")
    keep = ~variable & ((rows["flags"].to_numpy() & _NO_BIAS) == 0)
    _bias(lower, rows[keep], true["flux"].to_numpy()[keep])
    return figure


def _scatter(ax: Axes, rows: pd.DataFrame, variable: np.ndarray) -> None:
    """Measured and expected scatter, as fractions of the flux."""
    ax.set(
        title=f"Scatter of the light curves of {len(rows)} sources",
        xlabel="magnitude [AB]",
        ylabel="scatter / catalogue flux",
    )
    mag, flux = rows["mag"].to_numpy(), rows["flux"].to_numpy()
    scatter, expected = (rows[name].to_numpy() / flux for name in ("scatter", "expected_scatter"))
    _points(ax, mag[~variable], scatter[~variable])
    ax.plot(*running_median(mag, scatter), color=BLUE, label="measured, median")
    ax.plot(*running_median(mag, expected), color=ORANGE, label="expected, median")
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


def _bias(ax: Axes, rows: pd.DataFrame, true_flux: np.ndarray) -> None:
    """Median of the measured fluxes over the true flux; the axis is cut at 20 %."""
    mag, bias = rows["mag"].to_numpy(), rows["median_flux"].to_numpy() / true_flux - 1.0
    ax.axhline(0.0, color=BLACK, lw=0.7)
    _points(ax, mag, bias)
    ax.plot(*running_median(mag, bias), color=BLUE)
    ax.set(title="Bias of the flux", xlabel="magnitude [AB]", ylabel=r"flux / true flux $-$ 1")
    ax.set_ylim(-0.2, 0.2)


def _points(ax: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """Small dots, the smaller the more there are."""
    size = float(np.clip(250.0 / np.sqrt(len(x) + 1.0), 0.8, 4.0))
    ax.plot(x, y, ".", ms=size, mew=0, color=GREY)
