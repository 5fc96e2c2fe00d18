"""What files of catalogues say beside the numbers: units, masks, marks, sums, ends."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table

from refusals import refusal
from romanprf.io.catalogues import read_catalogue

N = 4
IDS = 4057475392823592704 + np.arange(N)
RA, DEC, MAG = 268.0 + 0.01 * np.arange(N), np.full(N, -29.2), np.array([15.0, 17.5, 20.0, 22.5])
FORMATS = {
    "ecsv": "ascii.ecsv",
    "fits": "fits",
    "parquet": "parquet",
    "votable": "parquet.votable",
}


def table(**columns: object) -> Table:
    return Table({"source_id": IDS, "ra": RA * u.deg, "dec": DEC * u.deg, "mag": MAG, **columns})


def write(path: Path, stars: Table, form: str) -> Path:
    told = {name: {"unit": str(stars[name].unit or "")} for name in stars.colnames}
    options = {"metadata": told} if form == "votable" else {}
    stars.write(path, format=FORMATS[form], overwrite=True, **options)
    return path


def complaint(path: Path, **options: object) -> str:
    return refusal(read_catalogue, path, **options)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("changes", "dropped"),
    [
        ({"ra": RA * u.deg.to(u.rad) * u.rad, "dec": DEC * u.deg.to(u.mas) * u.mas}, None),
        ({"mag": 1e3 * MAG * u.mmag}, None),
        ({"flux_njy": 10.0 ** (0.4 * (31.4 - MAG)) * 1e-3 * u.uJy}, "mag"),
    ],
)
def test_stated_units_are_converted(tmp_path, form, changes, dropped) -> None:
    stars = table()
    for name, values in changes.items():
        stars[name] = values
    if dropped:
        stars.remove_column(dropped)
    read = read_catalogue(write(tmp_path / "a", stars, form))
    np.testing.assert_allclose(read["ra"], RA, rtol=1e-12)
    np.testing.assert_allclose(read["dec"], DEC, rtol=1e-12)
    np.testing.assert_allclose(read["mag"], MAG, rtol=1e-12)


@pytest.mark.parametrize("form", ["ecsv", "parquet"])
def test_quantities_and_ab_magnitudes(tmp_path, form) -> None:
    stars = QTable({"ra": RA * 3600 * u.arcsec, "dec": DEC * u.deg, "mag": MAG * u.ABmag})
    read = read_catalogue(write(tmp_path / "a", stars, form))
    np.testing.assert_allclose(read[["ra", "mag"]], np.stack([RA, MAG], axis=1), rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "unit", "expected"),
    [
        ("mag", "nJy", "column mag is in 'nJy', expected a unit like mag"),
        ("mag", "mag(ST)", "column mag is in 'mag(ST)', expected a unit like mag"),
        ("dec", "pix", "column dec is in 'pix', expected a unit like deg"),
        ("mag_err", "nJy", "column mag_err is in 'nJy', expected a unit like mag"),
        ("ra_dec_corr", "mas", "column ra_dec_corr is in 'mas', expected a pure number"),
    ],
)
def test_units_of_another_kind(tmp_path, name, unit, expected) -> None:
    stars = table(mag_err=np.full(N, 0.1), ra_dec_corr=np.zeros(N))
    stars[name].unit = unit
    for form in ("ecsv", "parquet"):
        assert expected in complaint(write(tmp_path / "a", stars, form))


def test_small_units_of_errors(tmp_path) -> None:
    stars = table(mag_err=np.full(N, 20.0) * u.mmag, ra_dec_corr=np.full(N, 50.0) * u.percent)
    read = read_catalogue(write(tmp_path / "a", stars, "ecsv"))
    np.testing.assert_allclose(read["mag_err"], 0.02)
    np.testing.assert_allclose(read["ra_dec_corr"], 0.5)


@pytest.mark.parametrize("form", FORMATS)
def test_masked_values_are_unknown(tmp_path, form) -> None:
    mask = np.arange(N) == 2
    stars = table(mag=MaskedColumn(np.where(mask, 3.0, MAG), mask=mask))
    path = write(tmp_path / "a", stars, form)
    assert read_catalogue(path, calibrates=False)["mag"].isna().tolist() == mask.tolist()
    assert "row 3: mag is" in complaint(path)
    assert "(1 of 4 rows have none" in complaint(path)
    stars = table(source_id=MaskedColumn(IDS, mask=mask))
    if form != "votable":  # which has no mask for whole numbers
        assert "row 3: source_id is" in complaint(write(tmp_path / "a", stars, form))


def test_an_index_of_pandas_is_a_column(tmp_path) -> None:
    stars = table().to_pandas().set_index("source_id")
    for order in (np.arange(N), np.arange(N)[::-1], np.array([2, 0, 3, 1])):  # two are ranges
        stars.iloc[order].to_parquet(tmp_path / "a")
        assert read_catalogue(tmp_path / "a")["source_id"].tolist() == IDS[order].tolist()
    stars.columns = pd.MultiIndex.from_product([["sky"], stars.columns])
    stars.to_parquet(tmp_path / "a")
    assert "no column for ra, found" in complaint(tmp_path / "a")


def test_columns_that_hold_no_numbers(tmp_path) -> None:
    stars = table().to_pandas().assign(mag=pd.Timestamp("2027-03-05"))
    stars.to_parquet(tmp_path / "a")
    assert "column mag holds values of type datetime64" in complaint(tmp_path / "a")
    stars.assign(mag=True).to_parquet(tmp_path / "a")
    assert "column mag holds values of type bool" in complaint(tmp_path / "a")


def test_ids_as_text_are_exact_and_empty_ones_are_named(tmp_path) -> None:
    text = "source_id,ra,dec,mag\n{},1,2,18\n{},1,3,18\n"
    (tmp_path / "a").write_text(text.format('"4057475392823592705"', "x"))
    assert "row 2: source_id is x, expected a whole number" in complaint(tmp_path / "a")
    (tmp_path / "a").write_text(text.format("4057475392823592705", ""))
    assert "row 2: source_id is empty, expected a whole number" in complaint(tmp_path / "a")


@pytest.mark.parametrize("form", ["csv", "ecsv"])
def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path, form) -> None:
    stars = table()
    stars.write(tmp_path / "a", format=f"ascii.{form}")
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "a").read_bytes())
    assert read_catalogue(tmp_path / "a")["source_id"].tolist() == IDS.tolist()


@pytest.mark.parametrize("form", ["csv", "ecsv"])
def test_a_text_that_was_cut_is_refused(tmp_path, form) -> None:
    table().write(tmp_path / "a", format=f"ascii.{form}")
    whole = (tmp_path / "a").read_bytes()
    for lost in range(1, 5):  # "22.5\n" becomes "22.5", "22.", "22" and "2"
        (tmp_path / "a").write_bytes(whole[:-lost])
        assert "the last line has no line end" in complaint(tmp_path / "a")
    (tmp_path / "a").write_bytes(whole.replace(b"\n", b"\r\n"))
    assert len(read_catalogue(tmp_path / "a")) == N


def test_a_long_header_line(tmp_path) -> None:
    (tmp_path / "a").write_text("ra,dec,mag," + "x" * 200_000 + "\n1,2,18,4\n")
    assert "field larger than field limit" in complaint(tmp_path / "a")


@pytest.mark.parametrize("form", ["ecsv", "fits", "parquet"])
def test_no_rows(tmp_path, form) -> None:
    assert "no rows" in complaint(write(tmp_path / "a", table()[:0], form))


def test_sums_of_fits_tables(tmp_path) -> None:
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.table_to_hdu(table())])
    hdus.writeto(tmp_path / "a", checksum=True)
    assert len(read_catalogue(tmp_path / "a")) == N
    data = bytearray((tmp_path / "a").read_bytes())
    start = data.index(np.array(IDS[:1], ">i8").tobytes())
    data[start + 8 + 6] ^= 1  # a bit of the first right ascension
    (tmp_path / "a").write_bytes(data)
    assert "damaged, DATASUM of HDU 1 is not that of its content" in complaint(tmp_path / "a")


def test_a_card_that_does_not_parse(tmp_path) -> None:
    write(tmp_path / "a", table(), "fits")
    data = (tmp_path / "a").read_bytes().replace(b"TTYPE2  = 'ra", b"TTYPE2  = \x00ra")
    (tmp_path / "a").write_bytes(data)
    assert "expected" in complaint(tmp_path / "a")


@pytest.mark.parametrize("code", [99.0, 999.0, -99.0, -999.0, -999999.0, 0.0, np.inf])
def test_codes_for_unknown_magnitudes(tmp_path, code, caplog) -> None:
    path = write(tmp_path / "a", table(mag=np.where(np.arange(N) == 1, code, MAG)), "fits")
    assert f"row 2: mag is {code}, expected a magnitude between 0 and 40" in complaint(path)
    assert read_catalogue(path, calibrates=False)["mag"].isna().sum() == 1
    assert "1 of 4 values of mag are not a magnitude between 0 and 40" in caplog.text


def test_positions_of_32_bits(tmp_path, caplog) -> None:
    ra, dec = 268.0 + np.linspace(0.0, 0.01, 20), np.linspace(-29.21, -29.2, 20)
    stars = pd.DataFrame({"ra": ra, "dec": dec, "mag": 20.0})
    stars.to_parquet(tmp_path / "a")
    assert not read_catalogue(tmp_path / "a")[["ra_rounding", "dec_rounding"]].any(axis=None)
    assert "32-bit" not in caplog.text
    stars.astype(np.float32).astype(float).to_csv(tmp_path / "a", index=False)
    read = read_catalogue(tmp_path / "a")
    assert "ra and dec are 32-bit numbers, good to 28 and 2 mas (1 sigma) only" in caplog.text
    errors = np.stack([(read["ra"] - ra) * np.cos(np.deg2rad(dec)), read["dec"] - dec]) * 3.6e6
    np.testing.assert_allclose(
        np.sqrt(np.mean(errors**2, axis=1)), read[["ra_rounding", "dec_rounding"]].mean(), rtol=0.3
    )
