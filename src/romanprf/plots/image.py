"""Picture of one exposure, its model and the residual."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure

from romanprf.core.image import Image
from romanprf.plots.style import new_figure

#: Colour of pixels without weight.
_MASKED = "#808080"
#: Colours of the residual span this many sigma on either side of zero.
_SIGMAS = 5.0


def image_figure(
    image: Image, model: np.ndarray, name: str, corner: tuple[int, int] = (0, 0)
) -> Figure:
    """Draw an image, its model, and their difference in units of the pixels' errors.

    Parameters
    ----------
    image : Image
        Pixels, e-/s; rejected ones are grey.
    model : ndarray, shape (nrows, ncols)
        e-/s.
    name : str
        Title of the image.
    corner : tuple of int
        Row and column of the first pixel, where this is a part of a larger image.
    """
    usable = image.usable
    flux = np.where(usable, image.flux, np.nan)
    residual = (flux - model) / image.flux_err
    figure = new_figure(3.15, layout="compressed")
    axes = figure.subplots(1, 3, sharex=True, sharey=True)
    titles = name, "Model", "Residual"
    rows, columns = flux.shape
    low, left = corner[0] - 0.5, corner[1] - 0.5
    extent = (left, left + columns, low, low + rows)
    light, sigma = _stretch(flux[usable] if usable.any() else model), Normalize(-_SIGMAS, _SIGMAS)
    shown = (flux, light, "cividis"), (model, light, "cividis"), (residual, sigma, "RdBu_r")
    pictures = []
    for ax, title, (values, norm, colours) in zip(axes, titles, shown, strict=True):
        ax.set(title=title, xlabel="column [pixel]")
        ax.spines[:].set_visible(False)
        pictures.append(
            ax.imshow(
                values,
                norm=norm,
                cmap=colormaps[colours].with_extremes(bad=_MASKED),
                origin="lower",
                extent=extent,
                interpolation="nearest",
            )
        )
    axes[0].set_ylabel("row [pixel]")
    bar = figure.colorbar(
        pictures[0], ax=axes[:2], extend="both", location="bottom", aspect=30, pad=0.03
    )
    bar.set_label("flux [e$^-$ s$^{-1}$ pixel$^{-1}$]")
    bar = figure.colorbar(
        pictures[2], ax=axes[2], extend="both", location="bottom", aspect=15, pad=0.03
    )
    bar.set_ticks([-_SIGMAS, 0.0, _SIGMAS])
    bar.set_label(r"(image $-$ model) / $\sigma$")
    return figure


def _stretch(flux: np.ndarray) -> AsinhNorm:
    """Linear over the faint pixels, logarithmic over the stars."""
    low, middle, high = np.percentile(flux, [0.5, 50.0, 99.9])
    return AsinhNorm(linear_width=max(middle - low, 1e-9), vmin=low, vmax=max(high, low + 1e-9))
