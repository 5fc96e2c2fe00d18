"""A small field through all steps."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from romanprf import schemas
from romanprf.config import load_config
from romanprf.flags import ExposureFlag, SourceFlag
from romanprf.frame.frame import Frame
from romanprf.io.tables import read_metadata, read_table
from romanprf.metrics.checks import CHECKS
from romanprf.prf.table import read_prf
from romanprf.reduce import reduce
from romanprf.steps import deltas, simulate
from romanprf.workflow.paths import Paths

#: One batch of three exposures and one of two; number 4 has no usable pixel.
BATCHES = {"00000": [0, 1, 2], "00001": [3, 4]}
EXPOSURES = [n for batch in BATCHES.values() for n in batch]
BROKEN = 4
CONFIG = load_config(
    {
        "simulate": {
            "exposures": 5,
            "size": 64,
            "microlensing": 0,
            "transits": 0,
            "eclipses": 0,
            "cosmic_rays": 0.0,
            "position_error": 0.0,
        },
        "shape": {
            "n_r_knots": 14,
            "n_phi_knots": 8,
            "rmax": 1.4,
            "source_flux_limit": 100.0,
            "max_exposures": 3,
            "rounds": 2,
            "reach": 10.0,
        },
        "metrics": {"subpixels": 2},
    }
)


def _draw(paths):
    """Simulated files; the pixels of one exposure are all without an error."""
    sections = CONFIG.model_dump(mode="json")
    simulate.run_field({}, {"catalogue": paths.catalogue, "truth": paths.truth}, sections)
    for number in EXPOSURES:
        frame = paths.frames.format(exposure=f"{number:05d}")
        simulate.run_exposure({}, {"frame": frame}, sections | {"exposure": number})
    with fits.open(frame, mode="update") as file:
        file[1].data[:] = np.nan


def _reduce(paths):
    """All steps from registration to light curves, with the drawn files as a user's own."""
    sheet = paths.root / "sheet.tsv"
    sheet.write_text("file\n" + paths.frames.format(exposure="*") + "\n")
    own = {
        "results": paths.root,
        "exposures": {"sheet": sheet, "batch_size": 3},
        "catalogue": {"path": paths.catalogue},
    }
    reduce(load_config(CONFIG.model_dump() | own))


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    paths = Paths(tmp_path_factory.mktemp("steps"))
    _draw(paths)
    _reduce(paths)
    return paths


@pytest.fixture
def photometry(paths):
    tables = [read_table(paths.photometry.format(batch=b), schemas.PHOTOMETRY) for b in BATCHES]
    return pd.concat(tables, ignore_index=True)


def _tables(paths):
    """Every table that the steps write, with its schema."""
    batched = [
        (getattr(paths, name).format(batch=batch), schemas.TABLES[name])
        for name in ("photometry", "frame_stats")
        for batch in BATCHES
    ]
    names = ("exposures", "learning", "catalogue_sources", "sources", "deltas", "prf")
    names += ("astrometry", "frame_astrometry", "metrics", "lightcurves", "checks", "truth")
    kinds = {**schemas.TABLES, "catalogue_sources": schemas.SOURCES}
    return [(getattr(paths, name), kinds[name]) for name in names] + batched


def test_every_table_has_its_schema_and_provenance(paths):
    for path, schema in _tables(paths):
        stored = pq.read_schema(path)
        assert stored.equals(schema.arrow(), check_metadata=False), path
        for column in schema.columns:
            assert stored.field(column.name).metadata[b"unit"].decode() == column.unit
        metadata = read_metadata(path, schema)
        assert {"romanprf", "git", "config", "inputs"} <= metadata.keys()
        table = pq.read_table(path)
        assert table.num_rows > 0
        for column in schema.columns:
            assert column.nullable or table[column.name].null_count == 0, (path, column.name)


