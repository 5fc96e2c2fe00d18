"""What a reduction holds: sources, exposures, and the scatter of light curves against magnitude.

python benchmarks/summary.py RESULTS [RESULTS ...]
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pandas as pd

EDGES = [14, 15.5, 17, 18, 19, 20, 21, 22, 23, 24, 25]


def main(results: Path) -> None:
    stars = pd.read_parquet(results / "metrics.parquet")
    exposures = pd.read_parquet(results / "exposures.parquet", columns=["exposure"])
    measured = stars[stars["n_good"] > 0]
    print(f"{results}: {len(exposures)} exposures, {len(stars)} sources in and around the field,")
    print(f"{len(measured)} with light curves; scatter of those with the whole core on the images:")
    whole = measured["image_fraction"] > 0.95 * measured["image_fraction"].max()
    stars = measured[whole & (measured["n_good"] > 2)]
    print("| mag | sources | scatter / flux | expected / flux | scatter / expected |")
    print("|---|---|---|---|---|")
    for low, high in itertools.pairwise(EDGES):
        inside = stars[(stars["mag"] >= low) & (stars["mag"] < high)]
        if inside.empty:
            continue
        scatter = np.median(inside["scatter"] / inside["flux"])
        expected = np.median(inside["expected_scatter"] / inside["flux"])
        excess = np.median(inside["scatter"] / inside["expected_scatter"])
        row = f"{len(inside)} | {100 * scatter:.2f} % | {100 * expected:.2f} % | {excess:.2f}"
        print(f"| {low:g}-{high:g} | {row} |")


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        main(Path(folder))
