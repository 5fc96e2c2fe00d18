"""Catalogues that do not fit the images: another filter, another zero point, another place."""

import logging
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree

from romanprf import schemas
from romanprf.config import load_config
from romanprf.errors import InputError
from romanprf.io.exposures import read_exposures, read_field
from romanprf.io.tables import read_metadata, read_table, write_table
from romanprf.reduce import reduce
from romanprf.steps import choose, crossmatch, frames, shape, simulate
from romanprf.workflow.paths import Paths

FIELD = {
    "simulate": {
        "size": 64,
        "exposures": 3,
        "draw_limit": 22.5,
        "catalogue_limit": 22.5,
        "cosmic_rays": 0.0,
        **dict.fromkeys(("microlensing", "transits", "eclipses"), 0),
    },
    "shape": {
        "n_r_knots": 14,
        "n_phi_knots": 8,
        "rmax": 1.4,
        "source_flux_limit": 200.0,
        "reach": 10.0,
        "rounds": 3,
        "search_rounds": 0,
    },
    "metrics": {"subpixels": 1},
}
EPOCH = 2027.12
DEC = np.cos(np.deg2rad(-29.2))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Paths:
    """Simulated images with the exposures table, and a catalogue."""
    paths = Paths(tmp_path_factory.mktemp("drawn"))
    sections = load_config(FIELD).model_dump(mode="json")
    simulate.run_field({}, {"catalogue": paths.catalogue, "truth": paths.truth}, sections)
    files = [paths.frames.format(exposure=f"{n:05d}") for n in range(3)]
    for number, file in enumerate(files):
        simulate.run_exposure({}, {"frame": file}, sections | {"exposure": number})
    (paths.root / "sheet.tsv").write_text("file\n" + "\n".join(files) + "\n")
    params = {"files": [{"file": file, "exposure": None} for file in files]}
    params |= {"cache": paths.exposures_cache, "gain": None, "zero_point": None}
    frames.run({}, {"exposures": paths.exposures}, params)
    tables = {"exposures": paths.exposures, "learning": paths.learning}
    choose.run(tables, tables, sections)
    return paths


@pytest.fixture
def stars(drawn) -> pd.DataFrame:
    return pd.read_csv(drawn.catalogue)


def _away(stars, east=0.0, north=0.0, angle=0.0):
    """The catalogue shifted (arcsec) and turned about its middle (rad)."""
    x, y = (stars["RA_DEG"] - 268.0) * DEC, stars["DEC_DEG"] + 29.2
    cos, sin = np.cos(angle), np.sin(angle)
    ra = 268.0 + (x * cos - y * sin + east / 3600) / DEC
    return stars.assign(RA_DEG=ra, DEC_DEG=-29.2 + x * sin + y * cos + north / 3600)


def _sources(drawn, folder, stars, **settings):
    """The step alone, of a catalogue or, with None, of the images."""
    config = load_config(settings).model_dump(mode="json")
    field = {"field": read_field(drawn.exposures)}
    inputs = {"exposures": drawn.exposures, "learning": drawn.learning}
    if stars is not None:
        inputs["catalogue"] = folder / "stars.csv"
        stars.to_csv(inputs["catalogue"], index=False)
    if config["reference"]["path"]:
        inputs["reference"] = config["reference"]["path"]
    outputs = {"catalogue_sources": folder / "sources.parquet"}
    crossmatch.run(inputs, outputs, {**config, **field})
    return read_table(outputs["catalogue_sources"], schemas.SOURCES)


def _results(drawn, folder, stars, **settings) -> Paths:
    stars.to_csv(folder / "stars.csv", index=False)
    own = {
        "results": folder / "results",
        "exposures": {"sheet": drawn.root / "sheet.tsv"},
        "catalogue": {"path": folder / "stars.csv", "epoch": EPOCH, **settings},
    }
    return reduce(load_config(FIELD | own))


