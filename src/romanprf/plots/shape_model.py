"""Picture of a shape model and of the pixels that it was learned from."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure

from romanprf.plots.style import empty, new_figure

#: Background of the panels, grey so that white points show.
_GROUND = "#D4D4D4"
#: Colour maps of values and residuals; values at or below zero have no logarithm and are white.
_VALUE, _RESIDUAL = colormaps["cividis"].with_extremes(bad="white"), colormaps["RdBu_r"]
#: Side of a panel, typographic points.
_PANEL = 140.0
#: Smallest diameter of a dot, typographic points.
_SMALLEST = 0.8
#: Largest diameter of a dot, typographic points.
_LARGEST = 6.0
#: Least factor that the colours of the values span: two decades, so that the bar has labels.
_LEAST = 1e2
#: Largest factor that the colours of the values span; fainter pixels are noise.
_SPAN = 1e5
#: Ends of the residual's colours to choose from: fractions of the model.
_LIMITS = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0])


def shape_model_figure(
    dra: np.ndarray, ddec: np.ndarray, value: np.ndarray, model: np.ndarray, title: str
) -> Figure:
    """Draw data, model and residual against the offset, on the sky and in polar coordinates.

    Parameters
    ----------
    dra, ddec : ndarray, shape (npairs,)
        Offset of a pixel, or of a bin of pixels, from a source: east and north, arcsec.
    value : ndarray, shape (npairs,)
        Flux of the pixel over that of the source.  Zero or less, which has no logarithm, is
        white among the data; values that are not finite are not drawn.
    model : ndarray, shape (npairs,)
        PRF at the offsets.  Where it is zero only the data are drawn.
    title : str
        Title of the picture.
    """
    dra, ddec, value, model = (np.asarray(a, dtype=float) for a in (dra, ddec, value, model))
    measured, defined = np.isfinite(value), model > 0.0
    compared = measured & defined
    if not (value[compared] > 0.0).any():
        return empty(f"{title}: no pixel with a positive flux and a model")
    residual = value[compared] / model[compared] - 1.0
    light, excess = _light(value[measured], model[defined]), _excess(residual)
    r, phi = np.hypot(dra, ddec), np.degrees(np.arctan2(ddec, dra))
    figure = new_figure(5.95, layout="compressed")
    axes = figure.subplots(2, 3, sharex="row", sharey="row")
    points = []
    for (sky, polar), name, shown, colour, norm, cmap in (
        (axes[:, 0], "Data", measured, value[measured], light, _VALUE),
        (axes[:, 1], "Model", defined, model[defined], light, _VALUE),
        (axes[:, 2], "Residual", compared, residual, excess, _RESIDUAL),
    ):
        sky.set_title(name)
        _points(sky, dra[shown], ddec[shown], colour, norm, cmap)
        points.append(_points(polar, phi[shown], r[shown], colour, norm, cmap))
    _label(axes, float(r[measured | defined].max()) or 1.0)  # any radius if all are at the centre
    _bar(figure, axes[:, :2], points[0], "pixel flux / source flux")
    _bar(figure, axes[:, 2], points[2], r"(data $-$ model) / model")
    figure.suptitle(title, x=0.01, ha="left", size="large")
    figure.supxlabel(_facts(value, model), x=0.01, ha="left", size="small", color="0.3")
    return figure


def _light(value: np.ndarray, model: np.ndarray) -> LogNorm:
    """Logarithmic colours from the faintest pixels to the brightest, without outliers."""
    low, high = np.percentile(value[value > 0.0], [2.0, 99.5])
    high = max(high, model.max())
    low = max(min(low, high / _LEAST), high / _SPAN)
    return LogNorm(low, high)


def _excess(residual: np.ndarray) -> Normalize:
    """Colours that span 90 % of the residuals, at most -1 to 1."""
    typical = np.percentile(np.abs(residual), 90.0)
    limit = _LIMITS[min(np.searchsorted(_LIMITS, typical), _LIMITS.size - 1)]
    return Normalize(-limit, limit)


def _points(
    ax: Axes, x: np.ndarray, y: np.ndarray, colour: np.ndarray, norm: Normalize, cmap: Colormap
) -> PathCollection:
    """Draw dots whose total area is about that of the panel."""
    diameter = np.clip(_PANEL / np.sqrt(x.size), _SMALLEST, _LARGEST)
    return ax.scatter(
        x, y, s=diameter**2, c=colour, norm=norm, cmap=cmap, linewidths=0.0, rasterized=True
    )


def _label(axes: np.ndarray, rmax: float) -> None:
    """Axes of the offsets, east to the left, and of angle and radius."""
    for ax in axes.ravel():
        ax.set_facecolor(_GROUND)
        ax.spines[:].set_visible(False)
        ax.set_box_aspect(1.0)
    (sky, *_), (polar, *_) = axes
    reach = 1.04 * rmax
    sky.set(xlim=(reach, -reach), ylim=(-reach, reach), ylabel="north offset [arcsec]")
    polar.set(xlim=(-180.0, 180.0), ylim=(0.0, reach), ylabel="radius [arcsec]")
    polar.set_xticks([-90, 0, 90])
    sky.locator_params(nbins=5, steps=[1, 2, 5, 10])
    for sky, polar in axes.T:
        sky.set_xlabel("east offset [arcsec]")
        polar.set_xlabel(r"$\phi$, east to north [deg]")


def _bar(figure: Figure, axes: np.ndarray, points: PathCollection, label: str) -> None:
    """Colour bar under the panels."""
    aspect = 15 if axes.ndim == 1 else 32  # the same height under one column as under two
    bar = figure.colorbar(
        points, ax=axes, extend="both", location="bottom", aspect=aspect, pad=0.02
    )
    bar.set_label(label)


def _facts(value: np.ndarray, model: np.ndarray) -> str:
    """Numbers of points, and the relative rms of the residual, as text."""
    compared = np.isfinite(value) & (model > 0.0)
    left = value[compared] - model[compared]
    counts = (
        (value.size, "points"),
        (np.sum(np.isfinite(value) & (value <= 0.0)), "not above zero (white)"),
        (np.sum(~np.isfinite(value)), "without data"),
        (np.sum(~(model > 0.0)), "without model"),
    )
    facts = [f"{n} {what}" for n, what in counts if n]
    ratio = np.sqrt(np.mean(left**2) / np.mean(value[compared] ** 2))
    return ", ".join(facts) + f";  rms of data $-$ model / rms of data = {ratio:.3f}"
