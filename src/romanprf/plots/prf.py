"""Picture of the PRF model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from romanprf.plots.style import BLUE, SKY, new_figure
from romanprf.prf import PRF

#: The picture ends where the mean profile falls under this fraction of the flux per pixel: further
#: out it is noise.
_FAINTEST = 1e-4
#: Samples per side of the picture, odd so that one is at the centre.
_SIDE = 401
#: Samples of the profile in radius.
_RADII = 300
#: Samples of the profile in angle: every 2 degrees.
_ANGLES = 180


def prf_figure(
    prf: PRF, history: Sequence[Mapping[str, Any]], searches: Sequence[Mapping[str, int]] = ()
) -> Figure:
    """Draw the PRF on the sky and its radial profile.

    Parameters
    ----------
    prf : PRF
        The model.
    history : sequence of mapping
        Iterations of its fit (`romanprf.learn.logpolar.Iteration`), or the rounds of the tensor
        model (`romanprf.learn.tensor.Round`); the numbers of the last one are shown.
    searches : sequence of mapping
        Results of the searches for uncatalogued stars (`romanprf.search.complete.Learned`).
    """
    figure = new_figure(3.1)
    left, right = figure.subplots(1, 2, width_ratios=[1.0, 1.15], gridspec_kw={"wspace": 0.08})
    _sky(figure, left, prf)
    _profile(right, prf)
    last = history[-1]
    if "chi2" in last:
        used = f"{last['n_stars']} stars, {last['n_pixels']} pixels"
        quality = f"chi2 of the pixels {last['chi2']:.1f}"
    else:
        used = f"{last['n_sources']} stars, {last['n_pixels']} pixels"
        quality = f"rms of the pixels {last['rms']:.3f} dex"
    facts = [used, quality, f"integral {prf.integral():.3f}"]
    if searches:
        facts += [f"{searches[-1]['n_kept']} uncatalogued stars found"]
    right.text(
        0.98,
        0.76,
        "\n".join(facts),
        transform=right.transAxes,
        ha="right",
        va="top",
        linespacing=1.5,
    )
    return figure


def _sky(figure: Figure, ax: Axes, prf: PRF) -> None:
    """Image of the PRF, north up and east to the left."""
    half = min(1.2 * float(prf.radius(np.array(_FAINTEST))), prf.rmax)
    offset = np.linspace(-half, half, _SIDE)
    east, north = np.meshgrid(offset[::-1], offset)
    value = prf.evaluate(np.hypot(east, north), np.arctan2(north, east))
    picture = ax.imshow(
        np.where(value > 0.0, value, np.nan),
        norm=LogNorm(),
        cmap="cividis",
        origin="lower",
        extent=(half, -half, -half, half),
        interpolation="bilinear",
    )
    ax.set(xlabel="east offset [arcsec]", ylabel="north offset [arcsec]", title="PRF on the sky")
    bar = figure.colorbar(picture, ax=ax, pad=0.02)
    bar.set_label("fraction of the flux per pixel")


def _profile(ax: Axes, prf: PRF) -> None:
    """Mean over angles, and the range over angles, against the radius."""
    r = np.linspace(0.0, prf.rmax * (1.0 - 1e-9), _RADII)
    phi = np.linspace(-np.pi, np.pi, _ANGLES, endpoint=False)
    value = prf.evaluate(r[:, None], phi[None, :])
    low, high = value.min(axis=1), value.max(axis=1)
    ax.fill_between(r, low, high, color=SKY, alpha=0.5, lw=0, label="range over angles")
    ax.plot(r, value.mean(axis=1), color=BLUE, label="mean over angles")
    ax.set(
        yscale="log",
        xlim=(0.0, prf.rmax),
        xlabel="radius [arcsec]",
        ylabel="fraction of the flux per pixel",
        title="Radial profile",
    )
    ax.legend(loc="upper right")
