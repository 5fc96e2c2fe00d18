"""Pictures (machine_*.png) and numbers of docs/guides/machine.md.

python benchmarks/machine_pictures.py [--folder docs/images]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import erf

from romanprf import Machine
from romanprf.config import Simulate
from romanprf.core.image import masked_image
from romanprf.core.statistics import robust_spread
from romanprf.io.simulated import write_frame
from romanprf.plots.image import image_figure
from romanprf.plots.light_curves import light_curves_figure
from romanprf.plots.style import drawing, save
from romanprf.simulate import Field, make_exposure, make_field

#: Knots that follow Roman's PRF, those of the workflow; and those for Kepler.
ROMAN = {"n_r_knots": 28, "n_phi_knots": 24, "rmin": 0.01, "cut_r": 0.05, "rmax": 2.2}
KEPLER = {"rmin": 1.0, "rmax": 16.0, "cut_r": 6.0, "sparse_dist_lim": 40.0}
#: Pixels per side, frames that teach the PRF; stars are compared this far inside.
SIZE, LEARN, INSIDE, BINS = 96, 4, 6, [(16, 18), (18, 20), (20, 21), (21, 22), (22, 23)]
#: Arcsec per pixel, sigma of the PRF and drift of the stars (pixels) of the Kepler-like field.
SCALE, SIGMA, DRIFT = 4.0, 0.65, 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("docs/images"))
    folder = parser.parse_args().folder
    for name, figure in {**kepler(), **roman(Simulate())}.items():
        save(figure, folder / f"machine_{name}.png", dpi=110)


def roman(settings: Simulate) -> dict:
    """Walk a cut-out of the demo field."""
    field, learn = make_field(settings), np.arange(settings.exposures) < LEARN
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number:02}.fits" for number in range(settings.exposures)]
        for number, file in enumerate(files):
            write_frame(file, make_exposure(field, settings, number))
        stars, place = field.stars, (settings.ra, settings.dec)
        stars = stars.assign(flux=stars["flux"] * 10 ** (0.4 * (stars.mag - stars.catalogue_mag)))
        machine = Machine.from_roman(files, stars, place, SIZE, time_mask=learn, **ROMAN)
    machine.quiet, clock = True, [time.perf_counter()]
    machine.build_shape_model(frame_index="all", flux_cut_off=0.1)
    clock.append(time.perf_counter())
    machine.fit_model(compute_model=True)
    print(
        "shape {:.1f} s, fluxes {:.1f} s".format(*np.diff([*clock, time.perf_counter()])), machine
    )
    machine.get_psf_metrics()
    print("offset ({:.4f}, {:.4f}) arcsec,".format(*machine.position_offset), end=" ")
    print(f"scale {machine.flux_scale:.3f}, light {machine.source_psf_fraction.max():.3f}")
    accuracy(machine, field)
    frame = np.stack([machine.flux[0], machine.flux_err[0], machine.model_flux[0]])
    flux, flux_err, model = frame.reshape(3, *machine.meta["shape"])
    image = masked_image(flux, flux_err, np.zeros(flux.shape, np.int32), 0.0)
    with drawing():
        pictures = {"shape": machine.plot_shape_model(0), "mask": machine.plot_source_mask()}
        pictures["residual"] = image_figure(image, model, "First frame")
        pictures["light_curves"] = light_curves_figure(*variables(machine, field))
    return pictures


def accuracy(machine: Machine, field: Field) -> None:
    """Print scatter, bias and weight of the prior of constant stars that are well inside."""
    variable = field.stars["source_id"].iloc[[event.star for event in field.events]]
    stars, middle = machine.sources, 0.5 * (Simulate().size - 1)
    inside = (stars[["x", "y"]] - middle).abs().max(axis=1) < 0.5 * SIZE - INSIDE
    for low, high in BINS:
        use = inside & stars["mag"].between(low, high) & ~stars["source_id"].isin(variable)
        flux, error = machine.ws[:, use], np.median(machine.werrs[:, use], axis=0)
        truth = field.stars["flux"][stars.index[use]].to_numpy()
        scatter, level = np.array([(robust_spread(f), np.median(f)) for f in flux.T]).T
        numbers = scatter / truth, scatter / error, level / truth - 1.0, error / 5.0 / truth**0.5
        row = "{:.2%} | {:.1f} | {:+.1%} | {:.2f}".format(*np.median(numbers, axis=1))
        print(f"| {low}-{high} | {use.sum()} | {row} |")


def variables(machine: Machine, field: Field) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What `light_curves_figure` draws: the first six injected variables, and their fluxes."""
    when, rows, curves = np.linspace(*machine.time[[0, -1]], 300), [], []
    common = {"time": machine.time, "flags": np.zeros(machine.nt, int)}
    for event in field.events:
        source = int(machine.sources.index.get_indexer([field.stars.index[event.star]])[0])
        if source >= 0 and machine.source_psf_fraction[source] > 0.8:
            star = field.stars.loc[machine.sources.index[source], ["source_id", "mag"]].to_dict()
            star |= {"source": source, "time": when, "factor": event.factor(when)}
            rows.append(star | {"kind": event.kind})
            fluxes = {"psf_flux": machine.ws[:, source], "psf_flux_err": machine.werrs[:, source]}
            curves.append({"source": source, **common, **fluxes})
    return pd.DataFrame(rows[:6]).astype({"source_id": int}), pd.DataFrame(curves)


