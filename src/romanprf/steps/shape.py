"""Step ``shape``: the PRF of a reduction, and the sources that the catalogue lacks."""

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
from romanprf.config import Crossmatch
from romanprf.errors import InputError
from romanprf.frame.frame import Exposure
from romanprf.io.exposures import read_exposures
from romanprf.io.images import read_image
from romanprf.io.tables import provenance, read_metadata, read_table, write_table
from romanprf.learn.logpolar import fit_shape
from romanprf.prf import PRF, LogPolarPRF, TensorPRF
from romanprf.search.complete import Learned, learn, numbered
from romanprf.sky.motion import positions_at
from romanprf.sky.wcs import TangentWCS

logger = logging.getLogger(__name__)

#: Nodes per axis of a PRF that changes over images of at least this many pixels a side.
_NODES, _LARGE = 3, 2000


def run(inputs: Mapping[str, Any], outputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Make ``prf.parquet`` and ``sources.parquet``.

    Parameters
    ----------
    inputs : mapping
        ``deltas``, ``catalogue_sources`` and, for the tensor model, ``exposures``: paths.
    outputs : mapping
        ``prf`` and ``sources``: paths.
    params : mapping
        Sections ``shape`` and ``crossmatch`` of the configuration (of this: saturation_magnitude,
        contaminant_radius and contaminant_contrast); ``exposures``: the exposure numbers for the
        tensor model.

    Raises
    ------
    InputError
        If too few pixels can be used, or if a PRF with nodes meets images of several shapes.
    """
    deltas = read_table(inputs["deltas"], schemas.DELTAS)
    sources = read_table(inputs["catalogue_sources"], schemas.SOURCES)
    area = float(read_metadata(inputs["deltas"], schemas.DELTAS)["pixel_area"])
    start, history = fit_shape(deltas, sources, params["shape"], area)
    for number, iteration in enumerate(history):
        logger.info("iteration %d: %s", number, iteration)
    prf: PRF = start
    search: dict[str, str] = {}
    told: dict[str, Any] = {"history": [asdict(iteration) for iteration in history]}
    if params["shape"]["model"] == "tensor":
        del deltas
        exposures = read_exposures(inputs["exposures"], params["exposures"]).to_dict("records")
        learned = joint_prf(exposures, sources, start, params)
        for number, found in enumerate(learned.rounds):
            logger.info("round %d: %s", number, found)
        prf, told["rounds"] = learned.prf, [asdict(found) for found in learned.rounds]
        told["shifts"] = [shift._asdict() for shift in learned.shifts]
        crossmatch = Crossmatch(**params["crossmatch"])
        sources = numbered(learned.sources, exposures[0]["zero_point"], crossmatch)
        threshold = params["shape"]["search_threshold"]
        search = {"search": json.dumps({"threshold": threshold, "rounds": learned.searches})}
    columns, metadata = prf.to_table()
    metadata["integral"] = repr(prf.integral())
    logger.info("integral %s (1 if catalogue, zero point and wings agree)", metadata["integral"])
    metadata |= {name: json.dumps(value) for name, value in told.items()}
    origin = provenance({name: inputs[name] for name in ("deltas", "catalogue_sources")}, params)
    write_table(outputs["prf"], columns, schemas.PRF, origin, metadata)
    write_table(outputs["sources"], sources, schemas.SOURCES, origin, search)


def joint_prf(
    exposures: list[dict], sources: pd.DataFrame, start: LogPolarPRF, params: Mapping[str, Any]
) -> Learned:
    """Fit the tensor model and missing stars to all pixels, from the log-polar model."""
    first, settings = exposures[0], params["shape"]
    middle = (np.asarray((first[name] - 1) / 2.0) for name in ("ncols", "nrows"))
    jacobian = TangentWCS.from_json(first["wcs"]).jacobian(*middle)
    tensor = TensorPRF.projected(start.with_wing(jacobian), settings["reach"], jacobian)
    shapes = {(exposure["nrows"], exposure["ncols"]) for exposure in exposures}
    large = len(shapes) == 1 and min(map(min, shapes)) >= _LARGE
    count = settings["nodes"] or (_NODES if large else 1)
    if count > 1 and len(shapes) > 1:
        raise InputError(
            f"shape.nodes: the exposures of the PRF fit have shapes {sorted(shapes)} (rows, "
            f"columns), expected one shape for {count} x {count} nodes, or nodes: 1"
        )
    if count > 1:
        tensor = tensor.with_nodes(count, shapes.pop())
    return learn(
        lambda table: [_exposure(row, table) for row in exposures], sources, tensor, settings
    )


def _exposure(row: dict, sources: pd.DataFrame) -> Exposure:
    area = row["pixel_area"]
    return Exposure(
        partial(read_image, row),
        *positions_at(sources, row["time"]),
        TangentWCS.from_json(row["wcs"]),
        (row["nrows"], row["ncols"]),
        area if np.isfinite(area) else None,
    )
