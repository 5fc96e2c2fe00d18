"""What a user can do wrong with Machine: one line, the offending value and the remedy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from machines import simulated
from romanprf.errors import InputError
from tpfs import DEC, RA, write_tpf

NT, SIDE, N = 3, 20, 12


@pytest.fixture(scope="module")
def sky():
    return simulated(nt=NT, side=SIDE, n=N, seed=31)


@pytest.fixture(scope="module")
def built(sky):
    machine = sky.known()
    machine.fit_model()
    return machine


def complaint(error: type[Exception], call, *args, **kwargs) -> str:
    with pytest.raises(error) as caught:
        call(*args, **kwargs)
    assert type(caught.value) is error or error is ValueError
    message = str(caught.value)
    assert "\n" not in message
    return message


def spoilt(array: np.ndarray, place, value) -> np.ndarray:
    array = np.array(array, dtype=float)
    array[place] = value
    return array


def column(frame: pd.DataFrame, name: str, value, rows=slice(2, 3)) -> pd.DataFrame:
    values = frame[name].astype(object)
    values.iloc[rows] = value
    return frame.assign(**{name: values})


#: What is wrong: changes of the arrays, made from the good ones; exception; parts of the message.
ARRAYS = {
    "flux of one dimension": (
        lambda a: {"flux": a["flux"][0, 0]},
        ValueError,
        ("flux has shape (20,)", "expected (nt, npixels)", "flux[None]"),
    ),
    "flux without the axis of time": (
        lambda a: {"flux": a["flux"][0]},
        ValueError,
        ("flux has shape (20, 20)", "nt = 3", "flux[None]"),
    ),
    "too few errors": (
        lambda a: {"flux_err": a["flux_err"][:, :5]},
        ValueError,
        ("flux_err has shape (3, 5, 20)", "expected (3, 20, 20)"),
    ),
    "other times": (
        lambda a: {"time": np.arange(5.0)},
        ValueError,
        ("flux has shape (3, 20, 20)", "nt = 5"),
    ),
    "times of two dimensions": (
        lambda a: {"time": a["time"][:, None]},
        ValueError,
        ("time has shape (3, 1)", "expected (nt,)"),
    ),
    "a time that is NaN": (
        lambda a: {"time": spoilt(a["time"], 1, np.nan)},
        ValueError,
        ("time of frame 1 is nan", "expected finite", "leave"),
    ),
    "no pixels": (
        lambda a: {
            **dict.fromkeys(("flux", "flux_err"), np.empty((3, 0))),
            **{n: [] for n in ("ra", "dec", "row", "column")},
        },
        ValueError,
        ("flux has shape (3, 0)", "expected one pixel at least"),
    ),
    "an error of zero": (
        lambda a: {"flux_err": spoilt(a["flux_err"], (1, 2, 3), 0.0)},
        ValueError,
        ("flux_err of frame 1, pixel 43 is 0.0", "positive errors", "make its error infinite"),
    ),
    "a negative error": (
        lambda a: {"flux_err": spoilt(a["flux_err"], (0, 0, 7), -2.5)},
        ValueError,
        ("frame 0, pixel 7 is -2.5", "positive errors", "make its error infinite"),
    ),
    "short ra": (
        lambda a: {"ra": a["ra"][:4]},
        ValueError,
        ("ra has shape (4, 20)", "expected (400,)"),
    ),
    "dec of other frames": (
        lambda a: {"dec": np.broadcast_to(a["dec"], (2, 20, 20))},
        ValueError,
        ("dec has shape (2, 20, 20)", "(3, 20, 20)"),
    ),
    "dec that is NaN": (
        lambda a: {"dec": spoilt(a["dec"], (0, 5), np.nan)},
        ValueError,
        ("dec[5] is nan", "expected finite coordinates"),
    ),
    "half a row": (
        lambda a: {"row": a["row"] + 0.5},
        ValueError,
        ("row has the value", "0.5", "expected whole numbers of detector pixels"),
    ),
    "long column": (
        lambda a: {"column": np.arange(7)},
        ValueError,
        ("column has shape (7,)", "expected (400,)"),
    ),
    "a pixel twice": (
        lambda a: {"column": np.maximum(a["column"], 1)},
        ValueError,
        ("has the row and column of another one (20 such pixels)", "drop the duplicates"),
    ),
    "ra in another order": (
        lambda a: {"ra": np.roll(a["ra"], 3, axis=0)},
        ValueError,
        ("ra and dec are up to", "pixels from where row and column put", "check the order"),
    ),
    "pixels on a line": (
        lambda a: {
            **{n: a[n][:, :1] for n in ("ra", "dec", "row", "column")},
            **{n: a[n][:, :, :1] for n in ("flux", "flux_err")},
        },
        ValueError,
        ("20 pixels on one line", "two rows and two columns"),
    ),
    "nothing usable": (
        lambda a: {"flux": np.full((3, 20, 20), np.nan)},
        ValueError,
        ("no pixel of the 3 frames", "finite flux and error", "look for NaN"),
    ),
    "a short time_mask": (
        lambda a: {"time_mask": np.array([True, False])},
        ValueError,
        ("time_mask has shape (2,) and type bool", "expected (3,) booleans"),
    ),
    "a time_mask of numbers": (
        lambda a: {"time_mask": [1, 0, 1]},
        ValueError,
        ("type int64", "expected (3,) booleans"),
    ),
    "all frames masked": (
        lambda a: {"time_mask": np.zeros(3, bool)},
        ValueError,
        ("time_mask leaves none of the 3 frames", "one True at least"),
    ),
    "a negative saturation limit": (
        lambda a: {"saturation_limit": -1.0},
        ValueError,
        ("saturation_limit=-1.0", "expected a positive number (e-/s)"),
    ),
    "a saturation limit that leaves nothing": (
        lambda a: {"saturation_limit": 1e-9},
        ValueError,
        ("no pixel of the 3 frames", "raise saturation_limit"),
    ),
}
SOURCES = {
    "a dict": (dict, TypeError, ("sources is a dict", "DataFrame", "'ra', 'dec'")),
    "an array": (lambda s: s.to_numpy(), TypeError, ("sources is a ndarray", "DataFrame")),
    "no rows": (lambda s: s.iloc[:0], ValueError, ("no rows", "one source at least")),
    "no ra": (
        lambda s: s.rename(columns={"ra": "RA"}),
        ValueError,
        ("no column 'ra'", "degrees", "it has RA, dec, flux"),
    ),
    "no dec": (lambda s: s.drop(columns="dec"), ValueError, ("no column 'dec'", "it has ra, flux")),
    "no flux": (
        lambda s: s.rename(columns={"flux": "phot_g_mean_flux"}),
        ValueError,
        ("no column 'flux'", "sources_flux_column='flux'", "phot_g_mean_flux"),
    ),
    "ra is NaN": (
        lambda s: column(s, "ra", np.nan),
        ValueError,
        ("ra of row {index}", "is not finite", "expected a number"),
    ),
    "flux is missing": (
        lambda s: s.assign(flux=pd.array([pd.NA] + [1.0] * (N - 1), dtype="Float64")),
        ValueError,
        ("flux of row", "is not finite"),
    ),
    "flux is a text": (
        lambda s: column(s, "flux", "bright"),
        ValueError,
        ("flux has the value 'bright'", "expected numbers"),
    ),
    "dec beyond the pole": (
        lambda s: column(s, "dec", 95.0),
        ValueError,
        ("dec of row {index}", "-90 ... 90"),
    ),
}
SETTINGS = {
    "too few radial knots": ({"n_r_knots": 4}, ("n_r_knots=4", "5 or more", "0.1 to 2 arcsec")),
    "half a knot": ({"n_r_knots": 7.5}, ("n_r_knots=7.5", "whole number")),
    "too few angles": ({"n_phi_knots": 3}, ("n_phi_knots=3", "4 or more")),
    "cut_r inside rmin": ({"cut_r": 0.05}, ("cut_r=0.05", "0 <= rmin < cut_r < rmax")),
    "rmax inside cut_r": ({"rmax": 0.15}, ("rmax=0.15", "0 <= rmin < cut_r < rmax")),
    "rmax is infinite": ({"rmax": np.inf}, ("rmax=inf", "finite")),
    "rmin is NaN": ({"rmin": np.nan}, ("rmin=nan", "0 <= rmin")),
    "no reach": ({"sparse_dist_lim": 0.0}, ("sparse_dist_lim=0.0", "positive number (arcsec)")),
}
SHAPE = {
    "frame 3 of 3": ({"frame_index": 3}, IndexError, ("frame_index=3", "0 ... 2")),
    "frame -4": ({"frame_index": np.int64(-4)}, IndexError, ("frame_index=-4", "0 ... 2")),
    "frame of a wrong word": (
        {"frame_index": "median"},
        ValueError,
        ("frame_index='median'", '"mean" or "all"'),
    ),
    "half a frame": ({"frame_index": 0.5}, ValueError, ("frame_index=0.5", "number of a frame")),
    "a truth for a frame": ({"frame_index": True}, ValueError, ("frame_index=True", '"mean"')),
    "no flux_cut_off": ({"flux_cut_off": 0.0}, ValueError, ("flux_cut_off=0.0", "positive")),
    "text flux_cut_off": ({"flux_cut_off": "a"}, ValueError, ("flux_cut_off='a'", "positive")),
    "negative bins": ({"bin_data": -1}, ValueError, ("bin_data=-1", "0 or more")),
    "broken bins": ({"bin_data": 2.5}, ValueError, ("bin_data=2.5", "whole number")),
    "another model": ({"model": "moffat"}, ValueError, ("model='moffat'", "'log-polar'")),
    "unknown argument": (
        {"source_limit": 1.0},
        TypeError,
        ("'source_limit'", "source_flux_limit, iterations, reference_frame"),
    ),
    "negative limit": (
        {"source_flux_limit": -1.0},
        ValueError,
        ("source_flux_limit=-1.0", "0 or more"),
    ),
    "no iterations": ({"iterations": 0}, ValueError, ("iterations=0", "1 or more")),
    "reference frame 9": ({"reference_frame": 9}, IndexError, ("reference_frame=9", "0 ... 2")),
    "reference word": (
        {"reference_frame": "mean"},
        TypeError,
        ("reference_frame='mean'", "whole number"),
    ),
}
PRIORS = {
    "short prior": ({"prior_mu": np.ones(3)}, ("prior_mu has shape (3,)", "expected (12,)")),
    "prior that is NaN": (
        {"prior_mu": np.where(np.arange(N) == 4, np.nan, 1.0)},
        ("prior_mu of source 4 is nan", "finite"),
    ),
    "zero sigma": ({"prior_sigma": np.zeros(N)}, ("prior_sigma has the value 0.0", "positive")),
    "negative sigma": ({"prior_sigma": np.full(N, -3.0)}, ("the value -3.0", "positive")),
    "infinite sigma": (
        {"prior_sigma": np.full(N, np.inf)},
        ("prior_sigma of source 0 is inf", "large"),
    ),
}
TIME = {
    "vectors of other frames": ({"vectors": np.ones((2, 1))}, ("shape (2, 1)", "expected (3,")),
    "one vector": ({"vectors": np.arange(3.0)}, ("shape (3,)", "expected (3,")),
    "a vector with NaN": (
        {"vectors": np.array([[0.0], [np.nan], [1.0]])},
        ("vectors[1, 0]=nan", "interpolate"),
    ),
    "constant vectors": ({"vectors": np.ones((3, 2))}, ("vectors are constant", "that change")),
    "unknown vectors": ({"vectors": "spline"}, ("vectors='spline'", '"polynomial", "centroid"')),
    "no polynomial": ({"poly_order": 0}, ("polynomial order 0", "1 or more")),
    "too few knots": ({"time_nknots": 3}, ("time_nknots=3", "4 or more")),
    "no resolution": ({"time_resolution": 0}, ("time_resolution=0", "1 frame")),
    "no radius": ({"time_radius": 0.0}, ("time_radius=0.0", "positive")),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays(sky, case):
    change, error, parts = ARRAYS[case]
    message = complaint(error, sky.machine, **change(sky.arrays))
    assert all(part in message for part in parts), message


@pytest.mark.parametrize("case", SOURCES)
def test_sources(sky, case):
    change, error, parts = SOURCES[case]
    table = sky.arrays["sources"]
    message = complaint(error, sky.machine, sources=change(table))
    index = table.index[2]
    assert all(part.format(index=index) in message for part in parts), message


@pytest.mark.parametrize("case", SETTINGS)
def test_settings(sky, case):
    settings, parts = SETTINGS[case]
    message = complaint(ValueError, sky.machine, **settings)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize("case", SHAPE)
def test_shape_models(sky, built, case):
    arguments, error, parts = SHAPE[case]
    before = built.prf
    message = complaint(error, built.build_shape_model, **arguments)
    assert all(part in message for part in parts), message
    assert built.prf is before
    assert built.ws.shape == (NT, N)  # a call that fails changes nothing


@pytest.mark.parametrize("case", PRIORS)
def test_priors(built, case):
    arguments, parts = PRIORS[case]
    message = complaint(ValueError, built.fit_model, **arguments)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize("case", TIME)
def test_time_models(built, case):
    arguments, parts = TIME[case]
    message = complaint(ValueError, built.build_time_model, **arguments)
    assert all(part in message for part in parts), message


def test_knots_of_a_wrong_kind(sky):
    machine = sky.known()
    machine.cartesian_knot_spacing = "log"
    message = complaint(ValueError, machine.build_time_model, poly_order=1)
    assert "cartesian_knot_spacing='log'" in message
    assert "'linear' or 'sqrt'" in message


def test_unsorted_times_have_no_time_model(sky):
    machine = sky.known(time=sky.arrays["time"][::-1])
    machine.fit_model()
    assert "sort the frames by time" in complaint(ValueError, machine.build_time_model)


def test_points_per_pixel(built):
    for points in (-1, 2.5, "many"):
        message = complaint(ValueError, built.get_psf_metrics, points)
        assert f"npoints_per_pixel={points!r}" in message
        assert "whole number of 0 or more" in message


def test_times_of_the_perturbed_model():
    sky = simulated(nt=5, side=SIDE, n=N, seed=31)
    machine = sky.known()
    machine.build_time_model(poly_order=1)
    message = complaint(IndexError, machine.perturbed_model, 5)
    assert "time_index=5" in message
    assert "0 ... 4" in message
    assert "time_index=0.5" in complaint(TypeError, machine.perturbed_model, 0.5)


def test_an_empty_frame_teaches_nothing(sky):
    machine = sky.machine(flux_err=spoilt(sky.arrays["flux_err"], 1, np.inf))
    message = complaint(ValueError, machine.build_shape_model, frame_index=1)
    assert "frame_index=1: the frame has no pixel" in message
    assert "choose another one" in message
    machine = sky.machine(
        flux_err=spoilt(sky.arrays["flux_err"], 1, np.inf), time_mask=np.arange(3) == 1
    )
    for frames in ("mean", "all"):
        message = complaint(ValueError, machine.build_shape_model, frame_index=frames)
        assert "no frame of time_mask has a pixel" in message


def test_no_pixel_that_belongs_to_one_source(sky):
    far = sky.arrays["sources"].assign(ra=100.0)
    message = complaint(InputError, sky.machine(sources=far).build_shape_model)
    assert "0 pixels are left to fit a PRF" in message
    assert "source_flux_limit" in message


def test_files(sky, built, tmp_path):
    missing = tmp_path / "none.parquet"
    assert "none.parquet" in complaint(InputError, built.load_shape_model, missing)
    text = tmp_path / "text.fits"
    text.write_text("no FITS")
    assert "text.fits" in complaint(InputError, built.load_shape_model, text)
    sources = sky.arrays["sources"]
    cls = type(built)
    assert "text.fits" in complaint(InputError, cls.from_roman, [text], sources)
    assert "text.fits" in complaint(InputError, cls.from_tpfs, [text], sources)


def test_sources_of_another_field(tmp_path, built):
    path = write_tpf(tmp_path / "star.fits")
    sources = pd.DataFrame({"ra": [RA + 20.0], "dec": [DEC], "flux": [1e3]})
    message = complaint(ValueError, type(built).from_tpfs, [path], sources)
    assert "none of the 1 sources is within 16.0 arcsec" in message
    assert "expected a catalogue of the same field" in message
    assert "is a list" in complaint(TypeError, type(built).from_tpfs, [path], [sources])


@pytest.mark.parametrize("knots", [10_000, 10**6, 10**400])
def test_knots_that_need_more_memory_than_there_is(sky, knots):
    message = complaint(ValueError, sky.machine, n_r_knots=knots)
    assert "the equations of the PRF need" in message
    assert "GB of memory, expected fewer knots" in message
    assert "n_phi_knots" in complaint(ValueError, sky.machine, n_phi_knots=10**6)
