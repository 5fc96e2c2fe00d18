"""Injected centroids through the steps ``astrometry`` and ``metrics``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import fields
import skies
from romanprf import schemas
from romanprf.errors import InputError
from romanprf.flags import SourceFlag
from romanprf.io.tables import read_metadata, read_table, write_table
from romanprf.schemas import ASTROMETRIC, ASTROMETRIC_ERRORS
from romanprf.steps import astrometry, metrics

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "guides" / "astrometry.md"
N, NT = 120, 24
#: Exposures of each batch.
BATCHES = (range(0, 10), range(10, 16), range(16, NT))
PARAMS = {"crossmatch": {}, "metrics": {"subpixels": 1}}


def exposures_table(sky) -> pd.DataFrame:
    rows = [
        {
            "exposure": e.number,
            "time": e.time,
            "wcs": e.wcs.to_json(),
            "nrows": skies.SIDE,
            "ncols": skies.SIDE,
            "pixel_area": np.nan,
        }
        for e in sky.exposures
    ]
    return filled(pd.DataFrame(rows), schemas.EXPOSURES)


def filled(table: pd.DataFrame, schema) -> pd.DataFrame:
    """The table with all columns of its schema."""
    for column in schema.columns:
        if column.name not in table:
            text = str(column.type) == "string"
            table[column.name] = "" if text else np.zeros(len(table), column.type.to_pandas_dtype())
    return table[schema.names]


def sources_table(sky) -> pd.DataFrame:
    table = sky.catalogue.assign(
        mag=20.0, match_id=pd.array([pd.NA] * len(sky.catalogue), "Int64"), nearest=1.0, n_merged=1
    )
    return filled(table, schemas.SOURCES)


def photometry_table(sky, exposures) -> pd.DataFrame:
    source, place = np.divmod(np.arange(len(sky.catalogue) * len(exposures)), len(exposures))
    exposure = np.asarray(exposures)[place]
    table = pd.DataFrame({"source": source.astype(np.int32), "exposure": exposure})
    for name, values in sky.columns.items():
        table[name] = values[source, exposure]
    return filled(table, schemas.PHOTOMETRY)


@pytest.fixture(scope="module")
def sky():
    sky = skies.make_sky(21, N, NT)
    sky.columns["dx"][3, 5] += 0.4  # an outlier
    for name in ("dx", "dy"):
        sky.columns[name][7] = np.nan
    return sky


def reduced(folder, sky, batches=BATCHES):
    """Run both steps; their files."""
    names = ("exposures", "catalogue_sources", "sources", "prf")
    names += ("astrometry", "frame_astrometry", "metrics", "lightcurves")
    files = {name: str(folder / f"{name}.parquet") for name in names}
    sources = sources_table(sky)
    write_table(files["exposures"], exposures_table(sky), schemas.EXPOSURES, {})
    write_table(files["catalogue_sources"], sources.iloc[:-1], schemas.SOURCES, {})
    sources.loc[N - 1, "origin"] = "residual"
    write_table(files["sources"], sources, schemas.SOURCES, {})
    columns, metadata = fields.prf().to_table()
    write_table(files["prf"], columns, schemas.PRF, {}, metadata)
    photometry = [str(folder / f"batch{number}.parquet") for number in range(len(batches))]
    for path, exposures in zip(photometry, batches, strict=True):
        write_table(path, photometry_table(sky, exposures), schemas.PHOTOMETRY, {})
    inputs = {**files, "photometry": photometry}
    astrometry.run(inputs, files, PARAMS)
    metrics.run(inputs, files, PARAMS)
    return inputs


@pytest.fixture(scope="module")
def files(sky, tmp_path_factory):
    return reduced(tmp_path_factory.mktemp("astrometry"), sky)


def test_tables(files, sky):
    stars = read_table(files["astrometry"], schemas.ASTROMETRY)
    assert stars["source"].tolist() == list(range(N))
    assert stars["epoch"].unique().tolist() == [skies.EPOCH]
    measured = stars.drop(7)
    assert (measured["n_exposures"] + measured["n_rejected"] == NT).all()
    assert stars["n_rejected"][3] == 1
    assert measured["chi2"].mean() == pytest.approx(1.0, abs=0.1)
    frames = read_table(files["frame_astrometry"], schemas.FRAME_ASTROMETRY)
    assert frames["exposure"].tolist() == list(range(NT))
    assert (frames["n_stars"] + frames["n_rejected"] == N - 1).all()
    assert frames["n_rejected"].sum() == 1
    tie = json.loads(read_metadata(files["astrometry"], schemas.ASTROMETRY)["tie_err"])
    assert list(tie) == list(ASTROMETRIC)
    assert tie["ra"] == pytest.approx(skies.ERRORS[0] / np.sqrt(N - 2), rel=1e-3)


def test_parameters_are_true_after_a_common_motion(files, sky):
    stars = read_table(files["astrometry"], schemas.ASTROMETRY)
    change = (stars["pmra"] - sky.catalogue["pmra"]).to_numpy() - sky.truth[:, 3]
    error = stars["pmra_err"].to_numpy()
    bright = np.arange(N) < 40
    bright[7] = False
    assert np.std(change[bright]) < 1.0 < skies.ERRORS[3]
    assert (error[bright] < 0.5).all()


def test_a_star_without_centroids_keeps_the_catalogue(files, sky):
    star = read_table(files["astrometry"], schemas.ASTROMETRY).iloc[7]
    for name in [*ASTROMETRIC, *ASTROMETRIC_ERRORS]:
        assert star[name] == pytest.approx(sky.catalogue[name][7], rel=1e-12, abs=1e-12)
    assert star["flags"] == int(SourceFlag.NO_DATA | SourceFlag.PRIOR)
    curve = read_table(files["lightcurves"], schemas.LIGHTCURVES).iloc[7]
    assert np.isnan(curve["east"]).all()


def test_displacements_scatter_as_their_errors(files):
    curves = read_table(files["lightcurves"], schemas.LIGHTCURVES).drop(7)
    pulls = np.concatenate(
        [
            np.concatenate([*curves[name]]) / np.concatenate([*curves[f"{name}_err"]])
            for name in ("east", "north")
        ]
    )
    assert np.std(pulls[np.abs(pulls) < 6.0]) == pytest.approx(1.0, abs=0.1)
    assert np.abs(curves["east"][3]).max() > 30.0  # the outlier stays in the series
    table = read_table(files["metrics"], schemas.METRICS)
    assert table["centroid_scatter"].isna().tolist() == [n == 7 for n in range(N)]
    ratio = (table["centroid_scatter"] / table["expected_centroid_scatter"]).median()
    assert ratio == pytest.approx(1.0, abs=0.15)  # the solution absorbs a tenth of the squares
    stored = pq.read_table(files["lightcurves"])["east_err"].combine_chunks().flatten()
    assert np.all(stored.to_numpy().view(np.int32) % 2**12 == 0)


def test_the_guide_runs(files, tmp_path, monkeypatch):
    (tmp_path / "results").symlink_to(Path(files["metrics"]).parent)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    code = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(code) == 3
    exec("\n".join(code), {})
    assert (tmp_path / "astrometric_light_curve.png").stat().st_size > 10_000


@pytest.mark.parametrize("batches", [(range(NT),), (range(16, NT), range(16))])
def test_batches_do_not_matter(files, sky, tmp_path, batches, monkeypatch):
    """Nor does the number of sources that are read at once."""
    monkeypatch.setattr(astrometry, "_CHUNK", 50 * NT)
    again = reduced(tmp_path, sky, batches)
    for name in ("astrometry", "frame_astrometry"):
        one, other = (
            read_table(paths[name], schemas.TABLES[name]).select_dtypes("number")
            for paths in (files, again)
        )
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-9)


def test_other_sources_are_refused(files, sky, tmp_path):
    other = sources_table(sky).iloc[::-1].assign(source=np.arange(N, dtype=np.int32))
    path = str(tmp_path / "other.parquet")
    write_table(path, other, schemas.SOURCES, {})
    with pytest.raises(InputError, match="expected the 120 sources"):
        astrometry.run({**files, "catalogue_sources": path}, files, PARAMS)