def test_keys(paths, photometry):
    sources = read_table(paths.sources, schemas.SOURCES)
    n = len(sources)
    assert n > 300
    assert sources["source"].tolist() == list(range(n))
    first = photometry.iloc[: 3 * n]
    assert first["source"].tolist() == np.repeat(np.arange(n), 3).tolist()
    assert first["exposure"].tolist() == [0, 1, 2] * n
    for path, schema in (
        (paths.metrics, schemas.METRICS),
        (paths.lightcurves, schemas.LIGHTCURVES),
    ):
        table = read_table(path, schema)
        assert table["source"].tolist() == list(range(n))
        assert table["source_id"].tolist() == sources["source_id"].tolist()


def test_fluxes_of_bright_stars_are_true(paths):
    table = read_table(paths.metrics, schemas.METRICS)
    truth = read_table(paths.truth, schemas.TRUTH).set_index("source_id")["flux"]
    sources = read_table(paths.sources, schemas.SOURCES)
    good = (
        (sources["nearest"] > 0.15)
        & (sources["n_merged"] == 1)
        & (table["mag"].between(16.0, 20.0))
        & (table["image_fraction"] > 0.9)
        & (table["flags"] & int(SourceFlag.EDGE | SourceFlag.MASKED | SourceFlag.SATURATED) == 0)
    )
    ratio = table["median_flux"][good] / truth.loc[table["source_id"][good]].to_numpy()
    assert good.sum() >= 10
    assert ratio.median() == pytest.approx(1.0, abs=0.02)
    assert (ratio - 1.0).abs().quantile(0.8) < 0.06
    assert (table["scatter"][good] / table["median_flux"][good]).median() < 0.02
    assert (table["n_good"][good] >= 2).all()  # with so few knots some are MISFIT


def test_light_curves_repeat_the_photometry(paths, photometry):
    exposures = read_table(paths.exposures, schemas.EXPOSURES).sort_values("time")
    curves = read_table(paths.lightcurves, schemas.LIGHTCURVES)
    for source in (0, 17, len(curves) - 1):
        rows = photometry[photometry["source"] == source].set_index("exposure")
        rows = rows.loc[exposures["exposure"]]
        curve = curves.iloc[source]
        assert curve["exposure"].tolist() == exposures["exposure"].tolist()
        assert curve["time"].tolist() == exposures["time"].tolist()
        np.testing.assert_array_equal(curve["psf_flux"], rows["psf_flux"])
        np.testing.assert_array_equal(curve["psf_flux_err"], rows["psf_flux_err"])
        assert curve["flags"].tolist() == rows["flags"].tolist()


def test_an_unusable_exposure_gives_flagged_rows(paths, photometry):
    exposures = read_table(paths.exposures, schemas.EXPOSURES).set_index("exposure")
    assert exposures["flags"].to_dict() == {
        n: int(ExposureFlag.UNUSABLE) if n == BROKEN else 0 for n in EXPOSURES
    }
    broken = photometry["exposure"] == BROKEN
    assert (photometry["flags"][broken] == int(SourceFlag.BAD_EXPOSURE)).all()
    assert photometry.loc[broken, ["psf_flux", "psf_flux_err", "chi2"]].isna().all(axis=None)
    assert (photometry["psf_fraction"][broken] == 0.0).all()
    rest = photometry[~broken]
    lost = rest["psf_flux"].isna()
    assert (lost == (rest["flags"] & int(SourceFlag.NO_DATA) != 0)).all()
    assert 0 < lost.mean() < 1  # the catalogue reaches beyond the image
    path = paths.frame_stats.format(batch="00001")
    row = read_table(path, schemas.FRAME_STATS).set_index("exposure").loc[BROKEN]
    assert row["flags"] == int(ExposureFlag.UNUSABLE)
    assert (row["n_sources"], row["n_pixels"], row["n_masked"]) == (0, 0, 64 * 64)
    assert np.isnan(row["background"])
    assert row["background_mesh"].size == 0


