"""The coefficients of the tensor PRF, against dense linear algebra."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fields
from romanprf.core.accelerate import set_threads
from romanprf.frame.stamps import make_stamps
from romanprf.frame.state import FrameState, Shift
from romanprf.learn import equations
from romanprf.learn.equations import Equations
from romanprf.prf import tensor_nb as nb
from romanprf.prf.tensor import SCALE, STEP, TensorPRF

SHAPE = (22, 24)
WCS = fields.wcs(*SHAPE)


def core(dx, dy, width=1.0):
    a, b = 0.65 * width, 0.75 * width
    halo = 0.1 * np.exp(-(dx**2 + dy**2) / 6.0) / (6.0 * np.pi)
    return 0.9 * np.exp(-0.5 * ((dx / a) ** 2 + (dy / b) ** 2)) / (2.0 * np.pi * a * b) + halo


def projected(width=1.0, shape=SHAPE):
    jacobian = fields.wcs(*shape).jacobian(*np.full(2, 11.0))
    return TensorPRF.projected(lambda dx, dy: core(dx, dy, width), 3.5, jacobian)


PRF, PRIOR = projected(), projected(1.05)


class Frames:
    """Overlapping stars on dithered frames that show noise and what the PRF lacks."""

    def __init__(self, prf, seed=1, n=7, count=3, shape=SHAPE, wrong=0.02, sky=0.5):
        rng, wcs = np.random.default_rng(seed), fields.wcs(*shape)
        x, y = rng.uniform(-1.0, shape[1], n), rng.uniform(-1.0, shape[0], n)
        self.light = 10.0 ** rng.uniform(2.5, 4.0, n)
        self.stamps, self.left, self.weight = [], [], []
        for dither in rng.uniform(-1.0, 1.0, (count, 2)):
            frame = fields.frame(*wcs.pixel_to_sky(x, y), wcs, shape)
            stamps = make_stamps(prf, frame, self.light, 1e-3, FrameState(Shift(*dither, 0.0, 0.0)))
            variance = 1.0 + 0.01 * stamps.model(self.light)
            lacking = wrong * stamps.model(self.light) * rng.normal(size=shape)
            left = sky + lacking + np.sqrt(variance) * rng.normal(size=shape)
            weight = np.where(rng.random(shape) < 0.05, 0.0, 1.0 / variance)
            self.stamps.append(stamps)
            self.left.append(left.astype(np.float32).astype(float))  # as they are kept
            self.weight.append(weight.astype(np.float32).astype(float))

    def noise(self, seed):
        """Replace what is left by noise of this seed."""
        rng = np.random.default_rng(seed)
        sigma = [np.where(w > 0.0, w, np.inf) ** -0.5 for w in self.weight]
        self.left = [each * rng.normal(size=each.shape) for each in sigma]

    def equations(self, prf, prior=PRIOR, with_background=True):
        out = Equations(prf, prior, with_background)
        for frame in zip(self.stamps, self.left, self.weight, strict=True):
            out.add(frame[0], self.light, *frame[1:])
        return out


def dense(frames, prf, prior=PRIOR, with_background=True):
    """Matrix and vector of the same problem, a column of pixels for each unknown."""
    size, count = prf.coefficients.size, len(frames.stamps) if with_background else 0
    matrix, vector = np.zeros((size + count,) * 2), np.zeros(size + count)
    for number, (stamps, left, weight) in enumerate(
        zip(frames.stamps, frames.left, frames.weight, strict=True)
    ):
        design = np.zeros((left.size, size + count))
        stars = stamps.x, stamps.y, stamps.radius, frames.light, stamps.window, stamps.offset
        nodes = prf.shares(stamps.x, stamps.y)
        one = np.zeros(prf.coefficients.shape, np.float32)
        values = np.empty(stamps.offset[-1], np.float32)
        for k in range(size):
            one.ravel()[k] = 1.0
            nb.fill_stamps(*stars, *nodes, one, SCALE, STEP, 1, values)
            design[:, k] = replace(stamps, values=values).model(np.ones(len(stamps))).ravel()
            one.ravel()[k] = 0.0
        if with_background:
            design[:, size + number] = 1.0
        matrix += design.T @ (weight.ravel()[:, None] * design)
        vector += design.T @ (weight * left).ravel()
    wanted, known = prior_terms(prf, prior)
    matrix[:size, :size] += wanted
    vector[:size] += known
    return matrix, vector


def prior_terms(prf, prior):
    """Matrix and vector of the prior: nodes near its shape, and near each other."""
    (down, across), size = prf.grid, prf.mean.size
    nodes, envelope = down * across, prior.envelope().ravel()
    near = np.tile((equations._PRIOR * envelope) ** -2.0 / nodes, nodes)
    now, shape = prf.coefficients.ravel(), prior.coefficients.ravel()
    scale = (near * shape * now).sum() / (near * shape**2).sum()
    matrix, vector = np.diag(near), near * (scale * shape - now)
    place = np.arange(nodes).reshape(down, across)
    sides = (place[1:], place[:-1]), (place[:, 1:], place[:, :-1])
    pairs = [pair for side in sides for pair in zip(*(a.flat for a in side), strict=True)]
    for a, b in pairs:
        row = np.zeros((size, nodes * size))
        row[np.arange(size), a * size + np.arange(size)] = 1.0
        row[np.arange(size), b * size + np.arange(size)] = -1.0
        alike = (equations._CHANGE * envelope[:, None]) ** -2.0 * row
        matrix += row.T @ alike
        vector -= alike.T @ (row @ now)
    return matrix, vector


@pytest.fixture
def exact(monkeypatch):
    """Let the iteration go on to the end."""
    monkeypatch.setattr(equations, "_TOLERANCE", 1e-18)
    monkeypatch.setattr(equations, "_MAX_ITERATIONS", 2000)


def nodes_that_differ(count):
    """The PRF, a little wider from node to node."""
    if count == 1:
        return PRF, PRIOR
    widths = np.linspace(0.99, 1.01, count**2)
    coefficients = np.concatenate([projected(width).coefficients for width in widths])
    spread = replace(PRF.with_nodes(count, SHAPE), coefficients=coefficients)
    return spread, PRIOR.with_nodes(count, SHAPE)


@pytest.mark.parametrize("with_background", [True, False])
@pytest.mark.parametrize("nodes", [1, 2])
def test_solution_is_that_of_dense_algebra(exact, nodes, with_background):
    prf, prior = nodes_that_differ(nodes)
    frames = Frames(prf, count=2)
    matrix, vector = dense(frames, prf, prior, with_background)
    expected = np.linalg.solve(matrix, vector)[: prf.coefficients.size]
    ours = frames.equations(prf, prior, with_background).solve()
    assert ours.shape == prf.coefficients.shape
    assert_allclose(ours.ravel(), expected, rtol=0.0, atol=1e-5 * np.abs(expected).max())
    assert np.abs(expected).max() > 1e-3


def test_solution_is_as_good_as_promised():
    """Squared error over all coefficients, in units of their covariance."""
    frames = Frames(PRF)
    matrix, vector = dense(frames, PRF)
    solver = frames.equations(PRF)
    error = solver.solve().ravel() - np.linalg.solve(matrix, vector)[:-3]
    inverse = np.linalg.inv(matrix)[:-3, :-3]
    assert error @ np.linalg.solve(inverse, error) < 0.05
    assert 1 < solver.iterations < 100


def test_an_unknown_sky_is_eliminated(exact):
    """It leaves nothing of itself in the PRF; a sky that is said to be 0 does."""
    frames, brighter = Frames(PRF), Frames(PRF)
    brighter.left = [left + 3.0 for left in brighter.left]
    for unknown in (True, False):
        one, two = (f.equations(PRF, PRIOR, unknown).solve() for f in (frames, brighter))
        assert (np.abs(one - two).max() < 1e-6 * np.abs(one).max()) == unknown


def test_prior_is_of_a_shape_at_the_scale_that_suits(exact):
    nothing = [Equations(PRF, PRIOR.brightened(factor), True).solve() for factor in (1.0, 1.7)]
    assert_allclose(nothing[1], nothing[0], rtol=1e-8, atol=1e-12)
    alone = nothing[0] + PRF.coefficients
    shape = alone / PRIOR.coefficients
    assert_allclose(shape, shape.mean(), rtol=1e-8)
    nearest = nothing[0] / PRIOR.envelope() ** 2  # a step along the prior brings it no closer
    assert abs(np.vdot(nearest, PRIOR.coefficients)) < 1e-9 * np.abs(nearest * alone).sum()


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_scale_of_the_prior_does_not_matter(exact, factor):
    """But for its width, which is little beside what the stars say."""
    frames = Frames(PRF)
    one, two = (frames.equations(PRF, p).solve() for p in (PRIOR, PRIOR.brightened(factor)))
    assert_allclose(two, one, rtol=0.0, atol=0.02 * np.abs(one).max())


def test_nodes_without_stars_follow_their_neighbours(exact):
    prf, prior = PRF.with_nodes(2, SHAPE), PRIOR.with_nodes(2, SHAPE)
    frames = Frames(prf, n=60)
    frames.light[frames.stamps[0].x > 5.0] = 0.0
    frames.left = [0.05 * stamps.model(frames.light) for stamps in frames.stamps]
    change = frames.equations(prf, prior).solve() / prf.mean.max()
    middle = change[:, 10:-10, 10:-10].reshape(2, 2, -1)
    assert middle[:, 0].max() == pytest.approx(0.05, abs=0.005)
    assert_allclose(middle[:, 1], middle[:, 0], atol=0.003)


def test_threads_do_not_change_a_bit():
    prf, prior = nodes_that_differ(2)
    frames, found = Frames(prf), []
    try:
        for threads in (1, 2):
            set_threads(threads)
            solver = frames.equations(prf, prior)
            change = solver.solve()
            found.append([change, *solver.jackknife(change, 3)])
    finally:
        set_threads(1_000)
    assert len(found[0]) == 4
    for one, two in zip(*found, strict=True):
        assert_array_equal(two, one)


def test_jackknife_leaves_out_a_group_at_a_time(exact):
    """The same as solutions of frames that never had the group."""
    frames = Frames(PRF, n=9)
    solver = frames.equations(PRF)
    change = solver.solve()
    for group, error in enumerate(solver.jackknife(change, 3)):
        fewer = Frames(PRF, n=9)
        fewer.light[group::3] = 0.0
        without = fewer.equations(PRF).solve()
        expected = equations._HELD * np.sqrt(2.0) * (without - change)
        assert_allclose(error, expected, atol=1e-6 * np.abs(expected).max())


def test_every_group_is_solved_for(monkeypatch):
    """Those of the last groups are errors too, however long the first ones took."""
    monkeypatch.setattr(equations, "_MAX_ITERATIONS", 20)
    solver = Frames(PRF, n=16).equations(PRF)
    change = solver.solve()
    assert solver.iterations < 20
    assert all(np.abs(error).max() > 0.0 for error in solver.jackknife(change, 8))


def test_jackknife_error_is_the_scatter_of_solutions():
    """At the peak of the PRF and off it, but for the factor: here no flux has to follow."""
    shape = (48, 48)
    prf, prior = projected(shape=shape), projected(1.05, shape=shape)
    frames = Frames(prf, n=120, count=2, shape=shape)
    frames.light = np.full(120, 3000.0)
    solutions, errors = [], []
    for seed in range(24):
        frames.noise(seed)
        solver = frames.equations(prf, prior)
        change = solver.solve()
        solutions.append(_values(prf, change))
        if seed < 6:
            errors += [_values(prf, error) for error in solver.jackknife(change, 8)]
    scatter = np.std(solutions, axis=0)
    ratio = np.sqrt(np.mean(np.square(errors), axis=0)) / equations._HELD / scatter
    assert_allclose(ratio, 1.0, atol=0.4)
    assert (scatter > 5e-5).all()


def _values(prf, change):
    return replace(prf, coefficients=change).on_pixels(
        np.array([0.0, 0.5, 1.0, 2.0]), 0.0, prf.jacobian
    )
