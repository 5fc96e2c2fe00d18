"""Astrometric parameters with their covariance."""

import numpy as np
import pandas as pd

from romanprf.config import Crossmatch
from romanprf.schemas import ASTROMETRIC_CORRELATIONS, ASTROMETRIC_ERRORS
from romanprf.sky.states import at_epoch, completed, covariance, with_covariance


def _table(**columns):
    places = {"ra": [268.0, 268.001], "dec": [-29.0, -29.001], "epoch": 2016.0}
    return pd.DataFrame(places | columns)


def test_unknown_parameters_have_the_errors_of_the_settings():
    table = _table(pmra=[3.0, np.nan], ra_err=[0.5, 0.0], dec_err=[0.5, -1.0])
    table = completed(table, Crossmatch(position_error=0.01, proper_motion_error=5.0))
    assert table["ra_err"].tolist() == [0.5, 10.0]
    assert table["dec_err"].tolist() == [0.5, 10.0]
    assert table["pmra"].tolist() == [3.0, 0.0]
    assert table["pmra_err"].tolist() == [0.5, 5.0]  # stated, but not how well it is known
    assert table["parallax"].tolist() == [0.0, 0.0]
    assert table["parallax_err"].tolist() == [2.0, 2.0]
    assert not table[[*ASTROMETRIC_CORRELATIONS]].any(axis=None)


def test_errors_that_are_not_positive_are_counted(caplog):
    table = _table(ra_err=[0.5, 0.0], dec_err=np.nan, pmra=[1.0, np.nan], pmra_err=[-1.0, np.nan])
    table["ra_dec_corr"] = 0.3
    table["ra_pmra_corr"] = 0.2
    done = completed(table, Crossmatch(position_error=0.01), "stars.csv")
    assert done["ra_err"].tolist() == [0.5, 10.0]
    assert not done[["ra_dec_corr", "ra_pmra_corr"]].any(axis=None)  # of errors that do not count
    assert [record.getMessage() for record in caplog.records] == [
        "stars.csv: 1 of 2 rows have a ra_err that is not positive, taken as 10 mas or mas/yr",
        "stars.csv: 1 of 2 rows have a pmra_err that is not positive, taken as 0.4 mas or mas/yr",
    ]


def test_covariance_is_kept_in_the_columns():
    rng = np.random.default_rng(3)
    root = rng.normal(size=(2, 5, 5))
    matrix = root @ np.swapaxes(root, 1, 2)
    table = with_covariance(_table(), matrix)
    np.testing.assert_allclose(covariance(table), matrix, rtol=1e-6)


def test_errors_of_motions_carry_over_to_another_epoch():
    errors = dict(zip(ASTROMETRIC_ERRORS, [0.3, 0.4, 1.0, 0.1, 0.2], strict=True))
    table = completed(_table(**errors, pmra=5.0, pmdec=0.0, parallax=0.0), Crossmatch())
    later = at_epoch(table, 2026.0)
    np.testing.assert_allclose(later["ra_err"], np.hypot(0.3, 1.0))
    np.testing.assert_allclose(later["dec_err"], np.hypot(0.4, 2.0))
    np.testing.assert_allclose(later["ra_pmra_corr"], 1.0 / np.hypot(0.3, 1.0), rtol=1e-6)
    east = (later["ra"] - table["ra"]) * np.cos(np.deg2rad(table["dec"])) * 3.6e6
    np.testing.assert_allclose(east, 50.0, rtol=1e-5)
    back = at_epoch(later, 2016.0)
    np.testing.assert_allclose(covariance(back), covariance(table), atol=1e-6)
    np.testing.assert_allclose(back["ra"], table["ra"], rtol=0, atol=1e-12)
