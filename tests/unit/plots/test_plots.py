"""The pictures of the report, on a tiny reduction."""

from __future__ import annotations

import struct
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from romanprf import schemas
from romanprf.config import load_config
from romanprf.core.compile import compiled
from romanprf.core.image import Image
from romanprf.flags import BAD_MEASUREMENT, PixelFlag, SourceFlag
from romanprf.frame.frame import Frame
from romanprf.frame.model import FrameModel
from romanprf.io.exposures import read_exposures
from romanprf.io.images import read_image
from romanprf.io.tables import provenance, read_table, write_table
from romanprf.plots.image import image_figure
from romanprf.plots.light_curves import injected, light_curves_figure, most_variable
from romanprf.plots.scatter import running_median, scatter_figure
from romanprf.plots.style import drawing, save
from romanprf.prf.table import read_prf
from romanprf.reduce import reduce
from romanprf.solve.fit import fit_frame, model_image
from romanprf.solve.fluxes import Method, Prior
from romanprf.steps import plots

NAMES = "prf", "image", "positions", "scatter", "light_curves"
SETTINGS = {
    "simulate": {
        "exposures": 4,
        "size": 48,
        "draw_limit": 23.0,
        "catalogue_limit": 23.0,
        "microlensing": 1,
        "transits": 1,
        "eclipses": 0,
    },
    "shape": {
        "n_r_knots": 6,
        "n_phi_knots": 4,
        "iterations": 1,
        "contamination": 0.5,
        "rounds": 2,
        "search_rounds": 1,
    },
    "metrics": {"subpixels": 1},
    "exposures": {"batch_size": 2},
}
PARAMS = {"plots": {"light_curves": 3, "dpi": 60}, "flux_cut_off": 0.1}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Files of a tiny reduction, as the workflow hands them to the step."""
    results = tmp_path_factory.mktemp("tiny")
    paths = reduce(load_config({**SETTINGS, "results": str(results)}))
    single = ("exposures", "catalogue_sources", "sources", "prf", "metrics", "lightcurves", "truth")
    batches = {
        name: sorted(str(path) for path in (results / name).iterdir())
        for name in ("photometry", "frame_stats")
    }
    return {name: getattr(paths, name) for name in single} | batches


def draw(folder: Path, inputs, **settings) -> dict[str, bytes]:
    """Run the step; the bytes of its pictures."""
    outputs = {name: folder / f"{name}.png" for name in NAMES}
    plots.run(inputs, outputs, {**PARAMS, "plots": {**PARAMS["plots"], **settings}})
    assert sorted(folder.iterdir()) == sorted(outputs.values())
    return {name: path.read_bytes() for name, path in outputs.items()}


def size(png: bytes) -> tuple[int, int]:
    """Width and height of a PNG."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", png[16:24])


def texts(figure) -> str:
    """All that is written in a figure."""
    return "\n".join(text.get_text() for text in figure.findobj(mpl.text.Text))


@pytest.fixture(scope="module")
def pictures(inputs, tmp_path_factory):
    return draw(tmp_path_factory.mktemp("pictures"), inputs)


def test_nothing_is_compiled_that_a_reduction_has_not(inputs, tmp_path):
    """Jobs must not write Numba's cache at the same time as others."""
    before = compiled()
    draw(tmp_path, inputs)
    assert compiled() == before


def test_pictures_are_png_of_the_asked_resolution(pictures):
    for name, png in pictures.items():
        width, height = size(png)
        assert width == 426, name
        assert 90 < height < 500, name
        assert 3_000 < len(png) < 200_000, name


def test_same_inputs_give_the_same_bytes_whatever_the_user_prefers(pictures, inputs, tmp_path):
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red", "image.cmap": "jet"}):
        assert draw(tmp_path, inputs) == pictures
        assert mpl.rcParams["font.size"] == 20


