import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fields
from romanprf import schemas
from romanprf.io.tables import read_metadata, read_table, write_table
from romanprf.prf import LogPolarPRF

GEOMETRIES = [(28, 24, 0.01, 0.05, 2.2), (12, 6, 0.01, 0.05, 1.1), (5, 4, 0.0, 0.1, 2.0)]


@pytest.fixture
def model():
    return fields.prf()


def _pixel_sum(model, dx, dy):
    """Sum of the PRF over the pixel grid, for a source at this sub-pixel position."""
    column, row = np.meshgrid(np.arange(-30, 31) - dx, np.arange(-30, 31) - dy)
    r, phi = fields.SCALE * np.hypot(column, row), np.arctan2(row, column)
    return model.evaluate(r, phi).sum()


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_first_guess_is_its_profile(geometry):
    guess = LogPolarPRF.first_guess(*geometry, fields.SCALE**2)
    assert guess.integral() == pytest.approx(1.0, abs=1e-12)
    assert_array_equal(guess.coefficients, guess.round().coefficients)
    _, _, _, cut_r, rmax = geometry
    r = np.linspace(2.0 * cut_r, 0.9 * rmax, 50)
    slope = np.log10(guess.evaluate(r, 0.3) * (1.0 + (r / cut_r) ** 2) ** 1.4)
    assert np.ptp(slope) < 0.06  # dex; fewer knots follow the profile less closely


def test_integral_is_the_sum_over_pixels():
    guess = LogPolarPRF.first_guess(28, 24, 0.01, 0.05, 2.2, fields.SCALE**2)
    phases = (np.arange(12) + 0.5) / 12
    sums = [_pixel_sum(guess, dx, dy) for dx in phases for dy in phases]
    edge = guess.evaluate(2.2 * (1 - 1e-12), 0.0)
    beyond = 2.0 * np.pi * edge * 2.2**2 / fields.SCALE**2  # integral of a wing r^-3
    assert np.mean(sums) + beyond == pytest.approx(1.0, abs=2e-3)


def test_normalised(model):
    brighter = LogPolarPRF(
        *(getattr(model, n) for n in ("n_r", "n_phi", "rmin", "cut_r", "rmax", "pixel_area")),
        model.coefficients + np.where(np.arange(model.size) < model.n_radial, 0.3, 0.0),
    )
    assert brighter.integral() == pytest.approx(10**0.3, rel=1e-12)
    assert_allclose(brighter.normalised().coefficients, model.coefficients, atol=1e-12)


def test_limits_of_the_radius(model):
    phi = np.linspace(-np.pi, np.pi, 9)
    assert not model.evaluate(np.array([[1.1], [1.5], [99.0]]), phi).any()
    assert (model.evaluate(1.1 - 1e-9, phi) > 0.0).all()
    start = max(model.radial_knots[model.core], 0.0) ** 2  # where the first angles begin
    assert 0.0 < start < model.cut_r
    for r in (0.0, 0.5 * start, start):
        core = model.evaluate(r, phi)
        assert_allclose(core, core[0], rtol=1e-12)
    assert np.ptp(np.log10(model.evaluate(0.6, phi))) > 0.05
    assert model.radial_knots[model.core + 3] ** 2 < model.cut_r  # the last round one ends inside


def test_continuity(model):
    step = 1e-7
    phi = np.linspace(-3.0, 3.0, 50)
    for r in (0.01, 0.05, *(fields.prf()._t_min + model._t_step * np.arange(2, 11)) ** 2):
        below, above = model.evaluate(r - step, phi), model.evaluate(r + step, phi)
        assert_allclose(above, below, rtol=1e-4)
    r = np.linspace(0.0, 1.09, 200)
    assert_allclose(model.evaluate(r, np.pi), model.evaluate(r, -np.pi), rtol=1e-12)
    assert_allclose(model.evaluate(r, np.pi - step), model.evaluate(r, step - np.pi), rtol=1e-5)


