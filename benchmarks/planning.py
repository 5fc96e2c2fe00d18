"""Time and memory of planning: dry runs with as many exposures as a survey has.

python benchmarks/planning.py                       one detector; all 18 in one table
python benchmarks/planning.py --exposures 15102     a tenth of all 18

Image files are empty and the exposures table is made up, as if `frames` had just ended.  Prints one
JSON line per size: exposures, batches, planned jobs, seconds and peak_rss_mb of ``snakemake -n``.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from romanprf.io.tables import write_table
from romanprf.schemas import EXPOSURES
from romanprf.sky.wcs import TangentWCS, deproject
from romanprf.steps.frames import sky_region
from romanprf.workflow.paths import Paths

ROOT = Path(__file__).resolve().parents[1]
#: Exposures of one detector in a season, and of the 18 of the camera.
SEASON = 8390
SIZES = (SEASON, 18 * SEASON)
BATCH = 64
#: Degrees per pixel.
SCALE = 0.11 / 3600.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--exposures", type=int, nargs="+", default=SIZES)
    for exposures in parser.parse_args().exposures:
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder), exposures)
            print(json.dumps({"exposures": exposures, **plan(Path(folder))}), flush=True)


def prepare(folder: Path, exposures: int) -> None:
    """Write the files that exist when ``frames`` has ended."""
    files = [f"images/{number // 1000:03d}/r{number:06d}.asdf" for number in range(exposures)]
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (folder / "catalogue.csv").touch()
    (folder / "exposures.tsv").write_text("\n".join(["file", *files]) + "\n")
    settings = {
        "exposures": {"sheet": "exposures.tsv", "batch_size": BATCH},
        "catalogue": {"path": "catalogue.csv"},
    }
    (folder / "config").mkdir()
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(settings))
    rows = exposure_rows(files)
    # The outlines of a season differ only by dithers: a few of them give the region.
    metadata = {"field": json.dumps(asdict(sky_region(rows.iloc[:100].to_dict("records"))))}
    write_table(folder / Paths("results").exposures, rows, EXPOSURES, {}, metadata)


def exposure_rows(files: list[str]) -> pd.DataFrame:
    """Rows of the exposures table for these files."""
    n = len(files)
    dither = np.random.default_rng(5).uniform(-3e-4, 3e-4, (n, 2))
    sky = TangentWCS.fit(_sky, 4088, 4088)
    wcs = [replace(sky, ra0=sky.ra0 + x, dec0=sky.dec0 + y).to_json() for x, y in dither]
    rows = {
        "exposure": np.arange(n),
        "file": files,
        "time": 2461450.5 + 0.0084 * np.arange(n),
        "wcs": wcs,
        "content_hash": [f"{number:032x}" for number in range(n)],
    }
    same = {
        "format": "roman_l2",
        "plane": 0,
        "time_scale": "tdb",
        "exposure_time": 66.4,
        "filter": "F146",
        "detector": "WFI02",
        "nrows": 4088,
        "ncols": 4088,
        "row0": 0,
        "column0": 0,
        "gain": 1.8,
        "zero_point": 27.58,
        "pixel_area": 2.8e-13,
        "quality": 0,
        "usable_fraction": 0.99,
        "flags": 0,
    }
    return pd.DataFrame({**rows, **same})[EXPOSURES.names]


def _sky(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position (degrees) of slightly distorted pixels of 0.11 arcsec."""
    u, v = (x - 2043.5) * SCALE, (y - 2043.5) * SCALE
    return deproject(-u * (1.0 + 0.02 * v), v * (1.0 - 0.03 * u), 268.0, -29.2)


#: Runs snakemake, then prints its peak memory (kB).  What the kernel counts for a child includes
#: the memory of the process that started it.
WATCHED = """
import atexit, re, runpy, sys
status = lambda: open("/proc/self/status").read()
atexit.register(lambda: print(re.search(r"VmHWM:.*kB", status())[0], flush=True))
sys.argv[0] = "snakemake"
runpy.run_module("snakemake", run_name="__main__")
"""


def plan(folder: Path) -> dict[str, float]:
    """Numbers of batches and jobs, seconds and peak memory of a dry run in a folder."""
    command = [sys.executable, "-c", WATCHED, "--snakefile", str(ROOT / "Snakefile")]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, "--dry-run", "--quiet", "rules", "--cores", "2"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(done.stdout)
    counts = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE))
    [peak] = re.findall(r"VmHWM:\s+(\d+) kB", done.stdout)
    return {
        "batches": int(counts["fit"]),
        "jobs": int(counts["total"]),
        "seconds": round(seconds, 1),
        "peak_rss_mb": round(int(peak) / 1024),
    }


if __name__ == "__main__":
    main()
