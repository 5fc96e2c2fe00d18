from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.coordinates import FK5, SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from refusals import refusal
from romanprf.io.catalogues import read_catalogue
from romanprf.io.columns import OPTIONAL

COLUMNS = ["source_id", "ra", "dec", "mag", *OPTIONAL, "ra_rounding", "dec_rounding"]
IDS = np.array([7, 5_853_498_713_190_525_696, -3])
RA, DEC = np.array([268.0, 0.0, 359.9999]), np.array([-29.0, 90.0, -90.0])
MAG = np.array([15.5, 20.25, 24.0])


def stars() -> Table:
    return Table({"source_id": IDS, "ra": RA, "dec": DEC, "mag": MAG})


def write(path: Path, table: Table, form: str) -> Path:
    """Write under a name that tells nothing."""
    if form == "parquet":
        arrays = [pa.array(np.asarray(table[name])) for name in table.colnames]
        fields = [
            pa.field(name, array.type, metadata={"unit": str(table[name].unit or "")})
            for name, array in zip(table.colnames, arrays, strict=True)
        ]
        pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), path)
    else:
        known = {"fits": "fits", "ecsv": "ascii.ecsv", "csv": "ascii.csv"}
        table.write(path, format=known[form], overwrite=True)
    return path


def complaint(path: Path, **options: object) -> str:
    return refusal(read_catalogue, path, **options)


@pytest.mark.parametrize("form", ["parquet", "fits", "ecsv", "csv"])
def test_formats_are_told_by_content(tmp_path: Path, form: str) -> None:
    result = read_catalogue(write(tmp_path / "stars.dat", stars(), form))
    assert list(result.columns) == COLUMNS
    assert result["source_id"].dtype == np.int64
    assert result["source_id"].tolist() == IDS.tolist()
    for name, expected in (("ra", RA), ("dec", DEC), ("mag", MAG)):
        assert result[name].dtype == np.float64
        np.testing.assert_allclose(result[name], expected, rtol=1e-15)
    assert result[[*OPTIONAL]].isna().all(axis=None)
    assert not result[COLUMNS[-2:]].any(axis=None)
    assert isinstance(result.index, pd.RangeIndex)


@pytest.mark.parametrize("form", ["parquet", "fits", "ecsv"])
def test_units_of_the_file_go_before_ours(tmp_path: Path, form: str) -> None:
    table = Table(
        {
            "label": [1, 2],
            "ra": [1.0, 2.0] * u.rad,
            "dec": [0.5, 0.25] * u.rad,
            "psf_flux": [1.0, 2.0] * u.uJy,
            "ra_err": [3.0, 4.0] * u.mas,
        }
    )
    result = read_catalogue(write(tmp_path / "a", table, form))
    np.testing.assert_allclose(result["ra"], np.rad2deg([1.0, 2.0]))
    np.testing.assert_allclose(result["mag"], 31.4 - 2.5 * np.log10([1000.0, 2000.0]))
    np.testing.assert_allclose(result["ra_err"], [3.0, 4.0])
    assert result["dec_err"].isna().all()


def test_trexs_names(tmp_path: Path) -> None:
    text = (
        "sicbro_id,RA_DEG,DEC_DEG,MEAN_XCOL,F146\n1000,268.5,-29.2,1,24.5\n1001,268.4,-29.2,1,21\n"
    )
    path = tmp_path / "a"
    path.write_text(text)
    result = read_catalogue(path)
    assert result["source_id"].tolist() == [1000, 1001]
    assert result["ra"].tolist() == [268.5, 268.4]
    assert result["mag"].tolist() == [24.5, 21.0]


