import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import erf
from scipy.stats import multivariate_normal

import fields
from romanprf.core.statistics import robust_spread
from romanprf.plots.time_model import time_model_figure
from romanprf.prf import LogPolarPRF
from romanprf.timemodel import Pairs, TimeModel, fit_time_model, polynomials, segment_starts, split
from romanprf.timemodel.perturbation import _bin_starts, _owners
from romanprf.timemodel.solver import normal_equations, posterior
from romanprf.timemodel.vectors import standardised

SCALE, SIGMA, HALF = fields.SCALE, 0.55, 4
SETTINGS = {"nknots": 7, "radius": 3.0 * SCALE, "spacing": "linear", "resolution": 4}
ONE = np.zeros(1, int)


def _light(offset):
    """Light of a Gaussian between the edges of pixels on one axis."""
    return 0.5 * np.diff(erf((offset[..., None] + [-0.5, 0.5]) / SIGMA / np.sqrt(2.0)))[..., 0]


def _prf():
    """The PRF of `_Series` as a log-polar model."""
    guess = LogPolarPRF.first_guess(10, 4, 0.01, 0.05, HALF * SCALE, SCALE**2)
    r = np.linspace(0.01, HALF * SCALE, 200)
    value = np.log10(_light(r / SCALE) * _light(np.zeros(1)))
    return guess.fitted(r, np.zeros_like(r), value, np.full(r.size, 1e6)).normalised()


