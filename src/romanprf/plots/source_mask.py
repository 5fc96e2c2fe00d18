"""Picture of the radius of the pixel mask of each source."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from romanprf.plots.style import BLUE, ORANGE, empty, new_figure

#: log10 of pixel flux / source flux at radii in arcsec.
Trend = Callable[[np.ndarray], np.ndarray]


def source_mask_figure(
    r: np.ndarray,
    ratio: np.ndarray,
    trend: Trend,
    flux: np.ndarray,
    radius: np.ndarray,
    limit: float,
) -> Figure:
    """Draw pixel fluxes against radius, and the mask radius of each source that follows from them.

    Parameters
    ----------
    r : ndarray, shape (npairs,)
        Distance of a pixel from a source, arcsec.
    ratio : ndarray, shape (npairs,)
        Flux of the pixel over that of the source; values at or below zero are counted, not drawn.
    trend : callable
        The fitted line: log10 of the ratio at radii in arcsec.
    flux, radius : ndarray, shape (nsources,)
        Flux of each source (e-/s), and the radius of its mask (arcsec).
    limit : float
        Pixel flux at which the mask ends, e-/s.
    """
    r, ratio, flux, radius = (np.asarray(a, dtype=float) for a in (r, ratio, flux, radius))
    if not (_positive(ratio).any() and _positive(flux).any()):
        return empty("no pixel or no source with a positive flux")
    figure = new_figure(3.1)
    left, right = figure.subplots(1, 2, gridspec_kw={"wspace": 0.06})
    _fall(left, r, ratio, trend)
    _radii(right, flux, radius, trend, limit)
    return figure


def _fall(ax: Axes, r: np.ndarray, ratio: np.ndarray, trend: Trend) -> None:
    """Draw the pixels and the fitted trend."""
    shown = _positive(ratio)
    _dots(ax, r[shown], ratio[shown])
    ends = np.linspace(0.0, r[shown].max(), 200)
    ax.plot(ends, 10.0 ** trend(ends), color=ORANGE, lw=2.0, label="fitted trend")
    faint, bright = np.percentile(ratio[shown], 1.0), ratio[shown].max()
    ax.set(
        yscale="log",
        xlim=(0.0, None),
        ylim=(0.3 * faint, 3.0 * bright),
        xlabel="radius [arcsec]",
        ylabel="pixel flux / source flux",
        title=_title(shown, "pixels"),
    )
    ax.legend(loc="upper right")


def _radii(ax: Axes, flux: np.ndarray, radius: np.ndarray, trend: Trend, limit: float) -> None:
    """Draw the sources, and the radius at which the trend falls to the limit."""
    shown = _positive(flux)
    _dots(ax, flux[shown], radius[shown])
    reach = np.linspace(0.0, 1.05 * radius[shown].max(), 100)
    meets = f"trend falls to {limit:g} e$^-$ s$^{{-1}}$ pixel$^{{-1}}$"
    ax.plot(limit * 10.0 ** -trend(reach), reach, color=ORANGE, lw=2.0, label=meets)
    ax.set(
        xscale="log",
        xlim=(0.5 * flux[shown].min(), 2.0 * flux[shown].max()),
        ylim=(0.0, None),
        xlabel="source flux [e$^-$ s$^{-1}$]",
        ylabel="radius of the mask [arcsec]",
        title=_title(shown, "sources"),
    )
    ax.legend(loc="lower right")


def _positive(value: np.ndarray) -> np.ndarray:
    """Whether values are finite and positive, as a logarithmic axis needs."""
    return np.isfinite(value) & (value > 0.0)


def _title(shown: np.ndarray, what: str) -> str:
    """Title with the numbers of points that are drawn and left out."""
    hidden = int(np.sum(~shown))
    return f"{shown.sum()} {what}" + (f", {hidden} without positive flux" if hidden else "")


def _dots(ax: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """Draw dots, smaller ones if there are more."""
    size = float(np.clip(150.0 / np.sqrt(x.size), 1.5, 8.0))
    ax.plot(x, y, ".", ms=size, mew=0.0, color=BLUE, alpha=0.5, rasterized=True)