def test_csv_with_comments_and_spaces(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("# made by hand\n# twice\nid, ra, dec, mag\n4, 1, 2.5, 20\n")
    result = read_catalogue(path)
    assert result.loc[0, ["source_id", "ra", "dec", "mag"]].tolist() == [4, 1.0, 2.5, 20.0]


def test_roman_names_prefer_the_psf_position(tmp_path: Path) -> None:
    table = Table(
        {
            "label": [4],
            "ra": [1.0],
            "dec": [2.0],
            "ra_psf": [1.1],
            "dec_psf": [2.1],
            "psf_flux": [10.0],
        }
    )
    result = read_catalogue(write(tmp_path / "a", table, "parquet"))
    assert result.loc[0, ["source_id", "ra", "dec", "mag"]].tolist() == [4, 1.1, 2.1, 28.9]


def test_gaia_names_and_missing_motions(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text(
        "source_id,ra,dec,pmra,pmdec,ra_error,dec_error,phot_g_mean_mag\n"
        "1,10,20,-3.5,2,0.5,0.25,15\n2,10,21,,,,,16\n"
    )
    result = read_catalogue(path)
    assert result["pmra"].tolist()[0] == -3.5
    assert np.isnan(result["pmra"][1])
    assert result["ra_err"][0] == pytest.approx(0.5)
    assert result["dec_err"][0] == pytest.approx(0.25)
    assert np.isnan(result["dec_err"][1])


def test_column_map_goes_first_and_rows_are_numbered(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("star,ra,dec,alpha,mag,jansky\n5,1,2,3,20,100\n6,1,2,4,21,1000\n")
    result = read_catalogue(path, {"ra": "alpha", "flux_njy": "jansky"})
    assert result["ra"].tolist() == [3.0, 4.0]
    assert result["mag"].tolist() == [26.4, 23.9]
    assert result["source_id"].tolist() == [0, 1]
    assert read_catalogue(path, {"source_id": "star"})["source_id"].tolist() == [5, 6]


def test_fk5_is_converted(tmp_path: Path) -> None:
    path = write(tmp_path / "a", stars(), "csv")
    expected = SkyCoord(RA, DEC, unit="deg", frame=FK5).icrs
    result = read_catalogue(path, {}, "fk5")
    found = SkyCoord(result["ra"], result["dec"], unit="deg")
    assert np.all(found.separation(expected).arcsec < 1e-9)
    shift = found.separation(SkyCoord(RA, DEC, unit="deg")).arcsec
    assert np.all((shift > 0.001) & (shift < 0.1))


def test_right_ascension_360_is_0(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("ra,dec,mag\n360,0,20\n")
    assert read_catalogue(path)["ra"].tolist() == [0.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty file, expected a catalogue"),
        ("ra,dec,mag\n", "no rows, expected a catalogue of stars"),
        ("just a line of text\n", "not Parquet, FITS, ECSV or comma-separated"),
        ("ra,dec,mag\n1,2,3,4\n", "Expected 3 columns, got 4"),
        ("ra,dec,mag\n1,2,3\n1,2\n", "Expected 3 columns, got 2"),
        ("x,dec,mag\n1,2,3\n", "no column for ra, found ['x', 'dec', 'mag']; set columns.ra"),
        ("ra,y,mag\n1,2,3\n", "no column for dec, found ['ra', 'y', 'mag']"),
        ("ra,dec,g\n1,2,3\n", "no column for mag, found ['ra', 'dec', 'g']; set columns.mag"),
        ("ra,dec,mag,ra\n1,2,3,4\n", "column 'ra' twice"),
        ("RA,Ra,dec,mag\n1,1,2,3\n", "['RA', 'Ra'] differ in case only"),
        ("ra,dec,mag\n1,2,3\n,2,3\n", "row 2: ra is nan, expected degrees from 0 to 360"),
        ("ra,dec,mag\n361,2,3\n", "row 1: ra is 361.0, expected degrees from 0 to 360"),
        ("ra,dec,mag\n-0.1,2,3\n", "row 1: ra is -0.1"),
        ("ra,dec,mag\n1,2,3\n1,-90.5,3\n", "row 2: dec is -90.5, expected degrees from -90"),
        ("RA_DEG,DEC_DEG,F146\n1,inf,3\n", "row 1: DEC_DEG is inf"),
        ("ra,dec,mag\n1,2,3\n1,2,\n", "row 2: mag is nan, expected a magnitude"),
        ("ra,dec,mag\n1,2,3\n1,2,faint\n", "row 2: mag is faint, expected a number"),
        ("ra,dec,flux_njy\n1,2,3\n1,2,0\n", "row 2: flux_njy is 0.0, expected a positive flux"),
        ("ra,dec,flux_njy\n1,2,-3\n", "row 1: flux_njy is -3.0, expected a positive flux"),
        ("id,ra,dec,mag\n1,1,2,3\n1.5,1,2,3\n", "row 2: id is 1.5, expected a whole number"),
        ("id,ra,dec,mag\n1,1,2,3\nx1,1,2,3\n", "row 2: id is x1, expected a whole number"),
        ("id,ra,dec,mag\n1,1,2,3\n,1,2,3\n", "row 2: id is empty, expected a whole number"),
        ("id,ra,dec,mag\n18446744073709551615,1,2,3\n", "row 1: id is 1.8446744073709552e+19"),
        ("id,ra,dec,mag\n4,1,2,3\n5,1,2,3\n4,1,2,3\n", "rows 1 and 3: id is 4 in both"),
    ],
)
def test_bad_csv(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "stars.csv"
    path.write_text(text)
    assert expected in complaint(path)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"ra": "alpha"}, "columns.ra: no column 'alpha', found ['source_id', 'ra', 'dec', 'mag']"),
        (
            {"raa": "ra"},
            "unknown name 'raa', expected ['source_id', 'ra', 'dec', 'mag', 'flux_njy'",
        ),
        ({"mag": "mag", "flux_njy": "mag"}, "expected one of mag and flux_njy, got both"),
    ],
)
def test_bad_column_map(tmp_path: Path, columns: dict, expected: str) -> None:
    assert expected in complaint(write(tmp_path / "a", stars(), "csv"), columns=columns)


