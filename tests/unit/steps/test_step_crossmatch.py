import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from romanprf import schemas
from romanprf.config import Config
from romanprf.errors import InputError
from romanprf.flags import SourceFlag
from romanprf.io.tables import read_metadata, read_table
from romanprf.sky.wcs import ARCSEC, deproject, project
from romanprf.steps import crossmatch

EPOCH = 2027.25
MAS = 1e-3
FIELD = {
    "ra0": 268.0,
    "dec0": -29.2,
    "angle": 0.0,
    "u_min": -16 / ARCSEC,
    "u_max": 16 / ARCSEC,
    "v_min": -16 / ARCSEC,
    "v_max": 16 / ARCSEC,
    "pixel_scale": 0.11,
    "epoch": EPOCH,
    "zero_point": 27.58,
}


def _params(field=FIELD, catalogue=None, reference=None, **settings):
    config = Config().model_dump(mode="json")
    return {
        "catalogue": config["catalogue"] | (catalogue or {}),
        "reference": config["reference"] | (reference or {}),
        "crossmatch": config["crossmatch"] | settings,
        "field": field,
    }


def _rows(x, y, mag, field=FIELD, **columns):
    """Catalogue rows at (x, y) arcsec from the field's centre."""
    x, y = np.array(x, float) / ARCSEC, np.array(y, float) / ARCSEC
    ra, dec = deproject(x, y, field["ra0"], field["dec0"])
    ids = {"source_id": np.arange(len(ra)) + 100}
    return pd.DataFrame(ids | {"ra": ra, "dec": dec, "mag": np.array(mag, float)} | columns)


def _run(folder, stars, reference=None, /, **params):
    inputs = {"catalogue": folder / "catalogue.csv"}
    stars.to_csv(inputs["catalogue"], index=False)
    if reference is not None:
        inputs["reference"] = folder / "reference.csv"
        reference.to_csv(inputs["reference"], index=False)
    outputs = {"catalogue_sources": folder / "sources.parquet"}
    crossmatch.run(inputs, outputs, _params(**params))
    return read_table(outputs["catalogue_sources"], schemas.SOURCES)


def _place(sources, field=FIELD):
    """Positions in the plane of the field, arcsec."""
    xi, eta = project(
        sources["ra"].to_numpy(), sources["dec"].to_numpy(), field["ra0"], field["dec0"]
    )
    return ARCSEC * np.stack([xi, eta], axis=1)


def _grid(n=10, spacing=3.0):
    x, y = (spacing * (a.ravel() - (n - 1) / 2) for a in np.meshgrid(np.arange(n), np.arange(n)))
    return x, y, np.random.default_rng(2).uniform(17, 22, n * n)


def test_without_reference(tmp_path):
    catalogue = _rows([0, 5, -5, 5.02, 0.1], [0, 5, 5, 5, 0], [15, 20, 20, 23, 19])
    sources = _run(tmp_path, catalogue)
    assert sources["source"].tolist() == [0, 1, 2, 3]
    assert sources["source_id"].tolist() == [100, 104, 101, 102]  # by flux
    np.testing.assert_allclose(sources["flux"], 10 ** (-0.4 * (sources["mag"] - 27.58)))
    assert sources["mag"].tolist()[::3] == [15, 20]
    assert sources["n_merged"].tolist() == [1, 1, 2, 1]
    assert sources["flags"].tolist() == [
        SourceFlag.SATURATED,
        SourceFlag.CONTAMINANT,
        SourceFlag.BLENDED,
        0,
    ]
    np.testing.assert_allclose(sources["nearest"][:2], 0.1, atol=1e-7)
    assert sources["match_id"].isna().all()
    assert sources["match_separation"].isna().all()
    assert not sources["match_ambiguous"].any()
    assert (sources["epoch"] == EPOCH).all()
    assert (sources[["pmra", "pmdec"]] == 0).all(axis=None)
    assert set(sources["origin"]) == {"catalogue"}
    assert sources.loc[0, ["ra", "dec"]].tolist() == catalogue.loc[0, ["ra", "dec"]].tolist()
    assert "n_matched" not in read_metadata(tmp_path / "sources.parquet", schemas.SOURCES)


