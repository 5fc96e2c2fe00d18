"""Catalogues in use, in the columns and units in which their archives give them."""

from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, Table

from romanprf.errors import InputError
from romanprf.io.catalogues import read_catalogue
from romanprf.io.columns import ROLES
from romanprf.schemas import ASTROMETRIC_CORRELATIONS, ASTROMETRIC_ERRORS


def gaia() -> Table:
    """Rows of gaiadr3.gaia_source; the second has a position only."""
    table = Table({"source_id": np.array([4056, 4057]) * 10**15, "ref_epoch": [2016.0, 2016.0]})
    table["ref_epoch"].unit = u.yr
    for name, unit, value in (
        ("ra", u.deg, 268.5),
        ("dec", u.deg, -29.2),
        ("parallax", u.mas, 0.12),
        ("pmra", u.mas / u.yr, -2.9),
        ("pmdec", u.mas / u.yr, -5.3),
    ):
        table[name] = [value, value + 0.001] * unit
        table[f"{name}_error"] = [0.2, 0.9] * (u.mas if unit == u.deg else unit)
    for number, name in enumerate(ASTROMETRIC_CORRELATIONS):
        table[name] = [0.05 * number, -0.05 * number]
    table["phot_g_mean_mag"] = [17.1, 18.9] * u.mag
    for name in ("parallax", "pmra", "pmdec"):
        for column in (name, f"{name}_error"):
            table[column] = MaskedColumn(table[column], mask=[False, True])
    return table


def test_gaia_archive(tmp_path: Path) -> None:
    gaia().write(tmp_path / "a.ecsv", format="ascii.ecsv")
    stars = read_catalogue(tmp_path / "a.ecsv", calibrates=False)
    assert stars["source_id"].tolist() == [4056 * 10**15, 4057 * 10**15]
    assert stars["epoch"].tolist() == [2016.0, 2016.0]
    assert stars.loc[0, [*ASTROMETRIC_ERRORS]].tolist() == [0.2] * 5
    assert stars.loc[0, ["parallax", "pmra", "pmdec"]].tolist() == [0.12, -2.9, -5.3]
    assert stars["mag"].tolist() == [17.1, 18.9]
    expected = [0.05 * n for n in range(10)]
    np.testing.assert_allclose(stars.loc[0, [*ASTROMETRIC_CORRELATIONS]].astype(float), expected)
    assert stars.loc[1, ["ra_err", "dec_err"]].tolist() == [0.9, 0.9]
    assert stars.loc[1, ["parallax", "pmra", "pmra_err"]].isna().all()


