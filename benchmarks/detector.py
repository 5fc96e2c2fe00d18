"""Core-seconds, memory and exactness of the fit of one frame.

python benchmarks/detector.py [--size 512 1024 2048 4088] [--limit 23] [--threads 1 2]
    [--nodes 3] [--machine]

Draws stars to F146 ``--limit`` at the density of the bulge survey with a PRF that changes over
the image, photon noise and cosmic rays, and fits the frame as the workflow does: registration,
footprints, light beyond them, all fluxes and errors with two repeats for weights and outliers.
Catalogue fluxes are off by a quarter of the error in one frame, as after 16 of them.  Each case
runs in a process of its own, the second fit counts: kernels are compiled.

Prints one JSON line per case.  keys: `stars`, `size`, `limit`, `threads`; `core_seconds` and
`seconds` of one frame in memory; `phases`, core-seconds of the parts; `peak_rss_mb` of the
process, `frame_rss_mb` of what the fit adds to it; `iterations`; `pull`, width of (fit - truth) /
error; up to 512 pixels `max_diff_sigma` and `max_error_diff`: largest difference of fluxes from
those of a direct sparse solution of the same normal equations, in their errors, and of the errors,
relative (`max_error_diff_close`: of stars with another one within a pixel).  `--machine`
prints what one core can do at best: bytes of a copy and operations of a product of matrices, per
second.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import block_array, csr_array
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from romanprf.config import Config, Fit, Simulate
from romanprf.core.accelerate import keep_memory, set_threads
from romanprf.core.image import Image, masked_image
from romanprf.frame import far
from romanprf.frame.frame import Frame
from romanprf.frame.model import FrameModel
from romanprf.frame.stamps import Stamps
from romanprf.frame.state import AS_IN_HEADER
from romanprf.io.exposure import Exposure
from romanprf.prf import TensorPRF
from romanprf.simulate import wfi
from romanprf.simulate.exposure import pointing
from romanprf.simulate.field import make_field
from romanprf.simulate.prf import nodes_at
from romanprf.sky.wcs import TangentWCS
from romanprf.solve import fluxes
from romanprf.solve.fluxes import Method, solve_frame
from romanprf.solve.normal import NormalMatrix, normal_matrix
from romanprf.solve.solver import Solver
from romanprf.steps import fit

REACH, DIRECT = 100.0, 512
#: What is left of the sky, e-/s, and how far the frame is off its WCS, pixels.
LEFT, SHIFT = 0.4, (0.02, -0.03)

#: Where the time goes: functions whose time, less that of others inside them, is one phase.
PARTS = {
    "registration": [(fit.Reduction, "register")],
    "PRF": [(TensorPRF, "fill_stamps")],
    "light beyond footprints": [(far.stamps_nb, "add_rings")],
    "model images": [(Stamps, "model"), (far.stamps_nb, "dot"), (far.stamps_nb, "dot_two")],
    "overlaps": [(NormalMatrix, "__init__")],
    "matrix": [(NormalMatrix, "follow")],
    "tiles": [(Solver, "renew"), (fluxes, "make_tiles")],
    "iterations": [(Solver, "solve")],
    "positions": [(TangentWCS, "sky_to_pixel"), (TangentWCS, "jacobian")],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs="+", default=[512, 1024, 2048, 4088])
    parser.add_argument("--limit", type=float, default=23.0, help="faintest star, F146")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--nodes", type=int, default=3, help="nodes of the PRF per axis")
    parser.add_argument("--machine", action="store_true", help="measure the machine instead")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        print(json.dumps(case(args.size[0], args.limit, args.threads[0], args.nodes)), flush=True)
        return
    if args.machine:
        print(json.dumps(machine()))
        return
    for size in args.size:
        for threads in args.threads:
            numbers = "--size", size, "--limit", args.limit, "--threads", threads
            command = [sys.executable, __file__, "--here", *numbers, "--nodes", args.nodes]
            environment = os.environ | {"NUMBA_NUM_THREADS": str(threads)}
            subprocess.run([str(word) for word in command], check=True, env=environment)


def machine() -> dict[str, float]:
    """GB/s read and written by a copy, and 1e9 operations/s of float64 matrices, on one core."""
    source = np.ones(2**27)
    target = np.empty_like(source)
    matrix = np.random.default_rng(0).random((1500, 1500))
    best = {}
    tasks: dict[str, tuple[Callable[[], Any], float]] = {
        "copy_gb_per_s": (lambda: np.copyto(target, source), 2 * source.nbytes),
        "matrix_gflop_per_s": (lambda: matrix @ matrix, 2 * matrix.size**1.5),
    }
    for name, (task, amount) in tasks.items():
        spent = []
        for _ in range(5):
            start = time.process_time()
            task()
            spent.append(time.process_time() - start)
        best[name] = round(amount / min(spent) / 1e9, 1)
    return best


def case(size: int, limit: float, threads: int, nodes: int) -> dict[str, Any]:
    """Measure one case."""
    keep_memory()
    set_threads(threads)
    frame, reduction, truth, image = observation(size, limit, nodes)
    fit.fit_exposure(frame, image, reduction)
    before = peak_mb()
    with phases() as spent:
        start = time.process_time(), time.perf_counter()
        rows, statistics = fit.fit_exposure(frame, image, reduction)
        core, wall = time.process_time() - start[0], time.perf_counter() - start[1]
    spent["rest"] = core - sum(spent.values())
    seen = rows["psf_fraction"] > 0.5
    pull = (rows["psf_flux"][seen] - truth[seen]) / rows["psf_flux_err"][seen]
    return {
        "stars": int(seen.sum()),
        "size": size,
        "limit": limit,
        "threads": threads,
        "core_seconds": round(core, 3),
        "seconds": round(wall, 3),
        "phases": {name: round(spent[name], 3) for name in [*PARTS, "rest"]},
        "peak_rss_mb": round(before),
        "iterations": int(statistics["iterations"]),
        "outliers": int(statistics["n_outliers"]),
        "shift": [round(float(statistics[name]), 5) for name in ("shift_x", "shift_y")],
        "pull": round(float(pull.std()), 4),
        **(direct(frame, image, reduction) if size <= DIRECT else {}),
    }


def observation(
    size: int, limit: float, nodes: int
) -> tuple[Frame, fit.Reduction, np.ndarray, Image]:
    """A frame, sources and PRF of its reduction, the true fluxes and the image."""
    rng = np.random.default_rng(20270305)
    events = {"microlensing": 0, "transits": 0, "eclipses": 0}
    settings = Simulate(size=size, draw_limit=limit, catalogue_limit=limit, **events)
    stars = make_field(settings).stars
    sky = pointing(settings, 0.3, 0.2)
    wcs = TangentWCS.fit(lambda x, y: sky.all_pix2world(x, y, 0), size, size)
    prf = detector_prf(wcs, size, nodes, settings.sca)
    truth = stars["flux"].to_numpy()
    error = 0.25 * np.sqrt(truth / wfi.EXPOSURE_TIME + 12.0 * noise(np.zeros(1)) ** 2)
    sources = pd.DataFrame(
        {
            "source": np.arange(len(stars), dtype=np.int32),
            "ra": stars["ra"],
            "dec": stars["dec"],
            "flux": np.maximum(truth + error * rng.normal(size=truth.size), 0.1),
            "pmra": 0.0,
            "pmdec": 0.0,
            "epoch": 2027.0,
            "flags": np.int32(0),
        }
    )
    order = fit.sky_order(sources)
    sources, truth = sources.iloc[order], truth[order]
    ra, dec = (sources[name].to_numpy() for name in ("ra", "dec"))
    frame = Frame(Exposure(wcs, (size, size), read=lambda: image), ra, dec)
    drawn = FrameModel(frame, prf, truth, 0.05, AS_IN_HEADER.at(*SHIFT))
    rate = drawn.add_far(truth, drawn.stamps.model(truth)) + LEFT
    data = rate + rng.normal(size=rate.shape) * noise(rate)
    struck = rng.random(rate.shape) < settings.cosmic_rays
    data[struck] += rng.exponential(50.0, np.count_nonzero(struck))
    slope = 1.0 / wfi.EXPOSURE_TIME
    flags = np.zeros(rate.shape, np.int32)
    image = masked_image(data, noise(np.maximum(data, 0.0)), flags, slope)
    reduction = fit.Reduction(sources, prf, Fit(), Config().shape.flux_cut_off)
    return frame, reduction, truth, image


def noise(rate: np.ndarray) -> np.ndarray:
    """1 sigma of a pixel, e-/s."""
    electrons = (rate + wfi.BACKGROUND) * wfi.EXPOSURE_TIME + wfi.READ_NOISE**2
    return np.sqrt(electrons) / wfi.EXPOSURE_TIME


def detector_prf(wcs: TangentWCS, size: int, nodes: int, sca: int) -> TensorPRF:
    """Tensor model of the PRF drawn at nodes over the whole detector."""
    jacobian = wcs.jacobian(*(np.asarray((size - 1) / 2.0),) * 2)
    shape, model = (size, size), None
    coefficients = []
    places = np.linspace(0.0, size - 1.0, nodes) if nodes > 1 else np.array([(size - 1) / 2.0])
    for y in places:
        for x in places:
            parts = list(nodes_at(np.array([x]), np.array([y]), shape, sca, float(wfi.SIDE)))

            def prf(dx: np.ndarray, dy: np.ndarray, parts: list = parts) -> np.ndarray:
                offset = np.broadcast_arrays(dx, dy)
                return sum(weight[0] * part.evaluate(*offset) for part, weight in parts)

            model = TensorPRF.projected(prf, REACH, jacobian)
            coefficients.append(model.mean)
    assert model is not None
    sampled = model.with_nodes(nodes, shape) if nodes > 1 else model
    factor = model.normalised().mean / model.mean
    sampled.coefficients[:] = np.stack(coefficients) * np.median(factor)
    return sampled


@contextmanager
def phases() -> Iterator[dict[str, float]]:
    """Core-seconds of each of `PARTS` while it lasts."""
    spent: dict[str, float] = defaultdict(float)
    open_: list[list[float]] = []

    def timed(function: Callable, phase: str) -> Callable:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            open_.append([0.0])
            try:
                return function(*args, **kwargs)
            finally:
                took = time.process_time() - start
                spent[phase] += took - open_.pop()[0]
                if open_:
                    open_[-1][0] += took

        return wrapper

    originals = [(o, name, getattr(o, name)) for names in PARTS.values() for o, name in names]
    for phase, names in PARTS.items():
        for owner, name in names:
            setattr(owner, name, timed(getattr(owner, name), phase))
    try:
        yield spent
    finally:
        for owner, name, function in originals:
            setattr(owner, name, function)


def direct(frame: Frame, image: Image, reduction: fit.Reduction) -> dict[str, float]:
    """Compare with a direct sparse solution of the normal equations that the fit ended with."""
    model = reduction.model(frame, AS_IN_HEADER.at(*SHIFT))
    (mu, sigma), stamps = reduction.prior, model.stamps
    method = Method.configured(reduction.settings)
    joint = solve_frame(image, stamps, reduction.prior, method, model.add_far)
    seen, inner = stamps.seen()
    weight = joint.weight
    flux = np.where(np.isfinite(joint.flux), joint.flux, mu)[seen]
    light = joint.model - inner.model(flux) - joint.background
    data = weight * (image.flux - light)
    c = csr_array(inner.dot(weight)[:, None])
    matrix: Any = normal_matrix(inner, weight, sigma[seen])
    whole: Any = block_array([[matrix, c], [c.T, csr_array([[weight.sum()]])]], format="csc")
    right = np.append(inner.dot(data) + mu[seen] / sigma[seen] ** 2, data.sum())
    factor: Any = splu(whole)
    difference = (factor.solve(right)[:-1] - flux) / joint.flux_err[seen]
    stride = max(len(seen) // 400, 1)
    some = np.arange(0, len(seen), stride)
    unit = np.zeros((whole.shape[0], some.size))
    unit[some, np.arange(some.size)] = 1.0
    exact = np.sqrt(factor.solve(unit)[some, np.arange(some.size)])
    places = np.column_stack([inner.x, inner.y])
    distance = cKDTree(places).query(places[some], k=2)[0][:, 1]
    off = np.abs(joint.flux_err[seen][some] / exact - 1.0)
    return {
        "max_diff_sigma": float(f"{np.nanmax(np.abs(difference)):.2g}"),
        "max_error_diff": float(f"{np.nanmax(off[distance >= 1.0]):.2g}"),
        "max_error_diff_close": float(f"{np.nanmax(off[distance < 1.0]):.2g}"),
    }


def peak_mb() -> float:
    """Most memory this process has had, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


if __name__ == "__main__":
    main()