def _ratios(drawn, paths):
    """Measured over true flux of stars of F146 15.5 to 20 well inside, that are alone."""
    truth = read_table(drawn.truth, schemas.TRUTH).set_index("source_id")
    sources = read_table(paths.sources, schemas.SOURCES)
    measured = read_table(paths.metrics, schemas.METRICS)
    fraction = measured["image_fraction"] / measured["image_fraction"].max()
    good = (sources["n_merged"] == 1) & (sources["nearest"] > 0.1) & (fraction > 0.9)
    mag = truth["mag"].reindex(sources["source_id"]).to_numpy()
    good &= (mag > 15.5) & (mag < 20.0) & measured["median_flux"].notna()
    flux = truth["flux"].reindex(sources["source_id"]).to_numpy()
    return (measured["median_flux"].to_numpy() / flux)[good]


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.02, -0.01)])
def test_a_catalogue_in_place_is_left_alone(drawn, stars, tmp_path, shift, caplog):
    sources = _sources(drawn, tmp_path, _away(stars, *shift), catalogue={"epoch": EPOCH})
    told = read_metadata(tmp_path / "sources.parquet", schemas.SOURCES)
    assert not any(name.startswith("image_") for name in told)
    assert "moved onto the images" not in caplog.text
    same = sources.set_index("source_id")["ra"]
    given = _away(stars, *shift).set_index("sicbro_id")["RA_DEG"]
    single = sources["n_merged"] == 1
    np.testing.assert_allclose(same[single.to_numpy()], given[same[single.to_numpy()].index])


@pytest.mark.parametrize("motion", [(1.5, -1.2, 0.0), (0.1, 0.0, 0.1)])
def test_a_catalogue_off_as_a_whole_is_moved(drawn, stars, tmp_path, motion, caplog):
    sources = _sources(drawn, tmp_path, _away(stars, *motion), catalogue={"epoch": EPOCH})
    assert "moved onto the images" in caplog.text
    told = read_metadata(tmp_path / "sources.parquet", schemas.SOURCES)
    if motion[2] == 0.0:
        assert float(told["image_offset_ra"]) == pytest.approx(-1500.0, abs=20.0)
        assert float(told["image_offset_dec"]) == pytest.approx(1200.0, abs=20.0)
    else:
        assert float(told["image_rotation"]) == pytest.approx(-np.rad2deg(0.1), abs=0.2)
    sources = sources[sources["n_merged"] == 1].set_index("source_id")
    true = stars.set_index("sicbro_id").loc[sources.index]
    near = np.hypot((true["RA_DEG"] - 268.0) * DEC, true["DEC_DEG"] + 29.2) < 3.0 / 3600
    east = (sources["ra"] - true["RA_DEG"])[near] * DEC * 3.6e6
    north = (sources["dec"] - true["DEC_DEG"])[near] * 3.6e6
    assert np.hypot(east, north).median() < 15.0  # a seventh of a pixel: registration follows


def test_a_catalogue_of_another_field_is_refused(drawn, stars, tmp_path):
    rng = np.random.default_rng(2)
    other = stars.assign(RA_DEG=rng.permutation(stars["RA_DEG"]))
    with pytest.raises(InputError, match=r"stars.csv: the pattern of its stars is not that of the"):
        _sources(drawn, tmp_path, other, catalogue={"epoch": EPOCH})


