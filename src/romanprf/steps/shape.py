"""Step ``shape``: the PRF of a reduction."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from romanprf import schemas
from romanprf.catalog.motion import positions_at
from romanprf.io.images import read_image
from romanprf.io.tables import provenance, read_metadata, read_table, write_table
from romanprf.photometry.register import Shift
from romanprf.prf import PRF, LogPolarPRF, TensorPRF
from romanprf.prf.joint import Exposure, Round, fit_joint
from romanprf.prf.shape import fit_shape
from romanprf.steps.frames import read_exposures
from romanprf.wcs import TangentWCS

logger = logging.getLogger(__name__)

#: Prior sigma of the fluxes while the PRF is learned, in sqrt(e-/s).
_PRIOR_WIDTH = 5.0


def run(inputs: Mapping[str, Any], outputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Make ``prf.parquet``.

    Parameters
    ----------
    inputs : mapping
        ``deltas``, ``sources`` and, for the tensor model, ``exposures``: paths.
    outputs : mapping
        ``prf``: path.
    params : mapping
        Section ``shape`` of the configuration; ``exposures``: the exposure numbers for the
        tensor model.

    Raises
    ------
    InputError
        If too few pixels can be used.
    """
    deltas = read_table(inputs["deltas"], schemas.DELTAS)
    sources = read_table(inputs["sources"], schemas.SOURCES)
    area = float(read_metadata(inputs["deltas"], schemas.DELTAS)["pixel_area"])
    start, history = fit_shape(deltas, sources, params["shape"], area)
    for number, iteration in enumerate(history):
        logger.info("iteration %d: %s", number, iteration)
    prf: PRF = start
    told: dict[str, Any] = {"history": [asdict(iteration) for iteration in history]}
    if params["shape"]["model"] == "tensor":
        del deltas
        exposures = read_exposures(inputs["exposures"], params["exposures"]).to_dict("records")
        prf, rounds, shifts = joint_prf(exposures, sources, start, params)
        for number, found in enumerate(rounds):
            logger.info("round %d: %s", number, found)
        told["rounds"] = [asdict(found) for found in rounds]
        told["shifts"] = [shift._asdict() for shift in shifts]
    columns, metadata = prf.to_table()
    metadata["integral"] = repr(prf.integral())
    logger.info("integral %s (1 if catalogue, zero point and wings agree)", metadata["integral"])
    metadata |= {name: json.dumps(value) for name, value in told.items()}
    origin = provenance({name: inputs[name] for name in ("deltas", "sources")}, params)
    write_table(outputs["prf"], columns, schemas.PRF, origin, metadata)


def joint_prf(
    exposures: list[dict], sources: pd.DataFrame, start: LogPolarPRF, params: Mapping[str, Any]
) -> tuple[TensorPRF, list[Round], list[Shift]]:
    """Fit the tensor model to all pixels of exposures, from the log-polar one."""
    first, settings = exposures[0], params["shape"]
    middle = (np.asarray((first[name] - 1) / 2.0) for name in ("ncols", "nrows"))
    jacobian = TangentWCS.from_json(first["wcs"]).jacobian(*middle)
    tensor = TensorPRF.projected(start.on_pixels(jacobian), settings["reach"], jacobian)
    flux = sources["flux"].to_numpy()
    sigma = _PRIOR_WIDTH * np.sqrt(np.maximum(flux, 1.0))
    frames = [_exposure(exposure, sources) for exposure in exposures]
    return fit_joint(frames, flux, sources["flags"].to_numpy(), tensor, settings, sigma)


def _exposure(row: dict, sources: pd.DataFrame) -> Exposure:
    area = row["pixel_area"]
    return Exposure(
        partial(read_image, row),
        *positions_at(sources, row["time"]),
        TangentWCS.from_json(row["wcs"]),
        (row["nrows"], row["ncols"]),
        area if np.isfinite(area) else None,
    )


def read_prf(path: str) -> PRF:
    """Read the model of a ``prf`` table."""
    table = read_table(path, schemas.PRF)
    columns = {name: table[name].to_numpy() for name in schemas.PRF.names}
    metadata = read_metadata(path, schemas.PRF)
    kinds: dict[str, Any] = {"log-polar": LogPolarPRF, "tensor": TensorPRF}
    return kinds[json.loads(metadata["model"])["kind"]].from_table(columns, metadata)
