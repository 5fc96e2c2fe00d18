"""Scatter and bias of dithered light curves against the knots of the log-polar PRF.

python benchmarks/shape_knots.py [--size 192] [--exposures 12] [--seed 11]

Simulates one field, reduces it with several sets of knots and prints, by magnitude, the median
over constant stars of light-curve scatter / flux, scatter / quoted error and flux bias.
"""

from __future__ import annotations

import argparse
import tempfile

import numpy as np
import pandas as pd

from romanprf.config import Config, load_config
from romanprf.reduce import reduce

KNOTS = {
    "10 x 15": {"n_r_knots": 10, "n_phi_knots": 15, "rmin": 0.05, "cut_r": 0.1},
    "20 x 16": {"n_r_knots": 20, "n_phi_knots": 16},
    "28 x 24 (default)": {},
    "36 x 30": {"n_r_knots": 36, "n_phi_knots": 30},
}
BINS = [(15.5, 17), (17, 18), (18, 20), (20, 21), (21, 22), (22, 23)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--exposures", type=int, default=12)
    parser.add_argument("--seed", type=int, default=11)
    field = {"position_error": 0.0, **vars(parser.parse_args())}
    print("| knots | F146 | stars | scatter / flux | scatter / error | bias |")
    print("|---|---|---|---|---|---|")
    for name, knots in KNOTS.items():
        with tempfile.TemporaryDirectory() as folder:
            settings = {"results": folder, "simulate": field, "shape": knots}
            for row in accuracy(load_config(settings)):
                print(f"| {name} | " + " | ".join(row) + " |", flush=True)


def accuracy(config: Config) -> list[list[str]]:
    """Rows of the table for one set of knots."""
    paths = reduce(config)
    truth = pd.read_parquet(paths.truth).set_index("source_id")
    stars = pd.read_parquet(paths.metrics).join(
        truth[["kind", "flux"]].add_prefix("true_"), on="source_id", how="inner"
    )
    whole = stars["image_fraction"] > 0.9 * stars["image_fraction"].max()
    stars = stars[whole & (stars["true_kind"] == "constant") & (stars["n_good"] > 2)]
    rows = []
    for low, high in BINS:
        inside = stars[(stars["mag"] >= low) & (stars["mag"] < high)]
        scatter = np.median(inside["scatter"] / inside["true_flux"])
        excess = np.median(inside["scatter"] / inside["expected_scatter"])
        bias = np.median(inside["median_flux"] / inside["true_flux"]) - 1.0
        rows.append(
            [
                f"{low:g}-{high:g}",
                str(len(inside)),
                f"{100 * scatter:.2f} %",
                f"{excess:.1f}",
                f"{100 * bias:+.2f} %",
            ]
        )
    return rows


if __name__ == "__main__":
    main()
