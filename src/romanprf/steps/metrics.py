"""Step ``metrics``: light curves and their statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from romanprf import schemas
from romanprf.astrometry.offsets import CENTROIDS, Offsets
from romanprf.astrometry.products import displacements, frame_terms, state_changes
from romanprf.config import Metrics
from romanprf.flags import ExposureFlag
from romanprf.frame.frame import Frame
from romanprf.io.exposure import Exposure
from romanprf.io.exposures import read_exposures
from romanprf.io.series import Series, in_time, read_series
from romanprf.io.tables import provenance, read_metadata, read_table, writing
from romanprf.metrics.coverage import image_fraction
from romanprf.metrics.lightcurves import centroid_statistics, light_curve_statistics
from romanprf.prf import PRF
from romanprf.prf.table import read_prf

#: Measurements read at once: bounds the memory of the step.
_CHUNK = 1_000_000
#: Columns of ``photometry`` that a light curve takes as they are.
_COLUMNS = ("psf_flux", "psf_flux_err", "model_err", "flags")
#: Columns of a light curve that show the motion of the star.
_DISPLACEMENTS = ("east", "north", "east_err", "north_err")
#: Exposures, evenly spread, over which `image_fraction` is averaged: it changes with the
#: dither only.
_FRACTION_EXPOSURES = 16


def run(inputs: Mapping[str, Any], outputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Make ``metrics.parquet`` and ``lightcurves.parquet``.

    The metadata of the first hold the result of the search for uncatalogued stars, key ``search``.

    Parameters
    ----------
    inputs : mapping
        ``exposures``, ``sources``, ``prf``, ``astrometry`` and ``frame_astrometry``: paths;
        ``photometry``: paths of all batches.
    outputs : mapping
        ``metrics`` and ``lightcurves``: paths.
    params : mapping
        Section ``metrics`` of the configuration.
    """
    exposures = read_exposures(inputs["exposures"])
    sources = read_table(inputs["sources"], schemas.SOURCES)
    batches = [str(path) for path in inputs["photometry"]]
    subpixels = Metrics(**params["metrics"]).subpixels
    fraction = mean_image_fraction(exposures, sources, read_prf(inputs["prf"]), subpixels)
    centroids = Centroids.of(exposures, sources, inputs)
    files = {name: inputs[name] for name in ("sources", "prf", "astrometry", "frame_astrometry")}
    files |= {Path(path).name: path for path in batches}
    origin = provenance(files, params)
    metadata = read_metadata(inputs["sources"], schemas.SOURCES)
    search = {name: metadata[name] for name in ("search",) if name in metadata}
    with (
        writing(outputs["metrics"], schemas.METRICS, origin, search) as metrics,
        writing(outputs["lightcurves"], schemas.LIGHTCURVES, origin) as lightcurves,
    ):
        for which, grid in light_curves(batches, exposures, len(sources)):
            rows = sources.iloc[which]
            curves = grid | centroids.displacements(rows, grid, which)
            metrics.write(metric_rows(rows, curves, fraction[which]))
            lightcurves.write(light_curve_rows(rows, curves))


def mean_image_fraction(
    exposures: pd.DataFrame, sources: pd.DataFrame, prf: PRF, subpixels: int
) -> np.ndarray:
    """`image_fraction` of each source, mean over some usable exposures; NaN without any."""
    usable = exposures[(exposures["flags"] & int(ExposureFlag.UNUSABLE)) == 0]
    chosen = np.unique(np.linspace(0, len(usable) - 1, _FRACTION_EXPOSURES).astype(int))
    total = np.full(len(sources), np.nan if usable.empty else 0.0)
    for row in usable.iloc[chosen if len(usable) else []].to_dict("records"):
        frame = Frame.from_row(row, sources)
        total += image_fraction(prf, *frame.places(), frame.wcs, frame.shape, subpixels)
    return total / max(len(chosen), 1)


