"""The search for stars that the catalogue lacks, and a PRF that changes over the images."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal
from scipy.spatial import cKDTree

import fields
from romanprf import schemas
from romanprf.config import Crossmatch, Shape, load_config
from romanprf.core.statistics import robust_spread
from romanprf.errors import InputError
from romanprf.flags import SourceFlag
from romanprf.io.exposures import read_exposures
from romanprf.io.tables import provenance, read_metadata, read_table, write_table
from romanprf.learn import patches
from romanprf.prf.table import read_prf
from romanprf.reduce import reduce
from romanprf.search.complete import _touching, numbered
from romanprf.simulate.prf import nodes_at
from romanprf.sky.blends import unit_vectors
from romanprf.sky.wcs import ARCSEC, TangentWCS
from romanprf.steps import shape
from romanprf.workflow.paths import Paths

QUIET = {"microlensing": 0, "transits": 0, "eclipses": 0, "cosmic_rays": 0.0, "position_error": 0.0}
SHAPE = {"n_r_knots": 14, "n_phi_knots": 8, "rmax": 1.4, "source_flux_limit": 200.0, "reach": 10.0}
CUT = {
    "simulate": {**QUIET, "size": 64, "exposures": 6, "draw_limit": 22.5, "catalogue_limit": 20.5},
    "shape": {**SHAPE, "rounds": 3, "search_rounds": 3},
    "metrics": {"subpixels": 1},
}


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> Paths:
    """A field of which the catalogue lacks two magnitudes, reduced."""
    return reduce(load_config({**CUT, "results": tmp_path_factory.mktemp("cut")}))


@pytest.fixture
def sources(paths) -> pd.DataFrame:
    return read_table(paths.sources, schemas.SOURCES)


@pytest.fixture
def found(sources) -> pd.DataFrame:
    return sources[sources["origin"] == "residual"]


def again(paths: Paths, folder, field=CUT, **settings) -> Paths:
    """Repeat the step alone with other settings; where its tables are."""
    config = load_config({**field, "shape": {**field["shape"], **settings}})
    names = ("exposures", "learning", "catalogue_sources", "deltas")
    tables = {name: getattr(paths, name) for name in names}
    new = Paths(folder)
    outputs = {"prf": new.prf, "sources": new.sources}
    shape.run(tables, outputs, config.model_dump(mode="json"))
    return new


#: What the images do not change.
KEPT = [
    name
    for name in schemas.SOURCES.names
    if name not in ("nearest", "flags", *schemas.ASTROMETRIC)
    and not name.endswith(("_err", "_corr"))
]


def test_of_stars_that_touch_the_fainter_ones_are_marked():
    x, y = np.array([5.0, 5.3, 9.0, 9.5, np.nan]), np.zeros(5)
    flux = np.array([100.0, 20.0, 10.0, 30.0, 40.0])
    assert _touching(x, y, flux).tolist() == [False, True, False, False, False]


def test_the_catalogue_comes_first_and_stays(paths, sources):
    catalogue = read_table(paths.catalogue_sources, schemas.SOURCES)
    first = sources.iloc[: len(catalogue)]
    kept = KEPT
    assert_frame_equal(first[kept], catalogue[kept], check_dtype=False)
    assert (sources["source"] == np.arange(len(sources))).all()
    assert (first["nearest"] < catalogue["nearest"] + 1e-3).all()
    assert (first["nearest"] < catalogue["nearest"]).any()


def test_rows_of_stars_found(paths, sources, found):
    assert len(found) > 30
    assert found["source_id"].tolist() == [-1 - n for n in range(len(found))]
    assert (np.diff(found["flux"]) <= 0.0).all()
    zero_point = read_exposures(paths.exposures)["zero_point"].iloc[0]
    np.testing.assert_allclose(found["flux"], 10.0 ** (-0.4 * (found["mag"] - zero_point)))
    assert (found["epoch"] == sources["epoch"].iloc[0]).all()
    assert (found[["pmra", "pmdec", "match_ambiguous"]] == 0).all(axis=None)
    assert (found["n_merged"] == 1).all()
    contaminant = (found["flags"] & int(SourceFlag.CONTAMINANT)) != 0
    assert contaminant.any()
    assert (found["nearest"][contaminant] <= 0.22).all()


def test_stars_found_are_true_and_most_are_found(paths, found):
    truth = read_table(paths.truth, schemas.TRUTH)
    truth = truth[truth["mag"] > 20.4]
    apart = unit_vectors(found["ra"], found["dec"]) @ unit_vectors(truth["ra"], truth["dec"]).T
    apart = np.rad2deg(np.arccos(np.minimum(apart, 1.0))) * ARCSEC
    off = truth["mag"].to_numpy() - found["mag"].to_numpy()[:, None]
    same = (apart < 0.06) & (np.abs(off) < 0.5)
    bright = found["mag"].to_numpy() < 22.0
    assert same.any(axis=1)[bright].mean() > 0.85
    exposure = read_exposures(paths.exposures).to_dict("records")[0]
    x, y = TangentWCS.from_json(exposure["wcs"]).sky_to_pixel(truth["ra"], truth["dec"])
    inside = (np.minimum(x, y) > 4.0) & (np.maximum(x, y) < 59.0) & (truth["mag"] < 21.5)
    assert inside.sum() > 20
    assert same.any(axis=0)[inside].mean() > 0.65


def test_what_searches_found_is_told(paths, found):
    told = json.loads(read_metadata(paths.sources, schemas.SOURCES)["search"])
    assert told["threshold"] == 5.0
    assert [round_.keys() for round_ in told["rounds"]] == [
        {"n_found", "n_negative", "n_kept"} for _ in range(3)
    ]
    assert min(round_["n_found"] for round_ in told["rounds"]) > 0
    assert told["rounds"][-1]["n_kept"] == len(found)
    assert read_metadata(paths.metrics, schemas.METRICS)["search"] == json.dumps(told)


def test_stars_found_have_light_curves(paths, sources):
    for path in (paths.metrics, paths.lightcurves):
        assert pq.read_table(path)["source_id"].to_pylist() == sources["source_id"].tolist()


def test_the_prf_gains(paths, tmp_path):
    other = again(paths, tmp_path, search_rounds=0)
    chi2 = [
        json.loads(read_metadata(p.prf, schemas.PRF)["rounds"])[-1]["chi2"] for p in (paths, other)
    ]
    assert chi2[0] < 0.7 * chi2[1]
    assert_frame_equal(
        read_table(other.sources, schemas.SOURCES)[KEPT],
        read_table(paths.catalogue_sources, schemas.SOURCES)[KEPT],
    )
    assert json.loads(read_metadata(other.sources, schemas.SOURCES)["search"])["rounds"] == []


def test_positions_of_the_catalogue_are_mended(paths, tmp_path):
    exact = read_table(paths.catalogue_sources, schemas.SOURCES)
    rng = np.random.default_rng(8)
    off = 15.0 * rng.normal(size=(2, len(exact))) / 3.6e6
    catalogue = exact.assign(
        ra=exact["ra"] + off[0] / np.cos(np.deg2rad(exact["dec"])),
        dec=exact["dec"] + off[1],
        ra_err=15.0,
        dec_err=15.0,
    )
    wrong = Paths(tmp_path / "wrong")
    write_table(wrong.catalogue_sources, catalogue, schemas.SOURCES, provenance())
    config = load_config(CUT)
    inputs = {name: getattr(paths, name) for name in ("exposures", "deltas", "learning")}
    inputs["catalogue_sources"] = wrong.catalogue_sources
    outputs = {"prf": wrong.prf, "sources": wrong.sources}
    params = config.model_dump(mode="json")
    shape.run(inputs, outputs, params)
    found = read_table(wrong.sources, schemas.SOURCES)[: len(exact)]
    dec = found["dec"] - exact["dec"]
    ra = (found["ra"] - exact["ra"]) * np.cos(np.deg2rad(exact["dec"]))
    error = 3.6e6 * np.stack([ra - ra.mean(), dec - dec.mean()])
    kept = (found["flags"] & int(SourceFlag.POSITION_PRIOR)) != 0
    measured = (~kept & (found["mag"] < 20.0)).to_numpy()
    assert measured.sum() > 20
    assert robust_spread(error[:, measured].ravel()) < 2.0


def test_stars_are_found_beside_the_patches_of_the_prf(paths, found, tmp_path, monkeypatch):
    monkeypatch.setattr(patches, "PATCHES_PER_AXIS", 2)
    monkeypatch.setattr(patches, "PATCH_SIDE", 26)
    other = read_table(again(paths, tmp_path).sources, schemas.SOURCES)
    other = other[other["origin"] == "residual"]
    bright = found[found["mag"] < 21.5]
    there, here = (unit_vectors(table["ra"], table["dec"]) for table in (bright, other))
    distance, nearest = cKDTree(there).query(here)
    near = np.rad2deg(distance) * ARCSEC < 0.02
    assert len(np.unique(nearest[near])) > 0.75 * len(bright)
    ratio = other["flux"].to_numpy()[near] / bright["flux"].to_numpy()[nearest[near]]
    assert abs(np.median(ratio) - 1.0) < 0.06  # patches of 26 pixels have few calibrators
    assert np.abs(ratio - 1.0).max() < 0.5
    assert (ratio != 1.0).all()


def test_no_search_with_the_log_polar_model(paths, tmp_path):
    other = again(paths, tmp_path, model="log-polar")
    assert pq.read_table(other.sources).equals(pq.read_table(paths.catalogue_sources))
    assert "search" not in read_metadata(other.sources, schemas.SOURCES)


def test_long_identifiers_survive(paths, tmp_path):
    """Gaia's have 19 digits, too many for the floats that would tell of an empty entry."""
    table = read_table(paths.sources, schemas.SOURCES)
    ids = [4042817238172381729 + n if n % 2 else None for n in range(len(table))]
    table["match_id"] = pd.array(ids, "Int64")
    path = tmp_path / "sources.parquet"
    for _ in range(2):
        write_table(path, table, schemas.SOURCES, provenance())
        table = numbered(read_table(path, schemas.SOURCES), 27.58, Crossmatch())
    write_table(path, table, schemas.SOURCES, provenance())
    assert pq.read_table(path)["match_id"].to_pylist() == ids


