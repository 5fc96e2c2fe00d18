"""The part of the sky that the images cover."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from romanprf.wcs import ARCSEC, project


def inside(
    ra: np.ndarray, dec: np.ndarray, field: Mapping[str, float], margin: float
) -> np.ndarray:
    """Tell which positions fall in the rectangle of the field.

    Parameters
    ----------
    ra, dec : ndarray, shape (n,)
        Degrees ICRS.
    field : mapping
        Tangent point ``ra0``, ``dec0`` and limits ``xi_min``, ``xi_max``, ``eta_min``,
        ``eta_max`` in the plane of `romanprf.wcs.project`, all in degrees.
    margin : float
        Width of the border added on each side, arcsec.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    xi, eta = project(ra, dec, field["ra0"], field["dec0"])
    border = margin / ARCSEC
    return (  # positions on the far side of the sky are NaN in the plane: not inside
        (xi >= field["xi_min"] - border)
        & (xi <= field["xi_max"] + border)
        & (eta >= field["eta_min"] - border)
        & (eta <= field["eta_max"] + border)
    )
