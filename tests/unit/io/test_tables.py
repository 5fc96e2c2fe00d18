from __future__ import annotations

from pathlib import Path

import astropy.table
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units

from romanprf import schemas
from romanprf.errors import InputError
from romanprf.io import tables
from romanprf.io.atomic import replacing

ORIGIN = {"romanprf": "0", "git": "none", "config": "c", "inputs": "{}"}
TABLE = schemas.PHOTOMETRY
PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "tables.md"


def test_the_page_of_tables_is_up_to_date() -> None:
    assert PAGE.read_text() == schemas.to_markdown()


def photometry(n: int = 5) -> dict[str, np.ndarray]:
    flux = np.linspace(1.0, 9.0, n, dtype=np.float32)
    flux[0] = np.nan
    return {
        "source": np.arange(n, dtype=np.int32),
        "exposure": np.full(n, 7),
        "psf_flux": flux,
        "psf_flux_err": flux / 10,
        **dict.fromkeys(("dx", "dy", "dx_err", "dy_err", "dxy_corr", "free_flux"), flux / 30),
        "model_err": flux / 20,
        "chi2": flux,
        "psf_fraction": np.ones(n, np.float32),
        "n_outliers": np.zeros(n, np.int8),
        "flags": np.zeros(n, np.int32),
    }


@pytest.mark.parametrize("schema", schemas.TABLES.values(), ids=lambda schema: schema.name)
def test_schemas_are_well_formed(schema):
    assert len(set(schema.names)) == len(schema.names)
    assert schema.version >= 1
    for column in schema.columns:
        assert column.meaning
        units.Unit(column.unit)
        metadata = schema.arrow().field(column.name).metadata
        assert metadata[b"unit"].decode() == column.unit


def test_round_trip(tmp_path):
    path = tmp_path / "new" / "photometry.parquet"
    rows = photometry()
    tables.write_table(path, rows, TABLE, ORIGIN, {"more": "x"})
    found = tables.read_table(path, TABLE)
    assert list(found) == TABLE.names
    rounded = {column.name for column in TABLE.columns if column.rounded}
    for name, values in rows.items():
        tolerance = (0.05, 2.0**-9) if name in rounded else (0.0, 0.0)
        np.testing.assert_allclose(found[name], values, *tolerance)
        assert found[name].dtype == values.dtype
    metadata = tables.read_metadata(path, TABLE)
    assert metadata.items() >= {**ORIGIN, "more": "x", "table": "photometry"}.items()
    assert pq.read_table(path)["psf_flux"].null_count == 1
    assert pq.read_schema(path).field("psf_flux").metadata[b"unit"] == b"electron / s"


def test_frames_mappings_and_arrow_tables_give_the_same_file(tmp_path):
    rows = photometry()
    arrow = pa.table({name: pa.array(values) for name, values in rows.items()})
    arrow = arrow.set_column(
        2, "psf_flux", pa.array(rows["psf_flux"], mask=np.isnan(rows["psf_flux"]))
    )
    for kind in (column.name for column in TABLE.columns[3:] if column.nullable):
        masked = pa.array(rows[kind], mask=np.isnan(rows[kind]))
        arrow = arrow.set_column(arrow.column_names.index(kind), kind, masked)
    for name, value in {"a": rows, "b": pd.DataFrame(rows), "c": arrow}.items():
        tables.write_table(tmp_path / name, value, TABLE, ORIGIN)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "c").read_bytes()


def test_opens_in_astropy(tmp_path):
    path = tmp_path / "photometry.parquet"
    tables.write_table(path, photometry(), TABLE, ORIGIN)
    assert len(astropy.table.Table.read(path)) == 5


def test_columns_and_filters(tmp_path):
    path = tmp_path / "p.parquet"
    tables.write_table(path, photometry(), TABLE, ORIGIN)
    found = tables.read_table(path, TABLE, ["psf_flux"], filters=[("source", "==", 3)])
    assert found["psf_flux"].tolist() == [7.0]


def test_pieces(tmp_path):
    path = tmp_path / "p.parquet"
    with tables.writing(path, TABLE, ORIGIN) as table:
        table.write(photometry(2))
        table.write(photometry(3))
        assert not path.exists()
    assert tables.read_table(path, TABLE)["source"].tolist() == [0, 1, 0, 1, 2]