class _Series:
    """Pixels of lone stars that move by ``drift`` pixels during the series, to and fro in y."""

    def __init__(self, nstars=12, nt=40, drift=0.1, light=None, noise=0.1, reach=3.0, jump=0.0):
        rng = np.random.default_rng(61)
        self.time = np.linspace(0.0, 8.0, nt)
        u = np.linspace(-0.5, 0.5, nt)
        step = np.where(np.arange(nt) >= nt // 2, jump, 0.0)
        move = np.array([drift * u + step, 1.5 * drift * u**2 - step])
        move -= move.mean(axis=1, keepdims=True)
        side = np.arange(-HALF, HALF + 1.0)
        column, row = (a.ravel() for a in np.meshgrid(side, side))
        place, flux = rng.uniform(-0.5, 0.5, (nstars, 2)), 10.0 ** rng.uniform(4.0, 5.5, nstars)
        near = [np.hypot(column - x, row - y) < reach for x, y in place]
        self.source = np.repeat(np.arange(nstars), [n.sum() for n in near])
        x = np.concatenate([column[n] - p[0] for n, p in zip(near, place, strict=True)])
        y = np.concatenate([row[n] - p[1] for n, p in zip(near, place, strict=True)])
        self.dx, self.dy = x * SCALE, y * SCALE
        self.prf = _light(x - move[0][:, None]) * _light(y - move[1][:, None])
        self.light = np.ones((nt, nstars))
        if light is not None:
            self.light[:, 0] = light
        model = flux[self.source] * self.light[:, self.source] * self.prf
        self.flux_err = noise * np.sqrt(model + 25.0)
        self.flux = model + self.flux_err * rng.normal(size=model.shape)

    @property
    def factor(self):
        return self.prf / self.prf.mean(axis=0)

    def rms(self, change):
        """Over pairs, weighted with their light, and frames."""
        return np.sqrt(np.mean(np.average(change**2, axis=1, weights=self.prf.mean(axis=0))))

    def fit(self, vectors=None, starts=ONE, **settings):
        vectors = polynomials(self.time, 3, False) if vectors is None else vectors
        names = ("source", "dx", "dy", "flux", "flux_err")
        pairs = Pairs(**{name: getattr(self, name) for name in names})
        return fit_time_model(vectors, pairs, _prf(), starts=starts, **(SETTINGS | settings))

    def left(self, model):
        """What the model leaves of the true change of the PRF."""
        return self.rms(model.factor(slice(None), self.dx, self.dy) - self.factor)


def test_segments_start_after_gaps():
    time = np.array([0.0, 1.0, 2.0, 3.0, 7.9, 8.9, 14.0, 15.0, 16.0])
    assert_array_equal(segment_starts(time), [0, 6])  # 4.9 cadences are no gap, 5.1 are
    assert_array_equal(segment_starts(np.array([5.0])), [0])
    message = r"^time\[2\]=0.5 does not follow time\[1\]=1.0; sort the frames by time$"
    with pytest.raises(ValueError, match=message):
        segment_starts(np.array([0.0, 1.0, 0.5]))


def test_polynomials_of_one_segment_are_those_of_numpy():
    time = np.sort(np.random.default_rng(1).uniform(0.0, 9.0, 50)) + 2.46e6
    vectors = polynomials(time, 3, segments=False)
    assert vectors.shape == (50, 3)
    truth = np.vander(time - time.mean(), 4)
    both = np.linalg.lstsq(np.column_stack([vectors, np.ones(50)]), truth, rcond=None)[0]
    assert_allclose(np.column_stack([vectors, np.ones(50)]) @ both, truth, atol=1e-9)
    with pytest.raises(
        ValueError, match=r"^polynomial order 0 describes no change; use 1 or more$"
    ):
        polynomials(time, 0, segments=False)


def test_each_segment_has_its_own_polynomials_and_level():
    time = np.concatenate([np.arange(10.0), 30.0 + np.arange(8.0), [60.0]])
    vectors = polynomials(time, 2, segments=True)
    assert vectors.shape == (19, 3 * 2 + 2)
    wanted = np.concatenate([time[:10] ** 2, 3.0 - time[10:18], [99.0]])  # another law in each
    columns = np.column_stack([vectors, np.ones(19)])
    fitted = columns @ np.linalg.lstsq(columns, wanted, rcond=None)[0]
    assert_allclose(fitted, wanted, atol=1e-9)
    assert not polynomials(time, 2, segments=True)[:, -2:].any()  # one frame has no slope


def test_split_vectors():
    vectors = np.random.default_rng(2).normal(size=(9, 2))
    parts = split(vectors, np.array([0, 4]))
    assert_allclose(parts[:4, :2], vectors[:4] - vectors[:4].mean(axis=0))
    assert_array_equal(parts[:, 2], np.arange(9) >= 4)
    assert_allclose(parts[4:, 3:], vectors[4:] - vectors[4:].mean(axis=0))
    assert not parts[4:, :2].any()
    assert not parts[:4, 2:].any()


def test_vectors_are_standardised_and_constant_ones_dropped():
    drift = np.linspace(2.46e6, 2.46e6 + 3.0, 30)
    vectors = standardised(np.column_stack([drift, np.full(30, 0.1), drift**2]))
    assert vectors.shape == (30, 2)
    assert_allclose(vectors.mean(axis=0), 0.0, atol=1e-15)
    assert_allclose(np.abs(vectors).max(axis=0), 1.0)


@pytest.mark.parametrize("spacing", ["linear", "sqrt"])
def test_drift_is_recovered(spacing):
    series = _Series()
    model, used = series.fit(spacing=spacing)
    assert series.rms(series.factor - 1.0) > 0.04
    assert series.left(model) < 0.002
    assert used.sum() > 0.8 * used.size
    assert not used[np.abs(series.dx) > SETTINGS["radius"]].any()
    relative = model.relative_flux(series.flux, series.source, series.dx, series.dy)
    assert np.median(np.abs(relative - series.factor)[:, used]) < 0.01  # noise of the pixels


@pytest.mark.parametrize("reach", [3.0, 1.6])
def test_stellar_variability_is_not_absorbed(reach):
    """The light curve of a star that varies as the drift does; its pixels may be few."""
    light = 1.0 + 0.2 * np.linspace(-1.0, 1.0, 40)
    constant = _Series(reach=reach, noise=0.01)
    variable = _Series(reach=reach, noise=0.01, light=light)
    models = [series.fit()[0] for series in (constant, variable)]
    one, other = (m.factor(slice(None), constant.dx, constant.dy) for m in models)
    assert constant.rms(other - one) < 0.01 * np.std(light)
    assert variable.left(models[1]) < 0.003
    own = variable.source == 0
    weight = variable.prf.mean(axis=0)[own]
    curve = (variable.flux[:, own] / other[:, own]) @ weight
    assert_allclose(curve / curve.mean(), light / light.mean(), atol=0.002)


def test_no_drift_leaves_no_perturbation():
    """The prior shrinks to what the data show, whatever the number of coefficients."""
    series = _Series(drift=0.0, noise=1.0)
    model, _ = series.fit(nknots=10)
    change = model.factor(slice(None), series.dx, series.dy) - 1.0
    assert np.abs(change).max() < 1e-3


def test_the_mean_factor_is_one():
    series = _Series()
    model, _ = series.fit()
    factor = model.factor(slice(None), series.dx, series.dy)
    assert_allclose(factor.mean(axis=0), 1.0, atol=1e-13)
    assert_allclose(model.factor(7, series.dx, series.dy), factor[7], rtol=1e-13)
    edge = model.factor(0, np.array([9.0, -9.0]), np.array([0.1, -77.0]))
    held = model.factor(0, np.array([1.0, -1.0]) * model.radius, np.array([0.1, -model.radius]))
    assert_array_equal(edge, held)
    assert np.abs(edge - 1.0).max() > 0.01


def test_no_light_is_gained_or_lost():
    series = _Series()
    model, _ = series.fit()
    prf = fields.prf()
    numbers = np.random.default_rng(3).normal(size=model.weights.shape)
    wild = TimeModel(model.vectors, model.knots, numbers).normalised(prf)
    t, phi = np.linspace(0.0, 1.0, 1001)[1:], np.linspace(-np.pi, np.pi, 240, endpoint=False)
    r = (prf.rmax * t**2)[:, None]  # another grid than that of the normalisation
    light = prf.evaluate(r, phi) * r * t[:, None]
    dx, dy = (r * np.cos(phi)).ravel(), (r * np.sin(phi)).ravel()
    for frame in (0, 20, 39):
        factor = wild.factor(frame, dx, dy)
        assert np.ptp(factor) > 0.5
        assert np.average(factor, weights=light.ravel()) == pytest.approx(1.0, abs=2e-3)
    perturbed = series.prf.mean(axis=0) * model.factor(slice(None), series.dx, series.dy)
    sums = np.array([np.bincount(series.source, p) for p in perturbed])
    assert_allclose(sums / sums.mean(axis=0), 1.0, atol=0.004)  # some leaves the 3 pixels


def test_jump_at_a_gap():
    series = _Series(jump=0.05)
    series.time[20:] += 5.0
    starts = segment_starts(series.time)
    assert_array_equal(starts, [0, 20])
    smooth, _ = series.fit(polynomials(series.time, 2, False), starts)
    cut, _ = series.fit(polynomials(series.time, 2, True), starts)
    assert series.left(cut) < 0.003
    assert series.left(cut) < 0.3 * series.left(smooth)


def test_no_bin_spans_two_segments():
    assert_array_equal(_bin_starts(23, np.array([0, 5, 6]), 6), [0, 5, 6, 12, 18])
    assert_array_equal(_bin_starts(4, ONE, 1), np.arange(4))
    assert_array_equal(_bin_starts(100, ONE, 30), [0, 25, 50, 75])


def test_vectors_of_the_user():
    series = _Series()
    u = np.linspace(-0.5, 0.5, 40)
    model, _ = series.fit(100.0 + np.column_stack([u, u**2, np.ones(40)]))
    assert model.vectors.shape == (40, 2)
    assert series.left(model) < 0.003
    useless, _ = series.fit(np.random.default_rng(4).normal(size=(40, 1)), resolution=1)
    assert series.left(useless) > 0.5 * series.rms(series.factor - 1.0)


def test_bad_pixels_and_frames_do_no_harm():
    series = _Series()
    clean, fitted = series.fit()
    rng = np.random.default_rng(5)
    hit = rng.random(series.flux.shape) < 0.01
    series.flux[hit] = np.nan
    series.flux_err[5, 3], series.flux_err[6, 4] = np.inf, 0.0
    series.flux[20:24] = np.nan  # a whole bin
    series.flux[:10, 11] = np.nan  # a pixel for a while
    series.flux[:, 40] *= np.linspace(0.5, 1.5, 40)  # the brightest of a star is wrong
    model, used = series.fit()
    assert not used[[11, 40]].any()
    assert used.sum() > 0.85 * fitted.sum()
    assert series.left(model) < 1.5 * series.left(clean)


def _small_problem():
    """Three sources, 24 pairs, 6 bins, 2 vectors and the weights of noise."""
    rng = np.random.default_rng(6)
    source = np.repeat([3, 5, 9], 8)
    model = TimeModel(np.empty(0), np.linspace(-1.0, 1.0, 4), np.zeros((2, 36)))
    design, owners = model.design(*rng.uniform(-1.0, 1.0, (2, 24))), _owners(source)
    vectors = rng.normal(size=(6, 2))
    weight = rng.uniform(0.5, 2.0, (6, 24)) * 1e4
    change = (design @ (vectors @ rng.normal(0.0, 0.1, (2, 36))).T).T
    change = change + rng.normal(size=(6, 3)) @ owners.T + rng.normal(size=(6, 24)) / weight**0.5
    rows = np.vstack([np.kron(v, design.toarray()) for v in vectors])
    light = np.kron(np.eye(6), owners.toarray())
    return (design, owners, vectors, change, weight), rows, light


def test_solution_is_that_of_dense_least_squares():
    problem, rows, light = _small_problem()
    coefficients, sigma = posterior(*normal_equations(*problem))
    whiten = np.sqrt(problem[4]).ravel()
    prior = np.hstack([np.eye(72) / sigma, np.zeros((72, 18))])
    dense = np.vstack([whiten[:, None] * np.hstack([rows, light]), prior])
    vector = np.concatenate([whiten * problem[3].ravel(), np.zeros(72)])
    truth = np.linalg.lstsq(dense, vector, rcond=None)[0][:72]
    assert_allclose(coefficients, truth, rtol=0, atol=1e-8 * np.abs(truth).max())


def test_sigma_of_the_prior_is_the_likeliest():
    problem, rows, light = _small_problem()
    _, sigma = posterior(*normal_equations(*problem))
    assert 0.05 < sigma < 0.2

    def likelihood(s):
        covariance = np.diag(1.0 / problem[4].ravel()) + s**2 * rows @ rows.T
        covariance += 1e3 * light @ light.T  # light is free
        return multivariate_normal.logpdf(problem[3].ravel(), cov=covariance)

    assert likelihood(sigma) > likelihood(0.98 * sigma)
    assert likelihood(sigma) > likelihood(1.02 * sigma)


BAD = [
    ({"nknots": 3}, "time_nknots=3 cannot follow a PRF; use 4 or more"),
    ({"radius": 0.0}, "time_radius=0.0; give a positive number of arcsec"),
    ({"spacing": "log"}, "cartesian_knot_spacing='log'; use 'linear' or 'sqrt'"),
    ({"resolution": 0}, "time_resolution=0; use 1 frame per bin or more"),
    (
        {"resolution": 20},
        "2 bins of time_resolution=20 frames cannot determine 3 vectors; "
        "lower time_resolution or give fewer vectors",
    ),
    (
        {"vectors": np.ones((40, 2))},
        "all 2 vectors are constant in time; give some that change",
    ),
    ({"vectors": np.ones((9, 2))}, r"vectors of shape (9, 2); expected (40, 1 or more)"),
    (
        {"vectors": np.where(np.arange(40) == 3, np.nan, 1.0)[:, None]},
        "vectors[3, 0]=nan; expected finite numbers, interpolate over frames without one",
    ),
    (
        {"radius": 1e-6},
        "no pixel of 351 can be fitted: 0 are within time_radius, 0 of these good at all times, "
        "0 of these brighter than 10 sigma; raise time_radius or time_resolution or add stars",
    ),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_bad_arguments(settings, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  the whole message is compared
        _Series().fit(**settings)
    assert str(error.value) == message


def test_too_few_frames():
    with pytest.raises(ValueError, match=r"^2 frames; a time model needs 3 or more$"):
        _Series(nt=2).fit(np.array([[0.0], [1.0]]))


def test_lone_pixels_are_not_used():
    series = _Series()
    series.source = np.arange(series.source.size)
    with pytest.raises(ValueError, match="no pixel of 351 can be fitted"):
        series.fit()


def test_picture():
    series = _Series()
    model, used = series.fit()
    relative = model.relative_flux(series.flux, series.source, series.dx, series.dy)
    figure = time_model_figure(model, series.dx, series.dy, relative, used)
    titles = [ax.get_title(loc="left") for ax in figure.axes[:6]]
    assert [t.split("\n")[0] for t in titles] == [
        f"{name} frame, {part}"
        for name in ("First", "Last")
        for part in ("data", "model", "data - model")
    ]
    for axes in figure.axes[:6]:
        (dots,) = axes.collections
        assert len(dots.get_offsets()) == used.sum()
        assert axes.get_xlim()[0] > axes.get_xlim()[1]  # east to the left
    data, shown, left = (np.asarray(ax.collections[0].get_array()) for ax in figure.axes[:3])
    assert_allclose(left, data - shown, atol=1e-9)
    assert_allclose(shown, 100.0 * (model.factor(0, series.dx, series.dy)[used] - 1.0))
    assert robust_spread(left) < 0.2 * robust_spread(data)
    assert f"spread {robust_spread(data):.2g} %" in titles[0]
