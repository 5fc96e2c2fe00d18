"""The steps in their order, in one process: for notebooks, tests and benchmarks.

Snakemake does the same in parallel, and again only what changed.
"""

from __future__ import annotations

from threadpoolctl import threadpool_limits

from romanprf.config import Config
from romanprf.core.accelerate import ONE_BLAS_THREAD
from romanprf.io.exposures import read_exposures, read_field
from romanprf.io.sheet import read_sheet
from romanprf.steps import crossmatch, deltas, fit, frames, metrics, shape, simulate
from romanprf.workflow import dependencies
from romanprf.workflow.paths import Paths


@threadpool_limits.wrap(**ONE_BLAS_THREAD)
def reduce(config: Config) -> Paths:
    """Reduce the images that a configuration names, or the demo field, and say where things are.

    Raises
    ------
    InputError
        If a file or setting cannot be used.
    """
    sections, paths = config.model_dump(mode="json"), Paths(config.results)
    if config.exposures.sheet is None:
        _simulate(config, paths)
        files = dependencies.simulated_files(config.simulate, paths)
    else:
        files = read_sheet(config.exposures.sheet)
    names = ("exposures", "catalogue_sources", "sources", "deltas", "prf")
    tables = {name: getattr(paths, name) for name in names}
    images = [str(item["file"]) for item in files]
    listing = {"files": files, "cache": paths.exposures_cache, **sections["exposures"]}
    frames.run({"images": images}, tables, listing)
    exposures = read_exposures(paths.exposures)
    catalogues = {**dependencies.catalogue_files(config, paths), "exposures": paths.exposures}
    chosen = dependencies.shape_exposures(exposures, dependencies.COMPARED)
    field = {"field": read_field(paths.exposures), "exposures": chosen["exposure"].tolist()}
    crossmatch.run(catalogues, tables, {**sections, **field})
    chosen = dependencies.shape_exposures(exposures, config.shape.max_exposures)
    deltas.run(tables, tables, {**sections, "exposures": chosen["exposure"].tolist()})
    chosen = dependencies.shape_exposures(exposures, config.shape.joint_exposures)
    shape.run(tables, tables, {**sections, "exposures": chosen["exposure"].tolist()})
    photometry = _fit(config, paths, tables)
    products = {"metrics": paths.metrics, "lightcurves": paths.lightcurves}
    metrics.run({**tables, "photometry": photometry}, products, sections)
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


def _fit(config: Config, paths: Paths, tables: dict[str, str]) -> list[str]:
    """Fit all batches; the photometry files."""
    sections, size = config.model_dump(mode="json"), config.exposures.batch_size
    exposures = read_exposures(paths.exposures)
    files = []
    for batch, rows in dependencies.batches(exposures, size).items():
        outputs = {name: getattr(paths, name) for name in ("photometry", "frame_stats")}
        outputs = {name: path.format(batch=batch) for name, path in outputs.items()}
        params = {
            **sections,
            "flux_cut_off": config.shape.flux_cut_off,
            "exposures": rows["exposure"].tolist(),
        }
        fit.run(tables, outputs, params)
        files.append(outputs["photometry"])
    return files
