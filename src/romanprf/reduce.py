"""The steps in their order, in one process: for notebooks, tests and benchmarks.

Snakemake does the same in parallel, and again only what changed.
"""

from __future__ import annotations

from typing import Any

from threadpoolctl import threadpool_limits

from romanprf.config import Config
from romanprf.core.accelerate import ONE_BLAS_THREAD
from romanprf.io.exposures import read_exposures, read_field
from romanprf.io.sheet import read_sheet
from romanprf.steps import (
    astrometry,
    checks,
    choose,
    crossmatch,
    deltas,
    fit,
    frames,
    metrics,
    shape,
    simulate,
)
from romanprf.workflow import dependencies
from romanprf.workflow.paths import Paths, usable


@threadpool_limits.wrap(**ONE_BLAS_THREAD)
def reduce(config: Config) -> Paths:
    """Reduce the images that a configuration names, or the demo field, and say where things are.

    Raises
    ------
    InputError
        If a file or setting cannot be used.
    """
    sections, paths = config.model_dump(mode="json"), Paths(usable(config.results))
    if config.exposures.sheet is None:
        _simulate(config, paths)
        files = dependencies.simulated_files(config.simulate, paths)
    else:
        files = read_sheet(config.exposures.sheet)
    names = ("exposures", "learning", "catalogue_sources", "sources", "deltas", "prf")
    tables: dict[str, Any] = {name: getattr(paths, name) for name in names}
    images = [str(item["file"]) for item in files]
    listing = {"files": files, "cache": paths.exposures_cache, **sections["exposures"]}
    frames.run({"images": images}, tables, listing)
    catalogues = dependencies.catalogue_files(config, paths)
    choose.run(tables, tables, sections)
    field = {"field": read_field(paths.exposures)}
    crossmatch.run({**tables, **catalogues}, tables, {**sections, **field})
    deltas.run(tables, tables, sections)
    shape.run(tables, tables, sections)
    tables |= _fit(config, paths, tables)
    last = ("astrometry", "frame_astrometry", "metrics", "lightcurves")
    products = {name: getattr(paths, name) for name in last}
    astrometry.run(tables, products, sections)
    metrics.run({**tables, **products}, products, sections)
    pages = {"checks": paths.checks, "page": paths.checks_page}
    checks.run({**tables, **products}, pages, {})
    return paths


def _simulate(config: Config, paths: Paths) -> None:
    """Draw the demo field."""
    sections = config.model_dump(mode="json")
    simulate.run_field({}, {"catalogue": paths.catalogue, "truth": paths.truth}, sections)
    if config.simulate.format == "cube":
        simulate.run_cube({}, {"cube": paths.cube}, sections)
        return
    for item in dependencies.simulated_files(config.simulate, paths):
        outputs = {"frame": item["file"]}
        simulate.run_exposure({}, outputs, {**sections, "exposure": item["exposure"]})


def _fit(config: Config, paths: Paths, tables: dict[str, Any]) -> dict[str, list[str]]:
    """Fit all batches; the files of ``photometry`` and ``frame_stats``."""
    sections, size = config.model_dump(mode="json"), config.exposures.batch_size
    exposures = read_exposures(paths.exposures)
    files: dict[str, list[str]] = {"photometry": [], "frame_stats": []}
    for batch, rows in dependencies.batches(exposures, size).items():
        outputs = {name: getattr(paths, name).format(batch=batch) for name in files}
        params = {
            **sections,
            "flux_cut_off": config.shape.flux_cut_off,
            "exposures": rows["exposure"].tolist(),
        }
        fit.run(tables, outputs, params)
        for name, path in outputs.items():
            files[name].append(path)
    dependencies.remove_other_batches(files)
    return files
