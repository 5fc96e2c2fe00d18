"""Picture of the positions of the stars: what the catalogue said, and what the images say."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from romanprf.flags import SourceFlag
from romanprf.plots.scatter import points, running_median
from romanprf.plots.style import BLUE, ORANGE, empty, new_figure
from romanprf.sky.motion import MAS, julian_year, parallax_factors, positions_at
from romanprf.sky.states import covariance, place_derivatives
from romanprf.sky.wcs import project

#: Offsets below this (mas) are drawn at it.
_LEAST = 1e-3


def positions_figure(
    catalogue: pd.DataFrame, sources: pd.DataFrame, truth: pd.DataFrame | None, time: float
) -> Figure:
    """Draw how far the positions of a catalogue are off those of the sources, and of the truth.

    Stars of whose position the images tell less than the prior are left out.

    Parameters
    ----------
    catalogue, sources : DataFrame
        Tables ``catalogue_sources`` and ``sources``.
    truth : DataFrame, optional
        The ``truth`` table of a simulation.
    time : float
        At which positions are compared, Julian date.
    """
    measured = (sources["flags"] & int(SourceFlag.POSITION_PRIOR)) == 0
    stars = sources[measured & sources["source_id"].isin(catalogue["source_id"])]
    if stars.empty:
        return empty("no positions: the images measure none of the catalogue's stars")
    mag, error = stars["mag"].to_numpy(), _error(stars, time)
    before = _rows(catalogue, stars)
    figure = new_figure(3.6 if truth is None else 5.6)
    panels = figure.subplots(1 if truth is None else 2, sharex=True, sharey=True, squeeze=False)
    panels = panels[:, 0]
    if truth is None:
        moved = _distance(before, stars, time)
        _draw(panels[0], mag, moved, _error(before, time), f"Corrections of {len(stars)} positions")
    else:
        true = _rows(truth, stars)
        for ax, table, known, title in (
            (panels[0], before, _error(before, time), "Positions of the catalogue"),
            (panels[1], stars, error, "Positions of the sources"),
        ):
            _draw(ax, mag, _distance(table, true, time), known, f"{title}, compared with the truth")
    for ax in panels:
        ax.set_ylabel("offset per axis [mas]")
    panels[-1].set_xlabel("magnitude [AB]")
    return figure


def _rows(table: pd.DataFrame, stars: pd.DataFrame) -> pd.DataFrame:
    """Rows of these stars."""
    return table.set_index("source_id").reindex(stars["source_id"]).reset_index()


def _error(sources: pd.DataFrame, time: float) -> np.ndarray:
    """Mean error per axis of the place at which each source appears at a time, mas."""
    place = sources["ra"].to_numpy(), sources["dec"].to_numpy()
    factors = np.stack(parallax_factors(*place, time), axis=1)
    design = place_derivatives(julian_year(time) - sources["epoch"].to_numpy(), factors)
    variance = design @ covariance(sources) @ np.swapaxes(design, 1, 2)
    return np.sqrt(0.5 * np.trace(variance, axis1=1, axis2=2))


def _distance(table: pd.DataFrame, other: pd.DataFrame, time: float) -> np.ndarray:
    """Distance per axis (mas), without the median offset, which is a matter of the gauge."""
    (ra, dec), place = positions_at(table, time), positions_at(other, time)
    offset = np.stack(project(ra, dec, *place)) / MAS
    offset -= np.nanmedian(offset, axis=1, keepdims=True)
    return np.hypot(*offset) / np.sqrt(2.0)


def _draw(ax: Axes, mag: np.ndarray, offset: np.ndarray, error: np.ndarray, title: str) -> None:
    """Offsets with their running median, and what the errors let expect.

    The median of the distance per axis is 0.83 of the error of an axis (Rayleigh distribution).
    """
    expected = np.sqrt(np.log(2.0)) * error
    points(ax, mag, np.maximum(offset, _LEAST))
    ax.plot(*running_median(mag, offset), color=BLUE, label="measured, median")
    ax.plot(*running_median(mag, expected), "--", color=ORANGE, label="by the errors, median")
    ax.set(title=title, yscale="log")
    ax.legend(loc="lower right")
