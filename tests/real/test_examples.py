"""The workflow on real-format data, with the settings in config/examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table
from scipy.spatial import cKDTree

import forked
from romanprf.sky.wcs import project

#: Few rounds of the PRF fit, one job that measures fluxes.
FASTER = ["shape={joint_exposures: 8, rounds: 3, search_rounds: 0}", "exposures={batch_size: 64}"]

pytestmark = [pytest.mark.real_data, pytest.mark.slow]


@pytest.fixture(scope="module")
def reduced(tmp_path_factory: pytest.TempPathFactory, data_dir: Path):
    """Results folder of an example, reduced by snakemake."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "data").symlink_to(data_dir.resolve())
    (folder / "config").symlink_to(forked.ROOT / "config")

    def run(name: str) -> Path:
        said = folder / f"{name}.txt"
        options = ["--configfile", f"config/examples/{name}.yaml", "--config", *FASTER]
        code = forked.snakemake(folder, said, None, *options).wait(600)
        assert code == 0, said.read_text()
        return folder / "results" / name

    return run


def light_curves(results: Path) -> pd.DataFrame:
    """Sources whose whole core is on the images, with their light curves."""
    stars = pd.read_parquet(results / "metrics.parquet")
    curves = pd.read_parquet(results / "lightcurves.parquet", columns=["source", "psf_flux"])
    stars = stars.merge(curves, on="source")
    whole = stars["source_psf_fraction"] > 0.95 * stars["source_psf_fraction"].max()
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


def test_rimtimsim_light_curves_match_the_truth(reduced, data_dir):
    """Isolated stars with F146 < 21, those with events included, within their scatter."""
    stars = light_curves(reduced("rimtimsim"))
    stars = stars[isolated(stars) & (stars["mag"] < 21)]
    truth = np.load(data_dir / "rimtimsim" / "field" / "truth_lightcurves.npz")
    row = pd.Series(np.arange(len(truth["sicbro_id"])), index=truth["sicbro_id"])
    stars = stars[stars["source_id"].isin(row.index)]
    true_flux = truth["flux"].T[row[stars["source_id"]]]
    difference = np.stack(stars["psf_flux"]) - true_flux
    offset = np.median(difference, axis=1)
    scatter = 1.4826 * np.median(np.abs(difference - offset[:, None]), axis=1)
    assert len(stars) >= 50
    assert np.median(scatter / true_flux[:, 0]) < 0.005
    assert abs(np.median(offset / true_flux[:, 0])) < 0.003
    # Neighbours that the catalogue places wrongly offset a light curve by some tenths of a percent.
    allowed = np.maximum(scatter, 0.005 * true_flux[:, 0])
    assert np.mean(np.abs(offset) < allowed) > 0.7
    assert np.mean(np.abs(offset) < 3 * allowed) > 0.95
    assert np.mean(np.abs(difference) < 3 * allowed[:, None]) > 0.93


def test_roman_l2_fluxes_match_the_truth(reduced, data_dir):
    stars = light_curves(reduced("roman_l2"))
    truth = Table.read(data_dir / "roman_l2" / "truth.ecsv").to_pandas().set_index("source_id")
    bias = stars["median_flux"] / truth["flux"].reindex(stars["source_id"]).to_numpy() - 1.0
    bright = stars["mag"].between(16, 20)
    assert bright.sum() > 100
    assert abs(bias[bright].median()) < 0.01
    assert (stars["scatter"] / stars["flux"])[bright].median() < 0.01
    assert abs(bias[stars["mag"].between(20, 22)].median()) < 0.025


def test_roman_cuts_cube_is_reduced(reduced, data_dir):
    stars = light_curves(reduced("roman_cuts"))
    truth = pd.read_csv(data_dir / "rimtimsim" / "roman_cuts" / "truth.csv").set_index("sicbro_id")
    flux = truth["flux"].reindex(stars["source_id"]).to_numpy()
    bright = stars["mag"].between(15.5, 20)
    assert bright.sum() > 20
    assert abs((stars["median_flux"] / flux - 1.0)[bright].median()) < 0.03