def test_one_source(tmp_path):
    sources = _run(tmp_path, _rows([0.0], [0.0], [20]))
    assert len(sources) == 1
    assert sources["nearest"].isna().all()


def test_catalogue_is_moved_from_its_epoch(tmp_path):
    catalogue = _rows([0.0, 3], [0.0, 0], [20, 21], pmra=[100.0, np.nan], pmdec=[-50.0, np.nan])
    sources = _run(tmp_path, catalogue, catalogue={"epoch": EPOCH - 10})
    np.testing.assert_allclose(_place(sources), [[1.0, -0.5], [3, 0]], atol=1e-6)
    assert sources["pmra"].tolist() == [100, 0]


@pytest.mark.parametrize(("ra0", "dec0"), [(268.0, -29.2), (0.0, 0.0), (359.99999, 45), (9, -89.9)])
def test_footprint_has_the_margin_and_moving_stars_are_judged_at_the_epoch(tmp_path, ra0, dec0):
    field = FIELD | {"ra0": ra0, "dec0": dec0}
    edge = 16 + 12 * 0.11
    x = [0, edge - 0.01, edge + 0.01, -edge + 0.01, edge + 0.5, 0, 0]
    y = [0, 0, 0, 0, 0, -edge + 0.01, -edge - 0.01]
    catalogue = _rows(x, y, 20 + np.arange(7) / 10, field, pmra=0.0, pmdec=0.0)
    catalogue.loc[4, "pmra"] = -60.0
    sources = _run(tmp_path, catalogue, field=field, catalogue={"epoch": EPOCH - 10})
    assert sorted(sources["source_id"]) == [100, 101, 103, 104, 105]


@pytest.mark.parametrize(("ra0", "dec0"), [(268.0, -29.2), (0.0, 60.0)])
def test_reference_gives_frame_and_motion(tmp_path, ra0, dec0):
    field = FIELD | {"ra0": ra0, "dec0": dec0}
    x, y, mag = _grid()
    rng = np.random.default_rng(4)
    pm = rng.normal(0, 5, (2, 100))
    epochs = {"catalogue": {"epoch": 2020.0}, "reference": {"epoch": 2016.0}}
    # truth (x, y) at 2016; the catalogue is shifted by (-80, 30) mas and has no motions
    catalogue = _rows(
        x + 4 * MAS * pm[0] - 0.08,
        y + 4 * MAS * pm[1] + 0.03,
        mag,
        field,
        ra_err=1e-4,
        dec_err=1e-4,
    )
    reference = _rows(x, y, mag + 1.5, field, pmra=pm[0], pmdec=pm[1])
    reference["source_id"] += 900
    reference.loc[7, ["pmra", "pmdec"]] = np.nan
    catalogue.loc[7, ["ra", "dec"]] = _rows(x - 0.08, y + 0.03, mag, field).loc[7, ["ra", "dec"]]
    missing = reference.drop(index=[3, 4])
    sources = _run(tmp_path, catalogue, missing, field=field, **epochs).sort_values("source_id")

    row = sources["source_id"].to_numpy() - 100
    expected = pm.copy()
    expected[:, [3, 4, 7]] = 0
    np.testing.assert_allclose(sources[["pmra", "pmdec"]], expected.T)
    start = np.stack([x, y], axis=1)
    moved = start + 11.25 * MAS * expected.T
    moved[3:5] = start[3:5] + 4 * MAS * pm.T[3:5]  # the catalogue's epoch is all that is known
    np.testing.assert_allclose(_place(sources, field), moved[row], atol=2e-5)
    assert (sources["match_id"].dropna() == np.delete(row, [3, 4]) + 1000).all()
    assert sources["match_id"].isna().tolist() == np.isin(row, [3, 4]).tolist()
    assert sources["match_separation"].max() < 1e-5
    metadata = read_metadata(tmp_path / "sources.parquet", schemas.SOURCES)
    assert float(metadata["astrometric_offset_ra"]) == pytest.approx(80, abs=0.01)
    assert float(metadata["astrometric_offset_dec"]) == pytest.approx(-30, abs=0.01)
    assert 0 <= float(metadata["astrometric_offset_ra_err"]) < 0.01
    assert 0 <= float(metadata["astrometric_offset_dec_err"]) < 0.01
    assert float(metadata["magnitude_offset"]) == pytest.approx(-1.5, abs=1e-3)
    assert (metadata["n_matched"], metadata["n_ambiguous"]) == ("98", "0")