@pytest.mark.parametrize("with_mag", [True, False])
def test_first_fluxes_are_measured(drawn, stars, tmp_path, with_mag):
    colour = np.random.default_rng(4).normal(2.0, 0.8, len(stars))
    stars = stars.assign(F146=stars["F146"] + colour)
    stars = (
        stars.rename(columns={"F146": "phot_g_mean_mag"})
        if with_mag
        else stars.drop(columns="F146")
    )
    catalogue = {"epoch": EPOCH, "photometry": "approximate"}
    sources = _sources(drawn, tmp_path, stars, catalogue=catalogue)
    zero_point = read_exposures(drawn.exposures)["zero_point"].iloc[0]
    np.testing.assert_allclose(sources["flux"], 10.0 ** (-0.4 * (sources["mag"] - zero_point)))
    truth = read_table(drawn.truth, schemas.TRUTH).set_index("source_id")
    true = truth.loc[sources["source_id"], "flux"].to_numpy()
    inside = np.hypot((sources["ra"] - 268.0) * DEC, sources["dec"] + 29.2) < 3.0 / 3600
    bright = inside.to_numpy() & (true > 500.0)
    assert np.median(sources["flux"][bright] / true[bright]) == pytest.approx(1.0, abs=0.1)
    assert np.mean(np.abs(sources["flux"][bright] / true[bright] - 1.0) < 0.3) > 0.85


