"""Centroids of the stars of a frame and their errors."""

import numpy as np
import pytest

import fields
from romanprf.core.image import masked_image
from romanprf.core.statistics import robust_spread
from romanprf.frame.model import FrameModel
from romanprf.frame.stamps import make_stamps
from romanprf.prf.tensor import TensorPRF
from romanprf.solve.centroids import centroids
from romanprf.solve.fit import fit_frame
from romanprf.solve.fluxes import Method, Prior

SHAPE = (100, 100)
WCS = fields.wcs(*SHAPE)
SLOPE, READ = 1.0 / 60.0, 0.01


def core(dx, dy):
    """As undersampled as Roman's."""
    a, b = 0.55, 0.65
    return np.exp(-0.5 * ((dx / a) ** 2 + (dy / b) ** 2)) / (2.0 * np.pi * a * b)


PRF = TensorPRF.projected(core, 8.0, WCS.jacobian(*np.full((2,), 49.5)))


def on_frame(x, y):
    return fields.frame(*WCS.pixel_to_sky(x, y), WCS, SHAPE)


def fitted(x, y, flux, off, rng, bad=np.s_[:0]):
    """Centroids and fit of stars that are ``off`` the places of the model, (2, nsources)."""
    data = make_stamps(PRF, on_frame(x + off[0], y + off[1]), flux, 1e-3).model(flux) + 1.5
    sigma = np.sqrt(READ + SLOPE * data)
    flags = np.zeros(SHAPE, int)
    flags[bad] = 1
    image = masked_image(data + sigma * rng.normal(size=SHAPE), sigma, flags, SLOPE)
    model = FrameModel(on_frame(x, y), PRF, flux, 0.02)
    prior = Prior(flux, 20.0 * np.sqrt(flux))
    fit = fit_frame(image, model.stamps, prior, Method(1e-3, reweight=1), model.add_far)
    return centroids(model, fit, prior.sigma), fit


def crowded(rng):
    """One star in 10 pixels, as many in each interval of magnitude."""
    x, y = rng.uniform(-1.0, 101.0, (2, 1000))
    return x, y, 10.0 ** rng.uniform(0.5, 4.0, 1000)


def test_pulls_in_a_crowded_field():
    rng = np.random.default_rng(1)
    x, y, flux = crowded(rng)
    off = rng.normal(0.0, 0.01, (2, 1000)) * (rng.random(1000) < 0.1)
    pulls = []
    for _ in range(6):
        found, _ = fitted(x, y, flux, off, rng)
        pulls.append([(found.dx - off[0]) / found.dx_err, (found.dy - off[1]) / found.dy_err])
    pulls, inner = np.array(pulls), np.minimum.reduce([x, 99.0 - x, y, 99.0 - y]) > 3.0
    for low, high in ((10.0, 100.0), (100.0, 1e3), (1e3, 1e4)):
        chosen = pulls[:, :, inner & (flux > low) & (flux < high)]
        assert chosen.size > 1000
        assert robust_spread(chosen.ravel()) == pytest.approx(1.0, abs=0.1)
        assert abs(np.median(chosen)) < 0.1


def test_errors_of_one_axis_know_the_other():
    rng = np.random.default_rng(2)
    x, y = (a.ravel() for a in np.meshgrid(*2 * [np.arange(6.3, 95.0, 8.1)]))
    x[1::2], y[1::2] = x[::2][: x[1::2].size] + 0.8, y[::2][: x[1::2].size] + 0.6
    flux, off, products = np.full(x.size, 300.0), np.zeros((2, x.size)), []
    for _ in range(40):
        found, _ = fitted(x, y, flux, off, rng)
        products.append(found.dx * found.dy / (found.dx_err * found.dy_err))
    assert abs(np.median(found.dxy_corr)) > 0.1
    assert np.mean(products) == pytest.approx(np.mean(found.dxy_corr), abs=0.05)


def test_place_and_flux_of_a_star_off_its_place():
    rng = np.random.default_rng(3)
    x, y = np.array([50.35, 20.0]), np.array([49.65, 30.4])
    flux, off = np.array([1e6, 3e3]), np.array([[0.02, 0.0], [-0.01, 0.0]])
    found, _ = fitted(x, y, flux, off, rng)
    assert found.dx[0] == pytest.approx(0.02, rel=0.05)
    assert found.dy[0] == pytest.approx(-0.01, rel=0.05)
    assert found.free_flux[0] == pytest.approx(1e6, rel=1e-3)


def test_brightened_star_keeps_its_place():
    """The light that a star shifts is that of the frame, not what the catalogue expects."""
    rng = np.random.default_rng(4)
    x, y, off = np.array([50.2]), np.array([49.7]), np.array([[0.02], [0.0]])
    flux = np.array([1e4])
    data = make_stamps(PRF, on_frame(x + off[0], y), 5.0 * flux, 1e-3).model(5.0 * flux) + 1.5
    sigma = np.sqrt(READ + SLOPE * data)
    noisy = data + sigma * rng.normal(size=SHAPE)
    image = masked_image(noisy, sigma, np.zeros(SHAPE, int), SLOPE)
    model, prior = FrameModel(on_frame(x, y), PRF, flux, 0.02), Prior(flux, 1e3 * np.sqrt(flux))
    fit = fit_frame(image, model.stamps, prior, Method(1e-3, reweight=1), model.add_far)
    found = centroids(model, fit, prior.sigma)
    assert found.dx[0] == pytest.approx(0.02, abs=5.0 * found.dx_err[0])
    assert found.dx_err[0] < 1e-3


def test_star_without_pixels_has_no_centroid():
    rng = np.random.default_rng(5)
    x, y = np.array([50.0, 20.0, -3.0]), np.array([50.0, 20.0, 40.0])
    core_of_first = np.s_[48:53, 48:53]
    found, _ = fitted(x, y, np.full(3, 1e3), np.zeros((2, 3)), rng, core_of_first)
    assert np.isfinite(np.array(found)).tolist() == [[False, True, False]] * 6
