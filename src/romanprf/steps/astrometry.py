"""Step ``astrometry``: five parameters of each star and the geometry of every frame."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from romanprf import schemas
from romanprf.astrometry.offsets import CENTROIDS, Offsets, field_places
from romanprf.astrometry.products import frame_rows, star_rows, state_prior
from romanprf.astrometry.solution import Problem, solve
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
    sources = read_table(inputs["sources"], schemas.SOURCES)
    catalogue = read_table(inputs["catalogue_sources"], schemas.SOURCES)
    listed = sources["source_id"].iloc[: len(catalogue)]
    if not np.array_equal(listed, catalogue["source_id"]):
        raise InputError(
            f"{inputs['sources']}: expected the {len(catalogue)} sources of "
            f"{inputs['catalogue_sources']} first, in their order"
        )
    batches = [str(path) for path in inputs["photometry"]]

    def read() -> Iterator[tuple[slice, Offsets]]:
        series = read_series(batches, table, len(sources), CENTROIDS, _CHUNK, "astrometry")
        for which, columns in series:
            yield which, Offsets.measured(columns, sources.iloc[which], exposures)

    small = len(sources) * len(exposures) <= _CHUNK
    held = list(read()) if small else []
    prior = state_prior(catalogue, sources, Crossmatch(**params["crossmatch"]))
    flux, flags = sources["flux"].to_numpy(), sources["flags"].to_numpy()
    problem = Problem(
        read=(lambda: iter(held)) if small else read,
        n_frames=len(exposures),
        prior=prior,
        field=field_places(sources),
        bright=reference_stars(flux, flags, _BRIGHT),
    )
    solution = solve(problem)
    files = {name: inputs[name] for name in ("catalogue_sources", "sources")}
    origin = provenance(files | {Path(path).name: path for path in batches}, params)
    errors = dict(zip(schemas.ASTROMETRIC, solution.tie_error.tolist(), strict=True))
    tie = {"tie_err": json.dumps(errors), "sweeps": str(solution.sweeps)}
    stars, frames = star_rows(sources, solution.sweep.stars, prior), frame_rows(solution, exposures)
    write_table(outputs["astrometry"], stars, schemas.ASTROMETRY, origin, tie)
    write_table(outputs["frame_astrometry"], frames, schemas.FRAME_ASTROMETRY, origin)
