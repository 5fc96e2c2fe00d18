"""Pictures of docs/explanation/accuracy.md."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from table import BINS, Curves, Row, pulls, rows
from truth import Truth, model_stamps

from romanprf.io.exposures import read_exposures
from romanprf.plots.style import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    SKY,
    VERMILLION,
    drawing,
    new_figure,
    save,
)
from romanprf.simulate import true_prf
from romanprf.workflow.paths import Paths

COLOURS = (BLACK, BLUE, VERMILLION, ORANGE, SKY, "#009E73", "#CC79A7", "#F0E442", GREY)
#: Colour and line of each case.
STYLES = [{"color": colour, "ls": line} for line in ("-", "--") for colour in COLOURS]
#: Sub-pixel phases (x, y) of the star, pixels, and half-width of the cut-outs.
PHASES, HALF = ((0.0, 0.0), (0.25, 0.25), (0.5, 0.0), (0.5, 0.5)), 4


def write(
    folder: Path,
    cases: dict[str, Curves],
    peers: dict[str, Curves],
    paths: Paths,
    truth: Truth,
) -> None:
    """Write all pictures; the PRF is that of one reduction."""
    folder.mkdir(parents=True, exist_ok=True)
    with drawing():
        pictures = {
            "bins": bins_figure(
                {name: list(rows(curves)) for name, curves in (cases | peers).items()}
            ),
            "pulls": pulls_figure(cases),
            "prf": prf_figure(paths, truth),
        }
        for name, figure in pictures.items():
            save(figure, folder / f"accuracy_{name}.png", dpi=130)


def bins_figure(cases: dict[str, list[Row]]) -> Figure:
    """Scatter over limit, bias and pull width by magnitude."""
    figure = new_figure(3.7)
    panels = figure.subplots(1, 3, sharex=True)
    values: dict[str, tuple[Callable[[Row], float], float]] = {
        "Scatter / photon limit": (lambda row: row.scatter, 1.0),
        "Flux bias (%)": (lambda row: 100.0 * row.bias, 0.0),
        "Pull width": (lambda row: row.width, 1.0),
    }
    for axes, (title, (value, ideal)) in zip(panels, values.items(), strict=True):
        axes.axhline(ideal, color=GREY, lw=0.8)
        for (name, bins), style in zip(cases.items(), STYLES, strict=False):
            middle = [0.5 * (row.low + row.high) for row in bins]
            axes.plot(middle, [value(row) for row in bins], marker="o", ms=3, label=name, **style)
        axes.set(title=title, xlabel="F146 (AB)")
    panels[1].set_yscale("symlog", linthresh=1.0)
    ticks = [-50, -10, -3, -1, -0.5, 0, 0.5, 1, 3, 10, 50]
    panels[1].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    low, high = panels[1].dataLim.intervaly
    panels[1].set_ylim(1.2 * min(low, -0.6), 1.2 * max(high, 0.6))
    for axes in panels[::2]:
        axes.set_yscale("log")
        ticks = [0.8, 1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100, 300]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        low, high = axes.dataLim.intervaly
        axes.set_ylim(0.95 * min(low, 0.9), 1.1 * max(high, 1.25))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def pulls_figure(cases: dict[str, Curves]) -> Figure:
    """Distribution of (flux - truth) / error in each bin, with that of perfect errors."""
    figure = new_figure(3.6)
    panels = figure.subplots(2, 3, sharex=True, sharey=True)
    edges = np.linspace(-6.0, 6.0, 49)
    middle = 0.5 * (edges[1:] + edges[:-1])
    for axes, (low, high) in zip(panels.flat, BINS, strict=True):
        axes.fill_between(
            middle, np.exp(-0.5 * middle**2) / np.sqrt(2 * np.pi), color="0.88", lw=0, label="ideal"
        )
        for (name, curves), style in zip(cases.items(), STYLES, strict=False):
            stars = curves.constant()
            pull = pulls(stars)[(stars.mag >= low) & (stars.mag < high)]
            pull = pull[np.isfinite(pull)]
            if pull.size:
                share = np.histogram(pull, edges)[0] / pull.size / np.diff(edges)
                axes.stairs(share, edges, lw=1.0, label=name, **style)
        axes.set_title(f"F146 {low} to {high}")
    for axes in panels[1]:
        axes.set_xlabel("(flux - truth) / error")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def prf_figure(paths: Paths, truth: Truth) -> Figure:
    """Model, truth and difference on pixels, for stars at a few sub-pixel phases."""
    exposure = read_exposures(paths.exposures).iloc[0]
    figure = new_figure(5.6, layout="compressed")
    panels = figure.subplots(3, len(PHASES), sharex=True, sharey=True)
    column, row = exposure["ncols"] // 2, exposure["nrows"] // 2
    core = tuple(slice(middle - HALF, middle + HALF + 1) for middle in (row, column))
    down, across = np.mgrid[-HALF : HALF + 1, -HALF : HALF + 1]
    images = []
    for dx, dy in PHASES:
        x, y = column + dx, row + dy
        stamp = model_stamps(paths, exposure, np.array([x]), np.array([y]))
        true = true_prf(across - dx, down - dy, x, y, truth.settings)
        images.append((stamp.model(np.ones(1))[core], true))
    peak = max(true.max() for _, true in images)
    worst = 100.0 * max(np.abs(model - true).max() for model, true in images) / peak
    for place, ((dx, dy), (model, true)) in enumerate(zip(PHASES, images, strict=True)):
        extent = (-HALF - 0.5, HALF + 0.5) * 2
        look = {"origin": "lower", "extent": extent}
        for axes, image in zip(panels[:2, place], (model, true), strict=True):
            shown = axes.imshow(
                np.sqrt(np.maximum(image / peak, 0.0)), cmap="cividis", vmin=0, vmax=1, **look
            )
        difference = panels[2, place].imshow(
            100.0 * (model - true) / peak, cmap="RdBu_r", vmin=-worst, vmax=worst, **look
        )
        panels[0, place].set_title(f"phase {dx:g}, {dy:g}")
        panels[2, place].set(xlabel="pixels", xticks=[-4, 0, 4], yticks=[-4, 0, 4])
    for axes, label in zip(panels[:, 0], ("model", "truth", "model - truth"), strict=True):
        axes.set_ylabel(label)
    figure.colorbar(shown, ax=panels[:2], label="(PRF / peak)$^{1/2}$", shrink=0.6)
    figure.colorbar(difference, ax=panels[2], label="% of the peak")
    return figure
