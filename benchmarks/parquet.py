"""Size and reading time of photometry tables of a whole detector.

python benchmarks/parquet.py RESULTS [--stars 100000] [--files 100] [--folder FOLDER]

RESULTS is the folder of any reduction.  Its measurements, with noise of their own errors drawn
anew, fill a few batches of 64 frames; hard links under other names make up the rest of the files.
Prints a JSON line for the layout, one for the bytes of each column, and one per way to read.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from romanprf.io.tables import write_table
from romanprf.schemas import PHOTOMETRY

FRAMES = 64
#: Batches that are written; the others are links to them.
WRITTEN = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--stars", type=int, default=100_000)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    parts = sorted((options.results / "photometry").glob("*.parquet"))
    real = pd.concat([pd.read_parquet(path) for path in parts])
    # Stars off the images compress to nothing: a small field has too many of them.
    real = real.groupby("source").filter(lambda rows: rows["psf_flux"].notna().all())
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        measure_size(folder, real, options.stars)
        for number in range(WRITTEN, options.files):
            os.link(folder / _name(number % WRITTEN), folder / _name(number))
        measure_reading(folder, options.stars)


def _name(number: int) -> str:
    return f"batch={number:05d}.parquet"


def measure_size(folder: Path, real: pd.DataFrame, stars: int) -> None:
    """Write the batches; print bytes per measurement and by column."""
    rng = np.random.default_rng(11)
    chosen = rng.integers(0, real["source"].nunique(), stars)
    scale = rng.uniform(0.7, 1.4, stars)  # no two stars alike
    seconds = []
    for number in range(WRITTEN):
        frames = batch(real, chosen, scale, number, rng)
        rows = {
            name: np.stack([frame[name] for frame in frames], axis=1).ravel()
            for name in PHOTOMETRY.names
        }
        start = time.perf_counter()
        write_table(folder / _name(number), rows, PHOTOMETRY, {})
        seconds.append(time.perf_counter() - start)
    metadata = pq.read_metadata(folder / _name(0))
    n = metadata.num_rows
    told = {"stars": stars, "frames": FRAMES, "row_groups": metadata.num_row_groups}
    told |= {"write_seconds": round(min(seconds), 2)}
    size = (folder / _name(0)).stat().st_size
    print(json.dumps({**told, "bytes_per_measurement": round(size / n, 2)}), flush=True)
    groups = [metadata.row_group(g) for g in range(metadata.num_row_groups)]
    columns = {
        name: round(sum(g.column(c).total_compressed_size for g in groups) / n, 2)
        for c, name in enumerate(PHOTOMETRY.names)
    }
    print(json.dumps({"bytes_by_column": columns}), flush=True)


def batch(
    real: pd.DataFrame, chosen: np.ndarray, scale: np.ndarray, number: int, rng: np.random.Generator
) -> list[dict[str, np.ndarray]]:
    """Rows of the frames of a batch: those of real stars, brighter or fainter, with new noise."""
    frames = [rows.sort_values("source") for _, rows in real.groupby("exposure")]
    model_err = frames[0]["model_err"].to_numpy()[chosen] * scale
    out = []
    for exposure in range(FRAMES * number, FRAMES * (number + 1)):
        rows = {k: v.to_numpy()[chosen] for k, v in frames[exposure % len(frames)].items()}
        wobble = rng.lognormal(0.0, 0.01, len(chosen))
        rows["source"] = np.arange(len(chosen), dtype=np.int32)
        rows["exposure"] = np.full(len(chosen), exposure)
        error = rows["psf_flux_err"] * scale * wobble
        rows["psf_flux"] = rows["psf_flux"] * scale + error * rng.standard_normal(len(chosen))
        rows["psf_flux_err"], rows["model_err"] = error, model_err
        rows["chi2"] = rows["chi2"] * wobble**2
        for name in ("psf_flux", "psf_flux_err", "model_err", "chi2"):
            rows[name] = rows[name].astype(np.float32)
        out.append(rows)
    return out


def measure_reading(folder: Path, stars: int) -> None:
    """Time what users do; the best of three."""
    columns = ["source", "exposure", "psf_flux", "psf_flux_err", "flags"]
    star = [("source", "==", stars // 3)]
    frame = [("exposure", "==", FRAMES + 5)]
    files = sorted(folder.glob("*.parquet"))
    ways = {
        "light curve, pandas, folder": lambda: pd.read_parquet(folder, filters=star),
        "light curve, pandas, some columns": lambda: pd.read_parquet(
            folder, columns=columns, filters=star, partitioning=None
        ),
        "light curve, pyarrow.dataset": lambda: ds.dataset(files).to_table(
            filter=ds.field("source") == stars // 3, columns=columns
        ),
        "frame, all columns": lambda: pd.read_parquet(files[1], filters=frame, partitioning=None),
        "frame, fluxes": lambda: pd.read_parquet(
            files[1], columns=["psf_flux"], filters=frame, partitioning=None
        ),
    }
    for name, read in ways.items():
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            rows = len(read())
            seconds.append(time.perf_counter() - start)
        told = {"read": name, "files": len(files), "rows": rows}
        print(json.dumps({**told, "seconds": round(min(seconds), 3)}), flush=True)


if __name__ == "__main__":
    main()