def test_options_change_what_they_name(pictures, inputs, tmp_path):
    fewer = draw(tmp_path, inputs, light_curves=1)
    assert [name for name in NAMES if fewer[name] != pictures[name]] == ["light_curves"]
    finer = draw(tmp_path, inputs, dpi=120)
    for name in NAMES:
        assert_allclose(size(finer[name]), 2 * np.array(size(pictures[name])), atol=1)


def test_truth_is_optional(pictures, inputs, tmp_path):
    without = draw(tmp_path, {k: v for k, v in inputs.items() if k != "truth"})
    different = [name for name in NAMES if without[name] != pictures[name]]
    assert different == ["positions", "scatter", "light_curves"]


@pytest.mark.parametrize("nodes", [1, 3])
def test_model_image_is_that_of_the_fit(inputs, nodes):
    exposure = read_exposures(inputs["exposures"], [1]).to_dict("records")[0]
    sources, prf = read_table(inputs["sources"], schemas.SOURCES), read_prf(inputs["prf"])
    image = read_image(exposure)
    flux = sources["flux"].to_numpy(copy=True)
    model = FrameModel(Frame.from_row(exposure, sources), prf, flux, 0.1)
    prior = Prior(flux, 5.0 * np.sqrt(flux))
    # Repeated until the light beyond footprints, which is that of the fluxes before, is settled.
    method = Method(1e-6, 8, background_nodes=nodes)
    solution = fit_frame(image, model.stamps, prior, method, model.add_far)
    assert np.isnan(solution.flux).any()  # sources outside the image
    mesh = solution.background_mesh.ravel()
    drawn = model_image(model, solution.flux, solution.flux_err, mesh)
    used = np.isfinite(solution.residual)
    assert_allclose((image.flux - drawn)[used], solution.residual[used], atol=1e-5)


def test_typical_exposure_has_the_median_chi2(inputs):
    rows = [read_table(path, schemas.FRAME_STATS) for path in inputs["frame_stats"]]
    batch, row = plots._typical(inputs["frame_stats"])
    assert row["chi2"] == np.sort(pd.concat(rows)["chi2"])[1]
    assert row["exposure"] in rows[batch]["exposure"].to_list()


def test_large_image_is_cut_in_the_middle():
    assert plots._middle(300) == slice(0, 300)
    assert plots._middle(4088) == slice(1788, 2300)


def test_part_of_an_image_shows_the_same_model(inputs, tmp_path, monkeypatch):
    """Only the sources that shine into the part are evaluated."""
    shown = []
    monkeypatch.setattr(plots, "image_figure", lambda *args: shown.append(args))
    exposures = read_exposures(inputs["exposures"])
    sources = read_table(inputs["sources"], schemas.SOURCES)
    for side in (512, 10):
        monkeypatch.setattr(plots, "_SIDE", side)
        plots._image(inputs, exposures, sources, 0.1)
    (image, whole, _, _), (part, model, _, corner) = shown
    assert corner == (19, 19)
    assert_allclose(model, whole[19:29, 19:29], rtol=1e-12)
    assert_allclose(part.flux, image.flux[19:29, 19:29])


def unusable(inputs, tmp_path):
    """The same reduction, had no exposure been usable."""
    changed = dict(inputs)
    origin = provenance()
    nothing = {
        "metrics": ["median_flux", "scatter", "expected_scatter", "reduced_chi2"],
        "frame_stats": ["background", "background_err", "chi2", "residual_rms"],
    }
    metrics = read_table(inputs["metrics"], schemas.METRICS)
    metrics[nothing["metrics"]], metrics["n_good"] = np.nan, 0
    changed["metrics"] = tmp_path / "metrics.parquet"
    write_table(changed["metrics"], metrics, schemas.METRICS, origin)
    stats = pd.concat([read_table(path, schemas.FRAME_STATS) for path in inputs["frame_stats"]])
    stats[nothing["frame_stats"]] = np.nan
    changed["frame_stats"] = [tmp_path / "frame_stats.parquet"]
    write_table(changed["frame_stats"][0], stats, schemas.FRAME_STATS, origin)
    return changed


