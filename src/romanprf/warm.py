"""Compile every kernel, by reducing a tiny simulated exposure.

Numba compiles a kernel for the types it is called with and keeps the result on disk.  Running
the steps themselves gives exactly the types of a reduction.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from numba.core.dispatcher import Dispatcher

from romanprf.config import Config, load_config
from romanprf.paths import Paths
from romanprf.steps import crossmatch, deltas, fit, frames, metrics, shape, simulate

#: The smallest field with enough bright stars for a fit of the PRF.
_TINY: dict[str, Any] = {
    "simulate": {
        "exposures": 1,
        "size": 48,
        "draw_limit": 23.0,
        "catalogue_limit": 23.0,
        "microlensing": 0,
        "transits": 0,
        "eclipses": 0,
    },
    "shape": {"n_r_knots": 5, "n_phi_knots": 4, "iterations": 1, "contamination": 0.9},
    "metrics": {"subpixels": 1},
}


def compile_all() -> list[str]:
    """Compile the kernels of all steps and name those that are compiled now.

    Returns
    -------
    list of str
        ``module.kernel``, sorted.
    """
    with tempfile.TemporaryDirectory() as folder:
        _reduce(load_config(_TINY), Paths(Path(folder)))
    return compiled()


def compiled() -> list[str]:
    """Names of the kernels compiled or loaded in this process, once for each set of types."""
    return sorted(
        f"{module}.{name}{signature}"
        for module in list(sys.modules)
        if module.startswith("romanprf.") and module.endswith("_nb")
        for name, kernel in vars(sys.modules[module]).items()
        if isinstance(kernel, Dispatcher) and kernel.__module__ == module
        for signature in kernel.signatures
    )


def _reduce(config: Config, paths: Paths) -> None:
    """The steps in their order, as the workflow calls them."""
    sections = config.model_dump(mode="json")
    frame = paths.frames.format(exposure="00000")
    outputs = {"photometry": paths.photometry, "frame_stats": paths.frame_stats}
    outputs = {name: path.format(batch="00000") for name, path in outputs.items()}
    files = {name: getattr(paths, name) for name in ("exposures", "sources", "deltas", "prf")}
    simulate.run_field({}, {"catalogue": paths.catalogue}, sections)
    simulate.run_exposure({}, {"frame": frame}, {**sections, "exposure": 0})
    registration = {"files": [{"file": frame, "exposure": 0}], "gain": None, "zero_point": None}
    frames.run({"images": [frame]}, files, registration)
    field = frames.field(frames.read_exposures(files["exposures"]))
    crossmatch.run({"catalogue": paths.catalogue}, files, {**sections, "field": field})
    deltas.run(files, files, {**sections, "exposures": [0]})
    shape.run({name: files[name] for name in ("deltas", "sources")}, files, sections)
    cut_off = sections["shape"]["flux_cut_off"]
    parameters = {"exposures": [0], "flux_cut_off": cut_off, "threads": 1}
    fit.run(files, outputs, {**sections, **parameters})
    photometry = {"photometry": [outputs["photometry"]]}
    products = {"metrics": paths.metrics, "lightcurves": paths.lightcurves}
    metrics.run({**files, **photometry}, products, sections)
