"""Step ``plots``: the pictures of the report."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from romanprf import schemas
from romanprf.config import Plots
from romanprf.frame.frame import Frame
from romanprf.frame.model import FrameModel
from romanprf.frame.state import FrameState, Linear, Shift
from romanprf.io.exposures import read_exposures
from romanprf.io.tables import read_metadata, read_table
from romanprf.plots.image import image_figure
from romanprf.plots.light_curves import injected, light_curves_figure, most_variable
from romanprf.plots.positions import positions_figure
from romanprf.plots.prf import prf_figure
from romanprf.plots.scatter import scatter_figure
from romanprf.plots.style import drawing, empty, save
from romanprf.prf.table import read_prf
from romanprf.solve.fit import model_image

#: Largest side of the image that is shown, pixels: the stars of a larger one are too small to see.
_SIDE = 512
#: Sources closer to the edge of the first exposure are left out of the scatter plot, pixels.
_BORDER = 4.0


def run(inputs: Mapping[str, Any], outputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Draw ``prf``, ``image``, ``positions``, ``scatter`` and ``light_curves``.

    Parameters
    ----------
    inputs : mapping
        ``exposures``, ``catalogue_sources``, ``sources``, ``prf``, ``metrics`` and
        ``lightcurves``: paths;
        ``photometry`` and ``frame_stats``: paths of all batches, in the same order; ``truth``:
        path, of a simulated field only.
    outputs : mapping
        The pictures: paths.
    params : mapping
        Section ``plots`` of the configuration; ``flux_cut_off`` (e-/s).
    """
    settings = Plots(**params["plots"])
    exposures = read_exposures(inputs["exposures"])
    sources = read_table(inputs["sources"], schemas.SOURCES)
    metrics = read_table(inputs["metrics"], schemas.METRICS)
    truth = read_table(inputs["truth"], schemas.TRUTH) if "truth" in inputs else None
    with drawing():
        pictures = {
            "prf": _prf(inputs),
            "image": _image(inputs, exposures, sources, params["flux_cut_off"]),
            "positions": _positions(inputs, exposures, sources, truth),
            "scatter": scatter_figure(metrics[_inside(exposures, sources)], truth),
            "light_curves": _light_curves(inputs, metrics, truth, settings.light_curves),
        }
        for name, figure in pictures.items():
            save(figure, outputs[name], settings.dpi)


def _prf(inputs: Mapping[str, Any]) -> Figure:
    """Draw the PRF and the quality of its fit."""
    metadata = read_metadata(inputs["prf"], schemas.PRF)
    history = metadata.get("rounds", metadata["history"])  # of the tensor or the log-polar model
    search = read_metadata(inputs["sources"], schemas.SOURCES).get("search", '{"rounds": []}')
    return prf_figure(read_prf(inputs["prf"]), json.loads(history), json.loads(search)["rounds"])


def _positions(
    inputs: Mapping[str, Any],
    exposures: pd.DataFrame,
    sources: pd.DataFrame,
    truth: pd.DataFrame | None,
) -> Figure:
    """Draw the positions before and after the fit."""
    catalogue = read_table(inputs["catalogue_sources"], schemas.SOURCES)
    return positions_figure(catalogue, sources, truth, float(exposures["time"].mean()))


def _light_curves(
    inputs: Mapping[str, Any], metrics: pd.DataFrame, truth: pd.DataFrame | None, n: int
) -> Figure:
    """Draw the light curves of injected variables, or else of the sources that vary most."""
    chosen = most_variable(metrics, n) if truth is None else injected(metrics, truth, n)
    wanted = [("source", "in", chosen["source"].tolist())]
    curves = read_table(inputs["lightcurves"], schemas.LIGHTCURVES, filters=wanted)
    return light_curves_figure(chosen, curves)


def _inside(exposures: pd.DataFrame, sources: pd.DataFrame) -> np.ndarray:
    """Whether each source is further than `_BORDER` inside the first exposure, shape (n,)."""
    first = Frame.from_row(exposures.to_dict("records")[0], sources)
    nrows, ncols = first.shape
    return _near(first, (slice(0, nrows), slice(0, ncols)), -_BORDER)


def _near(frame: Frame, part: tuple[slice, slice], reach: float) -> np.ndarray:
    """Whether each source is within ``reach`` pixels of a part of a frame."""
    (x, y), (rows, columns) = frame.places(), part
    return (
        (x >= columns.start - reach)
        & (x <= columns.stop - 1 + reach)
        & (y >= rows.start - reach)
        & (y <= rows.stop - 1 + reach)
    )


def _image(
    inputs: Mapping[str, Any], exposures: pd.DataFrame, sources: pd.DataFrame, flux_cut_off: float
) -> Figure:
    """Draw a typical exposure, or the middle of it."""
    found = _typical(inputs["frame_stats"])
    if found is None:
        return empty("no exposure can be used")
    batch, stats = found
    only = [("exposure", "==", stats["exposure"])]
    columns = ["psf_flux", "psf_flux_err"]
    fluxes = read_table(inputs["photometry"][batch], schemas.PHOTOMETRY, columns, only)
    [row] = exposures[exposures["exposure"] == stats["exposure"]].to_dict("records")
    frame, prf = Frame.from_row(row, sources), read_prf(inputs["prf"])
    part = _middle(frame.shape[0]), _middle(frame.shape[1])
    near = _near(frame, part, 1.1 * prf.rmax / prf.pixel_scale)
    light, error = (fluxes[name].to_numpy()[near] for name in columns)
    shift = Shift(stats["shift_x"], stats["shift_y"], stats["shift_err"], stats["shift_err"])
    flux = sources["flux"].to_numpy()[near]
    state = FrameState(shift, Linear(*stats["linear"]), frame.exposure.centre)
    scene = FrameModel(frame.only(near), prf, flux, flux_cut_off, state)
    model = model_image(scene, light, error, np.asarray(stats["background_mesh"]))
    image = frame.read()
    shown = replace(
        image, flux=image.flux[part], flux_err=image.flux_err[part], flags=image.flags[part]
    )
    corner = part[0].start, part[1].start
    return image_figure(shown, model[part], f"Exposure {stats['exposure']}", corner)


def _typical(frame_stats: Sequence[str]) -> tuple[int, dict[Hashable, Any]] | None:
    """Index of the batch and row of the usable exposure whose chi2 is the median of all."""
    rows = [
        (batch, row)
        for batch, path in enumerate(frame_stats)
        for row in read_table(path, schemas.FRAME_STATS).to_dict("records")
        if row["chi2"] > 0.0  # NaN where the exposure cannot be used
    ]
    rows.sort(key=lambda item: item[1]["chi2"])
    return rows[(len(rows) - 1) // 2] if rows else None


def _middle(n: int) -> slice:
    """The middle of ``n`` pixels, at most `_SIDE` of them."""
    start = max(0, (n - _SIDE) // 2)
    return slice(start, min(n, start + _SIDE))