def kepler(n: int = 60, nt: int = 200, side: int = 60) -> dict:
    """Walk a field that drifts through a quarter; its first star varies by 1 %."""
    rng, day = np.random.default_rng(16), np.linspace(0.0, 90.0, nt)
    place, flux = rng.uniform(0, side - 1, (2, n)), 10.0 ** rng.uniform(3.0, 5.0, n)
    light = np.tile(flux, (nt, 1))
    light[:, 0] *= 1.0 + 0.01 * np.sin(2.0 * np.pi * day / 7.0)
    drift = DRIFT * np.stack([day / 90.0 - 0.5, (day / 90.0) ** 2 - 1.0 / 3.0])
    offset = np.arange(side + 1) - 0.5 - (place[:, None] + drift[..., None])[..., None]
    across, down = 0.5 * np.diff(erf(offset / SIGMA / np.sqrt(2.0)))
    image = np.einsum("ts,tsy,tsx->tyx", light, down, across)
    error = np.sqrt((image.reshape(nt, -1) + 100.0) / 1765.0)
    column, row = pixel = np.indices((side, side))[::-1].reshape(2, -1)
    image = image.reshape(nt, -1) + error * rng.normal(size=error.shape)
    start, step = np.array([[290.0], [44.5]]), SCALE / 3600.0 / np.cos(np.deg2rad([[44.5], [0.0]]))
    sources = pd.DataFrame(dict(zip(("ra", "dec"), start + step * place, strict=True)))
    pixels = image, error, *(start + step * pixel), sources.assign(flux=flux), column, row
    machine = Machine(2454953.0 + day, *pixels, **KEPLER)
    machine.quiet = True
    machine.build_shape_model(frame_index="mean")
    machine.build_time_model(time_resolution=10)
    machine.fit_model()
    machine.get_psf_metrics()
    for name, curves in (("plain", machine.ws), ("perturbed", machine.ws_va)):
        spread = 1e6 * np.std(curves / light / np.mean(curves / light, axis=0), axis=0)
        print(f"{name}: scatter {np.median(spread):.0f} ppm, variable star {spread[0]:.0f} ppm")
    off = np.abs(machine.perturbed_ratio_mean - 1.0).max()
    print(f"errors {1e6 * np.median(machine.werrs / light):.0f} ppm, ratio off by {off:.1g}")
    return {"time": machine.plot_time_model()}


if __name__ == "__main__":
    main()
