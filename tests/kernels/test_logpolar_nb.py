import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fields
import naive
from naive import both
from romanprf.prf import logpolar_nb as nb

R_MAX = 1.1


@pytest.fixture
def model():
    return fields.prf()


@pytest.fixture
def points():
    """Offsets with all corners: centre, inside rmin, cut_r, rmax, the seam of the angle."""
    rng = np.random.default_rng(2)
    r = np.concatenate([[0.0, 0.005, 0.01, 0.05, R_MAX, 1.2], rng.uniform(0.0, 1.15, 40)])
    phi = rng.uniform(-np.pi, np.pi, r.size)
    phi[10:14] = -np.pi, np.pi, np.nextafter(np.pi, 0), 0.0
    return r, phi


def known(model):
    """The model as the plain twins take it."""
    return model.coefficients, *model._basis


@both(nb.ln_prf)
def test_ln_prf(kernel, model, points):
    ours = [kernel(r, phi, *model._evaluation[:3]) for r, phi in zip(*points, strict=True)]
    assert_allclose(ours, naive.ln_prf(*points, *known(model)), atol=1e-12)


@both(nb.evaluate)
def test_evaluate(kernel, model, points):
    out = np.empty(points[0].size)
    kernel(*points, *model._evaluation, out)
    assert_allclose(out, naive.evaluate(*points, *known(model), R_MAX), rtol=1e-11, atol=0)
    assert out[4] == out[5] == 0.0


@both(nb.evaluate)
def test_no_number_has_no_light(kernel, model):
    out = np.empty(2)
    kernel(np.array([np.nan, np.inf]), np.zeros(2), *model._evaluation, out)
    assert_array_equal(out, 0.0)


@both(nb.accumulate)
@pytest.mark.parametrize("cut_r", [0.05, 0.6, 1.0])
def test_accumulate(kernel, points, cut_r):
    guess = type(fields.prf()).first_guess(8, 4, 0.01, cut_r, R_MAX, 0.0121)
    rng = np.random.default_rng(3)
    value, weight = rng.normal(size=points[0].size), rng.uniform(0.5, 2.0, points[0].size)
    matrix, vector = np.zeros((guess.size, guess.size)), np.zeros(guess.size)
    kernel(*points, value, weight, *guess._basis, matrix, vector)
    expected = naive.accumulate(*points, value, weight, *guess._basis)
    scale = np.abs(expected[0]).max()
    assert_allclose(matrix, np.tril(expected[0]), rtol=1e-10, atol=1e-13 * scale)
    assert_allclose(vector, expected[1], rtol=1e-10, atol=1e-13 * scale)
    kernel(*points, value, weight, *guess._basis, matrix, vector)  # adds to what is there
    assert_allclose(vector, 2.0 * expected[1], rtol=1e-10, atol=1e-13 * scale)


@both(nb.prf_at)
def test_prf_at(kernel, model):
    dx, dy = np.array([0.0, 0.3, -4.0, 20.0]), np.array([0.0, -0.2, 2.5, 0.0])
    jacobian = fields.wcs(12, 14).jacobian(np.array([5.0]), np.array([6.0]))[0]
    ours = [kernel(*place, jacobian, *model._evaluation) for place in zip(dx, dy, strict=True)]
    expected = naive.prf_at(dx, dy, jacobian, *known(model), R_MAX)
    assert_allclose(ours, expected, rtol=1e-10, atol=0)
    assert ours[3] == 0.0


@pytest.fixture
def stars():
    """Stars inside, at the edge and without a window, and where their values start."""
    x, y = np.array([5.3, -2.0, 12.0, 0.0]), np.array([6.8, 4.1, 9.0, 0.0])
    radius = np.array([4.0, 3.0, 2.5, 1.0])
    window = np.array([[3, 11, 2, 10], [2, 7, 0, 2], [7, 10, 10, 14], [0, 0, 0, 0]], np.int32)
    jacobian = fields.wcs(12, 14).jacobian(x, y)
    scale = np.array([1.0, 0.9, 1.1, 1.0])
    sizes = (window[:, 1] - window[:, 0]) * (window[:, 3] - window[:, 2])
    offset = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return (x, y, radius, jacobian, scale, window), offset


@both(nb.fill_stamps)
def test_fill_stamps(kernel, model, stars):
    arguments, offset = stars
    values = np.full(offset[-1], np.nan, np.float32)
    kernel(*arguments, offset, *model._evaluation, values)
    expected = naive.fill_stamps(*arguments, *known(model), R_MAX)
    assert_allclose(values, np.concatenate([a.ravel() for a in expected]), rtol=1e-7)
    assert values.max() > 0.05


@both(nb.integrate_stamps)
@pytest.mark.parametrize("points", [1, 3])
def test_integrate_stamps(kernel, model, stars, points):
    arguments, offset = stars
    values = np.full(offset[-1], np.nan, np.float32)
    kernel(*arguments, offset, *model._evaluation, points, values)
    expected = naive.integrate_stamps(*arguments, *known(model), R_MAX, points)
    assert_allclose(values, np.concatenate([a.ravel() for a in expected]), rtol=1e-7)
