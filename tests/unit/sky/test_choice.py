"""Exposures that a reduction learns from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from romanprf.sky.choice import choose, far_apart, places
from romanprf.sky.wcs import ARCSEC, TangentWCS, deproject

SCALE = 0.11 / ARCSEC
SIDE = 64


def exposures(x, y, roll=0.0, **columns) -> pd.DataFrame:
    """Exposures in which the field is shifted by (x, y) pixels, a day apart."""
    x, y, roll = np.broadcast_arrays(x, y, roll)
    wcs = [_wcs(*each).to_json() for each in zip(x, y, roll, strict=True)]
    n = len(wcs)
    table = pd.DataFrame({"exposure": np.arange(n), "time": 100.0 + np.arange(n), "flags": 0})
    return table.assign(nrows=SIDE, ncols=SIDE, wcs=wcs, **columns)


def _wcs(x: float, y: float, roll: float) -> TangentWCS:
    middle = 0.5 * (SIDE - 1)

    def sky(column, row):
        u, v = SCALE * (column - middle), SCALE * (row - middle)
        east = -u * np.cos(roll) + v * np.sin(roll)
        return deproject(east, u * np.sin(roll) + v * np.cos(roll), 268.0, -29.2)

    wcs = TangentWCS.fit(sky, SIDE, SIDE)
    ra, dec = wcs.pixel_to_sky(np.array([middle - x]), np.array([middle - y]))
    return replace(wcs, ra0=float(ra[0]), dec0=float(dec[0]))


def random_dither(n: int, seed: int) -> pd.DataFrame:
    return exposures(*np.random.default_rng(seed).uniform(-5.0, 5.0, (2, n)))


def largest_hole(table: pd.DataFrame) -> float:
    """Distance of the phase furthest from all chosen ones, pixels."""
    grid = np.stack(np.meshgrid(*[np.arange(40) / 40.0] * 2), axis=-1)[:, :, None]
    offset = grid - table[["phase_x", "phase_y"]].to_numpy()
    offset -= np.round(offset)
    return float(np.hypot(*np.moveaxis(offset, -1, 0)).min(axis=-1).max())


@pytest.mark.parametrize("number", [1, 2, 3, 7, 16])
def test_parts_are_visited_far_apart(number):
    order = far_apart(number)
    assert sorted(order) == list(range(number))
    assert order[:2] == [0, number - 1][:number]
    if number == 16:
        assert order[:4] == [0, 15, 7, 11]


def test_places_are_those_of_the_wcs():
    x, y, _ = places(exposures([0.0, 2.25, -3.5, 40.0, -1.0], [0.0, -1.0, 0.75, 3.0, -2.0]))
    np.testing.assert_allclose(x - 31.5, [0.0, 2.25, -3.5, 40.0, -1.0], atol=2e-3)
    np.testing.assert_allclose(y - 31.5, [0.0, -1.0, 0.75, 3.0, -2.0], atol=2e-3)
    roll = [0.0, 0.1, -1.0, 3.1]
    np.testing.assert_allclose(places(exposures(np.zeros(4), 0.0, roll))[2], roll, atol=1e-4)


def test_choice_spans_time_and_fills_the_pixel():
    """Better than the first ones, or even ones in time, of random dithers."""
    holes = []
    for seed in range(8):
        table = random_dither(320, seed)
        chosen = choose(table, 16)
        assert np.all(np.diff(np.sort(chosen["time"])) > 0.0)
        parts = np.sort(chosen["exposure"]) // 20
        assert parts.tolist() == list(range(16))
        even = choose(table.iloc[::20], 16)
        lowest = choose(table.iloc[:16], 16)
        holes.append([largest_hole(each) for each in (chosen, even, lowest)])
    ours, even, lowest = np.mean(holes, axis=0)
    assert ours < 0.22
    assert min(even, lowest) > 0.27


def test_the_first_of_the_order_are_spread_too():
    first = choose(random_dither(320, 1), 16).iloc[:4]
    assert np.ptp(first["time"]) > 280.0
    assert largest_hole(first) < 0.48  # 0.5 for the best four on a grid


def test_choice_does_not_depend_on_the_order_of_rows():
    table = random_dither(50, 2)
    mixed = table.sample(frac=1.0, random_state=3)
    pd.testing.assert_frame_equal(choose(mixed, 8), choose(table, 8))


def test_bad_exposures_are_not_chosen():
    table = random_dither(30, 4)
    table.loc[::3, "flags"] = 2
    assert not set(choose(table, 16)["exposure"]) & set(range(0, 30, 3))
    assert sorted(choose(table, 99)["exposure"]) == table["exposure"][table["flags"] == 0].tolist()
    assert choose(table.assign(flags=1), 4).empty


def test_turned_and_moved_exposures_are_preferred_where_phases_agree():
    same = choose(exposures(np.zeros(4), 0.0, [0.0, 0.0, 0.0, np.pi]), 2)
    assert same["exposure"].tolist() == [0, 3]
    moved = choose(exposures([0.0, 0.0, 20.0, 0.0], 0.0), 2)
    assert moved["exposure"].tolist() == [0, 2]
