"""PRF and fluxes of simulated frames of a whole detector against the truth.

python benchmarks/detector_truth.py CONFIG RESULTS

CONFIG is the configuration that drew the frames, RESULTS the folder of their reduction.  Prints the
largest error of the PRF within 4 pixels at 5 x 5 places (% of the peak), and by true magnitude the
median error of single fluxes and the width and median of (flux - truth) / error.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import yaml

from romanprf import schemas
from romanprf.config import Simulate, load_config
from romanprf.core.statistics import robust_spread
from romanprf.io.tables import read_table
from romanprf.prf import TensorPRF
from romanprf.prf.table import read_prf
from romanprf.simulate.field import make_field
from romanprf.simulate.render import true_prf
from romanprf.workflow.paths import Paths

BINS = ((15, 17), (17, 18), (18, 20), (20, 21), (21, 22), (22, 23))
#: Places of the PRF per axis, pixels from the edges, and edge of the image that does not count.
PLACES, MARGIN, EDGE = 5, 128, 10


def prf_error(prf: TensorPRF, x: float, y: float, settings: Simulate) -> float:
    """Largest error within 4 pixels, % of the peak."""
    offsets = np.meshgrid(*2 * [np.linspace(-4.0, 4.0, 81)])
    truth = true_prf(*offsets, x, y, settings)
    return float(100 * np.abs(prf.at(x, y).on_pixels(*offsets) - truth).max() / truth.max())


def measurements(paths: Paths, settings: Simulate) -> pd.DataFrame:
    """Fluxes of constant, unblended stars inside the image, with their truth."""
    field = make_field(settings)
    truth = field.stars.drop(index=field.stars.index[[event.star for event in field.events]])
    side = settings.size - EDGE
    truth = truth[truth["x"].between(EDGE, side) & truth["y"].between(EDGE, side)]
    sources = read_table(paths.sources, schemas.SOURCES)
    sources = sources.loc[sources["n_merged"] == 1, ["source", "source_id"]]
    table = pq.read_table(Path(paths.photometry).parent, partitioning=None).to_pandas()
    table = table.merge(sources, on="source").merge(truth[["source_id", "mag", "flux"]])
    return table[np.isfinite(table["psf_flux"])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("results", type=Path)
    args = parser.parse_args()
    settings = load_config(yaml.safe_load(args.config.read_text())).simulate
    paths = Paths(args.results)
    prf = read_prf(paths.prf)
    places = np.linspace(MARGIN, settings.size - 1 - MARGIN, PLACES)
    for y in places:
        print(" | ".join(f"{prf_error(prf, x, y, settings):.2f}" for x in places), flush=True)
    table = measurements(paths, settings)
    off = table["psf_flux"] - table["flux"]
    pull = off / np.hypot(table["psf_flux_err"], table["model_err"].fillna(0.0))
    for low, high in BINS:
        some = table["mag"].between(low, high, inclusive="left")
        bias = 100 * np.median(off[some] / table["flux"][some])
        width, middle = robust_spread(pull[some].to_numpy()), np.median(pull[some])
        stars = table["source"][some].nunique()
        print(f"{low}-{high} | {stars} | {bias:+.2f} % | {width:.2f} | {middle:+.2f}", flush=True)


if __name__ == "__main__":
    main()