def test_unusable_exposures_make_pictures_that_say_so(pictures, inputs, tmp_path):
    changed = unusable(inputs, tmp_path)
    (tmp_path / "pictures").mkdir()
    empty = draw(tmp_path / "pictures", changed)
    assert empty["prf"] == pictures["prf"]
    assert len({empty[name] for name in NAMES}) == len(NAMES)
    assert "no source has 3 good exposures" in texts(
        scatter_figure(read_table(changed["metrics"], schemas.METRICS))
    )


def test_failure_leaves_no_file(inputs, tmp_path):
    with pytest.raises(ValueError, match="metrics"):
        draw(tmp_path, {**inputs, "metrics": inputs["sources"]})
    assert not list(tmp_path.iterdir())


def test_flagged_pixels_are_not_part_of_the_stretch(tmp_path):
    """Also with no usable pixel at all."""
    flux = np.random.default_rng(1).normal(5.0, 1.0, (20, 30))
    flags = np.zeros(flux.shape, np.int32)
    flux[3, 4], flags[3, 4] = 1e9, int(PixelFlag.BAD)
    for bad in (flags, np.full_like(flags, int(PixelFlag.BAD))):
        with drawing():
            image = Image(flux, np.ones(flux.shape), bad, 0.0)
            figure = image_figure(image, np.full(flux.shape, 5.0), "a name", (100, 200))
            save(figure, tmp_path / "image.png", 50)
        pictures = [ax.get_images()[0] for ax in figure.axes[:3]]
        assert pictures[0].norm.vmax < 100.0
        assert pictures[0].get_array().mask[3, 4]
        assert list(pictures[0].get_extent()) == [199.5, 229.5, 99.5, 119.5]
        assert pictures[2].get_clim() == (-5.0, 5.0)


def test_running_median():
    rng = np.random.default_rng(2)
    x = rng.uniform(18.0, 20.0, 4000)
    y = x**2 + rng.normal(0.0, 0.1, x.size)
    y[:5] = np.nan
    middle, median = running_median(x, y)
    assert_allclose(middle, [18.25, 18.75, 19.25, 19.75], atol=0.03)
    assert_allclose(median, middle**2, atol=0.05)
    assert running_median(np.array([1.0, 9.0]), np.array([1.0, 2.0]))[0].size == 0


@pytest.mark.parametrize("n_good", [4, 16])
def test_photon_limited_light_curves_scatter_around_one(n_good):
    rng = np.random.default_rng(n_good)
    limit = np.geomspace(1.0, 40.0, 4000)
    values = rng.normal(0.0, limit[:, None], (limit.size, n_good))
    deviation = np.abs(values - np.median(values, axis=1, keepdims=True))
    metrics = metrics_table(limit.size).assign(
        flux=100.0,
        n_good=n_good,
        scatter=1.4826 * np.median(deviation, axis=1),
        expected_scatter=limit,
    )
    metrics.loc[::2, "scatter"] *= 50.0  # variables, which are not in the medians
    kinds = np.where(metrics.index % 2, "constant", "transit")
    truth = metrics[["source_id"]].assign(kind=kinds, flux=100.0)
    upper, ratio, bias = scatter_figure(metrics, truth).axes
    assert_allclose(ratio.lines[-1].get_ydata(), 1.0, atol=0.12)
    measured, photon_limit = (line.get_ydata() for line in upper.lines[1:3])
    assert_allclose(measured, photon_limit, rtol=0.12)
    assert_allclose(bias.lines[-1].get_ydata(), 0.0)
    assert len(scatter_figure(metrics).axes) == 2


def test_ratios_far_above_the_limit_are_in_the_picture():
    metrics = metrics_table(50).assign(flux=100.0, scatter=60.0, expected_scatter=2.0)
    ratio = scatter_figure(metrics).axes[1]
    assert ratio.get_ylim()[1] > 30.0


