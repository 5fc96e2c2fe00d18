import astropy.units as u
import numpy as np
import pandas as pd
import pytest
from astropy.coordinates import SkyCoord, get_body_barycentric
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st

from romanprf.sky.motion import julian_year, positions_at, propagate


def _apart(ra1, dec1, ra2, dec2):
    """Larger of the on-sky differences, degrees."""
    dra = (np.mod(ra1 - ra2 + 180.0, 360.0) - 180.0) * np.cos(np.deg2rad(dec2))
    return np.max([np.abs(dra), np.abs(dec1 - dec2)])


@pytest.mark.filterwarnings("ignore::erfa.ErfaWarning")
def test_agrees_with_astropy_also_at_ra_0_and_near_the_poles():
    ra = np.array([0.0, 359.9999999, 1e-7, 268.0, 120.0, 10.0, 200.0])
    dec = np.array([0.0, 10.0, -29.0, -29.2, -89.0, -89.999, 89.9999])
    pmra = np.array([-5000.0, 8000.0, -3.0, 10358.0, 4000.0, 900.0, -900.0])
    pmdec = np.array([10.0, -5000.0, 0.0, 3000.0, -4000.0, 900.0, 3000.0])
    sky = SkyCoord(
        ra * u.deg,
        dec * u.deg,
        pm_ra_cosdec=pmra * u.mas / u.yr,
        pm_dec=pmdec * u.mas / u.yr,
        obstime=Time(2016.0, format="jyear", scale="tdb"),
    )
    moved = sky.apply_space_motion(Time(2027.25, format="jyear", scale="tdb"))
    found = propagate(ra, dec, pmra, pmdec, 2016.0, 2027.25)
    assert _apart(*found, moved.ra.deg, moved.dec.deg) < 1e-9
    assert _apart(*found, ra, dec) > 1e-5


def test_unknown_and_zero_motions_keep_the_exact_position():
    ra, dec = np.array([359.999999999, 0.1]), np.array([-29.123456789, 89.0])
    found = propagate(ra, dec, np.array([np.nan, 0.0]), np.array([np.nan, 0.0]), 2016.0, 2027.0)
    np.testing.assert_array_equal(found, (ra, dec))
    same = propagate(ra, dec, np.array([9.0, 9.0]), np.array([9.0, 9.0]), 2016.0, 2016.0)
    np.testing.assert_array_equal(same, (ra, dec))


def test_half_known_motion_uses_the_known_half():
    ra, dec = propagate(
        np.array([10.0]), np.array([60.0]), np.array([3.6e6]), np.array([np.nan]), 2000.0, 2000.01
    )
    np.testing.assert_allclose((ra[0] - 10.0) * 0.5, 0.01, rtol=1e-4)  # on-sky, so over cos(dec)
    np.testing.assert_allclose(dec, 60.0, atol=1e-5)


@given(
    st.floats(0, 359.999),
    st.floats(-89.9, 89.9),
    st.floats(-1e4, 1e4),
    st.floats(-1e4, 1e4),
)
def test_moves_by_the_motion_and_stays_on_the_sphere(ra, dec, pmra, pmdec):
    r, d = propagate(*(np.array([v]) for v in (ra, dec, pmra, pmdec)), 2016.0, 2017.0)
    assert 0 <= r[0] <= 360
    assert -90 <= d[0] <= 90
    there = SkyCoord(r * u.deg, d * u.deg)
    moved = SkyCoord(ra * u.deg, dec * u.deg).separation(there).mas[0]
    assert moved == pytest.approx(np.hypot(pmra, pmdec), abs=2e-4)


def test_positions_at_a_date_use_the_epoch_of_each_row():
    assert julian_year(Time(2027.25, format="jyear").jd) == pytest.approx(2027.25, abs=1e-9)
    sources = pd.DataFrame(
        {"ra": [10.0, 20.0], "dec": [0.0, 0.0], "pmra": 3.6e3, "pmdec": 0.0, "epoch": [2027, 2026]},
        index=[4, 2],
    ).assign(parallax=0.0)
    ra, dec = positions_at(sources, Time(2028.0, format="jyear").jd)
    np.testing.assert_allclose(ra, [10.001, 20.002], atol=1e-9)
    np.testing.assert_allclose(dec, 0.0, atol=1e-12)


@pytest.mark.parametrize("year", [2027.1, 2027.35, 2027.6])
def test_parallax_is_the_direction_from_where_roman_is(year):
    time = Time(year, format="jyear", scale="tdb")
    stars = pd.DataFrame(
        {"ra": [268.0, 10.0], "dec": [-29.2, 70.0], "pmra": 0.0, "pmdec": 0.0, "epoch": 2027.0}
    ).assign(parallax=[200.0, 500.0])
    ra, dec = positions_at(stars, time.jd)
    star = SkyCoord(
        stars["ra"].to_numpy() * u.deg,
        stars["dec"].to_numpy() * u.deg,
        distance=1e3 / stars["parallax"].to_numpy() * u.pc,
    )
    seen = star.cartesian - 1.01 * get_body_barycentric("earth", time)
    expected = SkyCoord(seen, representation_type="cartesian").spherical
    assert _apart(ra, dec, expected.lon.deg, expected.lat.deg) * 3.6e6 < 0.01  # mas
