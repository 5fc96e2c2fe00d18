"""The part of the sky that the images cover."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from romanprf.sky.wcs import ARCSEC, project


def field_plane(
    ra: np.ndarray, dec: np.ndarray, ra0: float, dec0: float, angle: float
) -> tuple[np.ndarray, np.ndarray]:
    """Tangent plane about (ra0, dec0) with axes along the image's: u, v, all in degrees.

    ``angle`` is that of the image columns, from east to north.
    """
    xi, eta = project(ra, dec, ra0, dec0)
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    return xi * cos + eta * sin, eta * cos - xi * sin


def inside(
    ra: np.ndarray, dec: np.ndarray, field: Mapping[str, float], margin: ArrayLike
) -> np.ndarray:
    """Tell which positions fall in the rectangle of the field.

    Parameters
    ----------
    ra, dec : ndarray, shape (n,)
        Degrees ICRS.
    field : mapping
        Tangent point ``ra0``, ``dec0`` and ``angle`` of `field_plane`, and the limits ``u_min``,
        ``u_max``, ``v_min``, ``v_max`` in that plane, all in degrees.
    margin : float or ndarray, shape (n,)
        Width of the border added on each side, arcsec.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    u, v = field_plane(ra, dec, field["ra0"], field["dec0"], field["angle"])
    border = np.asarray(margin) / ARCSEC
    return (  # positions on the far side of the sky are NaN in the plane: not inside
        (u >= field["u_min"] - border)
        & (u <= field["u_max"] + border)
        & (v >= field["v_min"] - border)
        & (v <= field["v_max"] + border)
    )