def light_curves(
    batches: Sequence[str], exposures: pd.DataFrame, n_sources: int
) -> Iterator[Series]:
    """Series of ranges of sources, (n, nt) each, with ``exposure`` and ``time``, (nt,)."""
    columns = dict.fromkeys([*_COLUMNS, *CENTROIDS])
    times = {name: in_time(exposures)[name].to_numpy() for name in ("exposure", "time")}
    for which, grid in read_series(batches, exposures, n_sources, [*columns], _CHUNK, "metrics"):
        yield Series(which, grid | times)


@dataclass(frozen=True, eq=False)
class Centroids:
    """What turns centroids into displacements of stars from their states.

    Attributes
    ----------
    exposures : DataFrame
        Rows of the exposures table, in order of time.
    parsed : sequence of Exposure
        The same.
    changes : ndarray, shape (nsources, 5)
        Of the states, from ``sources`` to ``astrometry``.
    terms, excess : ndarray, shapes (nt, 6) and (nt,)
        Of the frames.
    """

    exposures: pd.DataFrame
    parsed: Sequence[Exposure]
    changes: np.ndarray
    terms: np.ndarray
    excess: np.ndarray

    @classmethod
    def of(
        cls, exposures: pd.DataFrame, sources: pd.DataFrame, inputs: Mapping[str, Any]
    ) -> Centroids:
        """From the tables of the step ``astrometry``."""
        exposures = in_time(exposures)
        parsed = [Exposure.from_row(row) for row in exposures.to_dict("records")]
        stars = read_table(inputs["astrometry"], schemas.ASTROMETRY)
        frames = read_table(inputs["frame_astrometry"], schemas.FRAME_ASTROMETRY)
        excess = frames.set_index("exposure")["astrometric_excess"]
        return cls(
            exposures=exposures,
            parsed=parsed,
            changes=state_changes(stars, sources),
            terms=frame_terms(frames, parsed),
            excess=excess.loc[exposures["exposure"]].to_numpy(),
        )

    def displacements(
        self, sources: pd.DataFrame, columns: Mapping[str, np.ndarray], which: slice
    ) -> dict[str, np.ndarray]:
        """Columns `_DISPLACEMENTS` of these sources, (n, nt), from those of ``photometry``."""
        offsets = Offsets.measured(columns, sources, self.parsed)
        found = displacements(offsets, self.changes[which], self.terms, self.excess)
        return found._asdict()


def metric_rows(
    sources: pd.DataFrame, curves: Mapping[str, np.ndarray], fraction: np.ndarray
) -> dict[str, Any]:
    """Rows of the ``metrics`` table."""
    statistics = light_curve_statistics(*(curves[name] for name in (*_COLUMNS[:2], "flags")))
    statistics |= centroid_statistics(*(curves[name] for name in _DISPLACEMENTS))
    names = ("source", "source_id", "ra", "dec", "mag", "flux")
    rows: dict[str, Any] = {name: sources[name].to_numpy() for name in names}
    rows |= statistics | {"image_fraction": fraction}
    rows["flags"] = statistics["flags"] | sources["flags"].to_numpy()
    return rows


def light_curve_rows(sources: pd.DataFrame, curves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Rows of the ``lightcurves`` table."""
    n, nt = curves["psf_flux"].shape
    offsets = pa.array(np.arange(n + 1, dtype=np.int32) * nt)

    def lists(values: np.ndarray, kind: pa.DataType) -> pa.Array:
        return pa.ListArray.from_arrays(offsets, pa.array(values.ravel(), type=kind))

    names = ("source", "source_id", "ra", "dec", "mag")
    return {
        **{name: sources[name].to_numpy() for name in names},
        "exposure": lists(np.tile(curves["exposure"], n), pa.int64()),
        "time": lists(np.tile(curves["time"], n), pa.float64()),
        **{name: lists(curves[name], pa.float32()) for name in (*_COLUMNS[:2], *_DISPLACEMENTS)},
        "model_err": np.sqrt(pd.DataFrame(curves["model_err"] ** 2).mean(axis=1)).to_numpy(),
        "flags": lists(curves["flags"], pa.int32()),
    }
