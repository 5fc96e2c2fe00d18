"""The settings in config/examples on real-format data."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from astropy.table import Table
from scipy.spatial import cKDTree

import forked
from romanprf.config import load_config
from romanprf.io.exposures import read_exposures
from romanprf.reduce import reduce
from romanprf.sky.wcs import project

#: Few rounds of the fit of a PRF that ends early, one job that measures fluxes.
FASTER = {
    "shape": {"joint_exposures": 4, "rounds": 3, "search_rounds": 0, "reach": 40.0},
    "exposures": {"batch_size": 64},
}
#: Pixels of a full-size image; smaller ones have fewer stars.
FULL_SIZE = 256**2

pytestmark = pytest.mark.slow


@pytest.fixture
def reduced(tmp_path: Path, data_dir: Path, small_dir: Path):
    """Reduces an example and returns its results folder: full-size data by snakemake.

    On small data its jobs would take longer to start than to work.
    """
    (tmp_path / "data").symlink_to(data_dir.resolve())
    (tmp_path / "config").symlink_to(forked.ROOT / "config")

    def run(name: str) -> Path:
        example = Path("config", "examples", f"{name}.yaml")
        if data_dir == small_dir:
            reduce_here(tmp_path, example)
        else:
            run_snakemake(tmp_path, example)
        return tmp_path / "results" / name

    return run


def reduce_here(folder: Path, example: Path) -> None:
    settings = yaml.safe_load((folder / example).read_text())
    changed = {name: {**settings.get(name, {}), **FASTER[name]} for name in FASTER}
    with contextlib.chdir(folder):
        reduce(load_config({**settings, **changed}))


def run_snakemake(folder: Path, example: Path) -> None:
    said = folder / "said.txt"
    faster = [f"{name}={json.dumps(values)}" for name, values in FASTER.items()]
    options = ["--configfile", str(example), "--config", *faster]
    code = forked.snakemake(folder, said, None, *options).wait(600)
    assert code == 0, said.read_text()


def size(results: Path) -> float:
    """Pixels of an image, in those of a full-size one."""
    first = read_exposures(results / "exposures.parquet").iloc[0]
    return first["nrows"] * first["ncols"] / FULL_SIZE


def light_curves(results: Path) -> pd.DataFrame:
    """Sources whose whole core is on the images, with their light curves."""
    stars = pd.read_parquet(results / "metrics.parquet")
    curves = pd.read_parquet(results / "lightcurves.parquet", columns=["source", "psf_flux"])
    stars = stars.merge(curves, on="source")
    whole = stars["image_fraction"] > 0.95 * stars["image_fraction"].max()
    return stars[whole & (stars["n_good"] > 2)]


def isolated(stars: pd.DataFrame) -> np.ndarray:
    """Stars whose neighbours within 6 pixels are too faint, for their distance, to matter."""
    plane = project(stars["ra"], stars["dec"], stars["ra"].mean(), stars["dec"].mean())
    points = np.stack(plane, axis=1) * 3600.0 / 0.11
    flux = stars["flux"].to_numpy()
    alone = np.ones(len(stars), bool)
    pairs = cKDTree(points).query_pairs(6.0, output_type="ndarray")
    for star, other in np.concatenate([pairs, pairs[:, ::-1]]):
        distance = np.hypot(*(points[star] - points[other]))
        alone[star] &= flux[other] < 0.02 * flux[star] * max(0.5 * distance, 0.3) ** 2
    return alone


def true_fluxes(folder: Path, stars: pd.DataFrame) -> np.ndarray:
    """Fluxes that were drawn, e-/s, shape (stars, exposures)."""
    with np.load(folder / "truth_lightcurves.npz") as truth:
        row = pd.Series(np.arange(len(truth["sicbro_id"])), index=truth["sicbro_id"])
        return truth["flux"].T[row[stars["source_id"]]]


def test_rimtimsim_light_curves_match_the_truth(reduced, data_dir):
    """Isolated stars with F146 < 21, those with events included, within their scatter."""
    results = reduced("rimtimsim")
    stars = light_curves(results)
    stars = stars[isolated(stars) & (stars["mag"] < 21)]
    true_flux = true_fluxes(data_dir / "rimtimsim" / "field", stars)
    difference = np.stack(stars["psf_flux"]) - true_flux
    offset = np.median(difference, axis=1)
    scatter = 1.4826 * np.median(np.abs(difference - offset[:, None]), axis=1)
    assert len(stars) >= 50 * size(results)
    assert np.median(scatter / true_flux[:, 0]) < 0.005
    assert abs(np.median(offset / true_flux[:, 0])) < 0.003
    # Neighbours that the catalogue places wrongly offset a light curve by some tenths of a percent.
    allowed = np.maximum(scatter, 0.005 * true_flux[:, 0])
    assert np.mean(np.abs(offset) < allowed) > 0.7
    assert np.sum(~(np.abs(offset) < 3 * allowed)) <= max(1, 0.05 * len(stars))
    assert np.mean(np.abs(difference) < 3 * allowed[:, None]) > 0.93


def test_roman_l2_fluxes_match_the_truth(reduced, data_dir):
    results = reduced("roman_l2")
    stars = light_curves(results)
    truth = Table.read(data_dir / "roman_l2" / "truth.ecsv").to_pandas().set_index("source_id")
    bias = stars["median_flux"] / truth["flux"].reindex(stars["source_id"]).to_numpy() - 1.0
    bright = stars["mag"].between(16, 20)
    assert bright.sum() > 100 * size(results)
    assert abs(bias[bright].median()) < 0.01
    assert (stars["scatter"] / stars["flux"])[bright].median() < 0.01
    assert abs(bias[stars["mag"].between(20, 22)].median()) < 0.025


def test_roman_cuts_cube_is_reduced(reduced, data_dir):
    stars = light_curves(reduced("roman_cuts"))
    stars = stars[stars["mag"].between(15.5, 20)]
    true_flux = true_fluxes(data_dir / "rimtimsim" / "roman_cuts", stars)
    assert len(stars) > 20
    assert abs((stars["median_flux"] / np.median(true_flux, axis=1) - 1.0).median()) < 0.03
