"""What all PRF models have in common."""

from __future__ import annotations

import inspect
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fields
from romanprf import schemas
from romanprf.io.tables import write_table
from romanprf.prf import PRF, LogPolarPRF, TensorPRF
from romanprf.prf.table import read_prf

SHAPE = (40, 44)
WCS = fields.wcs(*SHAPE)
JACOBIAN = WCS.jacobian(*np.asarray([21.5, 19.5]))
PHI = np.linspace(-np.pi, np.pi, 96, endpoint=False)


def tensor() -> TensorPRF:
    """The log-polar model of the other tests, somewhat different at each of 2 x 2 nodes."""
    one = TensorPRF.projected(fields.prf().with_wing(JACOBIAN), 10.0, JACOBIAN)
    spread, rng = one.with_nodes(2, SHAPE), np.random.default_rng(31)
    coefficients = spread.coefficients * rng.uniform(0.9, 1.1, (4, 1, 1))
    errors = 0.01 * spread.coefficients * rng.normal(size=(3, 4, 1, 1))
    return replace(spread, coefficients=coefficients, errors=errors, scale_error=0.002)


MODELS = {"log-polar": fields.prf, "tensor": tensor}


@pytest.fixture(params=MODELS)
def model(request) -> PRF:
    return MODELS[request.param]()


def test_kinds(model):
    assert isinstance(model, PRF)
    assert isinstance(model, MODELS[model.kind]().__class__)
    assert model.pixel_scale == pytest.approx(fields.SCALE, rel=1e-3)
    assert model.pixel_area == pytest.approx(model.pixel_scale**2, rel=1e-12)


@pytest.mark.parametrize("kind", [LogPolarPRF, TensorPRF])
def test_methods_take_what_the_interface_says(kind):
    assert not inspect.isabstract(kind)
    for name in PRF.__abstractmethods__:
        expected, own = (inspect.getattr_static(cls, name) for cls in (PRF, kind))
        if inspect.isfunction(expected):
            names = [list(inspect.signature(method).parameters) for method in (expected, own)]
            assert names[0] == names[1], name


def test_normalised_models_have_integral_one(model):
    assert model.brightened(3.0).normalised().integral() == pytest.approx(1.0, abs=1e-12)
    assert model.normalised().brightened(0.5).integral() == pytest.approx(0.5, abs=1e-12)


def test_integral_is_that_of_the_values_and_a_wing(model):
    """Both models count the same light: inside their end, and r^-3 beyond it."""
    r = np.linspace(0.0, model.rmax, 4001)
    r = 0.5 * (r[1:] + r[:-1])
    mean = model.evaluate(r[:, None], PHI).mean(axis=1)
    inside = 2.0 * np.pi * np.sum(mean * r) * model.rmax / r.size
    edge = model.evaluate(0.995 * model.rmax, PHI).mean() * 0.995**3
    beyond = 2.0 * np.pi * edge * model.rmax**2
    assert beyond > 0.01 * inside
    assert model.integral() == pytest.approx((inside + beyond) / model.pixel_area, rel=2e-3)


def test_integrals_of_one_prf_in_both_models():
    log_polar = fields.prf()
    tensor = TensorPRF.projected(log_polar.with_wing(JACOBIAN), 10.0, JACOBIAN)
    assert tensor.integral() == pytest.approx(log_polar.integral(), rel=1e-3)


def test_brightened_multiplies_by_a_factor(model):
    r = np.linspace(0.0, 0.99 * model.rmax, 30)
    bright = model.brightened(1.7)
    assert_allclose(bright.evaluate(r, 0.4), 1.7 * model.evaluate(r, 0.4), rtol=1e-12)
    assert bright.integral() == pytest.approx(1.7 * model.integral(), rel=1e-12)
    assert_allclose(bright.radius(1.7e-3), model.radius(1e-3), rtol=1e-12)
    for one, error in zip(bright.likely_errors(True), model.likely_errors(True), strict=True):
        assert_allclose(one.evaluate(r, 0.4), 1.7 * error.evaluate(r, 0.4), rtol=1e-12)
        assert_allclose(one.radius(1.7e-3), model.radius(1e-3), rtol=1e-12)


def test_on_pixels_is_the_prf_on_the_sky(model):
    dx, dy = np.random.default_rng(32).uniform(-6.0, 6.0, (2, 5, 40))
    east, north = np.einsum("ij,j...->i...", JACOBIAN, np.stack([dx, dy]))
    sky = model.evaluate(np.hypot(east, north), np.arctan2(north, east))
    area = abs(np.linalg.det(JACOBIAN)) / model.pixel_area
    assert_allclose(model.on_pixels(dx, dy, JACOBIAN), area * sky, rtol=1e-10)


def test_on_pixels_of_another_detector(model):
    """Log-polar models are those of the sky, tensor models of the pixels."""
    turn = 1.1 * np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    here, there = (model.on_pixels(2.0, 1.0, j) for j in (JACOBIAN, turn @ JACOBIAN))
    if model.kind == "tensor":
        assert there == here
    else:
        east, north = turn @ JACOBIAN @ [2.0, 1.0]
        sky = model.evaluate(np.hypot(east, north), np.arctan2(north, east))
        assert there == pytest.approx(1.21 * float(sky), rel=1e-3)  # the ratio of pixel areas
        assert abs(there / here - 1.0) > 0.01


