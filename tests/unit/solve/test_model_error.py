"""What the error of the PRF does to the fluxes, against fits with a PRF that is wrong."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fields
from romanprf.core.image import masked_image
from romanprf.flags import PixelFlag
from romanprf.frame.model import FrameModel
from romanprf.frame.stamps import make_stamps
from romanprf.prf.tensor import TensorPRF
from romanprf.solve.fluxes import Method, Prior, solve_frame
from romanprf.solve.model_error import error_images, model_error
from romanprf.solve.uncatalogued import UncataloguedStars

SHAPE = (44, 48)
WCS = fields.wcs(*SHAPE)
N, GROUPS = 60, 6
BACKGROUND = 1.5
#: No light beyond the stamps.
NOTHING = np.zeros(SHAPE)


def projected(width=1.0):
    def prf(dx, dy):
        a, b = 0.65 * width, 0.75 * width
        core = np.exp(-0.5 * ((dx / a) ** 2 + (dy / b) ** 2)) / (2.0 * np.pi * a * b)
        return 0.9 * core + 0.1 * np.exp(-(dx**2 + dy**2) / 8.0) / (8.0 * np.pi)

    return TensorPRF.projected(prf, 6.0, WCS.jacobian(23.5, 21.5))


@pytest.fixture(scope="module")
def prf():
    """A model with likely errors: its width, its place, its light and speckles."""
    prf, rng = projected(), np.random.default_rng(71)
    wider = projected(1.01).mean - prf.mean
    shape = prf.mean.shape
    speckles = 0.003 * prf.envelope() * rng.normal(size=(GROUPS, *shape))
    parts = rng.normal(size=(GROUPS, 2))[:, :, None, None] * [wider, 0.005 * prf.mean]
    return replace(prf, errors=(speckles + parts.sum(axis=1))[:, None])


def on_pixels(prf):
    return partial(prf.on_pixels, jacobian=WCS.jacobian(23.5, 21.5))


class Field:
    """Stars on and around a frame without noise, and how its fluxes are fitted."""

    def __init__(self, prf):
        rng = np.random.default_rng(72)
        self.flux = 10.0 ** rng.uniform(1.5, 4.0, N)
        self.sky = WCS.pixel_to_sky(*rng.uniform(-2.0, 48.0, (2, N)))
        self.sigma = 5.0 * np.sqrt(self.flux)
        self.stamps = self.make(prf)
        model = self.stamps.model(self.flux) + BACKGROUND
        error = np.sqrt(fields.READ_VARIANCE + fields.SLOPE * model)
        flags = np.zeros(SHAPE, np.int32)
        self.image = masked_image(model, error, flags, fields.SLOPE)

    def make(self, prf):
        return self.model(prf).stamps

    def model(self, prf):
        frame = fields.frame(*self.sky, WCS, SHAPE)
        return FrameModel(frame, prf, self.flux, 0.1, solved=1.0)

    @property
    def prior(self):
        return Prior(self.flux, self.sigma)

    def fluxes(self, prf):
        return solve_frame(self.image, self.make(prf), self.prior, Method(1e-6)).flux

    def model_error(self, prf):
        errors = error_images(self.model(prf), self.flux, with_scale=False)
        return model_error(self.image, self.stamps, NOTHING, errors, None, self.prior)


@pytest.fixture(scope="module")
def field(prf):
    return Field(prf)


def off(prf, error, sign=1.0):
    """PRF that is off by an error, with the footprints of the right one."""
    wrong = replace(prf, coefficients=prf.coefficients + sign * error)
    return wrong.with_footprints_of(prf)


def test_error_is_what_a_wrong_prf_does(prf, field):
    assert_allclose(field.fluxes(prf), field.flux, rtol=1e-3)
    change = [
        0.5 * (field.fluxes(off(prf, error)) - field.fluxes(off(prf, error, -1.0)))
        for error in prf.errors
    ]
    rms = np.sqrt(np.mean(np.square(change), axis=0))
    expected = field.model_error(prf)
    inside = np.minimum(*(abs(field.stamps.x - 23.5) < 20.0, abs(field.stamps.y - 21.5) < 18.0))
    assert inside.sum() > 30
    assert_allclose(expected[inside], rms[inside], rtol=0.03)
    assert np.median(rms[inside] / field.flux[inside]) > 0.005


def test_light_that_is_wrong_by_a_part_makes_all_fluxes_wrong_by_it(prf):
    brighter = replace(prf, errors=0.01 * prf.coefficients[None])
    field = Field(brighter)
    field.sigma[:] = 1e3 * field.flux
    seen = field.stamps.dot(np.ones(SHAPE)) > 0.1
    assert_allclose(field.model_error(brighter)[seen], 0.01 * field.flux[seen], rtol=0.03)


def test_error_is_in_proportion_to_that_of_the_prf(prf, field):
    twice = replace(prf, errors=2.0 * np.concatenate([prf.errors, prf.errors[:, ::-1]]))
    assert_allclose(field.model_error(twice), 2.0 * field.model_error(prf), rtol=0.02)


def test_error_images_are_the_light_that_is_wrong(prf, field):
    images = list(error_images(field.model(prf), field.flux, with_scale=False))
    assert len(images) == GROUPS
    right = field.make(prf).model(field.flux)
    for image, error in zip(images, prf.errors, strict=True):
        change = field.make(off(prf, error)).model(field.flux) - right
        assert_allclose(change, image, rtol=0, atol=3e-7 * right.max())
        assert np.abs(image).max() > 1.0


def test_unseen_sources_have_no_error(prf):
    field = Field(prf)
    ra, dec = (place.copy() for place in field.sky)
    ra[[3, 7]] += 1.0
    field.sky = ra, dec
    field.stamps = field.make(prf)
    unseen = np.flatnonzero(np.isnan(field.model_error(prf)))
    assert unseen.tolist() == np.flatnonzero(np.diff(field.stamps.offset) == 0).tolist()
    assert {3, 7} <= set(unseen)


def test_masked_pixels_say_nothing(prf, field):
    """Whatever light the errors of the PRF put there."""
    bad = np.zeros(SHAPE, np.int32)
    bad[20:24, 20:30] = int(PixelFlag.BAD)
    image = masked_image(field.image.flux, field.image.flux_err, bad, fields.SLOPE)
    errors = list(error_images(field.model(prf), field.flux, with_scale=False))
    rubbish = [np.where(bad > 0, 1e6, error) for error in errors]
    one, two = (
        model_error(image, field.stamps, NOTHING, e, None, field.prior) for e in (errors, rubbish)
    )
    assert_allclose(two, one, rtol=1e-12)
    assert np.abs(one / field.model_error(prf) - 1.0).max() > 0.01


@pytest.mark.parametrize("model", ["log-polar", "tensor without errors"])
def test_a_prf_that_does_not_know_its_errors(prf, model):
    field = Field(prf)
    without = fields.prf() if model == "log-polar" else projected()
    assert list(error_images(field.model(without), field.flux, with_scale=False)) == []
    assert np.isnan(field.model_error(without)).all()


class Hidden:
    """The field with noise and uncatalogued stars.

    ``light``: flux of each, e-/s; ``near``: pixels from the nearest star within which they are,
    because others were found.
    """

    def __init__(self, prf, light, near=np.inf):
        self.prf = replace(prf, errors=1e-3 * prf.errors)
        self.field, self.light, self.near = Field(self.prf), light, near

    def unknown(self, sigmas=np.inf):
        return UncataloguedStars(max(self.light, 1.0), sigmas, 1, on_pixels(self.prf))

    def image(self, rng, count=80):
        """The field with unknown stars and noise."""
        x, y = rng.uniform(-3.0, 51.0, (2, count))
        stars = self.field.stamps
        distance = np.hypot(x[:, None] - stars.x, y[:, None] - stars.y).min(axis=1)
        flux = np.where(distance < self.near, self.light, 0.0)
        frame = fields.frame(*WCS.pixel_to_sky(x, y), WCS, SHAPE)
        hidden = make_stamps(self.prf, frame, flux, 0.1)
        model = self.field.image.flux + hidden.model(flux)
        error = np.sqrt(fields.READ_VARIANCE + fields.SLOPE * model)
        data = model + error * rng.normal(size=SHAPE)
        return masked_image(data, error, np.zeros(SHAPE, np.int32), fields.SLOPE)

    def error(self, image, unknown):
        field = self.field
        errors = error_images(field.model(self.prf), field.flux, with_scale=False)
        return model_error(image, field.stamps, NOTHING, errors, unknown, field.prior)

    def measured(self, rng):
        """Pulls of the fluxes with and without the error of the model, and the latter."""
        field, image = self.field, self.image(rng)
        fit = solve_frame(image, field.stamps, field.prior, Method(1e-4, 1))
        found = self.error(image, self.unknown())
        off = fit.flux - field.flux
        return off / np.hypot(fit.flux_err, found), off / fit.flux_err, found


def test_light_of_unknown_stars_is_in_the_error(prf):
    hidden, rng = Hidden(prf, 30.0), np.random.default_rng(74)
    honest, naive, _ = np.concatenate([hidden.measured(rng) for _ in range(12)], axis=1)
    good = np.isfinite(honest)
    assert np.std(naive[good]) > 1.4
    assert np.std(honest[good]) == pytest.approx(1.0, abs=0.15)


def test_unknown_stars_far_over_the_noise_are_no_outliers(prf):
    """Where nobody searched, a star that the catalogue lacks stands out by tens of sigmas."""
    hidden, rng = Hidden(prf, 100.0), np.random.default_rng(76)
    honest, naive, _ = np.concatenate([hidden.measured(rng) for _ in range(12)], axis=1)
    good = np.isfinite(honest)
    assert np.std(naive[good]) > 4.0
    assert 0.8 < np.std(honest[good]) < 1.4


def test_without_unknown_stars_there_is_no_such_error(prf):
    hidden, rng = Hidden(prf, 0.0), np.random.default_rng(75)
    honest, naive, _ = np.concatenate([hidden.measured(rng) for _ in range(6)], axis=1)
    good = np.isfinite(honest)
    assert 0.9 < np.std(honest[good]) < np.std(naive[good]) < 1.1
    alone = hidden.field.model_error(hidden.prf)
    assert_allclose(hidden.error(hidden.image(rng), None), alone, rtol=0.1)


def test_after_a_search_bright_stars_have_the_larger_error(prf):
    """Close to them a star was less likely to be found."""
    hidden = Hidden(prf, 30.0)
    image = hidden.image(np.random.default_rng(77))
    alike, searched = (hidden.error(image, hidden.unknown(sigmas)) for sigmas in (np.inf, 1.0))
    ratio, flux = searched / alike, hidden.field.flux
    seen = np.isfinite(ratio)
    bright = np.median(ratio[seen & (flux > 3e3)])
    assert bright > 1.3 * np.median(ratio[seen & (flux < 1e2)])


def test_error_of_the_scale_is_a_part_of_every_flux(prf, field):
    exact = replace(prf, errors=1e-9 * prf.errors)
    uncertain = replace(exact, scale_error=0.01)
    errors = error_images(field.model(uncertain), field.flux, with_scale=True)
    error = model_error(field.image, field.stamps, NOTHING, errors, None, field.prior)
    bright = np.isfinite(error) & (field.flux > 100.0)  # those of which the prior knows little
    assert bright.sum() > 10
    off = np.abs(error[bright] / (0.01 * field.flux[bright]) - 1.0)
    assert np.median(off) < 0.01
    assert np.percentile(off, 90) < 0.1  # more of blends, which the priors hold together
