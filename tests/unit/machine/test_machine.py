"""The documented class: signatures, attributes and the shape model."""

from __future__ import annotations

import inspect

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix

from machines import dense, simulated
from romanprf import Machine

ANY = inspect.Parameter.empty
#: Parameters of the documentation: names and defaults in their order; ** takes any keyword.
DOCUMENTED = {
    "__init__": {
        **dict.fromkeys(("time", "flux", "flux_err", "ra", "dec", "sources", "column", "row"), ANY),
        "time_mask": None,
        "n_r_knots": 10,
        "n_phi_knots": 15,
        "rmin": 0.1,
        "rmax": 2,
        "cut_r": 0.2,
        "sparse_dist_lim": 4,
        "sources_flux_column": "flux",
    },
    "build_shape_model": {
        "flux_cut_off": 1,
        "frame_index": 0,
        "bin_data": 0,
        "plot": False,
        "**": ANY,
    },
    "plot_shape_model": {"frame_index": "mean", "bin_data": False, "clean": True},
    "get_psf_metrics": {"npoints_per_pixel": 10},
    "fit_model": {"prior_mu": None, "prior_sigma": None, "compute_model": False},
}
AT_ONCE = {
    "nsources": int,
    "nt": int,
    "npixels": int,
    "source_flux_estimates": np.ndarray,
    **dict.fromkeys(("dra", "ddec", "r", "phi"), np.ndarray),
    "cartesian_knot_spacing": str,
    "quiet": bool,
    "contaminant_flux_limit": (float, type(None)),
}
LATER = {
    "source_mask": "build_shape_model",
    "uncontaminated_source_mask": "build_shape_model",
    "mean_model": "build_shape_model",
    **dict.fromkeys(("prf", "position_offset", "flux_scale", "radius"), "build_shape_model"),
    **dict.fromkeys(("ws", "werrs", "fit_quality", "background"), "fit_model"),
    "model_flux": "fit_model(compute_model=True)",
    "time_model": "build_time_model",
    "ws_va": "build_time_model",
    "source_psf_fraction": "get_psf_metrics",
    "perturbed_ratio_mean": "get_psf_metrics",
    "perturbed_std": "get_psf_metrics",
}
NEEDS = {
    "fit_model": "build_shape_model",
    "build_time_model": "build_shape_model",
    "get_psf_metrics": "build_shape_model",
    "plot_shape_model": "build_shape_model",
    "plot_source_mask": "build_shape_model",
    "plot_time_model": "build_time_model",
    "to_table": "fit_model",
    "to_lightkurve": "fit_model",
}


def same_shape(a: Machine, b: Machine) -> bool:
    return (
        np.array_equal(a.prf.coefficients, b.prf.coefficients)
        and a.position_offset == b.position_offset
        and a.flux_scale == b.flux_scale
        and (a.mean_model != b.mean_model).nnz == 0
        and (a.source_mask != b.source_mask).nnz == 0
        and (a.uncontaminated_source_mask != b.uncontaminated_source_mask).nnz == 0
    )


# ---- what is documented ----


@pytest.mark.parametrize("name", DOCUMENTED)
def test_signatures_are_the_documented_ones(name):
    own = inspect.signature(getattr(Machine, name)).parameters.values()
    kinds = {p.name: p.kind for p in own}
    positional = {
        p.name: p.default
        for p in own
        if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and p.name != "self"
    }
    documented = {k: v for k, v in DOCUMENTED[name].items() if k != "**"}
    assert list(positional.items()) == list(documented.items())
    assert all(type(positional[k]) is type(v) for k, v in documented.items())
    has_any = inspect.Parameter.VAR_KEYWORD in kinds.values()
    assert has_any == ("**" in DOCUMENTED[name])
    assert inspect.Parameter.VAR_POSITIONAL not in kinds.values()


@pytest.mark.parametrize("name", AT_ONCE)
def test_documented_attributes_are_there_at_once(sky, name):
    assert isinstance(getattr(sky.machine(), name), AT_ONCE[name])


