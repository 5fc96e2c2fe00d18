"""Step ``shape``: the PRF of a reduction."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from romanprf import schemas
from romanprf.io.tables import provenance, read_metadata, read_table, write_table
from romanprf.prf import LogPolarPRF
from romanprf.prf.shape import fit_shape

logger = logging.getLogger(__name__)


def run(inputs: Mapping[str, Any], outputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Make ``prf.parquet``.

    Parameters
    ----------
    inputs : mapping
        ``deltas`` and ``sources``: paths.
    outputs : mapping
        ``prf``: path.
    params : mapping
        Section ``shape`` of the configuration.

    Raises
    ------
    InputError
        If too few pixels can be used.
    """
    deltas = read_table(inputs["deltas"], schemas.DELTAS)
    sources = read_table(inputs["sources"], schemas.SOURCES)
    area = float(read_metadata(inputs["deltas"], schemas.DELTAS)["pixel_area"])
    model, history = fit_shape(deltas, sources, params["shape"], area)
    for number, iteration in enumerate(history):
        logger.info("iteration %d: %s", number, iteration)
    columns, metadata = model.to_table()
    metadata["integral"] = repr(model.integral())
    logger.info("integral %s (1 if catalogue, zero point and wings agree)", metadata["integral"])
    metadata["history"] = json.dumps([asdict(iteration) for iteration in history])
    write_table(outputs["prf"], columns, schemas.PRF, provenance(inputs, params), metadata)


def read_prf(path: str) -> LogPolarPRF:
    """Read the model of a ``prf`` table."""
    table = read_table(path, schemas.PRF)
    columns = {name: table[name].to_numpy() for name in schemas.PRF.names}
    return LogPolarPRF.from_table(columns, read_metadata(path, schemas.PRF))
