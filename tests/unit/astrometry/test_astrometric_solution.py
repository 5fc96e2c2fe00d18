"""Statistics of the parameters of stars and of the terms of frames, on simulated centroids."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import romanprf.astrometry.solution
import skies
from romanprf.astrometry.frames import N_MODES
from romanprf.astrometry.offsets import linear
from romanprf.astrometry.products import displacements, frame_rows, frame_terms, star_rows
from romanprf.astrometry.solution import Solution, solve
from romanprf.flags import SourceFlag
from romanprf.schemas import ASTROMETRIC, ASTROMETRIC_ERRORS, FRAME_TERMS

SEEDS = (1, 2, 3)


@cache
def solved(seed: int) -> tuple[skies.Sky, Solution]:
    sky = skies.make_sky(seed)
    return sky, solve(sky.problem())


def common(sky: skies.Sky, solution: Solution) -> np.ndarray:
    """Motion (3, 5), estimate minus truth, that all stars share: no frame tells it."""
    stars, field = solution.sweep.stars, linear(sky.problem().field)
    weight = 1.0 / stars.error
    off = stars.parameters - sky.truth
    columns = (
        np.linalg.lstsq(field * weight[:, k : k + 1], off[:, k] * weight[:, k])[0] for k in range(5)
    )
    return np.stack(list(columns), axis=1)


def star_pulls(sky: skies.Sky, solution: Solution) -> np.ndarray:
    stars = solution.sweep.stars
    shared = linear(sky.problem().field) @ common(sky, solution)
    return (stars.parameters - sky.truth - shared) / stars.error


def frame_pulls(sky: skies.Sky, solution: Solution) -> np.ndarray:
    """The terms take up the opposite of what all stars share."""
    offsets = sky.offsets()
    shared = linear(sky.problem().field) @ common(sky, solution)
    motion = (offsets.design() @ shared[:, None, :, None])[..., 0]
    taken = [
        np.linalg.lstsq(offsets.terms()[:, t].reshape(-1, 6), motion[:, t].ravel())[0]
        for t in range(len(sky.exposures))
    ]
    frames = solution.sweep.frames
    return (frames.value - sky.terms + taken) / frames.error


def test_pulls_of_stars():
    pulls = np.concatenate([star_pulls(*solved(seed)) for seed in SEEDS])
    assert pulls.std(axis=0) == pytest.approx(1.0, abs=0.1)
    assert np.abs(pulls.mean(axis=0)).max() < 0.15
    bright = np.concatenate([star_pulls(*solved(seed))[:60] for seed in SEEDS])
    assert bright.std() == pytest.approx(1.0, abs=0.1)


def test_pulls_of_frames():
    pulls = np.concatenate([frame_pulls(*solved(seed)) for seed in SEEDS])
    assert pulls.std() == pytest.approx(1.0, abs=0.1)
    assert np.abs(pulls).max() < 5.0


def test_chi2_and_counts():
    for seed in SEEDS:
        sky, solution = solved(seed)
        stars, sums = solution.sweep.stars, solution.sweep.sums
        assert (stars.squares / stars.freedom).mean() == pytest.approx(1.0, abs=0.03)
        assert (sums.squares / sums.freedom).mean() == pytest.approx(1.0, abs=0.03)
        assert stars.n_rejected.sum() <= 1
        assert (stars.n_used + stars.n_rejected == len(sky.exposures)).all()
        assert (solution.excess > 0.0).mean() < 0.1


def test_gauge():
    """The weighted mean of (parameter - prior) is 0, and so are its slopes over the field."""
    sky, solution = solved(1)
    stars, problem = solution.sweep.stars, sky.problem()
    moved = np.einsum("nkl,nl->nk", problem.prior.precision, stars.parameters - problem.prior.mean)
    assert np.abs(linear(problem.field).T @ moved).max() < 1e-9
    assert solution.tie_error == pytest.approx(np.array(skies.ERRORS) / np.sqrt(300))
    assert np.abs(solution.sweep.sums.gauge()[:N_MODES]).max() < 1e-2


def test_order_of_stars_and_groups_do_not_matter():
    sky, solution = solved(2)
    parts = solve(sky.problem(slice(0, 7), slice(7, 180), slice(180, 300)))
    assert parts.sweeps == solution.sweeps
    stars, others = solution.sweep.stars, parts.sweep.stars
    np.testing.assert_allclose(others.parameters, stars.parameters, rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        parts.sweep.frames.value, solution.sweep.frames.value, rtol=0, atol=1e-11
    )
    backwards = solve(sky.problem(slice(180, 300), slice(7, 180), slice(0, 7)))
    np.testing.assert_allclose(backwards.sweep.stars.parameters, stars.parameters, atol=1e-9)


def test_the_stars_to_start_with_do_not_matter(monkeypatch):
    sky, solution = solved(2)
    monkeypatch.setattr(romanprf.astrometry.solution, "_START", 70)
    again = solve(sky.problem(slice(0, 60), slice(60, 300)))
    stars = again.sweep.stars
    off = (stars.parameters - solution.sweep.stars.parameters) / stars.error
    assert np.abs(off).max() < 0.005
    assert (stars.n_used == solution.sweep.stars.n_used).all()


def test_outliers_are_left_out():
    sky = skies.make_sky(4)
    rng = np.random.default_rng(5)
    stars, frames = rng.integers(0, 200, 60), rng.integers(0, 40, 60)
    sky.columns["dx"][stars, frames] += rng.choice([-1.0, 1.0], 60) * (
        20.0 * sky.columns["dx_err"][stars, frames]
    )
    sky.columns["dx"][0, 3] += 0.8
    solution = solve(sky.problem())
    bad = len({*zip(stars.tolist(), frames.tolist(), strict=True)} | {(0, 3)})
    assert abs(int(solution.sweep.stars.n_rejected.sum()) - bad) <= 2
    assert solution.sweep.stars.n_rejected[0] >= 1
    assert star_pulls(sky, solution).std() == pytest.approx(1.0, abs=0.1)


def test_excess_of_a_frame():
    sky, rng = skies.make_sky(6), np.random.default_rng(7)
    excess = np.zeros(40)
    excess[[4, 11, 30]] = 1.0, 2.0, 0.8  # mas
    for name in ("dx", "dy"):
        sky.columns[name] += rng.normal(size=(300, 40)) * excess / 110.0
    solution = solve(sky.problem())
    np.testing.assert_allclose(solution.excess[[4, 11, 30]], [1.0, 2.0, 0.8], rtol=0.2)
    assert (solution.excess[excess == 0.0] > 0.0).mean() < 0.1
    assert star_pulls(sky, solution)[:100].std() == pytest.approx(1.0, abs=0.1)


def test_a_star_without_measurements_keeps_its_prior():
    sky = skies.make_sky(8, n=60, nt=12)
    sky.columns["dx"][7] = np.nan
    sky.columns["flags"][9] = int(SourceFlag.BAD_EXPOSURE)
    sky.columns["dx_err"][11] = 0.0
    solution = solve(sky.problem())
    lost = [7, 9, 11]
    rows = star_rows(sky.catalogue, solution.sweep.stars, sky.problem().prior)
    for name in [*ASTROMETRIC, *ASTROMETRIC_ERRORS]:
        np.testing.assert_allclose(rows[name][lost], sky.catalogue[name][lost], rtol=1e-12)
    assert rows["n_exposures"][lost].tolist() == [0, 0, 0]
    assert (rows["flags"][lost] == int(SourceFlag.NO_DATA | SourceFlag.PRIOR)).all()
    assert rows["chi2"][lost].isna().all()
    assert (rows["flags"].drop(lost) == 0).all()


def test_parameters_that_nothing_constrains_keep_their_prior():
    """Less than a day tells no motion and no parallax."""
    sky = skies.make_sky(9, n=60, nt=8, years=0.002)
    stars = solve(sky.problem()).sweep.stars
    np.testing.assert_allclose(stars.error[:, 2:], np.tile(skies.ERRORS[2:], (60, 1)), rtol=0.03)
    # The barycentric position is not known without the parallax.
    assert (stars.error[:30, 0] < skies.ERRORS[2]).all()


def test_few_stars_give_shifts_alone():
    sky = skies.make_sky(10, n=15, nt=20)
    rows = frame_rows(solve(sky.problem()), sky.exposures)
    slopes = [name for name in FRAME_TERMS if len(name) > 2]
    assert (rows[slopes] == 0.0).all(axis=None)
    assert rows[[f"{name}_err" for name in slopes]].isna().all(axis=None)
    assert rows[["dx_err", "dy_err"]].notna().all(axis=None)


def test_nothing_at_all():
    sky = skies.make_sky(11, n=5, nt=4)
    sky.columns["dx"][:] = np.nan
    solution = solve(sky.problem())
    rows = frame_rows(solution, sky.exposures)
    assert (rows["n_stars"] == 0).all()
    assert rows[["dx_err", "chi2"]].isna().all(axis=None)
    np.testing.assert_allclose(solution.sweep.stars.parameters, 0.0, atol=1e-12)
    assert np.isnan(solution.tie_error).all()


def test_displacements_show_a_microlens():
    """A shift of 1 mas to the north for a quarter of the time, of one bright star."""
    sky = skies.make_sky(12)
    star, event = 30, slice(15, 25)
    jacobian = np.stack([e.jacobian for e in sky.exposures])
    pixels = np.linalg.solve(1e3 * jacobian, np.array([0.0, 1.0])[:, None])[..., 0]
    for name, axis in (("dx", 0), ("dy", 1)):
        sky.columns[name][star, event] += pixels[event, axis]
    solution = solve(sky.problem())
    table = frame_rows(solution, sky.exposures)
    terms = frame_terms(table, sky.exposures)
    np.testing.assert_allclose(terms, solution.sweep.frames.value, rtol=1e-12)
    series = displacements(sky.offsets(), solution.sweep.stars.parameters, terms, solution.excess)
    weight = series.north_err[star] ** -2.0
    inside = np.zeros(40, bool)
    inside[event] = True
    step = np.average(series.north[star, inside], weights=weight[inside])
    step -= np.average(series.north[star, ~inside], weights=weight[~inside])
    error = np.sqrt(1.0 / weight[inside].sum() + 1.0 / weight[~inside].sum())
    assert step > 4.0 * error
    # The parameters of the star absorb a part of it.
    assert 0.5 < step < 1.1
    normal = np.stack([series.east / series.east_err, series.north / series.north_err])
    assert normal.std() == pytest.approx(1.0, abs=0.05)