@pytest.mark.parametrize("name", LATER)
def test_attributes_tell_which_method_computes_them(sky, name):
    with pytest.raises(AttributeError) as caught:
        getattr(sky.machine(), name)
    assert f"Machine.{name} " in str(caught.value)
    assert LATER[name] in str(caught.value)


@pytest.mark.parametrize("name", NEEDS)
def test_methods_tell_which_method_comes_before(sky, name):
    with pytest.raises(AttributeError) as caught:
        getattr(sky.machine(), name)()
    assert f"call {NEEDS[name]}" in str(caught.value)


def test_methods_with_arguments_tell_which_method_comes_before(sky, built, tmp_path):
    with pytest.raises(AttributeError, match="call build_shape_model"):
        sky.machine().save_shape_model(tmp_path / "prf.parquet")
    with pytest.raises(AttributeError, match="call build_shape_model"):
        sky.machine().perturbed_model(0)
    with pytest.raises(AttributeError, match="call build_time_model"):
        built.perturbed_model(0)


def test_unknown_attribute(built):
    with pytest.raises(AttributeError, match="no attribute 'flx'"):
        _ = built.flx
    assert not hasattr(built, "flx")


def test_sizes_and_types(sky, built):
    assert built.shape == (built.nsources, built.nt, built.npixels) == (40, 3, 1600)
    for name in ("source_mask", "uncontaminated_source_mask", "mean_model"):
        matrix = getattr(built, name)
        assert isinstance(matrix, csr_matrix)
        assert matrix.shape == (40, 1600)
    assert built.source_mask.dtype == built.uncontaminated_source_mask.dtype == bool
    assert built.ws.shape == built.werrs.shape == (3, 40)
    assert built.model_flux.shape == (3, 1600)
    assert built.fit_quality.tolist() == [0, 0, 0]
    assert built.background.tolist() == [0.0, 0.0, 0.0]
    assert repr(built) == "<Machine: 40 sources, 3 times, 1600 pixels>"
    assert_array_equal(built.source_flux_estimates, sky.arrays["sources"]["flux"])


# ---- the shape model ----


def test_the_same_call_gives_the_same_result(sky):
    machine = sky.machine()
    before = {n: np.copy(getattr(machine, n)) for n in ("flux", "flux_err")}
    table = machine.sources.copy()
    machine.build_shape_model()
    first = sky.machine()
    first.build_shape_model()
    assert same_shape(machine, first)
    machine.build_shape_model()
    assert same_shape(machine, first)
    machine.fit_model()
    machine.build_shape_model(frame_index=1)
    assert not same_shape(machine, first)
    with pytest.raises(AttributeError, match="call fit_model"):
        _ = machine.ws  # of the other shape model
    machine.build_shape_model(frame_index=0)
    assert same_shape(machine, first)
    assert_array_equal(machine.source_flux_estimates, table["flux"])
    pd.testing.assert_frame_equal(machine.sources, table)
    for name, values in before.items():
        assert_array_equal(getattr(machine, name), values)


@pytest.mark.parametrize("frame", [np.int64(1), np.int32(1), np.uint8(1), -2, np.int16(-2)])
def test_any_integer_is_a_frame_index(sky, frame):
    expected, machine = sky.machine(), sky.machine()
    expected.build_shape_model(frame_index=1)
    machine.build_shape_model(frame_index=frame)
    assert same_shape(machine, expected)


@pytest.mark.parametrize("frame", ["mean", "all"])
def test_more_frames_make_a_better_prf(frame):
    """Fluxes of a known sky; the PRF of one frame is off by more."""
    sky = simulated(nt=6, side=48, n=60, seed=21)
    machine = sky.machine()
    machine.build_shape_model(frame_index=frame)
    machine.fit_model()
    bright = sky.inside(4.0, 1000.0)
    ratio = machine.ws[:, bright] / sky.flux[bright]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.015)
    assert ratio.std() < 0.03
    assert machine.flux_scale == pytest.approx(1.0 / 0.8, rel=0.05)