def test_gaia_at_the_cds(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(
        "RAJ2000,DEJ2000,Source,RA_ICRS,DE_ICRS,e_RA_ICRS,e_DE_ICRS,Plx,e_Plx,pmRA,pmDE,e_pmRA,"
        "e_pmDE,RADEcor,PlxpmDEcor,pmRApmDEcor,Gmag\n"
        "268.6,-29.3,4056,268.5,-29.2,0.1,0.2,0.3,0.4,-2,-5,0.5,0.6,0.1,0.2,0.3,17\n"
    )
    star = read_catalogue(tmp_path / "a", calibrates=False).iloc[0]
    assert star[["source_id", "ra", "dec"]].tolist() == [4056, 268.5, -29.2]
    assert star[["pmra", "pmdec", "parallax"]].tolist() == [-2, -5, 0.3]
    assert star[[*ASTROMETRIC_ERRORS]].tolist() == [0.1, 0.2, 0.4, 0.5, 0.6]
    names = ["ra_dec_corr", "parallax_pmdec_corr", "pmra_pmdec_corr"]
    assert star[names].tolist() == [0.1, 0.2, 0.3]
    assert np.isnan(star["epoch"])


def test_virac2(tmp_path: Path) -> None:
    names = "sourceid ra de ra_error de_error ref_epoch parallax parallax_error pmra pmra_error"
    names += " pmde pmde_error phot_h_mean_mag phot_ks_mean_mag"
    values = [12345678901, 268.5, -29.2, 1.5, 1.6, 2014.0, 0.2, 0.7, -3, 0.8, -4, 0.9, 15.1, 14.8]
    table = Table([[value] for value in values], names=names.split())
    table.write(tmp_path / "a", format="fits")
    star = read_catalogue(tmp_path / "a", calibrates=False).iloc[0]
    assert star[["source_id", "ra", "dec", "epoch"]].tolist() == [12345678901, 268.5, -29.2, 2014]
    assert star[[*ASTROMETRIC_ERRORS]].tolist() == [1.5, 1.6, 0.7, 0.8, 0.9]
    assert star[["pmra", "pmdec", "mag"]].tolist() == [-3, -4, 15.1]  # H is nearest to F146


def test_2mass(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(
        "RAJ2000,DEJ2000,errMaj,errMin,errPA,2MASS,Jmag,Hmag,Kmag\n"
        "268.5,-29.2,0.08,0.06,90,17540000-2912000,13.5,12.5,12.1\n"
    )
    star = read_catalogue(tmp_path / "a", calibrates=False).iloc[0]
    assert star[["source_id", "ra", "dec", "mag"]].tolist() == [0, 268.5, -29.2, 12.5]
    np.testing.assert_allclose(star[["ra_err", "dec_err"]].astype(float), 80.0)


def test_roman_source_catalogue(tmp_path: Path) -> None:
    table = Table({"label": [4], "ra": [1.0], "dec": [2.0], "ra_psf": [1.1], "dec_psf": [2.1]})
    table["ra_psf_err"], table["dec_psf_err"] = [0.001] * u.arcsec, [0.002]
    table["psf_flux"] = [10.0] * u.nJy
    table.write(tmp_path / "a", format="ascii.ecsv")
    star = read_catalogue(tmp_path / "a").iloc[0]
    assert star[["ra", "dec"]].tolist() == [1.1, 2.1]
    np.testing.assert_allclose(star[["ra_err", "dec_err"]].astype(float), [1.0, 2.0])
    assert star["mag"] == pytest.approx(28.9)


def test_every_name_stands_for_one_quantity() -> None:
    names = [name for role in ROLES.values() for name in role.aliases]
    shared = {"errmaj", "err_maj"}  # of both axes
    assert {name for name in names if names.count(name) > 1} == shared
    assert all(name == name.lower() for name in names)


def test_a_magnitude_of_another_filter_does_not_calibrate(tmp_path: Path, caplog) -> None:
    gaia().write(tmp_path / "a", format="ascii.ecsv")
    read_catalogue(tmp_path / "a")
    assert "phot_g_mean_mag is not a magnitude of a Roman filter" in caplog.text
    assert "catalogue.photometry: approximate" in caplog.text


@pytest.mark.parametrize(
    ("name", "value", "unit", "expected"),
    [
        ("ref_epoch", 2457389.0, "yr", "row 2: ref_epoch is 2457389.0, expected a Julian year"),
        ("ref_epoch", 57388.0, "", "row 2: ref_epoch is 57388.0, expected a Julian year"),
        ("ref_epoch", 2016.0, "d", "column ref_epoch is in 'd', expected Julian years"),
        ("ra_error", np.inf, "mas", "row 2: ra_error is inf, expected an error of less than 1 deg"),
        ("dec_error", 2.0, "deg", "row 2: dec_error is 7199999.9"),
        ("pmra_error", 4e6, "mas / yr", "row 2: pmra_error is 4000000.0, expected an error"),
        ("parallax", -np.inf, "mas", "row 2: parallax is -inf, expected less than 1 arcsec"),
        ("pmra", -999999.0, "mas / yr", "row 2: pmra is -999999.0, expected less than 20 arcsec"),
        ("ra_dec_corr", 1.5, "", "row 2: ra_dec_corr is 1.5, expected a correlation from -1 to 1"),
    ],
)
def test_values_that_cannot_be_meant(
    tmp_path: Path, name: str, value: float, unit: str, expected: str
) -> None:
    table = gaia()
    table[name] = [float(np.asarray(table[name])[0]), value]
    table[name].unit = unit or None
    table.write(tmp_path / "a", format="ascii.ecsv")
    with pytest.raises(InputError) as caught:
        read_catalogue(tmp_path / "a", calibrates=False)
    assert expected in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "a"))


def test_stars_may_lack_magnitudes_that_do_not_calibrate(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("ra,dec,psf_flux\n1,2,10\n1,2.1,-3\n1,2.2,\n")
    mag = read_catalogue(tmp_path / "a", calibrates=False)["mag"]
    assert mag.isna().tolist() == [False, True, True]
    (tmp_path / "a").write_text("ra,dec\n1,2\n")
    assert read_catalogue(tmp_path / "a", calibrates=False)["mag"].isna().all()
    with pytest.raises(InputError, match="no column for mag"):
        read_catalogue(tmp_path / "a")
