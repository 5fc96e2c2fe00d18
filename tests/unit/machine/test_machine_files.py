"""Ways into and out of Machine: files and tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fields
from machines import simulated
from romanprf import Machine
from romanprf.errors import InputError
from romanprf.simulate import wfi
from romanprf.steps import simulate
from tpfs import DEC, NT, RA, SHAPE, write_tpf


@pytest.mark.parametrize("suffix", ["parquet", "fits"])
def test_saved_model_is_loaded_again(sky, built, tmp_path, suffix):
    path, again = tmp_path / f"prf.{suffix}", tmp_path / f"again.{suffix}"
    built.save_shape_model(path)
    machine = sky.machine()
    machine.load_shape_model(path)
    r, phi = np.linspace(0.0, 2.1, 300), np.linspace(-3.0, 3.0, 300)
    assert_allclose(machine.prf.evaluate(r, phi), built.prf.evaluate(r, phi), rtol=1e-9)
    # The model and the images are all that makes the fluxes.
    assert_allclose(machine.position_offset, built.position_offset, atol=1e-9)
    assert machine.flux_scale == pytest.approx(built.flux_scale, rel=1e-9)
    machine.fit_model()
    assert_allclose(machine.ws, built.ws, rtol=0, atol=1e-5 * np.nanmin(built.werrs))
    assert_allclose(machine.werrs, built.werrs, rtol=1e-7)
    machine.save_shape_model(again)
    other = sky.machine()
    other.load_shape_model(again)
    assert_allclose(other.prf.coefficients, machine.prf.coefficients, rtol=1e-12)


def test_loading_serves_where_too_few_pixels_are_bright(built, tmp_path):
    built.save_shape_model(tmp_path / "prf.parquet")
    sky = simulated(nt=3, side=24, n=1, seed=2, brightest=2.2)
    machine = sky.machine()
    with pytest.raises(InputError, match=r"\d+ pixels are left to fit .*source_flux_limit"):
        machine.build_shape_model()
    machine.load_shape_model(tmp_path / "prf.parquet", frame_index="mean", flux_cut_off=0.5)
    machine.fit_model()
    assert np.abs((machine.ws - sky.flux) / machine.werrs).max() < 4.0


@pytest.fixture(scope="module")
def roman_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("roman")
    settings = {"size": 48, "exposures": 3, "density": 2.0, "position_error": 0.0}
    outputs = {"catalogue": folder / "catalogue.csv"}
    simulate.run_field({}, outputs, {"simulate": settings})
    for n in range(3):
        params = {"simulate": settings, "exposure": n}
        simulate.run_exposure({}, {"frame": folder / f"frame{n}.fits"}, params)
    simulate.run_cube({}, {"cube": folder / "cube.asdf"}, {"simulate": settings})
    columns = {"RA_DEG": "ra", "DEC_DEG": "dec", wfi.FILTER: "mag"}
    sources = pd.read_csv(folder / "catalogue.csv").rename(columns=columns)
    return folder, sources[sources["mag"] < 22.5]


def test_roman_images(roman_files):
    folder, sources = roman_files
    frames = [folder / f"frame{n}.fits" for n in (2, 0, 1)]
    machine = Machine.from_roman(frames, sources)
    machine.quiet = True
    assert (machine.nt, machine.npixels) == (3, 48 * 48)
    assert machine.fit_background
    assert (np.diff(machine.time) > 0.0).all()
    assert machine.nsources < len(sources)  # those that the frames cannot show
    machine.build_shape_model(frame_index="all")
    machine.fit_model()
    assert (machine.fit_quality == 0).all()
    truth = 10.0 ** (-0.4 * (machine.sources["mag"] - wfi.ZERO_POINT)).to_numpy()
    assert_allclose(machine.source_flux_estimates, truth)
    bright = np.argsort(-truth)[:5]
    ratio = np.nanmedian(machine.ws[:, bright], axis=0) / truth[bright]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.15)
    cube = Machine.from_roman([folder / "cube.asdf"], sources)
    assert_array_equal(cube.flux, machine.flux)
    assert_allclose(cube.ra, machine.ra, rtol=0, atol=1e-9)


def test_a_catalogue_of_another_scale_is_told(roman_files):
    folder, sources = roman_files
    machine = Machine.from_roman([folder / "cube.asdf"], sources.assign(mag=sources["mag"] - 0.4))
    with pytest.warns(UserWarning, match=r"flux_scale is 0.\d+, expected 0.91 to 1.1"):
        machine.build_shape_model(frame_index="all")


def test_cut_outs_follow_the_dithers(roman_files):
    folder, sources = roman_files
    whole = Machine.from_roman([folder / "cube.asdf"], sources)
    centre = whole.ra[0].mean(), whole.dec[0].mean()
    machine = Machine.from_roman([folder / "cube.asdf"], sources, centre, 15, n_r_knots=6)
    assert machine.npixels == 225
    assert machine.n_r_knots == 6
    for t in range(3):
        assert np.hypot(*(machine.ra[t].mean() - centre[0], machine.dec[t].mean() - centre[1])) < (
            2.0 * fields.SCALE / 3600.0
        )


def star_pixels(rng) -> tuple[np.ndarray, np.ndarray]:
    """A star of 1e5 e-/s in the middle of a target pixel file, with its errors."""
    row, column = np.mgrid[: SHAPE[0], : SHAPE[1]]
    light = np.exp(-0.5 * ((column - 1.2) ** 2 + (row - 0.4) ** 2) / 0.6**2)
    model = 1e5 * light / (2.0 * np.pi * 0.6**2)
    error = np.sqrt(100.0 + model)
    noise = rng.normal(size=(NT, *SHAPE))
    return (model + error * noise).astype(">f4"), np.broadcast_to(error, noise.shape).astype(">f4")


def test_target_pixel_files(tmp_path):
    flux, flux_err = star_pixels(np.random.default_rng(5))
    path = write_tpf(tmp_path / "star.fits", FLUX=flux, FLUX_ERR=flux_err)
    sources = pd.DataFrame({"ra": [RA, RA + 3.0], "dec": [DEC, DEC], "g": 1.0}, index=["a", "far"])
    machine = Machine.from_tpfs([path], sources, sources_flux_column="g", n_r_knots=5)
    machine.quiet = True
    assert (machine.rmin, machine.rmax, machine.cut_r) == (1.0, 16.0, 6.0)
    assert machine.shape == (1, NT, SHAPE[0] * SHAPE[1])
    assert machine.sources.index.tolist() == ["a"]
    assert (machine.row.min(), machine.column.min()) == (243, 655)
    assert machine.meta["mission"] == "Kepler"
    assert machine.time[0] == pytest.approx(2454833.0 + 1235.5)
    machine.build_shape_model(frame_index="all")
    machine.fit_model()
    assert_allclose(machine.ws[:, 0], machine.ws[:, 0].mean(), rtol=0.01)
    machine.save_shape_model(tmp_path / "prf.fits")


def test_the_mission_sets_the_scales(tmp_path):
    path = write_tpf(tmp_path / "tess.fits", "TESS")
    sources = pd.DataFrame({"ra": [RA], "dec": [DEC], "flux": 1e3})
    assert Machine.from_tpfs([path], sources).rmax == 80.0
    assert Machine.from_tpfs([path], sources, rmax=60.0).rmax == 60.0
    with pytest.raises(ValueError, match=r"none of the 1 sources is within 80.0 arcsec"):
        Machine.from_tpfs([path], sources.assign(ra=10.0))


def test_table_of_light_curves(sky, built):
    table = built.to_table()
    assert table.colnames == ["source_id", "time", "ra", "dec", "psf_flux", "psf_flux_err"]
    assert_array_equal(table["source_id"][::3], built.sources.index)
    assert_array_equal(table["psf_flux"].reshape(40, 3).T, built.ws)
    assert_array_equal(table["psf_flux_err"].reshape(40, 3).T, built.werrs)
    assert_array_equal(table["time"][:3], sky.arrays["time"])
    assert str(table["psf_flux"].unit) == "electron / s"


@pytest.mark.parametrize("index", [[f"star {k}" for k in range(40)], [5] * 40])
def test_names_in_the_table(sky, index):
    machine = sky.known(sources=sky.arrays["sources"].set_axis(index))
    machine.fit_model()
    assert machine.to_table()["source_id"].tolist() == np.repeat(index, 3).tolist()


def test_light_curves_of_lightkurve(built):
    pytest.importorskip("lightkurve")
    curves = built.to_lightkurve()
    assert len(curves) == 40
    assert_array_equal(curves[3].flux.value, built.ws[:, 3])
    assert_array_equal(curves[3].flux_err.value, built.werrs[:, 3])
    assert_allclose(curves[3].time.jd, built.time, rtol=0, atol=1e-9)
    assert curves[3].meta["LABEL"] == str(built.sources.index[3])