def test_dithered_frames_are_pooled():
    sky = simulated(nt=6, side=48, n=60, seed=21, dither=3.0)
    machine = sky.machine()
    assert machine.ra.shape == (6, 48 * 48)
    machine.build_shape_model(frame_index="all")
    machine.fit_model(compute_model=True)
    bright = sky.inside(4.0, 1000.0)
    ratio = machine.ws[:, bright] / sky.flux[bright]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.02)
    assert ratio.std() < 0.03
    left = machine.model_flux - sky.model.reshape(6, -1)
    assert left.std() < 0.01 * sky.model.std()
    with pytest.raises(ValueError, match='"mean": the frames are dithered'):
        machine.build_shape_model(frame_index="mean")
    with pytest.raises(ValueError, match="the frames are dithered"):
        machine.build_time_model()


def test_arrays_of_any_shape(sky, built):
    a, nt = sky.arrays, 3
    flat = {n: a[n].reshape(-1) for n in ("ra", "dec", "row", "column")}
    series = {n: a[n].reshape(nt, -1) for n in ("flux", "flux_err")}
    every = {n: np.broadcast_to(v, (nt, v.size)) for n, v in flat.items()}
    for changes in (
        series | flat,
        series | every,
        flat,
        {n: np.broadcast_to(a[n], (nt, 40, 40)) for n in flat},
        series | flat | {"ra": every["ra"]},
        {n: np.asarray(a[n]).tolist() for n in ("time", "flux", "ra", "row")},
    ):
        machine = sky.machine(**changes)
        assert machine.image_shape == (None if "flux_err" in changes else (40, 40))
        machine.build_shape_model()
        machine.fit_model()
        assert_array_equal(machine.ws, built.ws)


@pytest.mark.parametrize(
    "index",
    [
        pd.RangeIndex(40),
        [f"star {k}" for k in range(40)],
        [5] * 40,
        pd.MultiIndex.from_product([range(4), range(10)]),
    ],
)
def test_any_index(sky, built, index):
    machine = sky.machine(sources=sky.arrays["sources"].set_axis(index))
    machine.build_shape_model()
    machine.fit_model()
    assert_array_equal(machine.ws, built.ws)


def test_the_unit_of_the_catalogue_does_not_matter(sky, built):
    sources = sky.arrays["sources"]
    for factor in (1e-6, 1e5):
        machine = sky.machine(sources=sources.assign(flux=factor * sources["flux"]))
        machine.build_shape_model()
        machine.fit_model()
        assert machine.flux_scale * factor == pytest.approx(built.flux_scale, rel=1e-9)
        assert_allclose(machine.ws, built.ws, rtol=1e-9)


def test_one_source_and_one_frame():
    sky = simulated(nt=1, side=24, n=1, seed=2)
    machine = sky.machine()
    machine.build_shape_model()
    machine.fit_model(compute_model=True)
    machine.get_psf_metrics(2)
    assert machine.shape == (1, 1, 576)
    # Nobody knows the PRF between the pixels of one star: its flux is the sum of them.
    assert abs(machine.ws[0, 0] - sky.model.sum()) < 2.0 * machine.werrs[0, 0]
    assert machine.werrs[0, 0] < 0.1 * machine.ws[0, 0]
    assert np.std(machine.model_flux - sky.model.ravel()) < 0.1 * sky.model.std()


def test_contaminants_are_brighter_than_the_limit(sky, built):
    limit = float(np.quantile(built.source_flux_estimates, 0.6))
    machine = sky.machine()
    machine.contaminant_flux_limit = limit
    machine.build_shape_model()
    faint = machine.source_flux_estimates <= limit
    clean = dense(machine.uncontaminated_source_mask)
    assert not clean[faint].any()
    assert clean[~faint].sum() > dense(built.uncontaminated_source_mask)[~faint].sum()
    assert machine.scene.history[-1].n_sources <= (~faint).sum()