def test_models_end(model):
    beyond = model.rmax * np.array([1.001, 1.5, 10.0])
    assert not model.evaluate(beyond, 0.3).any()
    assert model.evaluate(0.999 * model.rmax, PHI).min() > 0.0
    assert not model.on_pixels(beyond / model.pixel_scale * 1.01, 0.0, JACOBIAN).any()
    assert model.on_pixels(0.0, 0.0, JACOBIAN).shape == ()
    assert model.on_pixels(np.zeros((3, 1)), np.zeros(4), JACOBIAN).shape == (3, 4)


def test_mean_profile(model):
    r = np.linspace(0.0, 1.2 * model.rmax, 40)
    profile = model.mean_profile(r)
    assert_array_equal(np.isnan(profile), r >= model.rmax)
    inside = r < 0.99 * model.rmax
    mean = model.evaluate(r[inside, None], PHI).mean(axis=1)
    assert_allclose(profile[inside], np.log10(mean), atol=1e-3)


def test_stamps_are_the_prf_on_pixels(model):
    x, y, side = np.array([12.3, 30.1]), np.array([11.9, 25.4]), 12
    window = np.array([[0, side, 0, side], [20, 20 + side, 24, 24 + side]], np.int32)
    stars = x, y, np.full(2, 99.0), np.stack([JACOBIAN] * 2)
    scale = np.full(2, abs(np.linalg.det(JACOBIAN)) / model.pixel_area)
    offset = np.arange(3) * side**2
    values = model.fill_stamps(*stars, scale, window, offset).reshape(2, side, side)
    mean = model.fill_stamps(*stars, scale, window, offset, points=3).reshape(2, side, side)
    third = np.array([-1.0, 0.0, 1.0]) / 3.0
    for s in range(2):
        row, column = np.arange(side) + window[s, 0], np.arange(side) + window[s, 2]
        dx, dy = np.meshgrid(column - x[s], row - y[s])
        here = model.at(x[s], y[s])
        expected = here.on_pixels(dx, dy, JACOBIAN)
        assert_allclose(values[s], expected, rtol=1e-5, atol=1e-7)
        parts = [here.on_pixels(dx + u, dy + v, JACOBIAN) for u in third for v in third]
        inside = np.hypot(dx, dy) < 9.0  # the end of the model cuts through pixels
        assert_allclose(mean[s][inside], np.mean(parts, axis=0)[inside], rtol=1e-4, atol=1e-7)


def test_places_of_a_cut_out_are_those_of_the_image(model):
    dx, dy = np.random.default_rng(33).uniform(-6.0, 6.0, (2, 50))
    here, part = model.at(20.0, 13.0), model.seen_from(5, 8).at(15.0, 5.0)
    assert here.kind == model.kind
    values = here.on_pixels(dx, dy, JACOBIAN)
    assert_allclose(part.on_pixels(dx, dy, JACOBIAN), values, rtol=1e-10)
    again = here.at(0.0, 39.0)  # the same everywhere
    assert_array_equal(again.on_pixels(dx, dy, JACOBIAN), values)
    assert_array_equal(model.seen_from(5, 8).radius(1e-3), model.radius(1e-3))


def test_a_model_from_its_table(model, tmp_path):
    columns, metadata = model.to_table()
    again = type(model).from_table(columns, metadata)
    path = tmp_path / "prf.parquet"
    write_table(path, columns, schemas.PRF, {}, metadata)
    for other in (again, read_prf(path)):
        assert type(other) is type(model)
        assert_array_equal(other.coefficients, model.coefficients)
        assert (other.pixel_area, other.rmax) == (model.pixel_area, model.rmax)
        assert other.n_errors == model.n_errors
        assert other.to_table()[1] == metadata
    (another,) = (MODELS[kind]() for kind in MODELS if kind != model.kind)
    with pytest.raises(ValueError, match=f"expected a {model.kind} model"):
        type(model).from_table(*another.to_table())


@pytest.mark.parametrize("with_scale", [False, True])
def test_likely_errors(model, with_scale):
    errors = list(model.likely_errors(with_scale))
    assert len(errors) == model.n_errors + (with_scale and model.n_errors > 0)
    assert (model.kind == "tensor") == (model.n_errors > 0)
    r = np.linspace(0.0, 0.9 * model.rmax, 30)
    if errors:
        variance = np.mean([error.evaluate(r, 0.4) ** 2 for error in errors], axis=0)
        known = [replace(model, coefficients=each).evaluate(r, 0.4) for each in model.errors]
        scale = model.scale_error * model.evaluate(r, 0.4) if with_scale else 0.0
        assert_allclose(variance, np.mean(np.square(known), axis=0) + scale**2, rtol=1e-10)
    for error in errors:
        assert error.n_errors == 0
        assert_array_equal(error.radius([1e-2, 1e-3]), model.radius([1e-2, 1e-3]))
