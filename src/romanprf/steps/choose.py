"""Step ``choose``: the exposures that the PRF is learned from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from romanprf.config import Shape
from romanprf.errors import InputError
from romanprf.io.exposures import read_exposures
from romanprf.io.tables import provenance, write_table
from romanprf.schemas import LEARNING
from romanprf.sky.choice import choose


def run(inputs: Mapping[str, Any], outputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Make ``learning.parquet``.

    Parameters
    ----------
    inputs : mapping
        ``exposures``: path.
    outputs : mapping
        ``learning``: path.
    params : mapping
        ``shape``: max_exposures and joint_exposures of that section of the configuration.

    Raises
    ------
    InputError
        If there is no good exposure.
    """
    shape = Shape(**params["shape"])
    exposures = read_exposures(inputs["exposures"])
    chosen = choose(exposures, max(shape.max_exposures, shape.joint_exposures))
    if chosen.empty:
        raise InputError(
            f"{inputs['exposures']}: no exposure has flags = 0, expected one to fit the PRF to"
        )
    origin = provenance({"exposures": inputs["exposures"]}, params)
    write_table(outputs["learning"], chosen, LEARNING, origin)