@pytest.mark.parametrize("form", ["fits", "ecsv"])
def test_masked_entries(tmp_path: Path, form: str) -> None:
    table = stars()
    table["pmra"] = MaskedColumn([1.0, 2.0, 3.0], mask=[False, True, False])
    path = write(tmp_path / "a", table, form)
    np.testing.assert_array_equal(read_catalogue(path)["pmra"], [1.0, np.nan, 3.0])
    table["source_id"] = MaskedColumn([1, 2, 3], mask=[False, False, True])
    assert "row 3: source_id is" in complaint(write(path, table, form))


@pytest.mark.parametrize("form", ["parquet", "fits", "ecsv"])
def test_truncated(tmp_path: Path, form: str) -> None:
    path = write(tmp_path / "a", stars(), form)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 4])
    assert "expected a" in complaint(path)


def test_other_files(tmp_path: Path) -> None:
    assert "no such file" in complaint(tmp_path / "absent")
    assert "is a directory" in complaint(tmp_path)
    path = tmp_path / "a"
    path.write_bytes(bytes(range(128, 256)) * 4)
    assert "expected a catalogue" in complaint(path)
    fits.PrimaryHDU(np.ones((4, 4))).writeto(path, overwrite=True)
    assert "expected a catalogue" in complaint(path)


def test_unit_of_another_kind(tmp_path: Path) -> None:
    table = stars()
    table["ra"].unit = "s"
    path = write(tmp_path / "a", table, "ecsv")
    assert "column ra is in 's', expected a unit like deg" in complaint(path)


def test_identifiers_that_do_not_fit(tmp_path: Path) -> None:
    table = stars()
    table["source_id"] = np.array([1, 2, 2**63], dtype=np.uint64)
    path = write(tmp_path / "a", table, "parquet")
    assert "row 3: source_id is 9223372036854775808, expected a whole number" in complaint(path)
    table["source_id"] = ["1", "2", "b"]
    assert "row 3: source_id is b" in complaint(write(path, table, "parquet"))
    table["source_id"] = [1.0, 2.0, 3.0]
    assert read_catalogue(write(path, table, "parquet"))["source_id"].tolist() == [1, 2, 3]


def test_array_column(tmp_path: Path) -> None:
    table = stars()
    table["mag"] = np.ones((3, 2))
    assert "column mag holds arrays" in complaint(write(tmp_path / "a", table, "fits"))
