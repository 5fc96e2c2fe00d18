"""The readers on files that other programmes wrote."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import roman_datamodels as rdm
from astropy.coordinates import SkyCoord

from romanprf.flags import PixelFlag
from romanprf.io.catalogues import read_catalogue
from romanprf.io.exposures import read_exposures
from romanprf.io.images import exposure_rows, read_image
from romanprf.sky.field import SNAP
from romanprf.sky.wcs import TangentWCS
from romanprf.steps import frames
from romanprf.steps.frames import sky_region

ZERO_POINT = 27.5777
FORMATS = {
    "roman_l2": ("roman_l2/*_cal.asdf", "roman_l2/catalog.ecsv", "icrs"),
    "rimtimsim": ("rimtimsim/field/*.fits", "rimtimsim/field/catalog.csv", "fk5"),
    "static": ("rimtimsim/roman_cuts/static.asdf", "rimtimsim/roman_cuts/catalog.csv", "fk5"),
    "dithered": ("rimtimsim/roman_cuts/dithered.asdf", "rimtimsim/roman_cuts/catalog.csv", "fk5"),
}


def exposures(data_dir: Path, name: str, files: int | None = None) -> list[dict]:
    paths = sorted(data_dir.glob(FORMATS[name][0]))[:files]
    assert paths
    return [row for path in paths for row in exposure_rows(path, 2.0, ZERO_POINT)]


def centroid_offsets(row: dict, stars: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Centroid minus catalogue position (x, y) of isolated bright stars, pixels."""
    image = read_image(row)
    x, y = TangentWCS.from_json(row["wcs"]).sky_to_pixel(stars["ra"], stars["dec"])
    inside = (x > 4) & (y > 4) & (x < row["ncols"] - 5) & (y < row["nrows"] - 5)
    x, y, mag = x[inside], y[inside], stars["mag"].to_numpy()[inside]
    bright = (mag > 16.5) & (mag < 20.0)
    offsets = []
    for i in np.flatnonzero(bright):
        near = np.hypot(x - x[i], y - y[i]) < 4
        if np.sum(10 ** (-0.4 * (mag[near] - mag[i]))) > 1.1:  # 10 percent from neighbours
            continue
        c, r = round(x[i]), round(y[i])
        box = np.s_[r - 2 : r + 3, c - 2 : c + 3]
        if np.isinf(image.flux_err[box]).any():
            continue
        yy, xx = np.mgrid[box]
        flux = image.flux[box] - np.min(image.flux[box])
        # a Gaussian weight about the catalogue position keeps the wings of others out
        weight = flux * np.exp(-0.5 * ((xx - x[i]) ** 2 + (yy - y[i]) ** 2) / 1.2**2)
        offsets.append([np.sum(weight * d) / np.sum(weight) for d in (xx - x[i], yy - y[i])])
    dx, dy = np.array(offsets).T
    return dx, dy


@pytest.mark.parametrize("name", FORMATS)
def test_stars_fall_on_peaks(data_dir: Path, name: str) -> None:
    _, catalogue, frame = FORMATS[name]
    stars = read_catalogue(data_dir / catalogue, {}, frame)
    rows = exposures(data_dir, name, files=3)
    rows = rows if len(rows) < 4 else rows[::4]
    dx, dy = (
        np.concatenate(v) for v in zip(*(centroid_offsets(r, stars) for r in rows), strict=True)
    )
    assert len(dx) >= 10
    assert abs(np.median(dx)) < 0.1
    assert abs(np.median(dy)) < 0.1
    assert np.median(np.hypot(dx, dy)) < 0.1 * np.sqrt(2)


def test_l2_files_are_official(data_dir: Path) -> None:
    for path in data_dir.glob(FORMATS["roman_l2"][0]):
        with rdm.open(path) as model:
            assert isinstance(model, rdm.datamodels.ImageModel)
            model.validate()


