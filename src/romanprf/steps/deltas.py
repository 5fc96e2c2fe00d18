"""Step ``deltas``: source-pixel pairs of the exposures that the PRF is fitted to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from romanprf import schemas
from romanprf.config import Shape
from romanprf.core.large import LOGPOLAR_SIDE
from romanprf.errors import InputError
from romanprf.frame.stamps import footprint_radius
from romanprf.io.exposures import read_exposures
from romanprf.io.images import read_image
from romanprf.io.tables import provenance, read_table, writing
from romanprf.prf import LogPolarPRF
from romanprf.sky.deltas import find_deltas
from romanprf.sky.motion import positions_at
from romanprf.sky.wcs import STERADIAN, TangentWCS, image_centre


def run(inputs: Mapping[str, Any], outputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Make ``deltas.parquet``.

    Parameters
    ----------
    inputs : mapping
        ``exposures`` and ``catalogue_sources``: paths.
    outputs : mapping
        ``deltas``: path.
    params : mapping
        ``shape``: rmin, cut_r, rmax and flux_cut_off of that section; ``exposures``: the
        exposure numbers to use.

    Raises
    ------
    InputError
        If there is no exposure to use.
    """
    shape = Shape(**params["shape"])
    if not params["exposures"]:
        raise InputError(
            f"{inputs['exposures']}: no exposure has flags = 0, expected one to fit the PRF to"
        )
    exposures = read_exposures(inputs["exposures"], params["exposures"])
    sources = read_table(inputs["catalogue_sources"], schemas.SOURCES)
    origin = provenance({"sources": inputs["catalogue_sources"]}, params)
    area = pixel_area(exposures.to_dict("records")[0])
    with writing(outputs["deltas"], schemas.DELTAS, origin, {"pixel_area": repr(area)}) as table:
        for exposure in tqdm(exposures.to_dict("records"), "deltas", disable=None):
            table.write(exposure_deltas(exposure, sources, shape, area))


def pixel_area(exposure: Mapping[Any, Any]) -> float:
    """Pixel area (arcsec^2) to which the PRF of a reduction refers.

    That of a flat-fielded image's calibration, or that at the centre of the image.
    """
    steradian = exposure["pixel_area"]
    if not np.isfinite(steradian):
        wcs = TangentWCS.from_json(exposure["wcs"])
        steradian = wcs.pixel_area(*image_centre((exposure["nrows"], exposure["ncols"])))
    return float(STERADIAN * steradian)


def exposure_deltas(
    exposure: Mapping[str, Any], sources: pd.DataFrame, shape: Shape, area: float
) -> dict[str, np.ndarray]:
    """Rows of the ``deltas`` table of one exposure.

    Pixels are those of the middle of the image, at most `LOGPOLAR_SIDE` per side, within the radius
    at which the first guess of the PRF of a source falls below ``flux_cut_off``.
    """
    guess = LogPolarPRF.first_guess(10, 4, shape.rmin, shape.cut_r, shape.rmax, area)
    flux, scale = sources["flux"].to_numpy(), np.sqrt(area)
    radius = footprint_radius(guess, flux, shape.flux_cut_off, scale)
    wcs = TangentWCS.from_json(exposure["wcs"])
    ra, dec = positions_at(sources, exposure["time"])
    size = min(exposure["nrows"], LOGPOLAR_SIDE), min(exposure["ncols"], LOGPOLAR_SIDE)
    corner = (exposure["nrows"] - size[0]) // 2, (exposure["ncols"] - size[1]) // 2
    pairs = find_deltas(ra, dec, radius, wcs, size, corner=corner)
    image = read_image(exposure)
    row, column = pairs["row"], pairs["column"]
    pairs["exposure"] = np.full(row.size, exposure["exposure"])
    pairs["flux"] = image.flux[row, column].astype(np.float32)
    pairs["flux_err"] = image.flux_err[row, column].astype(np.float32)
    return pairs
