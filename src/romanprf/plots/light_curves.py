"""Picture of chosen light curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from romanprf.flags import BAD_MEASUREMENT, SourceFlag
from romanprf.plots.scatter import MIN_GOOD, running_median
from romanprf.plots.style import BLUE, ORANGE, empty, new_figure

#: Panels in a row of the picture.
_COLUMNS = 3
#: Least `image_fraction` of a source that is chosen for its variability: at the edge, dithers
#: look like it.
_IMAGE_FRACTION = 0.9
#: Light curves longer than this, days, have a time axis in days; shorter ones in hours.
_HOURS = 3.0


def injected(metrics: pd.DataFrame, truth: pd.DataFrame, n: int) -> pd.DataFrame:
    """Choose the light curves of injected variables: the brightest of each kind in turn.

    Returns
    -------
    DataFrame
        At most ``n`` rows of ``metrics`` with the columns ``kind``, ``time`` and ``factor`` of
        ``truth``.
    """
    events = truth.loc[truth["kind"] != "constant", ["source_id", "kind", "time", "factor"]]
    measured = metrics[metrics["median_flux"] > 0.0]
    rows = measured.merge(events, on="source_id").sort_values("mag", kind="stable")
    rows["turn"] = rows.groupby("kind").cumcount()
    return rows.sort_values(["turn", "mag"], kind="stable").head(n)


def most_variable(metrics: pd.DataFrame, n: int) -> pd.DataFrame:
    """Choose the sources whose chi2 is largest for their magnitude.

    Returns
    -------
    DataFrame
        At most ``n`` rows of ``metrics``.
    """
    rows = metrics[
        (metrics["n_good"] >= MIN_GOOD)
        & (metrics["image_fraction"] >= _IMAGE_FRACTION)
        & ((metrics["flags"] & int(SourceFlag.SATURATED)) == 0)
        & (metrics["reduced_chi2"] > 0.0)
        & (metrics["median_flux"] > 0.0)
    ]
    mag, chi2 = rows["mag"].to_numpy(), rows["reduced_chi2"].to_numpy()
    x, typical = running_median(mag, chi2)
    excess = chi2 / np.interp(mag, x, typical) if x.size else chi2
    return rows.iloc[np.argsort(-excess, kind="stable")[:n]]


def light_curves_figure(chosen: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Draw light curves, one panel each.

    Parameters
    ----------
    chosen : DataFrame
        What `injected` or `most_variable` gave, in the order of the panels.
    curves : DataFrame
        Rows of the ``lightcurves`` table that hold these sources.
    """
    if chosen.empty:
        return empty("no light curves: too few good exposures or no variable source")
    rows = -(-len(chosen) // _COLUMNS)
    figure = new_figure(0.5 + 1.7 * rows)
    axes = figure.subplots(rows, _COLUMNS, sharex=True, squeeze=False).ravel()
    curves = curves.set_index("source").loc[chosen["source"]]
    times = np.concatenate(curves["time"].to_list())
    start, days = times.min(), np.ptp(times) > _HOURS
    pairs = zip(chosen.to_dict("records"), curves.to_dict("records"), strict=True)
    for ax, (row, curve) in zip(axes, pairs, strict=False):
        _panel(ax, row, curve, start, 1.0 if days else 24.0)
    for ax in axes[len(chosen) :]:
        ax.set_axis_off()
    for ax in axes[max(0, len(chosen) - _COLUMNS) : len(chosen)]:
        ax.tick_params(labelbottom=True)  # also where the panel below is empty
    if "kind" in chosen:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    figure.supxlabel(f"time since the first exposure [{'d' if days else 'h'}]", size="medium")
    figure.supylabel("flux, normalised", size="medium")
    return figure


def _panel(
    ax: Axes, row: Mapping[Any, Any], curve: Mapping[Any, Any], start: float, scale: float
) -> None:
    """One light curve, in units of its median, or of the flux out of the event if that is known."""
    good = ((curve["flags"] & BAD_MEASUREMENT) == 0) & np.isfinite(curve["psf_flux"])
    time, flux, error = (
        curve[name][good].astype(float) for name in ("time", "psf_flux", "psf_flux_err")
    )
    base = np.median(flux)
    if injected := "kind" in row:
        base = np.median(flux / np.interp(time, row["time"], row["factor"]))
        ax.plot(scale * (row["time"] - start), row["factor"], color=ORANGE, label="injected")
    ax.errorbar(
        scale * (time - start),
        flux / base,
        error / base,
        fmt=".",
        markersize=float(np.clip(40.0 / np.sqrt(len(time)), 1.0, 4.5)),
        color=BLUE,
        elinewidth=0.8,
        label="measured",
    )
    what = row["kind"] if injected else rf"$\chi^2$/dof {row['reduced_chi2']:.1f}"
    ax.set_title(f"{what}, {row['mag']:.2f} mag\nsource {row['source_id']}")
