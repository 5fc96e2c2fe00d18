"""Drawing of stars into images."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from romanprf.config import Simulate
from romanprf.simulate.prf import OVERSAMPLING, nodes_at
from romanprf.simulate.render_nb import add_stars
from romanprf.simulate.wfi import SIDE


def inject(
    image: np.ndarray,
    x: ArrayLike,
    y: ArrayLike,
    flux: ArrayLike,
    sca: int = 2,
    span: float = 0.0,
) -> np.ndarray:
    """Add stars to an image of Roman's wide-field camera, without noise.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        e-/s; is not changed.  NaN pixels stay NaN.
    x, y : array_like, shape (n,)
        Columns and rows of the stars in pixels, the centre of the first pixel being (0, 0); may
        be outside the image.  ``wcs.world_to_pixel_values(ra, dec)`` of an astropy WCS.
    flux : array_like, shape (n,) or scalar
        e-/s; negative takes stars away.  A star is drawn out to 100 pixels, or to where no pixel
        gets 0.002 e-/s: 99.5 % of the light of bright stars, 94 % at 10 e-/s.
    sca : int
        Detector, 1 ... 18: WFI02 is 2.
    span : float
        Pixels of the detector, along either axis, over which the PRF changes from one edge of the
        image to the other: the side of the image where that is a whole detector.  0: all stars
        have the PRF of the detector's centre.

    Returns
    -------
    ndarray of float64, shape (rows, columns)

    Raises
    ------
    ValueError
        If a shape, ``sca`` or ``span`` is wrong, or a position or flux is not finite.
    """
    if not 1 <= sca <= 18:
        raise ValueError(f"sca: expected 1 ... 18, got {sca}")
    if not 0.0 <= span <= SIDE:
        raise ValueError(f"span: expected 0 ... {SIDE}, got {span}")
    if np.ndim(image) != 2:
        raise ValueError(f"image: expected two dimensions, got {np.ndim(image)}")
    columns, rows, fluxes = (
        np.ascontiguousarray(a, dtype=float)
        for a in np.broadcast_arrays(*(np.atleast_1d(a) for a in (x, y, flux)))
    )
    for name, values in (("x", columns), ("y", rows), ("flux", fluxes)):
        if values.ndim != 1 or not np.isfinite(values).all():
            raise ValueError(f"{name}: expected a list of finite numbers")
    drawn = np.array(image, dtype=float, order="C")
    for prf, weight in nodes_at(columns, rows, drawn.shape, sca, span):
        some = weight > 0.0
        f = fluxes[some]
        stars = columns[some], rows[some], weight[some] * f, prf.radius(f)
        add_stars(drawn, *stars, prf.coefficients, OVERSAMPLING)
    return drawn


def true_prf(dx: np.ndarray, dy: np.ndarray, x: float, y: float, settings: Simulate) -> np.ndarray:
    """PRF that `inject` draws for a star, as a fraction of its flux per pixel.

    Parameters
    ----------
    dx, dy : ndarray, of one shape
        Offsets of pixel centres from the star along columns and rows, pixels.
    x, y : float
        Column and row of the star in an image of the simulation, pixels.
    settings : Simulate
        ``sca``, ``prf_span`` and ``size`` count.
    """
    shape = settings.size, settings.size
    nodes = nodes_at(np.array([x]), np.array([y]), shape, settings.sca, settings.prf_span)
    value = np.zeros(np.shape(dx))
    for prf, [weight] in nodes:
        value += weight * prf.evaluate(dx, dy)
    return value
