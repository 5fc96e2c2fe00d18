"""Files of a simulation."""

import asdf
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal

from romanprf.config import Simulate
from romanprf.errors import InputError
from romanprf.io.catalogues import read_catalogue
from romanprf.io.images import exposure_rows, read_image
from romanprf.io.tables import read_table
from romanprf.schemas import TRUTH
from romanprf.simulate import make_exposure, make_field, wfi
from romanprf.simulate.exposure import dither
from romanprf.sky.motion import positions_at
from romanprf.sky.wcs import TangentWCS
from romanprf.steps import simulate

PARAMS = {"simulate": {"size": 48, "exposures": 5, "density": 2.0}}
SETTINGS = Simulate(**PARAMS["simulate"])


@pytest.fixture(scope="module")
def exposure():
    return make_exposure(make_field(SETTINGS), SETTINGS, 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    outputs = {"catalogue": folder / "catalogue.csv", "truth": folder / "truth.parquet"}
    simulate.run_field({}, outputs, PARAMS)
    simulate.run_exposure({}, {"frame": folder / "frame.fits"}, {**PARAMS, "exposure": 4})
    simulate.run_cube({}, {"cube": folder / "cube.asdf"}, PARAMS)
    return folder


def test_frame_has_the_layout_of_rimtimsim(folder, exposure):
    with fits.open(folder / "frame.fits") as frame:
        header = frame[0].header
        assert_array_equal(frame[0].data, exposure.flux)
        assert_array_equal(frame[1].data, exposure.flux_err)
    assert header["DETECTOR"] == "SCA02"
    assert header["FILTER"] == "F146"
    assert header["EXP_NO"] == 4
    assert header["RADESYS"] == "ICRS"
    assert header["ABMAGZP"] == wfi.ZERO_POINT
    assert (header["TEND"] - header["TSTART"]) * 86400 == pytest.approx(66.4, abs=1e-3)
    assert 0.5 * (header["TEND"] + header["TSTART"]) == pytest.approx(exposure.time, abs=1e-8)
    ra, dec = WCS(header).pixel_to_world_values(7.0, 30.0)  # row, column
    assert_allclose((ra, dec), exposure.wcs.pixel_to_world_values(30.0, 7.0), atol=1e-10)


def test_cube_has_the_layout_of_roman_cuts(folder, exposure):
    with asdf.open(folder / "cube.asdf") as file:
        roman = file["roman"]
        data = {name: np.array(value) for name, value in roman["data"].items()}
        assert roman["meta"]["FILTER"] == "F146"
        sky = roman["wcs"][4].pixel_to_world_values(7.0, 30.0)
    assert_array_equal(data["exposureno"], np.arange(5))
    assert_array_equal(data["flux"][4], exposure.flux)
    assert_array_equal(data["flux_err"][4], exposure.flux_err)
    assert data["time"][4] == exposure.time
    assert not data["quality"].any()
    assert_allclose(sky, exposure.wcs.pixel_to_world_values(30.0, 7.0), atol=1e-10)


@pytest.mark.parametrize("name", ["frame.fits", "cube.asdf"])
def test_readers_see_what_was_drawn(folder, exposure, name):
    row = exposure_rows(folder / name, None, None)[-1]
    assert (row["exposure"], row["time"]) == (4, pytest.approx(exposure.time, abs=1e-8))
    assert (row["detector"], row["filter"]) == ("WFI02", "F146")
    assert row["zero_point"] == wfi.ZERO_POINT
    image = read_image(row)
    assert_array_equal(np.isfinite(image.flux_err), exposure.flux_err > 0)
    stars = make_field(SETTINGS).stars
    x, y = TangentWCS.from_json(row["wcs"]).sky_to_pixel(stars["ra"], stars["dec"])
    dx, dy = dither(SETTINGS, 4)
    assert_allclose(x, stars["x"] + dx, atol=1e-4)
    assert_allclose(y, stars["y"] + dy, atol=1e-4)


def test_same_settings_give_the_same_bytes(folder, tmp_path):
    more = {"simulate": {**PARAMS["simulate"], "exposures": 9}, "exposure": 4}
    simulate.run_exposure({}, {"frame": tmp_path / "frame.fits"}, more)
    simulate.run_field({}, {"catalogue": tmp_path / "catalogue.csv"}, more)
    simulate.run_field({}, {"truth": tmp_path / "truth.parquet"}, PARAMS)
    simulate.run_cube({}, {"cube": tmp_path / "cube.asdf"}, PARAMS)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name
    assert len(list(tmp_path.iterdir())) == 4


def test_catalogue(folder, tmp_path):
    stars = make_field(SETTINGS).stars
    catalogue = pd.read_csv(folder / "catalogue.csv", index_col="sicbro_id")
    columns = ["RA_DEG", "DEC_DEG", "ra_error", "dec_error", "epoch", "F146"]
    assert list(catalogue.columns) == columns
    assert (catalogue[["ra_error", "dec_error"]] == 10.0).all(axis=None)
    stars = stars.set_index("source_id").loc[catalogue.index]
    assert_allclose(catalogue["RA_DEG"], stars["catalogue_ra"], rtol=0, atol=1e-11)
    assert_allclose(catalogue["DEC_DEG"], stars["catalogue_dec"], rtol=0, atol=1e-11)
    read = read_catalogue(folder / "catalogue.csv")
    assert (read[["ra_err", "dec_err"]] == 10.0).all(axis=None)
    assert catalogue["F146"].max() <= 25.0
    cut = {"simulate": {**PARAMS["simulate"], "catalogue_limit": 22.0}}
    simulate.run_field({}, {"catalogue": tmp_path / "catalogue.csv"}, cut)
    short = pd.read_csv(tmp_path / "catalogue.csv", index_col="sicbro_id")
    pd.testing.assert_frame_equal(short, catalogue[catalogue["F146"] < 22.0])


def test_truth(folder):
    truth = read_table(folder / "truth.parquet", TRUTH)
    field = make_field(SETTINGS)
    assert len(truth) == len(field.stars)
    ra, dec = positions_at(truth, wfi.START)
    assert_array_equal(ra, field.stars["ra"])
    assert_array_equal(dec, field.stars["dec"])
    variable = truth[truth["kind"] != "constant"]
    assert variable["kind"].value_counts().to_dict() == {
        "eclipse": 3,
        "microlensing": 3,
        "transit": 3,
    }
    event = field.events[0]
    row = truth.iloc[event.star]
    assert_array_equal(row["exposure"], np.arange(5))
    assert_array_equal(row["factor"], event.factor(row["time"]))
    assert (truth.loc[truth["kind"] == "constant", "time"].map(len) == 0).all()


def test_bad_setting_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match=r"simulate\.draw_limit.*got 40"):
        simulate.run_field({}, {"truth": tmp_path / "t"}, {"simulate": {"draw_limit": 40.0}})
    assert not list(tmp_path.iterdir())