def test_the_better_position_wins(tmp_path):
    x, y, mag = _grid()
    jitter = np.random.default_rng(1).normal(0, 0.002, (2, 100))
    jitter -= np.median(jitter, axis=1)[:, None]
    catalogue = _rows(x + jitter[0], y + jitter[1], mag)
    reference = _rows(x, y, mag, pmra=0.0, pmdec=0.0)
    reference["ra_err"] = reference["dec_err"] = 0.0005
    reference.loc[5, ["ra_err", "dec_err"]] = 0.03  # worse than 0.02, the configured default
    reference.loc[6, ["pmra", "pmdec"]] = np.nan
    ours = np.stack([x + jitter[0], y + jitter[1]], axis=1)
    theirs = np.stack([x, y], axis=1)

    sources = _run(tmp_path, catalogue, reference).sort_values("source_id")
    expected = theirs.copy()
    expected[5] = ours[5]
    np.testing.assert_allclose(_place(sources), expected, atol=2e-5)
    # the separation tells how far the catalogue was
    np.testing.assert_allclose(sources["match_separation"], np.hypot(*(ours - theirs).T), atol=2e-5)
    # at another epoch the position of a star without motion is not known any better
    sources = _run(tmp_path, catalogue, reference, reference={"epoch": 2016.0})
    expected[6] = ours[6]
    # which leaves it and star 5 out of the offset
    np.testing.assert_allclose(_place(sources.sort_values("source_id")), expected, atol=5e-5)


def test_ambiguity_and_duplicates(tmp_path):
    x, y, mag = _grid()
    catalogue = _rows([*x, x[0] + 0.004], [*y, y[0]], [*mag, mag[0] + 3])
    reference = _rows([*x, x[1] + 0.035], [*y, y[1]], [*mag, mag[1]])
    # a wide position error makes the second candidate of star 1 plausible
    catalogue["ra_err"] = catalogue["dec_err"] = 0.02
    sources = _run(tmp_path, catalogue, reference).set_index("source_id")
    assert len(sources) == 100
    assert sources.loc[100, "n_merged"] == 2
    assert sources.loc[100, "match_id"] == 100
    assert sources.loc[100, "flags"] == SourceFlag.BLENDED  # its duplicate is no rival
    assert sources.index[sources["match_ambiguous"]].tolist() == [101]
    assert sources.loc[101, "flags"] == SourceFlag.AMBIGUOUS
    metadata = read_metadata(tmp_path / "sources.parquet", schemas.SOURCES)
    assert (metadata["n_matched"], metadata["n_ambiguous"]) == ("100", "1")


def test_sources_that_the_reference_brings_together_are_merged(tmp_path):
    x, y, mag = _grid()
    catalogue = _rows([*x, x[0] + 0.06], [*y, y[0]], [*mag, mag[0] + 3])
    reference = _rows(x, y, mag, pmra=0.0, pmdec=0.0)
    reference.loc[0, "pmra"] = 10.0
    epochs = {"catalogue": {"epoch": EPOCH - 5}, "reference": {"epoch": EPOCH - 5}}
    sources = _run(tmp_path, catalogue, reference, **epochs)
    assert len(sources) == 100
    assert sources["nearest"].min() > 0.03
    assert sources.set_index("source_id").loc[100, "n_merged"] == 2


