"""Step ``astrometry``: five parameters of each star and the geometry of every frame."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from romanprf import schemas
from romanprf.astrometry.offsets import CENTROIDS, Offsets, field_places
from romanprf.astrometry.products import frame_rows, star_rows, state_prior
from romanprf.astrometry.solution import Problem, Reader, solve
from romanprf.config import Crossmatch
from romanprf.errors import InputError
from romanprf.io.exposure import Exposure
from romanprf.io.exposures import read_exposures
from romanprf.io.series import in_time, read_series
from romanprf.io.tables import provenance, read_table, write_table
from romanprf.solve.register import reference_stars

#: Centroids read at once: bounds the memory of the step.
_CHUNK = 500_000
#: Bright stars from which the excess of the frames is measured.
_BRIGHT = 200


def run(inputs: Mapping[str, Any], outputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Make ``astrometry.parquet`` and ``frame_astrometry.parquet``.

    The metadata of the first hold 1 sigma of the five parameters that all stars share, key
    ``tie_err`` (mas, mas/yr), which is no part of their errors.

    Parameters
    ----------
    inputs : mapping
        ``exposures``, ``catalogue_sources`` and ``sources``: paths; ``photometry``: paths of all
        batches.
    outputs : mapping
        ``astrometry`` and ``frame_astrometry``: paths.
    params : mapping
        Section ``crossmatch`` of the configuration (of this: parallax_error, proper_motion_error).

    Raises
    ------
    InputError
        If the sources do not begin with those of the catalogue, or if measurements are missing.
    """
    table = in_time(read_exposures(inputs["exposures"]))
    exposures = [Exposure.from_row(row) for row in table.to_dict("records")]
    catalogue, sources = _read_sources(inputs)
    batches = [str(path) for path in inputs["photometry"]]
    flux, flags = sources["flux"].to_numpy(), sources["flags"].to_numpy()
    problem = Problem(
        read=_reader(batches, table, sources, exposures),
        n_frames=len(exposures),
        prior=state_prior(catalogue, sources, Crossmatch(**params["crossmatch"])),
        field=field_places(sources),
        bright=reference_stars(flux, flags, _BRIGHT),
    )
    solution = solve(problem)
    files = {name: inputs[name] for name in ("catalogue_sources", "sources")}
    origin = provenance(files | {Path(path).name: path for path in batches}, params)
    errors = dict(zip(schemas.ASTROMETRIC, solution.tie_error.tolist(), strict=True))
    tie = {"tie_err": json.dumps(errors), "sweeps": str(solution.sweeps)}
    stars = star_rows(sources, solution.sweep.stars, problem.prior)
    frames = frame_rows(solution, exposures)
    write_table(outputs["astrometry"], stars, schemas.ASTROMETRY, origin, tie)
    write_table(outputs["frame_astrometry"], frames, schemas.FRAME_ASTROMETRY, origin)


def _read_sources(inputs: Mapping[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables ``catalogue_sources`` and ``sources``, of which the second begins like the first."""
    catalogue, sources = (
        read_table(inputs[name], schemas.SOURCES) for name in ("catalogue_sources", "sources")
    )
    if not np.array_equal(sources["source_id"].iloc[: len(catalogue)], catalogue["source_id"]):
        raise InputError(
            f"{inputs['sources']}: expected the {len(catalogue)} sources of "
            f"{inputs['catalogue_sources']} first, in their order"
        )
    return catalogue, sources


def _reader(
    batches: list[str], table: pd.DataFrame, sources: pd.DataFrame, exposures: list[Exposure]
) -> Reader:
    """Reads the offsets of all stars at each call, or once if they are few."""

    def read() -> Iterator[tuple[slice, Offsets]]:
        series = read_series(batches, table, len(sources), CENTROIDS, _CHUNK, "astrometry")
        for which, columns in series:
            yield which, Offsets.measured(columns, sources.iloc[which], exposures)

    if len(sources) * len(exposures) > _CHUNK:
        return read
    held = list(read())
    return lambda: iter(held)
