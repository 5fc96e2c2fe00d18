"""One program's side of `peers.py`: fit the frames of an npz file and print the times as JSON.

python benchmarks/roman_lcs_side.py PACKAGE ARRAYS FLUXES MACHINE SHAPE

Runs in the environment of the package, whose class `Machine` has the interface of roman-lcs.
MACHINE and SHAPE are JSON: arguments of the constructor and of `build_shape_model`.
"""

from __future__ import annotations

import importlib
import json
import sys
import time

import numpy as np
import pandas as pd

NAMES = ("time", "flux", "flux_err", "ra", "dec", "row", "column")
#: Only brighter stars (e-/s; F146 of 21.4) make a pixel contaminated: with all of them too few
#: pixels of a bulge field are left for the shape model of roman-lcs.
CONTAMINANT_FLUX_LIMIT = 300.0


def main(package: str, path: str, fluxes: str, settings: str, shape: str) -> None:
    machine = importlib.import_module(package).Machine
    with np.load(path) as data:
        arrays = {name: data[name] for name in NAMES}
        sources = pd.DataFrame({name: data[f"source_{name}"] for name in ("ra", "dec", "flux")})

    start = time.perf_counter()
    m = machine(**arrays, sources=sources, **json.loads(settings))
    construct = time.perf_counter() - start
    m.quiet = True
    m.contaminant_flux_limit = CONTAMINANT_FLUX_LIMIT
    m.build_shape_model(**json.loads(shape))
    m.fit_model()
    first = time.perf_counter() - start  # to the first fluxes, compilation included
    start = time.perf_counter()
    m.fit_model()
    fit = time.perf_counter() - start
    pixels = m.mean_model.getnnz(axis=1)  # roman-lcs: those of the last frame of the fit
    result = {"first": first, "construct": construct / m.nt, "fit": fit / m.nt}
    np.savez(fluxes, ws=m.ws, werrs=m.werrs)
    print(json.dumps({**result, "pixels": np.median(pixels[pixels > 0])}))


if __name__ == "__main__":
    main(*sys.argv[1:])
