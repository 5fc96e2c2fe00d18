"""Step ``metrics``: light curves and their statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from romanprf import schemas
from romanprf.config import Metrics
from romanprf.errors import InputError
from romanprf.flags import ExposureFlag
from romanprf.frame.frame import Frame
from romanprf.io.exposures import read_exposures
from romanprf.io.tables import provenance, read_metadata, read_table, writing
from romanprf.metrics.coverage import image_fraction
from romanprf.metrics.lightcurves import light_curve_statistics
from romanprf.prf import PRF
from romanprf.prf.table import read_prf

#: Measurements read at once: bounds the memory of the step.
_CHUNK = 4_000_000
#: Exposures, evenly spread, over which `image_fraction` is averaged: it changes with the
#: dither only.
_FRACTION_EXPOSURES = 16


def run(inputs: Mapping[str, Any], outputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Make ``metrics.parquet`` and ``lightcurves.parquet``.

    The metadata of the first hold the result of the search for uncatalogued stars, key ``search``.

    Parameters
    ----------
    inputs : mapping
        ``exposures``, ``sources`` and ``prf``: paths; ``photometry``: paths of all batches.
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
    files = {name: inputs[name] for name in ("sources", "prf")}
    files |= {Path(path).name: path for path in batches}
    origin = provenance(files, params)
    metadata = read_metadata(inputs["sources"], schemas.SOURCES)
    search = {name: metadata[name] for name in ("search",) if name in metadata}
    with (
        writing(outputs["metrics"], schemas.METRICS, origin, search) as metrics,
        writing(outputs["lightcurves"], schemas.LIGHTCURVES, origin) as lightcurves,
    ):
        for low, curves in light_curves(batches, exposures, len(sources)):
            rows = sources.iloc[low : low + len(curves["flux"])]
            metrics.write(metric_rows(rows, curves, fraction[rows["source"]]))
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
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Light curves of ranges of sources, read from all batches.

    Yields
    ------
    low : int
        First source of the range.
    curves : dict of ndarray
        ``flux``, ``flux_err``, ``model_err`` and ``flags``, shape (nsources, nt); ``exposure``
        and ``time``, shape (nt,); in order of time.
    """
    exposures = exposures.sort_values(["time", "exposure"])
    order, nt = exposures["exposure"].to_numpy(), len(exposures)
    place = pd.Series(np.arange(nt), index=order)
    size = max(1, _CHUNK // max(nt, 1))
    for low in tqdm(range(0, n_sources, size), "metrics", disable=None):
        high = min(low + size, n_sources)
        inside = [("source", ">=", low), ("source", "<", high)]
        tables = [read_table(path, schemas.PHOTOMETRY, filters=inside) for path in batches]
        table = pd.concat(tables, ignore_index=True)
        table["place"] = table["exposure"].map(place)
        table = table.sort_values(["source", "place"], kind="stable")
        if not np.array_equal(table["exposure"], np.tile(order, high - low)):
            raise InputError(
                f"{batches[0]} and its siblings: {len(table)} measurements of sources {low} to "
                f"{high - 1}, expected one for each of {nt} exposures"
            )
        columns = {"flux": "psf_flux", "flux_err": "psf_flux_err"}
        columns |= {name: name for name in ("model_err", "flags")}
        grid = {
            name: table[column].to_numpy().reshape(high - low, nt)
            for name, column in columns.items()
        }
        yield low, grid | {"exposure": order, "time": exposures["time"].to_numpy()}


def metric_rows(
    sources: pd.DataFrame, curves: Mapping[str, np.ndarray], fraction: np.ndarray
) -> dict[str, Any]:
    """Rows of the ``metrics`` table."""
    statistics = light_curve_statistics(curves["flux"], curves["flux_err"], curves["flags"])
    names = ("source", "source_id", "ra", "dec", "mag", "flux")
    rows: dict[str, Any] = {name: sources[name].to_numpy() for name in names}
    rows |= statistics | {"image_fraction": fraction}
    rows["flags"] = statistics["flags"] | sources["flags"].to_numpy()
    return rows


def light_curve_rows(sources: pd.DataFrame, curves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Rows of the ``lightcurves`` table."""
    n, nt = curves["flux"].shape
    offsets = pa.array(np.arange(n + 1, dtype=np.int32) * nt)

    def lists(values: np.ndarray, kind: pa.DataType) -> pa.Array:
        return pa.ListArray.from_arrays(offsets, pa.array(values.ravel(), type=kind))

    names = ("source", "source_id", "ra", "dec", "mag")
    return {
        **{name: sources[name].to_numpy() for name in names},
        "exposure": lists(np.tile(curves["exposure"], n), pa.int64()),
        "time": lists(np.tile(curves["time"], n), pa.float64()),
        "psf_flux": lists(curves["flux"], pa.float32()),
        "psf_flux_err": lists(curves["flux_err"], pa.float32()),
        "model_err": np.sqrt(pd.DataFrame(curves["model_err"] ** 2).mean(axis=1)).to_numpy(),
        "flags": lists(curves["flags"], pa.int32()),
    }