def test_masked_frames_are_not_used(sky):
    flux = sky.arrays["flux"].copy()
    flux[1] *= 3.0
    mask = np.array([True, False, True])
    spoilt = sky.machine(flux=flux, time_mask=mask)
    kept = sky.machine(**{n: sky.arrays[n][mask] for n in ("time", "flux", "flux_err")})
    for frame in ("mean", "all"):
        spoilt.build_shape_model(frame_index=frame)
        kept.build_shape_model(frame_index=frame)
        assert same_shape(spoilt, kept)


def test_binned_pixels(sky, built):
    machine, other = sky.machine(), sky.machine()
    machine.build_shape_model(frame_index="all", bin_data=12)
    every = sky.machine()
    every.build_shape_model(frame_index="all")
    assert machine.scene.history[-1].n_pixels < 0.7 * every.scene.history[-1].n_pixels
    assert machine.flux_scale == pytest.approx(built.flux_scale, rel=0.05)
    machine.build_shape_model(bin_data=True)
    other.build_shape_model(bin_data=30)
    assert same_shape(machine, other)


def test_arguments_of_the_source_mask(sky, built):
    machine = sky.machine()
    machine.build_shape_model(source_flux_limit=300.0)
    assert machine.scene.history[-1].n_pixels < built.scene.history[-1].n_pixels
    machine.build_shape_model(iterations=2)
    assert len(machine.scene.history) == 2
    machine.build_shape_model(reference_frame=-1)
    assert machine.reference_frame == 2


def test_pixels_at_the_saturation_limit_are_left_out(sky):
    limit = 4000.0
    flux, errors = sky.arrays["flux"].copy(), sky.arrays["flux_err"].copy()
    flux[:, 20, 20] = np.nan  # not a reason to warn
    machine = sky.machine(flux=flux, flux_err=errors, saturation_limit=limit)
    assert_array_equal(errors, sky.arrays["flux_err"])
    out = np.isinf(machine.flux_err).reshape(flux.shape)
    bright = flux >= limit
    assert bright.any(axis=(1, 2)).all()
    t, row, column = np.nonzero(bright)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            assert out[t, np.clip(row + i, 0, 39), np.clip(column + j, 0, 39)].all()
    assert out.sum() <= 9 * bright.sum()
    machine.build_shape_model()
    machine.fit_model()
    other = sky.machine(flux=np.where(bright, 1e9, flux), saturation_limit=limit)
    other.build_shape_model()
    other.fit_model()
    assert_array_equal(other.ws, machine.ws)


def test_a_bad_pixel_changes_nothing(sky):
    """NaN flux, NaN error and infinite error all leave a pixel out."""
    fits = []
    for flux, error in ((np.nan, 1.0), (1e7, np.nan), (-1e7, np.inf)):
        arrays = {n: sky.arrays[n].copy() for n in ("flux", "flux_err")}
        arrays["flux"][:, 10:12, 5], arrays["flux_err"][:, 10:12, 5] = flux, error
        machine = sky.machine(**arrays)
        machine.build_shape_model(frame_index="mean")
        machine.fit_model()
        fits.append(machine.ws)
    assert_array_equal(fits[1], fits[0])
    assert_array_equal(fits[2], fits[0])


def test_progress_bar(sky, capsys):
    machine = sky.machine()
    machine.build_shape_model()
    machine.fit_model()
    assert capsys.readouterr().err == ""
    machine.quiet = False
    machine.fit_model()
    assert "fit_model" in capsys.readouterr().err


def test_pictures(sky):
    machine = sky.machine()
    assert isinstance(machine.build_shape_model(plot=True), Figure)
    assert machine.build_shape_model() is None
    assert isinstance(machine.plot_shape_model(), Figure)
    assert isinstance(machine.plot_shape_model(np.int64(1), bin_data=True, clean=False), Figure)
    assert isinstance(machine.plot_source_mask(), Figure)