@pytest.mark.slow
def test_a_catalogue_of_another_filter_gives_measured_fluxes(drawn, stars, tmp_path):
    colour = np.random.default_rng(4).normal(2.0, 0.8, len(stars))
    gaia = _away(stars, 0.8, -0.9).assign(F146=stars["F146"] + colour)
    gaia = gaia.rename(columns={"F146": "phot_g_mean_mag"})
    paths = _results(drawn, tmp_path, gaia, photometry="approximate")
    ratios = _ratios(drawn, paths)
    assert len(ratios) > 15
    assert np.median(ratios) == pytest.approx(1.0, abs=0.06)
    assert np.percentile(np.abs(ratios / np.median(ratios) - 1.0), 80) < 0.03
    assert float(read_metadata(paths.prf, schemas.PRF)["integral"]) == pytest.approx(1.0)
    sources = read_table(paths.sources, schemas.SOURCES)
    zero_point = read_exposures(paths.exposures)["zero_point"].iloc[0]
    np.testing.assert_allclose(sources["flux"], 10.0 ** (-0.4 * (sources["mag"] - zero_point)))
    metrics = read_table(paths.metrics, schemas.METRICS)
    shown = metrics["image_fraction"] > 0.95
    bright = shown & (sources["flux"] > 500.0)
    np.testing.assert_allclose(sources["flux"][bright], metrics["median_flux"][bright], rtol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("offset", [-2.0, -0.8, 2.0])
def test_a_catalogue_of_another_zero_point_works(drawn, stars, tmp_path, offset, caplog):
    stars = stars.assign(F146=stars["F146"] + offset)
    with caplog.at_level(logging.WARNING):
        paths = _results(drawn, tmp_path, stars)
    ratios = 10.0 ** (0.4 * offset) * _ratios(drawn, paths)
    assert np.median(ratios) == pytest.approx(1.0, abs=0.02)
    assert np.percentile(np.abs(ratios / np.median(ratios) - 1.0), 80) < 0.03
    assert f"mag too {'bright' if offset < 0.0 else 'faint'} for the zero point" in caplog.text
    assert shape.logger.name in {record.name for record in caplog.records}


def _within(stars, pixels=26.0):
    """Whether stars are less than so many pixels from the middle of the field."""
    ra = (stars["ra"] - 268.0) * DEC
    return np.maximum(ra.abs(), (stars["dec"] + 29.2).abs()) < pixels * 0.11 / 3600


def _nearest(stars, others):
    """Index of the nearest of the others, and its distance in pixels."""
    own, other = (
        np.stack([(table["ra"] - 268.0) * DEC, table["dec"] + 29.2], axis=1) * 3600 / 0.11
        for table in (stars, others)
    )
    distance, index = cKDTree(other).query(own)
    return index, distance


def test_without_a_catalogue_stars_are_those_of_the_images(drawn, tmp_path):
    sources = _sources(drawn, tmp_path, None)
    truth = read_table(drawn.truth, schemas.TRUTH)
    assert set(sources["origin"]) == {"image"}
    assert (sources["source_id"] < 0).all()
    assert sources["source_id"].is_unique
    np.testing.assert_allclose(sources["ra_err"], 33.0, rtol=1e-3)
    assert sources["epoch"].iloc[0] == pytest.approx(EPOCH, abs=0.01)
    bright = truth[(truth["mag"] < 20.0) & _within(truth)]
    index, distance = _nearest(bright, sources)
    seen = distance < 0.5
    assert seen.mean() > 0.75  # others are blends
    assert np.median(distance[seen]) < 0.15
    ratio = sources["flux"].to_numpy()[index] / bright["flux"].to_numpy()
    assert np.median(ratio[seen]) == pytest.approx(1.0, abs=0.1)
    _, distance = _nearest(sources, truth[truth["mag"] < 22.5])
    assert (distance < 0.7).mean() > 0.97


def test_without_a_catalogue_a_reference_gives_frame_and_motions(drawn, stars, tmp_path):
    bright = _away(stars[stars["F146"] < 18.0], 0.05, -0.04)
    gaia = bright.assign(pmra=1.0, pmdec=0.0, pmra_error=0.1, pmdec_error=0.1)
    gaia.drop(columns="F146").assign(phot_g_mean_mag=17.0).to_csv(tmp_path / "gaia.csv")
    reference = {"path": tmp_path / "gaia.csv"}
    sources = _sources(drawn, tmp_path, None, reference=reference)
    told = read_metadata(tmp_path / "sources.parquet", schemas.SOURCES)
    assert float(told["astrometric_offset_ra"]) == pytest.approx(50.0, abs=6.0)
    assert float(told["astrometric_offset_dec"]) == pytest.approx(-40.0, abs=6.0)
    assert "magnitude_offset" not in told
    matched = sources[sources["match_id"].notna()]
    assert len(matched) > 3
    assert (matched["pmra"] == 1.0).all()
    same = gaia.set_index("sicbro_id").loc[matched["match_id"], "RA_DEG"]
    np.testing.assert_allclose(matched["ra"], same, atol=1e-6 / 3600)


def test_without_a_catalogue_one_exposure_is_too_few(drawn, tmp_path):
    alone = read_table(drawn.learning, schemas.LEARNING).iloc[:1]
    path = tmp_path / "learning.parquet"
    write_table(path, alone.to_dict("series"), schemas.LEARNING, {})
    one = SimpleNamespace(exposures=drawn.exposures, learning=path)
    with pytest.raises(InputError, match=r"catalogue.path: null needs 2 good exposures"):
        _sources(one, tmp_path, None)


@pytest.mark.slow
def test_without_a_catalogue_prf_and_faint_stars_are_learned(drawn, tmp_path):
    own = {
        "results": tmp_path / "results",
        "exposures": {"sheet": drawn.root / "sheet.tsv"},
        "shape": {**FIELD["shape"], "search_rounds": 3},
    }
    paths = reduce(load_config(FIELD | own))
    assert float(read_metadata(paths.prf, schemas.PRF)["integral"]) == pytest.approx(1.0)
    truth = read_table(drawn.truth, schemas.TRUTH)
    sources = read_table(paths.sources, schemas.SOURCES)
    assert {"image", "residual"} == set(sources["origin"])
    bright = truth[(truth["mag"] < 21.0) & _within(truth)]
    index, distance = _nearest(bright, sources)
    seen = distance < 0.5
    assert seen.mean() > 0.85  # others are blends
    ratio = sources["flux"].to_numpy()[index] / bright["flux"].to_numpy()
    clean = seen & (bright["mag"] < 19.0).to_numpy()
    assert np.median(ratio[clean]) == pytest.approx(1.0, abs=0.06)
    place = sources[["ra", "dec"]].to_numpy()[index] - bright[["ra", "dec"]].to_numpy()
    east, north = (place[clean] * [DEC, 1.0] * 3600 / 0.11).T
    shift = np.median(east), np.median(north)  # that of the frame of the images
    assert np.hypot(*shift) < 0.06
    assert np.median(np.hypot(east - shift[0], north - shift[1])) < 0.01