def test_l2_facts(data_dir: Path) -> None:
    rows = exposures(data_dir, "roman_l2")
    assert len({row["exposure"] for row in rows}) == len(rows) >= 6
    assert {row["detector"] for row in rows} == {"WFI02"}
    assert np.diff([row["time"] for row in rows]) == pytest.approx(12.1 / 1440, rel=0.01)
    assert rows[0]["zero_point"] == pytest.approx(27.578, abs=5e-4)
    image = read_image(rows[0])
    saturated = (image.flags & PixelFlag.SATURATED) != 0
    assert (saturated & np.isfinite(image.flux_err)).any()  # the good part of the ramp is used
    assert ((image.flags & PixelFlag.NO_ERROR) != 0).any()  # cores without a fit
    assert 0.0150 < image.poisson_slope < 0.0210  # 66.4 s: 1/66.4 = 0.0151
    assert 4.0 < np.percentile(image.flux, 5) < 8.0  # the sky is in the data, e-/s


def test_l2_wcs_agrees_with_gwcs(data_dir: Path) -> None:
    row = exposures(data_dir, "roman_l2", files=1)[0]
    x, y = np.random.default_rng(3).uniform(-100, row["ncols"] + 100, (2, 300))
    with rdm.open(row["file"]) as model:
        truth = SkyCoord(*model.meta.wcs(x, y, with_bounding_box=False), unit="deg")
    wcs = TangentWCS.from_json(row["wcs"])
    ours = SkyCoord(*wcs.pixel_to_sky(x, y), unit="deg")
    assert np.max(ours.separation(truth).arcsec) < 1e-6 * 0.11
    back = wcs.sky_to_pixel(truth.ra.deg, truth.dec.deg)
    assert np.max(np.hypot(back[0] - x, back[1] - y)) < 2e-5


def test_l2_positions_agree_with_the_simulator(data_dir: Path) -> None:
    rows = exposures(data_dir, "roman_l2")
    stars = read_catalogue(data_dir / "roman_l2/catalog.ecsv")
    truth = np.load(data_dir / "roman_l2/truth_xy.npz")
    for k, row in enumerate(rows):
        x, y = TangentWCS.from_json(row["wcs"]).sky_to_pixel(stars["ra"], stars["dec"])
        assert np.nanmax(np.hypot(x - truth["x"][k], y - truth["y"][k])) < 0.01


def test_l2_file_under_another_name(data_dir: Path, tmp_path: Path) -> None:
    row = exposures(data_dir, "roman_l2", files=1)[0]
    copy = tmp_path / "anything.fits"
    shutil.copy(row["file"], copy)
    (again,) = exposure_rows(copy, 2.0, None)
    assert again["content_hash"] == row["content_hash"]


@pytest.mark.parametrize("name", FORMATS)
def test_frames_step(data_dir: Path, tmp_path: Path, name: str) -> None:
    paths = sorted(data_dir.glob(FORMATS[name][0]))
    outputs = {"exposures": tmp_path / "exposures.parquet"}
    params = {
        "files": [{"file": str(path), "exposure": None} for path in paths],
        "gain": 2.0,
        "zero_point": ZERO_POINT,
        "cache": tmp_path / "exposures_cache.parquet",
    }
    frames.run({"images": paths}, outputs, params)
    table = read_exposures(outputs["exposures"])
    assert len(table) == (12 if len(paths) == 1 else len(paths))  # planes of a cube, or files
    assert (table["flags"] == 0).all()
    assert table["content_hash"].nunique() == len(table)
    region = sky_region(table.to_dict("records"))
    assert region.pixel_scale == pytest.approx(0.1085, abs=0.003)
    assert region.epoch == pytest.approx(2027.17, abs=0.1)
    side = 3600 * (region.u_max - region.u_min)
    assert 0.105 * table["ncols"][0] <= side <= 0.115 * table["ncols"][0] + 2 * SNAP + 2.0
