"""Speed of `Machine` and of roman-lcs 0.4.1 on the same simulated frames.

python benchmarks/peers.py [--sizes 32 64 128 256] [--frames 5] [--env results/peers/venv]

Installs roman-lcs in an environment of its own, draws dithered F146 frames at bulge density and
runs both programs on the same arrays, each in its own process with its default number of threads.
Prints milliseconds per frame in the constructor and in a second `fit_model` (the first one warms
up), then the time to import romanprf, and that from arrays to the first fluxes (constructor, shape
model, all frames) with an empty and a warm Numba cache.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import numpy as np

from romanprf.config import Simulate
from romanprf.simulate import make_exposure, make_field
from romanprf.simulate.wfi import PIXEL_SCALE

PEER = "roman-lcs==0.4.1"
#: Catalogue stars lie on the undithered frame or this close to it (pixels).
MARGIN = 5.0
#: Error of saturated pixels, e-/s: they carry no weight.
USELESS = 1e6
#: Stars whose light curves are compared (F146): bright, not saturated, this far inside (pixels).
BRIGHT, INSIDE = (17.0, 19.0), 8.0
#: What roman-lcs takes for Roman images, to radii of 0.8 arcsec; full footprints reach farther.
KNOTS = {"n_r_knots": 9, "n_phi_knots": 15, "rmin": 0.02, "cut_r": 0.15, "rmax": 0.8}
WIDE = {**KNOTS, "n_r_knots": 20, "rmax": 2.0}
SIDE = Path(__file__).with_name("roman_lcs_side.py")
HEADER = "size | stars | program | masks | pixels/star | construct | fit | times faster | scatter"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--env", type=Path, default=Path("results/peers/venv"))
    args = parser.parse_args()
    peer = environment(args.env)
    print(f"| {HEADER} |\n|{'---|' * (HEADER.count('|') + 1)}")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{size}.npz" for size in args.sizes]
        for size, path in zip(args.sizes, paths, strict=True):
            np.savez(path, **simulate(size, args.frames))
            compare(size, path, peer)
        print("\n| start-up | s |\n|---|---|")
        start_up(paths[0])


def environment(folder: Path) -> Path:
    """Python of an environment with roman-lcs, made if it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", PEER], check=True)
    return python


def simulate(size: int, frames: int) -> dict[str, np.ndarray]:
    """Arrays for both constructors; those of pixels have shape (frames, size * size)."""
    clean = dict.fromkeys(("microlensing", "transits", "eclipses"), 0)
    clean |= dict.fromkeys(("cosmic_rays", "bad_pixels"), 0.0)
    settings = Simulate(size=size, seed=size, **clean)
    field = make_field(settings)
    exposures = [make_exposure(field, settings, number) for number in range(frames)]
    row, column = np.divmod(np.arange(size * size), size)
    ra, dec = np.stack([e.wcs.all_pix2world(column, row, 0) for e in exposures], axis=1)
    flux, flux_err = (
        np.stack([getattr(e, name).ravel() for e in exposures]).astype(float)
        for name in ("flux", "flux_err")
    )
    outside = field.stars[["x", "y"]].sub(0.5 * (size - 1)).abs().max(axis=1) - 0.5 * size
    faintest = 23.0 if size < 256 else 21.0  # of the catalogue; the images show all to 25
    kept = (outside < MARGIN) & (field.stars["mag"] < faintest)
    stars = field.stars[kept]
    return {
        "time": np.array([e.time for e in exposures]),
        "flux": flux,
        "flux_err": np.where(flux_err > 0.0, flux_err, USELESS),
        "ra": ra,
        "dec": dec,
        "row": np.tile(row, (frames, 1)),
        "column": np.tile(column, (frames, 1)),
        "source_ra": stars["ra"].to_numpy(),
        "source_dec": stars["dec"].to_numpy(),
        "source_flux": stars["flux"].to_numpy(),
        "bright": (stars["mag"].between(*BRIGHT) & (outside[kept] < -INSIDE)).to_numpy(),
    }


def compare(size: int, path: Path, peer: Path) -> None:
    """Print the rows of one set of frames: both programs with small and with full masks."""
    # Flux limits (e-/s) at which the peer's masks have ~10 pixels.
    small = run_peer(peer, path, source_flux_limit=3.5 if size < 256 else 13.0)
    reach = PIXEL_SCALE * np.sqrt(small["pixels"] / np.pi)
    narrow = {**KNOTS, "rmax": reach, "cut_r": min(KNOTS["cut_r"], 0.8 * reach)}
    runs = {
        ("roman-lcs", "small"): small,
        ("romanprf", "small"): run(path, narrow),
        ("roman-lcs", "full"): run_peer(peer, path, source_flux_limit=1.0),
        ("romanprf", "full"): run(path, WIDE),
    }
    with np.load(path) as data:
        stars = data["source_ra"].size
    for (program, masks), result in runs.items():
        times = f"{1e3 * result['construct']:.1f} | {1e3 * result['fit']:.1f}"
        faster, scatter = small["fit"] / result["fit"], 100 * result["scatter"]
        row = f"| {size} | {stars} | {program} | {masks} | {result['pixels']:.0f} | {times} "
        print(row + f"| {faster:.3g} | {scatter:.1f} % |", flush=True)


def run_peer(python: Path, path: Path, source_flux_limit: float) -> dict[str, float]:
    shape = {"frame_index": 0, "source_flux_limit": source_flux_limit}
    return side(python, "roman_lcs", path, KNOTS, shape)


def run(path: Path, settings: dict, **variables: str) -> dict[str, float]:
    shape = {"frame_index": "all", "flux_cut_off": 1.0}
    return side(sys.executable, "romanprf", path, settings, shape, **variables)


def side(
    python: Path | str, package: str, path: Path, machine: dict, shape: dict, **variables: str
) -> dict[str, float]:
    """Run a program in a process of its own: its times, and the scatter of bright stars."""
    fluxes = path.with_suffix(".fluxes.npz")
    command = [python, SIDE, package, path, fluxes, json.dumps(machine), json.dumps(shape)]
    environ = {**os.environ, **variables}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environ)
    if done.returncode:
        sys.exit(done.stderr)
    with np.load(fluxes) as fit, np.load(path) as data:
        flux = fit["ws"][:, data["bright"]]
    median = np.median(flux, axis=0)
    scatter = 1.4826 * np.median(np.abs(flux / median - 1.0), axis=0)
    return {**json.loads(done.stdout.splitlines()[-1]), "scatter": float(np.median(scatter))}


def start_up(path: Path) -> None:
    """Print the time of the import, and of the first fit with an empty and a warm Numba cache."""
    bare, machine = best_of_3(""), best_of_3("from romanprf import Machine")
    print(f"| import | {machine - bare:.2f} |", flush=True)
    with tempfile.TemporaryDirectory() as cache:
        for state in ("empty", "warm"):
            first = run(path, WIDE, NUMBA_CACHE_DIR=cache)["first"]
            print(f"| first fit, {state} Numba cache | {first:.2f} |", flush=True)


def best_of_3(code: str) -> float:
    """Wall time of a Python process, s: the lowest, for the first one reads from the disk."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    main()
