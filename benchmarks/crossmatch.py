"""Time and memory of the crossmatch step, whole process, against the number of rows.

python benchmarks/crossmatch.py ROWS [--reference ROWS]

Draws a catalogue of one detector and, if asked, a reference catalogue of some of its stars, 0.18
arcsec away, and prints one row of a table: rows, rows, seconds, peak memory, error of the offset.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from romanprf.config import Config
from romanprf.io.tables import read_metadata
from romanprf.schemas import SOURCES
from romanprf.sky.wcs import ARCSEC, deproject
from romanprf.steps import crossmatch

SIDE = 0.125  # degrees
OFFSET = np.array([0.15, -0.1])  # arcsec
FIELD = {
    "ra0": 268.0,
    "dec0": -29.2,
    "angle": 0.0,
    "u_min": -SIDE / 2,
    "u_max": SIDE / 2,
    "v_min": -SIDE / 2,
    "v_max": SIDE / 2,
    "pixel_scale": 0.11,
    "epoch": 2027.0,
    "zero_point": 27.58,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=int)
    parser.add_argument("--reference", type=int, default=0)
    args = parser.parse_args()
    random = np.random.default_rng(1)
    plane = random.uniform(-SIDE / 2, SIDE / 2, (args.rows, 2))
    mag = 15.0 + 10.0 * np.sqrt(random.random(args.rows))
    with tempfile.TemporaryDirectory() as folder:
        inputs = {"catalogue": write(Path(folder) / "catalogue.parquet", plane, mag, random)}
        if args.reference:
            chosen = random.choice(args.rows, args.reference, replace=False)
            moved = plane[chosen] + OFFSET / ARCSEC
            path = Path(folder) / "reference.parquet"
            inputs["reference"] = write(path, moved, mag[chosen], random)
        outputs = {"catalogue_sources": Path(folder) / "sources.parquet"}
        start = time.perf_counter()
        crossmatch.run(inputs, outputs, {**Config().model_dump(mode="json"), "field": FIELD})
        seconds = time.perf_counter() - start
        metadata = read_metadata(outputs["catalogue_sources"], SOURCES)
    names = ("astrometric_offset_ra", "astrometric_offset_dec")
    found = [float(metadata.get(name, "nan")) for name in names]
    error = np.hypot(*(np.array(found) - 1e3 * OFFSET))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"| {args.rows} | {args.reference} | {seconds:.0f} | {memory:.1f} | {error:.2f} mas |")


def write(path: Path, plane: np.ndarray, mag: np.ndarray, random: np.random.Generator) -> Path:
    """A catalogue with 5 mas errors of position and 0.02 mag."""
    xi, eta = (plane + random.normal(0.0, 0.005 / ARCSEC, plane.shape)).T
    ra, dec = deproject(xi, eta, FIELD["ra0"], FIELD["dec0"])
    table = {"source_id": np.arange(len(ra)), "ra": ra, "dec": dec}
    pd.DataFrame(table | {"mag": mag + random.normal(0.0, 0.02, len(ra))}).to_parquet(path)
    return path


if __name__ == "__main__":
    main()
