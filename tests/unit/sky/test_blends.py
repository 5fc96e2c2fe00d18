import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from romanprf.sky.blends import close_pairs, contaminated, merge, nearest
from romanprf.sky.wcs import ARCSEC, deproject


def _sources(x, y, mag, ra0=268.0, dec0=-29.0, **columns):
    """Sources at (x, y) arcsec from (ra0, dec0)."""
    ra, dec = deproject(np.array(x, float) / ARCSEC, np.array(y, float) / ARCSEC, ra0, dec0)
    n = len(ra)
    table = {"source_id": np.arange(n) + 10, "ra": ra, "dec": dec, "mag": np.array(mag, float)}
    return pd.DataFrame(table | {"n_merged": 1} | columns, index=pd.RangeIndex(n) * 3 + 5)


@pytest.mark.parametrize(("ra0", "dec0"), [(268.0, -29.0), (0.0, 0.0), (360.0, 45.0), (7.0, -90.0)])
def test_merges_connected_pairs_into_the_brightest(ra0, dec0):
    # 0-1-2 a chain, 3 alone, 4-5 a pair
    sources = _sources(
        [0.0, 0.02, 0.04, 1.0, -1.0, -1.01], [0] * 6, [20, 19, 21, 18, 22, 22], ra0, dec0
    )
    found = merge(sources, 0.025)
    assert found["source_id"].tolist() == [11, 13, 14]  # the lower id of two equals
    assert found["n_merged"].tolist() == [3, 1, 2]
    assert found.index.tolist() == [0, 1, 2]
    flux = 10 ** (-0.4 * np.array([20.0, 19.0, 21.0]))
    assert found["mag"][0] == pytest.approx(-2.5 * np.log10(flux.sum()), abs=1e-12)
    assert found["mag"][2] == pytest.approx(22 - 2.5 * np.log10(2), abs=1e-12)
    expected = _sources([flux @ [0, 0.02, 0.04] / flux.sum()], [0], [0], ra0, dec0)
    assert found["dec"][0] == pytest.approx(expected["dec"].iloc[0], abs=1e-11)
    pair = pd.concat([found.iloc[:1], expected])
    assert nearest(pair["ra"].to_numpy(), pair["dec"].to_numpy())[0] < 1e-7
    assert found.loc[1, ["ra", "dec"]].tolist() == sources.iloc[3][["ra", "dec"]].tolist()


def test_a_star_listed_twice_counts_once():
    sources = _sources([0.0, 0.0, 0.0], [0] * 3, [20, 20, 21])
    found = merge(sources, 0.0)
    assert found["n_merged"].tolist() == [3]
    expected = -2.5 * np.log10(10**-8.0 + 10**-8.4)
    assert found["mag"][0] == pytest.approx(expected, abs=1e-12)


def test_merging_again_counts_all_rows_and_changes_nothing_apart():
    sources = _sources([0.0, 0.5], [0, 0], [20, 20.5], n_merged=[2, 3])
    pd.testing.assert_frame_equal(merge(sources, 0.1), sources.reset_index(drop=True))
    assert merge(sources, 0.6)["n_merged"].tolist() == [5]


def test_merges_until_no_pair_is_left():
    # the third is 0.031 from the first two, and 0.027 from their mean
    sources = _sources([-0.015, 0.015, 0.0], [0, 0, 0.0271], [20, 20, 21])
    assert len(close_pairs(sources["ra"].to_numpy(), sources["dec"].to_numpy(), 0.0303)) == 1
    assert merge(sources, 0.0303)["n_merged"].tolist() == [3]


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_merge(n):
    sources = _sources([0.0] * n, [0.0] * n, [20.0] * n)
    assert len(merge(sources, 0.03)) == n
    ra, dec, mag = (sources[name].to_numpy() for name in ("ra", "dec", "mag"))
    assert np.isnan(nearest(ra, dec)).all()
    assert not contaminated(ra, dec, mag, 0.2, 2.0).any()


def test_input_is_left_alone():
    sources = _sources([0.0, 0.01], [0, 0], [20, 20.5])
    before = sources.copy()
    merge(sources, 0.03)
    pd.testing.assert_frame_equal(sources, before)


@given(st.integers(0, 2**32 - 1), st.sampled_from([(0.0, 0.0), (180.0, 89.99999), (268.0, -29.0)]))
@settings(max_examples=30, deadline=None)
def test_merging_keeps_light_and_rows(seed, centre):
    rng = np.random.default_rng(seed)
    sources = _sources(*rng.uniform(-0.3, 0.3, (2, 60)), rng.uniform(15, 25, 60), *centre)
    found = merge(sources, 0.03)
    assert found["n_merged"].sum() == 60
    assert not len(close_pairs(found["ra"].to_numpy(), found["dec"].to_numpy(), 0.03))
    flux = (10 ** (-0.4 * table["mag"].to_numpy()) for table in (found, sources))
    assert next(flux).sum() == pytest.approx(next(flux).sum(), rel=1e-12)
    order = rng.permutation(60)  # the order of rows does not matter
    shuffled = merge(sources.iloc[order], 0.03).sort_values("source_id", ignore_index=True)
    pd.testing.assert_frame_equal(
        shuffled, found.sort_values("source_id", ignore_index=True), rtol=1e-13
    )


@pytest.mark.parametrize(("ra0", "dec0"), [(268.0, -29.0), (0.0, 0.0), (7.0, 89.9999)])
def test_pairs_and_nearest_agree_with_brute_force(ra0, dec0):
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-0.5, 0.5, (2, 100))
    table = _sources(x, y, np.zeros(100), ra0, dec0)
    distance = np.hypot(x[:, None] - x, y[:, None] - y)
    expected = np.argwhere(np.triu(distance <= 0.08, 1))
    pairs = close_pairs(table["ra"].to_numpy(), table["dec"].to_numpy(), 0.08)
    np.testing.assert_array_equal(np.unique(np.sort(pairs, axis=1), axis=0), expected)
    np.fill_diagonal(distance, np.inf)
    found = nearest(table["ra"].to_numpy(), table["dec"].to_numpy())
    np.testing.assert_allclose(found, distance.min(axis=1), atol=1e-7)


def test_only_the_faint_one_near_a_much_brighter_is_contaminated():
    table = _sources([0, 0.1, 0.15, 0.5], [0] * 4, [18, 21, 19, 23])
    ra, dec, mag = (table[name].to_numpy() for name in ("ra", "dec", "mag"))
    assert contaminated(ra, dec, mag, 0.22, 2.0).tolist() == [False, True, False, False]