VARYING = {
    "simulate": {
        **QUIET,
        "size": 128,
        "exposures": 5,
        "prf_span": 4088.0,
        "draw_limit": 21.0,
        "catalogue_limit": 21.0,
    },
    # without the wings the light of neighbours would differ from place to place
    "shape": {**SHAPE, "reach": 60.0, "rounds": 3, "search_rounds": 0},
}


def corner_errors(prf, config) -> np.ndarray:
    """Largest error over the peak at the four corners."""
    dx, dy = np.meshgrid(np.linspace(-3.0, 3.0, 61), np.linspace(-3.0, 3.0, 61))
    size, errors = config.simulate.size, []
    for x, y in ((8.0, 8.0), (8.0, size - 9.0), (size - 9.0, 8.0), (size - 9.0, size - 9.0)):
        place = np.array([x]), np.array([y]), (size, size)
        drawn = config.simulate.sca, config.simulate.prf_span
        nodes = nodes_at(*place, *drawn)
        true = sum(weight[0] * node.evaluate(dx, dy) for node, weight in nodes)
        errors.append(
            np.abs(prf.at(x, y).on_pixels(dx, dy, prf.jacobian) - true).max() / true.max()
        )
    return np.array(errors)


@pytest.mark.slow
def test_nodes_follow_a_prf_that_changes(tmp_path, monkeypatch):
    monkeypatch.setattr("romanprf.reduce._fit", lambda *_: [])
    for step in ("astrometry", "metrics", "checks"):
        monkeypatch.setattr(f"romanprf.reduce.{step}.run", lambda *_: None)
    config = load_config({**VARYING, "results": tmp_path / "1"})
    paths = {1: reduce(config)}
    paths[3] = again(paths[1], tmp_path / "3", VARYING, nodes=3)
    errors = {}
    for nodes in (1, 3):
        prf = read_prf(paths[nodes].prf)
        assert prf.grid == (nodes, nodes)
        errors[nodes] = corner_errors(prf, config)
    assert (errors[3] < errors[1]).all()
    assert errors[3].mean() < 0.6 * errors[1].mean()


def test_nodes_want_images_of_one_shape():
    def exposure(rows):
        row = {"nrows": rows, "ncols": 48, "wcs": fields.wcs(rows, 48).to_json()}
        return row | {"exposure": 0, "time": 2461500.0, "flags": 0, "pixel_area": np.nan}

    names = "ra", "dec", "pmra", "pmdec", "epoch"
    nothing = pd.DataFrame({name: np.empty(0) for name in names})
    settings = Shape(reach=5.0, nodes=2)
    with pytest.raises(InputError, match=r"shape\.nodes: .* \[\(32, 48\), \(48, 48\)\]"):
        shape._tensor([exposure(48), exposure(32)], nothing, fields.prf(), settings, True, 1)