def test_same_bytes_again_and_only_the_schema(tmp_path):
    x, y, mag = _grid()
    catalogue, reference = _rows(x, y, mag), _rows(x + 0.1, y, mag)
    written = []
    for _ in range(2):
        _run(tmp_path, catalogue, reference)
        written.append((tmp_path / "sources.parquet").read_bytes())
    assert written[0] == written[1]
    schema = pq.read_schema(tmp_path / "sources.parquet")
    assert schema.names == schemas.SOURCES.names
    assert schema.field("match_id").type == "int64"


def _refused(tmp_path, *tables, **params):
    with pytest.raises(InputError) as caught:
        _run(tmp_path, *tables, **params)
    assert not (tmp_path / "sources.parquet").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_overlap_names_file_range_and_field(tmp_path):
    field = FIELD | {"ra0": 359.99, "dec0": 0.0}
    away = pd.DataFrame(
        {"source_id": [1, 2], "ra": [359.5, 0.25], "dec": [-1.0, -2.0], "mag": [20.0, 21.0]}
    )
    message = _refused(tmp_path, away, field=field)
    assert message.startswith(str(tmp_path / "catalogue.csv"))
    assert "RA 359.9900, Dec 0.0000" in message
    assert "RA 359.5000 to 0.2500, Dec -2.0000 to -1.0000" in message
    # within the allowance for the offset, but not within the margin
    outside = _rows([16 + 12 * 0.11 + 0.2], [0], [20.0])
    assert "catalogue.csv: no source in the field" in _refused(tmp_path, outside)


def test_epochs_of_the_file_count(tmp_path, caplog):
    motion = {"pmra": [100.0, 100.0], "pmdec": [0.0, 0.0]}
    catalogue = _rows([0.0, 3], [0.0, 0], [20, 21], ref_epoch=[EPOCH - 10, EPOCH - 5], **motion)
    sources = _run(tmp_path, catalogue)
    np.testing.assert_allclose(_place(sources), [[1.0, 0], [3.5, 0]], atol=1e-5)
    assert "have no epoch" not in caplog.text
    (tmp_path / "sources.parquet").unlink()
    message = _refused(tmp_path, catalogue, catalogue={"epoch": 2016.0})
    assert "row 1: epoch is 2017.25, but catalogue.epoch is 2016.0, expected the same" in message


def test_motions_need_an_epoch(tmp_path, caplog):
    catalogue = _rows([0.0, 3], [0.0, 0], [20, 21], pmra=[np.nan, 1.0], pmdec=[np.nan, 0.0])
    message = _refused(tmp_path, catalogue)
    assert "catalogue.csv: row 2: a proper motion without an epoch, expected a column" in message
    assert message.endswith("the setting catalogue.epoch")
    _run(tmp_path, catalogue[["source_id", "ra", "dec", "mag"]])
    assert "2 of 2 positions have no epoch" in caplog.text
    assert "setting catalogue.epoch): taken as 2027.25" in caplog.text


def test_reference_must_be_of_use(tmp_path):
    catalogue = _rows(*_grid())
    message = _refused(tmp_path, catalogue, _rows([100.0], [0], [20.0]))
    assert "reference.csv: no source in the field" in message
    x, y, mag = _grid()
    message = _refused(tmp_path, catalogue, _rows(x + 1.5, y, mag))
    assert "reference.csv: it matches 0 of 90 sources (0.0 would by chance)" in message
    assert "crossmatch.match_radius" in message


