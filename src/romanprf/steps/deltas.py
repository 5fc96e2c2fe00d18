"""Step ``deltas``: source-pixel pairs of the exposures that the PRF is fitted to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

from romanprf import schemas
from romanprf.config import Shape
from romanprf.core.large import LOGPOLAR_SIDE
from romanprf.frame.frame import Frame
from romanprf.frame.stamps import footprint_radius
from romanprf.io.exposure import Exposure
from romanprf.io.exposures import read_chosen
from romanprf.io.tables import provenance, read_table, writing
from romanprf.prf import LogPolarPRF
from romanprf.sky.deltas import find_deltas


def run(inputs: Mapping[str, Any], outputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Make ``deltas.parquet``.

    Parameters
    ----------
    inputs : mapping
        ``exposures``, ``learning`` and ``catalogue_sources``: paths.
    outputs : mapping
        ``deltas``: path.
    params : mapping
        ``shape``: max_exposures, rmin, cut_r, rmax and flux_cut_off of that section of the
        configuration.

    Raises
    ------
    InputError
        If none of the chosen exposures can be used.
    """
    shape = Shape(**params["shape"])
    sources = read_table(inputs["catalogue_sources"], schemas.SOURCES)
    rows = read_chosen(inputs, shape.max_exposures).to_dict("records")
    origin = provenance({"sources": inputs["catalogue_sources"]}, params)
    area = Exposure.from_row(rows[0]).pixel_area
    with writing(outputs["deltas"], schemas.DELTAS, origin, {"pixel_area": repr(area)}) as table:
        for row in tqdm(rows, "deltas", disable=None):
            frame = Frame.from_row(row, sources)
            table.write(frame_deltas(frame, sources["flux"].to_numpy(), shape, area))


def frame_deltas(
    frame: Frame, flux: np.ndarray, shape: Shape, area: float
) -> dict[str, np.ndarray]:
    """Rows of the ``deltas`` table of one exposure.

    The radius of each source is where the first guess of the PRF falls under ``flux_cut_off``.
    Pixels are those of the middle of the image, at most `LOGPOLAR_SIDE` per side.

    Parameters
    ----------
    frame : Frame
        The exposure with all sources.
    flux : ndarray, shape (nsources,)
        e-/s.
    shape : Shape
        That section of the configuration.
    area : float
        Pixel area to which the PRF of the reduction refers, arcsec^2.
    """
    guess = LogPolarPRF.first_guess(10, 4, shape.rmin, shape.cut_r, shape.rmax, area)
    radius = footprint_radius(guess, flux, shape.flux_cut_off, np.sqrt(area))
    nrows, ncols = frame.shape
    size = min(nrows, LOGPOLAR_SIDE), min(ncols, LOGPOLAR_SIDE)
    corner = (nrows - size[0]) // 2, (ncols - size[1]) // 2
    pairs = find_deltas(frame.ra, frame.dec, radius, frame.wcs, size, corner=corner)
    image = frame.read()
    row, column = pairs["row"], pairs["column"]
    pairs["exposure"] = np.full(row.size, frame.exposure.number)
    pairs["flux"] = image.flux[row, column].astype(np.float32)
    pairs["flux_err"] = image.flux_err[row, column].astype(np.float32)
    return pairs