def test_wing_continues_the_model(model):
    jacobian = 1.02 * fields.SCALE * np.eye(2)
    prf, end = model.with_wing(jacobian), model.rmax / (1.02 * fields.SCALE)
    d = np.linspace(0.0, 0.999 * end, 50)
    assert_array_equal(prf(d, 0.0), model.on_pixels(d, 0.0, jacobian))
    far = prf(end * np.array([1.001, 2.0, 4.0]), 0.0)
    assert_allclose(far[1:] / far[:-1], [(1.001 / 2.0) ** 3, 1.0 / 8.0], rtol=1e-9)
    circle = np.linspace(0.0, 2.0 * np.pi, 240, endpoint=False)
    inside, outside = (prf(d * np.cos(circle), d * np.sin(circle)) for d in (d[-1], 1.001 * end))
    assert inside.mean() == pytest.approx(outside.mean(), rel=0.02)


def test_shapes_broadcast(model):
    r, phi = np.linspace(0.0, 1.2, 5)[:, None], np.linspace(-3.0, 3.0, 4)
    grid = model.evaluate(r, phi)
    assert grid.shape == (5, 4)
    assert grid[2, 3] == model.evaluate(r[2, 0], phi[3])
    assert model.evaluate(0.1, 0.0).shape == ()


def test_radius_falls_with_the_threshold(model):
    threshold = np.logspace(-8, 1, 200)
    radius = model.radius(threshold)
    assert (np.diff(radius) <= 0.0).all()
    assert radius[0] == pytest.approx(model.rmax)
    assert radius[-1] == 0.0
    phi = np.linspace(-np.pi, np.pi, 12, endpoint=False)
    for r in radius[(radius > 0.02) & (radius < 1.0)]:
        profile = model.evaluate(np.linspace(r, 1.09, 200)[:, None], phi).mean(axis=1)
        assert profile.max() <= profile[0] * (1.0 + 1e-9)


def test_table_round_trip(model, tmp_path):
    columns, metadata = model.to_table()
    path = tmp_path / "prf.parquet"
    write_table(path, columns, schemas.PRF, {}, metadata)
    again = LogPolarPRF.from_table(read_table(path, schemas.PRF), read_metadata(path, schemas.PRF))
    assert_array_equal(again.coefficients, model.coefficients)
    for name in ("n_r", "n_phi", "rmin", "cut_r", "rmax", "pixel_area"):
        assert getattr(again, name) == getattr(model, name)
    assert len(set(zip(columns["i"], columns["j"], strict=True))) == model.size
    assert columns["i"].max() == model.n_radial - 1


def test_a_table_of_another_model_is_refused(model):
    columns, metadata = model.to_table()
    other = {"model": json.dumps(json.loads(metadata["model"]) | {"kind": "tensor"})}
    with pytest.raises(ValueError, match="expected a log-polar model"):
        LogPolarPRF.from_table(columns, other)


def test_fit_recovers_the_model(model):
    rng = np.random.default_rng(21)
    r, phi = 1.1 * rng.random(60_000) ** 2, rng.uniform(-np.pi, np.pi, 60_000)
    value = np.log10(model.evaluate(r, phi))
    guess = LogPolarPRF.first_guess(12, 6, 0.01, 0.05, 1.1, fields.SCALE**2)
    fitted = guess.fitted(r, phi, value, np.full(r.size, 1e6))
    left = np.log10(fitted.evaluate(r, phi)) - value
    assert np.abs(left).max() < 1e-3
    assert np.abs(np.log10(guess.evaluate(r, phi)) - value).max() > 0.05


def test_fit_errors_follow_the_weights(model):
    rng = np.random.default_rng(22)
    r, phi = 1.1 * rng.random(60_000) ** 2, rng.uniform(-np.pi, np.pi, 60_000)
    noise = 0.1 * rng.normal(size=r.size)
    value = np.log10(model.evaluate(r, phi)) + noise
    fitted = model.fitted(r, phi, value, np.full(r.size, 0.1**-2))
    left = np.log10(fitted.evaluate(r, phi) / model.evaluate(r, phi))
    # the mean squared error of a linear fit is the variance times coefficients over data
    assert np.sqrt(np.mean(left**2)) < 1.3 * 0.1 * np.sqrt(model.size / r.size)
    weightless = model.fitted(r, phi, value, np.zeros(r.size))
    assert_allclose(weightless.coefficients, model.coefficients, atol=1e-8)
