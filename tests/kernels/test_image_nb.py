import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import naive
from naive import both
from romanprf.frame import image_nb as nb

SLOPES = pytest.mark.parametrize("slope", [0.0, 0.5])


@pytest.fixture
def images():
    """Flux, error and model; negative fluxes, models far off them, one rejected pixel."""
    flux, model = np.random.default_rng(3).normal(2.0, 4.0, (2, 9, 11))
    error = np.random.default_rng(4).uniform(0.5, 2.0, (9, 11))
    error[4, 5] = np.inf
    return flux, error, model


@SLOPES
@both(nb.swapped)
def test_swapped(kernel, slope, images):
    flux, error, model = images
    places = [(i, j) for i, j in np.ndindex(flux.shape) if (i, j) != (4, 5)]
    arguments = [(error[p] ** 2, flux[p], model[p], slope, 0.1) for p in places]
    ours = [kernel(*numbers) for numbers in arguments]
    assert_allclose(ours, [naive.swapped(*numbers) for numbers in arguments], rtol=1e-14)


@SLOPES
@both(nb.weights)
def test_weights(kernel, slope, images):
    outlier, out = np.random.default_rng(5).uniform(size=(9, 11)) < 0.2, np.full((9, 11), np.nan)
    kernel(*images, outlier, slope, 0.1, out)
    assert_allclose(out, naive.weights(*images, outlier, slope, 0.1), rtol=1e-13)
    assert out[4, 5] == 0.0 < out.max()


@both(nb.weighted_residual)
def test_weighted_residual(kernel, images):
    out = np.full((9, 11), np.nan)
    flux, weight, model = images[0], np.nan_to_num(images[1], posinf=0.0), images[2]
    kernel(flux, model, weight, out)
    assert_allclose(out, naive.weighted_residual(flux, model, weight), rtol=1e-14)


@SLOPES
@both(nb.significance)
def test_significance(kernel, slope, images):
    rest, leverage = np.random.default_rng(6).uniform(0.0, 1.0, (2, 9, 11))
    leverage[0] = 1.0
    numbers, out = (slope, 0.1, 1e-6, 0.05), np.full((9, 11), 7.0)
    arguments = *images, rest, leverage, *numbers
    kernel(*arguments, out)
    assert_allclose(out, naive.significance(*arguments), rtol=1e-12)
    assert out[4, 5] == 0.0
    assert out[0].min() > 100.0  # nothing is left of such pixels' deviations


@both(nb.residuals)
def test_residuals(kernel, images):
    residual, chi2 = np.full((2, 9, 11), 7.0)
    weight = images[1] ** -2.0
    kernel(images[0], images[2], weight, residual, chi2)
    expected = naive.residuals(images[0], images[2], weight)
    assert_allclose(residual, expected[0], rtol=1e-14)
    assert_allclose(chi2, expected[1], rtol=1e-13)
    assert np.isnan(residual[4, 5])
    assert np.isnan(residual).sum() == 1


@pytest.mark.parametrize("n", [0, 1, 4])
@both(nb.add_mesh)
def test_add_mesh(kernel, n):
    rng = np.random.default_rng(7)
    rows, columns, rest, out = *(rng.normal(size=(m, n)) for m in (5, 7)), *np.ones((2, 5, 7))
    kernel(rows, columns.T.copy(), 2.0 * rest, out)
    assert_allclose(out, naive.add_mesh(rows, columns, 2.0 * rest), rtol=1e-13, atol=1e-14)


@both(nb.brighter)
def test_brighter(kernel, images):
    _, error, light = images
    out = np.ones((9, 11), bool)
    kernel(light, error, 1.5, out)
    assert_array_equal(out, naive.brighter(light, error, 1.5))
    assert not out[4, 5]
    assert 0 < out.sum() < 90
