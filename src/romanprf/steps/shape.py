"""Step ``shape``: the PRF of a reduction, and the sources that the catalogue lacks."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from romanprf import schemas
from romanprf.config import Catalogue, Crossmatch, Fit, Shape
from romanprf.errors import InputError
from romanprf.frame.frame import Frame
from romanprf.io.exposure import Exposure
from romanprf.io.exposures import read_chosen
from romanprf.io.tables import provenance, read_metadata, read_table, write_table
from romanprf.learn.logpolar import LogPolarSettings, learn_logpolar
from romanprf.prf import PRF, LogPolarPRF, TensorPRF
from romanprf.search.complete import Learned, from_images, learn, numbered

logger = logging.getLogger(__name__)

#: Nodes per axis of a PRF that changes over the image.
_NODES = 3
#: ... which it does by default on images of at least this many pixels a side.
_LARGE = 2000
#: An integral of the PRF that is off by more than this is worth a warning.
_OFF_SCALE = 0.1


def run(inputs: Mapping[str, Any], outputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Make ``prf.parquet`` and ``sources.parquet``.

    Parameters
    ----------
    inputs : mapping
        ``deltas``, ``catalogue_sources`` and, for the tensor model, ``exposures`` and
        ``learning``: paths.
    outputs : mapping
        ``prf`` and ``sources``: paths.
    params : mapping
        Sections ``shape`` and ``crossmatch`` of the configuration (of this: saturation_magnitude,
        contaminant_radius and contaminant_contrast); of ``catalogue`` photometry, of ``fit``
        background_nodes.

    Raises
    ------
    InputError
        If too few pixels can be used, or if a PRF with nodes meets images of several shapes.
    """
    shape, crossmatch = Shape(**params["shape"]), Crossmatch(**params["crossmatch"])
    sources = read_table(inputs["catalogue_sources"], schemas.SOURCES)
    calibrates = Catalogue(**params["catalogue"]).calibrates and not from_images(sources)
    start, history = _log_polar(inputs["deltas"], sources, shape)
    start = start if calibrates else start.normalised()
    prf: PRF = start
    search: dict[str, str] = {}
    facts: dict[str, Any] = {"history": history}
    if shape.model == "tensor":
        rows = read_chosen(inputs, shape.joint_exposures).to_dict("records")
        nodes = Fit(**params["fit"]).background_nodes
        learned = _tensor(rows, sources, start, shape, calibrates, nodes)
        facts["background_nodes"] = learned.background_nodes
        prf, facts["rounds"] = learned.prf, [asdict(found) for found in learned.rounds]
        facts["left_out"] = [
            int(row["exposure"]) for row in itertools.compress(rows, ~learned.used)
        ]
        facts["shifts"] = [state.shift._asdict() for state in learned.states]
        sources = numbered(learned.sources, rows[0]["zero_point"], crossmatch)
        searches = {"threshold": shape.search_threshold, "rounds": learned.searches}
        search = {"search": json.dumps(searches)}
    columns, metadata = prf.to_table()
    metadata["integral"] = _told(prf.integral())
    metadata |= {name: json.dumps(value) for name, value in facts.items()}
    origin = provenance({name: inputs[name] for name in ("deltas", "catalogue_sources")}, params)
    write_table(outputs["prf"], columns, schemas.PRF, origin, metadata)
    write_table(outputs["sources"], sources, schemas.SOURCES, origin, search)


def _told(integral: float) -> str:
    """The integral of the PRF for the metadata, with what it says about the catalogue."""
    logger.info("integral %r (1 if catalogue, zero point and wings agree)", integral)
    if abs(integral - 1.0) > _OFF_SCALE:
        logger.warning(
            "the catalogue is %.2f mag too %s for the zero point of the images (integral of the "
            "PRF %.3f): fluxes follow the catalogue; catalogue.photometry: approximate follows the "
            "images",
            abs(2.5 * np.log10(integral)),
            "bright" if integral < 1.0 else "faint",
            integral,
        )
    return repr(integral)


def _log_polar(
    path: str, sources: pd.DataFrame, shape: Shape
) -> tuple[LogPolarPRF, list[dict[str, Any]]]:
    """Learn the log-polar model from the ``deltas`` table; the model and its iterations."""
    deltas = read_table(path, schemas.DELTAS)
    area = float(read_metadata(path, schemas.DELTAS)["pixel_area"])
    settings = LogPolarSettings.configured(shape)
    prf, history = learn_logpolar(deltas, sources, area, settings)
    for number, iteration in enumerate(history):
        logger.info("iteration %d: %s", number, iteration)
    return prf, [asdict(iteration) for iteration in history]


def _tensor(
    rows: list[dict],
    sources: pd.DataFrame,
    start: LogPolarPRF,
    shape: Shape,
    calibrates: bool,
    background_nodes: int | None,
) -> Learned:
    """Learn the tensor model and the missing stars from all pixels, from the log-polar model."""
    first = Exposure.from_row(rows[0])
    guess = TensorPRF.projected(start.with_wing(first.jacobian), shape.reach, first.jacobian)
    shapes = {(row["nrows"], row["ncols"]) for row in rows}
    large = len(shapes) == 1 and min(map(min, shapes)) >= _LARGE
    count = shape.nodes or (_NODES if large else 1)
    if count > 1 and len(shapes) > 1:
        raise InputError(
            f"shape.nodes: the exposures of the PRF fit have shapes {sorted(shapes)} (rows, "
            f"columns), expected one shape for {count} x {count} nodes, or nodes: 1"
        )
    if count > 1:
        guess = guess.with_nodes(count, shapes.pop())

    def frames(table: pd.DataFrame) -> list[Frame]:
        return [Frame.from_row(row, table) for row in rows]

    learned = learn(frames, sources, guess, shape, calibrates, background_nodes)
    for row in itertools.compress(rows, ~learned.used):
        logger.warning(
            "%s: exposure %d is not described as well as the others (trailed, out of focus, a "
            "wrong WCS or bad pixels): neither PRF nor stars are learned from it",
            row["file"],
            row["exposure"],
        )
    for number, found in enumerate(learned.rounds):
        logger.info("round %d: %s", number, found)
    return learned