@pytest.mark.parametrize("density", [0.01, 0.1])  # stars per pixel
@pytest.mark.parametrize("kind", ["permuted", "elsewhere", "shifted"])
def test_a_reference_that_matches_by_chance_moves_nothing(tmp_path, density, kind):
    rng = np.random.default_rng(9)
    n = int(density * (31.0 / 0.11) ** 2)
    x, y = rng.uniform(-15.5, 15.5, (2, n))
    mag = rng.uniform(16, 21, n)
    theirs = {
        "permuted": (rng.permutation(x), y),
        "elsewhere": rng.uniform(-15.5, 15.5, (2, n)),
        "shifted": (x + 1.0, y),
    }[kind]
    catalogue, reference = _rows(x, y, mag), _rows(*theirs, mag + 1.5, pmra=0.0, pmdec=0.0)
    message = _refused(tmp_path, catalogue, reference)
    assert "would by chance) of" in message
    assert "expected at least 10% and more than by chance" in message


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_reference_of_few_stars_counts_if_it_matches(tmp_path, n):
    x, y = np.array([-12.0, 3.0, 9.0, -4.0, 13.0])[:n], np.array([5.0, -11.0, 8.0, 1.0, -2.0])[:n]
    mag = np.full(n, 19.0)
    _run(tmp_path, _rows(x, y, mag), _rows(x + 0.1, y, mag, pmra=0.0, pmdec=0.0))
    metadata = read_metadata(tmp_path / "sources.parquet", schemas.SOURCES)
    assert float(metadata["astrometric_offset_ra"]) == pytest.approx(100.0, abs=0.1)


def test_one_match_among_many_stars_is_chance(tmp_path):
    x, y = np.random.default_rng(1).uniform(-15, 15, (2, 300))
    alone = _rows(x[:1] + 0.1, y[:1], [19.0])
    message = _refused(tmp_path, _rows(x, y, np.full(300, 19.0)), alone)
    assert "it matches 1 of 1 sources (0.0 would by chance)" in message


def test_crowded_field_matches_its_own_stars(tmp_path):
    rng = np.random.default_rng(8)
    n = 8000  # one star per 10 pixels
    x, y = rng.uniform(-15.5, 15.5, (2, n))
    mag = rng.uniform(16, 24, n)
    kept = rng.uniform(size=(2, n)) > 0.1
    noise = rng.normal(0, 0.005, (4, n))
    catalogue = _rows(x + 0.2 + noise[0], y + noise[1], mag)[kept[0]]
    colour = 1.5 + rng.normal(0, 0.2, n)
    reference = _rows(x + noise[2], y + noise[3], mag + colour, pmra=1.0, pmdec=0.0)[kept[1]]
    sources = _run(tmp_path, catalogue, reference, reference={"epoch": EPOCH})
    metadata = read_metadata(tmp_path / "sources.parquet", schemas.SOURCES)
    assert float(metadata["astrometric_offset_ra"]) == pytest.approx(-200, abs=0.6)
    assert float(metadata["astrometric_offset_dec"]) == pytest.approx(0, abs=0.6)

    possible = catalogue.index[kept[1][catalogue.index] & (mag[catalogue.index] < 21)]
    matched = sources[sources["match_id"].notna()].set_index("source_id")["match_id"]
    bright = matched[mag[matched.index - 100] < 21]
    assert (bright.index == bright.to_numpy()).sum() >= 0.97 * len(possible)  # blends lose an id
    assert np.mean(bright.index != bright.to_numpy()) <= 0.01


def test_stars_that_are_listed_twice(tmp_path, caplog):
    x, y, mag = _grid()
    once = _rows(x, y, mag)
    for step in (0.0, 0.01):
        twice = _rows([*x, *(x[:7] + step)], [*y, *y[:7]], [*mag, *(mag[:7] + 0.01)])
        sources = _run(tmp_path, twice)
        assert "7 rows list a star again and are left out" in caplog.text
        assert (sources["n_merged"] == 1).all()
        np.testing.assert_allclose(sources["mag"], np.sort(mag))
    (tmp_path / "sources.parquet").unlink()
    far = _rows([*x, *(x + 0.06)], [*y, *y], [*mag, *mag])
    message = _refused(tmp_path, far)
    assert "catalogue.csv: 100 pairs of rows 0.03 to 0.1 arcsec apart have the same" in message
    crowd = pd.concat([once] + 40 * [once[5:6]]).assign(source_id=lambda t: np.arange(len(t)))
    assert "row 6: 41 rows within 0.1 arcsec, expected a catalogue" in _refused(tmp_path, crowd)
