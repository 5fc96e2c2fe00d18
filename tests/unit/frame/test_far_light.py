"""Light of stars beyond the footprints in which their fluxes are solved."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fields
from romanprf.frame.far import add_far_light
from romanprf.frame.model import SOLVED
from romanprf.frame.stamps import make_stamps
from romanprf.prf import TensorPRF
from romanprf.solve.fit import fit_frame
from romanprf.solve.fluxes import Method, Prior, departed

CUT_OFF = 0.05


def winged(dx, dy):
    """Lopsided, with wings r^-3."""
    r2 = (dx**2 + (1.2 * dy) ** 2) / 0.6
    return 0.3 * (1.0 + r2) ** -1.5 * (1.0 + 0.1 * np.tanh(dx - 0.5 * dy))


@cache
def model(kind, shape):
    """A PRF that reaches far; ``varying`` over the frame, from lopsided one way to the other."""
    if kind == "log-polar":
        return fields.prf(rmax=4.0, n_r=20)
    centre = (np.asarray(0.5 * length) for length in reversed(shape))
    prf = TensorPRF.projected(winged, 50.0, fields.wcs(*shape).jacobian(*centre))
    if kind == "varying":
        prf = prf.with_nodes(3, shape)
        change = np.linspace(-0.1, 0.1, 9)[:, None, None] * (prf.mean.T - prf.mean)
        prf = replace(prf, coefficients=prf.coefficients + change)
    return prf


class Field:
    """Stars on and around a frame."""

    def __init__(self, shape=(90, 110), kind="tensor", n=300):
        rng, self.wcs, self.shape = np.random.default_rng(91), fields.wcs(*shape), shape
        x, y = (rng.uniform(-20.0, length + 20.0, n) for length in reversed(shape))
        self.frame = fields.frame(*self.wcs.pixel_to_sky(x, y), self.wcs, shape)
        self.flux = 10.0 * 1e4 ** rng.uniform(0.0, 1.0, n) ** 2
        self.prf = model(kind, shape)
        self.solved = self.stamps(SOLVED * CUT_OFF)

    def stamps(self, cut_off):
        return make_stamps(self.prf, self.frame, self.flux, cut_off)

    def far(self, flux, image=None):
        image = np.zeros(self.shape) if image is None else image
        return add_far_light(self.prf, self.frame, self.solved, flux, CUT_OFF, image)


@pytest.mark.parametrize("kind", ["tensor", "varying", "log-polar"])
@pytest.mark.parametrize("shape", [(90, 110), (40, 1300)])
def test_far_light_is_that_between_two_footprints(shape, kind):
    field = Field(shape, kind)
    expected = field.stamps(0.2 * CUT_OFF).model(field.flux) - field.solved.model(field.flux)
    ours = field.far(field.flux)
    assert expected.mean() > 4.0 * CUT_OFF
    assert ours.mean() == pytest.approx(expected.mean(), rel=0.01)
    assert np.std(ours - expected) < 0.05 * np.std(expected)


def test_every_source_adds_its_own():
    field = Field()
    one, two = np.where(np.arange(300) < 120, field.flux, 0.0), field.flux.copy()
    two[:120] = 0.0
    assert_allclose(field.far(one) + field.far(two), field.far(field.flux), rtol=1e-6, atol=1e-9)
    assert_array_equal(field.far(np.zeros(300)), 0.0)
    assert_array_equal(field.far(-one), -field.far(one))


def test_departed():
    flux, sigma = np.array([100.0, 151.0, 49.0, 150.0, np.nan]), np.full(5, 10.0)
    prior = np.full(5, 100.0)
    assert_array_equal(departed(flux, sigma, prior), [100.0, 151.0, 49.0, 100.0, 100.0])


@pytest.mark.parametrize("factor", [0.05, 20.0])
def test_light_follows_the_fluxes(factor):
    """Of a star that has faded or risen: what is left is that of the fluxes at the end."""
    field = Field(n=40)
    star = np.argmin(np.hypot(field.solved.x - 55.0, field.solved.y - 45.0))
    field.flux[star] = 2e4
    field.solved = field.stamps(SOLVED * CUT_OFF)
    truth = field.flux.copy()
    truth[star] *= factor
    light = field.solved.model(truth) + field.far(truth)
    scene = fields.Scene(field.solved.x, field.solved.y, truth, 1.5, field.solved)
    noise = scene.image(np.random.default_rng(92)).flux - scene.model
    image = replace(scene.image(), flux=light + 1.5 + noise)
    prior = Prior(field.flux, 1e3 * np.sqrt(field.flux))
    fit = fit_frame(image, field.solved, prior, Method(1e-6, 3), field.far)
    ended = departed(fit.flux, fit.flux_err, field.flux)
    assert (ended != field.flux)[star]
    model = field.solved.model(np.nan_to_num(fit.flux)) + field.far(ended) + fit.background
    left = image.flux - model
    assert_allclose(fit.residual, left, rtol=0, atol=1e-3)
    assert abs(fit.flux[star] - truth[star]) < 4.0 * fit.flux_err[star]
    assert fit.background == pytest.approx(1.5, abs=0.1)