def test_statistics_of_frames(paths, photometry):
    tables = [read_table(paths.frame_stats.format(batch=b), schemas.FRAME_STATS) for b in BATCHES]
    table = pd.concat(tables).set_index("exposure")
    assert table.index.tolist() == EXPOSURES
    good = table.drop(index=BROKEN)
    assert (good["n_pixels"] + good["n_masked"] == 64 * 64).all()
    assert (good["n_masked"] > 0).all()  # bad pixels
    counted = photometry.groupby("exposure")["psf_flux"].count()
    assert table["n_sources"].tolist() == counted.tolist()
    assert good["background"].between(0.5, 12.0).all()
    assert [mesh.tolist() for mesh in good["background_mesh"]] == [[b] for b in good["background"]]
    counted = photometry.groupby("exposure")["n_outliers"].sum()
    assert (counted[good.index] <= 9 * good["n_outliers"]).all()


def test_prf_table(paths):
    model = read_prf(paths.prf)
    assert model.kind == "tensor"
    assert model.reach > 10.0
    assert model.pixel_area == pytest.approx(0.11**2, rel=1e-3)
    assert model.integral() == pytest.approx(1.0, abs=0.1)


def test_deltas_are_near_their_sources(paths):
    table = read_table(paths.deltas, schemas.DELTAS)
    assert table["exposure"].unique().tolist() == [0, 1, 3]  # the first three of the choice
    assert table["r"].max() <= 1.4 * 1.001
    r = 3600.0 * np.hypot(table["dra"], table["ddec"])
    np.testing.assert_allclose(r, table["r"], atol=1e-7)
    assert (table["flux_err"] > 0.0).all()
    assert 0 < np.isinf(table["flux_err"]).mean() < 0.05
    assert table["row"].between(0, 63).all()
    assert table["column"].between(0, 63).all()


def test_deltas_of_a_large_image_are_those_of_its_middle(paths, monkeypatch):
    whole = read_table(paths.deltas, schemas.DELTAS)
    exposure = read_table(paths.exposures, schemas.EXPOSURES).to_dict("records")[0]
    sources = read_table(paths.catalogue_sources, schemas.SOURCES)
    monkeypatch.setattr(deltas, "LOGPOLAR_SIDE", 20)
    frame, flux = Frame.from_row(exposure, sources), sources["flux"].to_numpy()
    area = frame.exposure.pixel_area
    part = pd.DataFrame(deltas.frame_deltas(frame, flux, CONFIG.shape, area))
    inside = whole[whole["exposure"] == 0]
    inside = inside[inside["row"].between(22, 41) & inside["column"].between(22, 41)]
    pd.testing.assert_frame_equal(part[inside.columns], inside.reset_index(drop=True))


def test_a_second_run_gives_the_same_bytes(paths):
    before = {path: Path(path).read_bytes() for path, _ in _tables(paths)}
    _reduce(paths)
    for path, content in before.items():
        assert Path(path).read_bytes() == content, path
    leftovers = [path for path in paths.root.rglob("*") if ".tmp-" in path.name]
    assert leftovers == []


def test_checks(paths):
    table = read_table(paths.checks, schemas.CHECKS).set_index("check")
    assert table.index.tolist() == [each.name for each in CHECKS]
    assert table["value"]["frames_unusable"] == 1 / 5
    assert not table["passed"]["frames_unusable"]
    assert table["passed"][["prf_integral", "flux_ratio", "frames_not_converged"]].all()
    page = Path(paths.checks_page).read_text()
    assert page.count("<tr") == len(table) + 1
    assert page.index(">frames_unusable<") < page.index(">flux_ratio<")


def test_fractions_of_light(paths, photometry):
    table = read_table(paths.metrics, schemas.METRICS)
    assert table["image_fraction"].between(0.0, 1.0).all()
    assert (table["image_fraction"] == 0.0).any()
    rows = photometry[photometry["flags"] == 0].groupby("source")["psf_fraction"]
    always = rows.count() == 4
    bright = table["mag"].between(15.5, 18.0)[always.index] & always
    seen, whole = rows.mean()[bright], table["image_fraction"][bright.index][bright]
    assert bright.sum() >= 3
    np.testing.assert_allclose(seen, whole, atol=0.05)
    assert (whole > 0.85).all()