def written(tmp_path: Path, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Photometry after a round trip."""
    tables.write_table(tmp_path / "p", rows, TABLE, ORIGIN)
    found = tables.read_table(tmp_path / "p", TABLE)
    return {name: found[name].to_numpy() for name in found}


def test_errors_are_rounded_to_a_part_of_themselves(tmp_path):
    values = np.random.default_rng(3).lognormal(0.0, 9.0, 1000).astype(np.float32)
    values[:3] = np.nan, np.inf, 0.0
    rounded = written(tmp_path, photometry(1000) | {"psf_flux_err": values})["psf_flux_err"]
    np.testing.assert_array_equal(rounded[:3], values[:3])
    error = rounded[3:] / values[3:].astype(float) - 1.0
    assert 1e-3 < np.abs(error).max() <= 2.0**-9
    assert abs(error.mean()) < 2e-4
    assert np.all(rounded.view(np.int32)[3:] % 2**15 == 0)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("psf_flux", "psf_flux_err"),
        ("free_flux", "psf_flux_err"),
        ("dx", "dx_err"),
        ("dy", "dy_err"),
    ],
)
def test_values_are_rounded_to_a_part_of_their_error(tmp_path, name, error):
    rng, n = np.random.default_rng(4), 20_000
    sigma = rng.lognormal(0.0, 4.0, n).astype(np.float32)
    values = (rng.lognormal(3.0, 3.0, n) * sigma * rng.choice([-1, 1], n)).astype(np.float32)
    found = written(tmp_path, photometry(n) | {name: values, error: sigma})
    change = (found[name].astype(float) - values) / found[error]
    assert 0.9 / 64 < np.abs(change).max() <= 1 / 64
    assert np.sqrt(np.mean(change**2)) < 1 / 110
    assert abs(change.mean()) < 4 * change.std() / np.sqrt(n)
    np.testing.assert_array_equal(written(tmp_path, found)[name], found[name])


def test_values_without_an_error_are_kept(tmp_path):
    values = np.full(5, 1.0 / 3.0, np.float32)
    values[4] = np.inf
    sigma = np.array([0.0, np.nan, np.inf, 1e-30, 1.0], np.float32)
    found = written(tmp_path, photometry() | {"psf_flux": values, "psf_flux_err": sigma})
    np.testing.assert_array_equal(found["psf_flux"], values)


def test_correlations_are_rounded_within_a_part_of_one(tmp_path):
    values = np.random.default_rng(5).uniform(-1.0, 1.0, 1000).astype(np.float32)
    found = written(tmp_path, photometry(1000) | {"dxy_corr": values})["dxy_corr"]
    assert np.abs(found - values).max() <= 2.0**-9
    assert np.all(found * 2.0**8 % 1.0 == 0.0)


def test_bytes_per_measurement(tmp_path):
    """With all columns measured: 1024 stars in 64 frames."""
    rng, n, nt = np.random.default_rng(6), 1024, 64
    flux = np.repeat(rng.lognormal(3.0, 1.8, n), nt)
    sigma = np.sqrt(flux / 66.0 + 30.0) * np.repeat(1.0 + rng.exponential(0.3, n), nt)
    sigma *= rng.normal(1.0, 0.05, n * nt)
    columns = {
        "source": np.repeat(np.arange(n), nt),
        "exposure": np.tile(np.arange(nt), n),
        "psf_flux": rng.normal(flux, sigma),
        "psf_flux_err": sigma,
        "free_flux": rng.normal(flux, 1.1 * sigma),
        "dxy_corr": np.tanh(rng.normal(0.0, 0.2, n * nt)),
        "model_err": 0.003 * flux,
        "chi2": rng.gamma(10.0, 0.1, n * nt),
        "psf_fraction": 1.0 - rng.exponential(0.02, n * nt).clip(0.0, 1.0),
        "n_outliers": rng.random(n * nt) < 0.01,
        "flags": rng.choice([0, 4], n * nt, p=[0.97, 0.03]),
    }
    for axis in ("dx", "dy"):
        error = 0.6 * sigma / flux * rng.normal(1.0, 0.05, n * nt)
        columns |= {axis: rng.normal(0.0, error), f"{axis}_err": error}
    kinds = {column.name: column.type.to_pandas_dtype() for column in TABLE.columns}
    rows = {name: columns[name].astype(kind) for name, kind in kinds.items()}
    tables.write_table(tmp_path / "p", rows, TABLE, ORIGIN)
    assert (tmp_path / "p").stat().st_size < 14.0 * n * nt


def test_lists_are_rounded(tmp_path):
    columns = (
        schemas.Column("a", pa.list_(pa.float32()), "", "values", rounded="a_err"),
        schemas.Column("a_err", pa.list_(pa.float32()), "", "errors", rounded="relative"),
    )
    table = schemas.TableSchema("lists", 1, "", columns)
    values = [np.array([1.0 / 3.0, np.nan], np.float32), np.empty(0, np.float32)]
    values.append(np.array([-2.0 / 3.0], np.float32))
    errors = [np.abs(row) / 10 for row in values]
    rows = {"a": pa.array(values), "a_err": pa.array(errors)}
    for first in (0, 1):  # also a part of a larger table
        part = {name: column[first:] for name, column in rows.items()}
        tables.write_table(tmp_path / "p", pa.table(part), table, ORIGIN)
        found = tables.read_table(tmp_path / "p", table)
        assert [len(row) for row in found["a"]] == [2, 0, 1][first:]
        for row, value, error in zip(found["a"], values[first:], errors[first:], strict=True):
            good = ~np.isnan(value)
            assert np.all(np.abs(row - value)[good] <= error[good] / 64)
            assert np.all(row[good] != value[good])
        for row, error in zip(found["a_err"], errors[first:], strict=True):
            np.testing.assert_allclose(row, error, rtol=2.0**-9)


def test_layout_of_photometry(tmp_path):
    """A light curve is one small group of rows; bytes of float32 apart."""
    n = TABLE.row_group + 5
    tables.write_table(tmp_path / "p", photometry(n), TABLE, ORIGIN)
    metadata = pq.read_metadata(tmp_path / "p")
    assert [metadata.row_group(g).num_rows for g in range(2)] == [TABLE.row_group, 5]
    group = metadata.row_group(0)
    for c, column in enumerate(TABLE.columns):
        apart = "BYTE_STREAM_SPLIT" in group.column(c).encodings
        assert apart == (column.type == pa.float32()), column.name
    assert group.column(0).statistics.max == TABLE.row_group - 1


def test_wrong_columns_are_refused(tmp_path):
    rows = photometry()
    rows["fluks"] = rows.pop("psf_flux")
    with pytest.raises(ValueError, match=r"missing columns \['psf_flux'\], unknown \['fluks'\]"):
        tables.write_table(tmp_path / "p", rows, TABLE, ORIGIN)
    assert not list(tmp_path.iterdir())


def test_empty_entries_are_refused(tmp_path):
    rows = pd.DataFrame(photometry()).astype({"flags": "Int32"})
    rows.loc[1, "flags"] = pd.NA
    with pytest.raises(ValueError, match="column flags has empty entries"):
        tables.write_table(tmp_path / "p", rows, TABLE, ORIGIN)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_keeps_the_old_table(tmp_path):
    path = tmp_path / "p.parquet"
    tables.write_table(path, photometry(), TABLE, ORIGIN)
    before = path.read_bytes()

    def write_half():
        with tables.writing(path, TABLE, ORIGIN) as table:
            table.write(photometry(3))
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        write_half()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"PAR1 but not really", None])
def test_unreadable_files_give_one_line(tmp_path, content):
    path = tmp_path / "p.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"p\.parquet: ") as caught:
        tables.read_table(path, TABLE)
    assert "\n" not in str(caught.value)


def test_other_tables_and_versions_are_refused(tmp_path):
    path = tmp_path / "p.parquet"
    tables.write_table(path, photometry(), TABLE, ORIGIN)
    with pytest.raises(InputError, match="expected table metrics version 3, found photometry"):
        tables.read_table(path, schemas.METRICS)
    newer = schemas.TableSchema("photometry", TABLE.version + 1, "", TABLE.columns)
    told = rf"photometry version {newer.version}, found .* version {TABLE.version}"
    with pytest.raises(InputError, match=told):
        tables.read_table(path, newer)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(InputError, match="found None"):
        tables.read_table(path, TABLE)


def damaged_bytes(table: pa.Table, path: Path) -> None:
    """Damage behind the metadata."""
    pq.write_table(table, path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[60 : len(content) // 4] = bytes(len(content) // 4 - 60)
    path.write_bytes(content)


def with_nan(table: pa.Table, path: Path) -> None:
    number = table.column_names.index("psf_fraction")
    values = pa.array([1.0, np.nan, 1.0, 1.0, 1.0], pa.float32())
    field = table.schema.field("psf_fraction")
    pq.write_table(table.set_column(number, field, values), path)


def of_text(table: pa.Table, path: Path) -> None:
    number = table.column_names.index("chi2")
    values = table["chi2"].cast(pa.string())
    pq.write_table(table.set_column(number, "chi2", values), path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damaged_bytes, "not a readable Parquet file"),
        (with_nan, "column psf_fraction has entries that are no numbers"),
        (of_text, "no column chi2 of type float"),
        (lambda table, path: pq.write_table(table.drop_columns("flags"), path), "no column flags"),
    ],
)
def test_damaged_tables_give_one_line(tmp_path, damage, message):
    path = tmp_path / "photometry.parquet"
    tables.write_table(path, photometry(), TABLE, ORIGIN)
    damage(pq.read_table(path), path)
    with pytest.raises(InputError, match=f"{message}.*; remove it and run again"):
        tables.read_table(path, TABLE)


def test_provenance_names_inputs_and_settings(tmp_path):
    path = tmp_path / "input"
    path.write_text("a")
    first = tables.provenance({"x": path}, {"k": 1})
    assert set(first) == {"romanprf", "git", "config", "inputs"}
    assert tables.provenance({"x": path}, {"k": 1}) == first
    assert tables.provenance({"x": path}, {"k": 2})["config"] != first["config"]
    path.write_text("b")
    assert tables.provenance({"x": path}, {"k": 1})["inputs"] != first["inputs"]


def test_replacing_makes_folders_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "a" / "b.txt"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent
        assert temporary.name.startswith(".b.txt.tmp-")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_replacing_without_a_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "x"):
        pass
