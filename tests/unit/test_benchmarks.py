"""Mathematics of `benchmarks/accuracy`: the limit of positions, and who is who."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from romanprf.config import Simulate
from romanprf.io.images import exposure_rows
from romanprf.simulate import inject, make_field, wfi
from romanprf.sky.motion import MAS, moved
from romanprf.steps import simulate

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "accuracy"))

from limit import joint_limit, normal_matrix
from positions import without_common
from table import inside
from truth import Truth, ideal_image

FIELD = {
    **{"size": 36, "seed": 5, "cadence": 2e5, "bad_pixels": 0.0, "cosmic_rays": 0.0},
    **{"microlensing": 0, "transits": 0, "eclipses": 0, "dither": 1.0},
}


@pytest.fixture(scope="module")
def truth() -> Truth:
    settings = Simulate(**FIELD)
    return Truth(make_field(settings).stars, settings)


@pytest.fixture(scope="module")
def exposures(tmp_path_factory) -> pd.DataFrame:
    """Three frames, more than a year from the first to the last."""
    folder, rows = tmp_path_factory.mktemp("frames"), []
    for number in range(3):
        path = folder / f"{number}.fits"
        simulate.run_exposure({}, {"frame": path}, {"simulate": FIELD, "exposure": number})
        rows += exposure_rows(path, None, None)
    return pd.DataFrame(rows).assign(pixel_area=np.nan)


@pytest.fixture(scope="module")
def around(truth) -> np.ndarray:
    """Rows of the stars in and around the images."""
    return np.flatnonzero(truth.stars[["x", "y"]].sub(17.5).abs().max(axis=1) < 22.0)


def test_equations_of_a_group_are_a_part_of_all(exposures, truth, around):
    normal = normal_matrix(exposures.iloc[0], truth, around)
    index = np.array([4, 0, 7, 31, 2])
    expected = normal.matrix.toarray()[np.ix_(index, index)]
    group = normal.of(index)
    assert_allclose(group[:-1, :-1], expected)
    assert_array_equal(group[-1, :-1], normal.border[index])
    assert_array_equal(group[-1], group[:, -1])
    assert group[-1, -1] == normal.corner


def test_limit_from_neighbours_is_that_of_all_stars(exposures, truth, around):
    mag = truth.stars["mag"].to_numpy()[around]
    chosen = np.flatnonzero(inside(exposures, truth.stars.iloc[around]) & (mag < 22.5))[::2]
    assert len(chosen) >= 5
    part = joint_limit(exposures, truth, around, chosen)
    whole = joint_limit(exposures, truth, around, chosen, radius=np.inf, reach=40.0)
    ratio = np.sqrt(part.covariance.diagonal(0, 1, 2) / whole.covariance.diagonal(0, 1, 2))
    for ratios in (*ratio.T, part.centroid / whole.centroid):
        assert np.median(ratios) == pytest.approx(1.0, abs=0.01)
        assert_allclose(ratios, 1.0, atol=0.06)


def test_limit_of_a_lone_star_is_that_of_its_image(exposures, truth):
    exposure, flux = exposures.iloc[0], truth.stars["flux"].to_numpy()
    star = np.flatnonzero(inside(exposures, truth.stars) & truth.stars["mag"].between(18, 20))[0]
    x, y = (axis[star] for axis in truth.places(exposure))
    empty, error = np.zeros((36, 36)), ideal_image(exposure, truth).flux_err

    def light(dx, dy):
        return inject(empty, [x + dx], [y + dy], flux[star]) / error

    steps = [light(0.01, 0.0) - light(-0.01, 0.0), light(0.0, 0.01) - light(0.0, -0.01)]
    design = np.stack([light(0.0, 0.0), steps[0] / 0.02, steps[1] / 0.02]).reshape(3, -1)
    expected = np.linalg.inv(design @ design.T)[1:, 1:]  # pixels
    limit = joint_limit(exposures.iloc[:1], truth, np.array([star]), np.array([0]))
    assert_allclose(limit.centroid[0, 0] ** 2, expected.diagonal(), rtol=0.01)
    information = np.linalg.inv(limit.covariance[0])[:2, :2] - 1e-2 * np.eye(2)  # prior: 10 mas
    assert np.trace(np.linalg.inv(information)) == pytest.approx(
        1e6 * wfi.PIXEL_SCALE**2 * np.trace(expected), rel=0.01
    )


def test_stars_are_identified_one_to_one(truth):
    stars = truth.stars.sort_values("flux", ascending=False)
    listed, missing = stars.iloc[:40], stars.iloc[[60, 70]]
    found = missing.assign(source_id=-1)
    ra, dec = (found[name].to_numpy() for name in ("ra", "dec"))
    found["ra"], found["dec"] = moved(ra, dec, np.array([20.0, -30.0]), np.array([0.0, 10.0]))
    twice = found.iloc[:1].assign(ra=lambda table: table["ra"] + 5.0 * MAS)
    elsewhere = found.iloc[:1].assign(dec=lambda table: table["dec"] + 300.0 * MAS, flux=1e5)
    rows = truth.rows(pd.concat([listed, found, twice, elsewhere]))
    assert_array_equal(rows[:40], listed.index)
    assert sorted(rows[[40, 42]])[0] == -1
    assert max(rows[[40, 42]]) == missing.index[0]
    assert rows[41] == missing.index[1]
    assert rows[43] == -1


def test_common_affine_is_removed_and_outliers_are_not():
    rng = np.random.default_rng(3)
    design = np.column_stack([np.ones(200), rng.uniform(-1, 1, (200, 2))])
    noise = rng.normal(0.0, 0.1, (200, 2))
    noise[7] = 30.0
    values = noise + design @ np.array([[1.0, 2.0], [0.3, -0.4], [-5.0, 0.0]])
    rest = without_common(values, design, np.full((200, 2), 0.1), 0.0)
    assert_allclose(rest, noise, atol=0.05)