def metrics_table(n: int) -> pd.DataFrame:
    """Constant stars, 18 to 22 mag."""
    return pd.DataFrame(
        {
            "source": np.arange(n, dtype=np.int32),
            "source_id": 2**62 + np.arange(n),
            "mag": np.linspace(18.0, 22.0, n),
            "n_good": 10,
            "image_fraction": 0.95,
            "median_flux": 100.0,
            "reduced_chi2": np.linspace(50.0, 1.0, n),
            "flags": 0,
        }
    )


def test_most_variable_is_judged_at_its_magnitude():
    metrics = metrics_table(200)
    metrics.loc[150, "reduced_chi2"] = 45.0  # less than that of any bright star
    metrics.loc[180, "reduced_chi2"] = 40.0
    metrics.loc[120:125, "reduced_chi2"] = 1e4
    metrics.loc[120, "n_good"] = 2
    metrics.loc[121, "flags"] = int(SourceFlag.SATURATED)
    metrics.loc[122, "image_fraction"] = 0.5
    metrics.loc[123, "median_flux"] = -1.0
    metrics.loc[124, "reduced_chi2"] = np.nan
    metrics.loc[125, "reduced_chi2"] = 1.0
    assert most_variable(metrics, 2)["source"].to_list() == [180, 150]


def test_injected_mixes_kinds_brightest_first():
    metrics = metrics_table(20)
    metrics.loc[2, "median_flux"] = np.nan
    kinds = {1: "transit", 2: "eclipse", 3: "transit", 4: "transit", 9: "eclipse", 12: "eclipse"}
    truth = metrics[["source_id"]].assign(
        kind=[kinds.get(n, "constant") for n in range(20)], time=None, factor=None
    )
    chosen = injected(metrics, truth[::-1], 3)
    assert chosen["source"].to_list() == [1, 9, 3]
    assert chosen["kind"].to_list() == ["transit", "eclipse", "transit"]


def light_curves(n: int, span: float) -> pd.DataFrame:
    """Light curves of dips, with a lost exposure."""
    time = 2461000.5 + np.linspace(0.0, span, 20)
    flux = np.where(np.arange(20) == 7, np.nan, 200.0 - 50.0 * (np.arange(20) == 12))
    flags = np.where(np.isnan(flux), BAD_MEASUREMENT, 0)
    row = {"time": time, "psf_flux": flux, "psf_flux_err": 2.0 + 0.0 * flux, "flags": flags}
    return pd.DataFrame([{"source": source, **row} for source in range(n)])


@pytest.mark.parametrize(("n", "rows"), [(1, 1), (4, 2), (24, 8)])
def test_light_curves_are_normalised(n, rows):
    figure = light_curves_figure(metrics_table(n), light_curves(n, 10.0))
    panels = [ax for ax in figure.axes if ax.axison]
    assert (len(panels), len(figure.axes)) == (n, 3 * rows)
    time, flux = panels[0].lines[0].get_data()
    assert_allclose(time[[0, -1]], [0.0, 10.0], atol=1e-6)
    assert len(flux) == 19
    assert_allclose(np.sort(flux)[[0, 1, -1]], [0.75, 1.0, 1.0])
    assert "first exposure [d]" in texts(figure)
    assert f"source {2**62}" in texts(figure)


def test_injected_light_curve_has_unit_flux_out_of_the_event():
    curves = light_curves(1, 0.2)
    factor = np.where(np.arange(20) < 15, 2.0, 1.0)  # most of the time in the event
    chosen = metrics_table(1).assign(kind="microlensing", time=[curves["time"][0]], factor=[factor])
    figure = light_curves_figure(chosen, curves)
    (injected_line, measured), *_ = [ax.lines for ax in figure.axes]
    assert_allclose(injected_line.get_ydata(), factor)
    assert np.median(measured.get_ydata() / np.delete(factor, 7)) == pytest.approx(1.0)
    assert "first exposure [h]" in texts(figure)
    assert "microlensing, 18.00 mag" in texts(figure)
