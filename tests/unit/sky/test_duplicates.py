import numpy as np
import pandas as pd
import pytest

from romanprf.sky.duplicates import crowded_row, find_repeats

DEC = -29.2
LIMIT = 0.03


def crowd(density=9.0, side=20.0, seed=1):
    """Stars per square arcsec, spread at random, with bulge-like magnitudes."""
    rng = np.random.default_rng(seed)
    n = rng.poisson(density * side**2)
    x, y = rng.uniform(0.0, side, (2, n)) / 3600
    mag = 25.0 + np.log10(rng.uniform(1e-4, 1.0, n)) / 0.4
    ra = np.mod(359.999 + x / np.cos(np.deg2rad(DEC)), 360.0)  # across 0
    return pd.DataFrame({"ra": ra, "dec": DEC + y, "mag": mag})


def again(stars, mas, seed=2):
    """The same stars, so far away, with other magnitude errors."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0.0, 2.0 * np.pi, len(stars))
    step = mas / 3.6e6
    return stars.assign(
        ra=np.mod(stars["ra"] + step * np.cos(angle) / np.cos(np.deg2rad(DEC)), 360.0),
        dec=stars["dec"] + step * np.sin(angle),
        mag=stars["mag"] + rng.normal(0.0, 0.01, len(stars)),
    )


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("density", [0.1, 1.0, 9.0])
def test_a_crowded_field_repeats_nothing(density, seed):
    stars = crowd(density, seed=seed)
    found = find_repeats(stars, LIMIT)
    assert found.same.sum() <= 3e-4 * len(stars)
    assert found.apart == 0


@pytest.mark.parametrize("part", [0.05, 1.0])
@pytest.mark.parametrize("mas", [0.0, 3.0, 10.0, 25.0])
@pytest.mark.parametrize("density", [0.1, 3.0])
def test_entries_that_would_be_merged_are_repeats(density, mas, part):
    stars = crowd(density, side=30.0)
    twins = again(stars[: int(part * len(stars))], mas)
    found = find_repeats(pd.concat([stars, twins], ignore_index=True), LIMIT)
    assert found.same[len(stars) :].all()
    assert found.same[: len(stars)].mean() < 0.005
    assert found.apart == 0


@pytest.mark.parametrize("mas", [40.0, 80.0])
def test_entries_further_apart_are_counted(mas):
    stars = crowd(3.0)
    twins = again(stars[: len(stars) // 7], mas)
    found = find_repeats(pd.concat([stars, twins], ignore_index=True), LIMIT)
    assert not found.same.any()
    assert found.apart == pytest.approx(len(twins), rel=0.15)
    assert found.chance < 0.2 * len(twins)


def test_one_star_twice_and_unknown_magnitudes():
    stars = crowd(0.1)
    found = find_repeats(pd.concat([stars, stars[3:4]], ignore_index=True), LIMIT)
    assert np.flatnonzero(found.same).tolist() == [len(stars)]
    assert not find_repeats(pd.concat([stars, stars]).assign(mag=np.nan), LIMIT).same.any()


def test_a_crowd_of_rows_at_one_place():
    stars = crowd(9.0)
    assert crowded_row(stars["ra"].to_numpy(), stars["dec"].to_numpy()) is None
    ra = np.append(stars["ra"], np.full(100_000, 10.0))
    dec = np.append(stars["dec"], np.full(100_000, DEC))
    assert crowded_row(ra, dec) == (len(stars), 100_000)
