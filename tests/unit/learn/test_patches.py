"""Patches of large images, which the PRF is learned from."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fields
from romanprf.core.image import masked_image
from romanprf.frame.model import FrameModel, FrameModels
from romanprf.frame.stamps import make_stamps
from romanprf.frame.state import AS_IN_HEADER, FrameState, Shift
from romanprf.learn import patches, tensor
from romanprf.learn.patches import ALL
from romanprf.prf.tensor import TensorPRF
from romanprf.solve.fluxes import Prior

SHAPE, SIDE = (100, 120), 40
BACKGROUND = 1.5
SETTINGS = tensor.TensorSettings(rounds=6, flux_cut_off=0.1, source_flux_limit=300.0)
WCS = fields.wcs(*SHAPE)


def core(dx, dy, width=1.0):
    a, b = 0.65 * width, 0.75 * width
    halo = 0.1 * np.exp(-(dx**2 + dy**2) / 8.0) / (8.0 * np.pi)
    return 0.9 * np.exp(-0.5 * ((dx / a) ** 2 + (dy / b) ** 2)) / (2.0 * np.pi * a * b) + halo


def projected(width=1.0):
    """A PRF that ends after 8 pixels."""
    middle = WCS.jacobian(np.array(59.5), np.array(49.5))
    return TensorPRF.projected(lambda dx, dy: core(dx, dy, width), 8.0, middle)


TRUTH, START = projected(), projected(1.05)


class Field:
    """Stars on six dithered frames, each off its WCS by some 0.05 pixel."""

    def __init__(self, n=240, n_frames=6):
        rng = np.random.default_rng(5)
        self.flux = 10.0 ** rng.uniform(2.6, 4.0, n)
        self.ra, self.dec = WCS.pixel_to_sky(rng.uniform(-5, 125, n), rng.uniform(-5, 105, n))
        self.shift = rng.normal(0.0, 0.05, (n_frames, 2))
        self.shift -= self.shift.mean(axis=0)
        dithers = fields.SCALE / 3600.0 * rng.uniform(-2.0, 2.0, (n_frames, 2))
        self.frames = []
        for (ra, dec), shift in zip(dithers, self.shift, strict=True):
            wcs = fields.wcs(*SHAPE, 268.0 + ra, -29.2 + dec)
            frame = fields.frame(self.ra, self.dec, wcs, SHAPE)
            stamps = make_stamps(TRUTH, frame, self.flux, 1e-3, FrameState(Shift(*shift, 0.0, 0.0)))
            model = stamps.model(self.flux) + BACKGROUND
            error = np.sqrt(fields.READ_VARIANCE + fields.SLOPE * model)
            flags = (rng.random(SHAPE) < 0.01).astype(int)
            image = masked_image(model + error * rng.normal(size=SHAPE), error, flags, fields.SLOPE)
            self.frames.append(fields.with_image(frame, image))


@pytest.fixture(scope="module")
def field():
    return Field()


@pytest.fixture
def cut(monkeypatch):
    """Two patches of 40 pixels per axis."""
    monkeypatch.setattr(patches, "PATCHES_PER_AXIS", 2)
    monkeypatch.setattr(patches, "PATCH_SIDE", SIDE)


def test_small_images_are_used_whole(field):
    assert not patches.is_cut(field.frames)
    (whole,) = patches.make_patches(field.frames, START, field.flux, 0.1)
    assert whole.frames is field.frames
    assert whole.sources is ALL
    assert whole.corner == (0, 0)
    x, y = field.frames[0].wcs.sky_to_pixel(field.ra, field.dec)
    on_it = (x > -0.5) & (x < 119.5) & (y > -0.5) & (y < 99.5)
    assert 0 < np.count_nonzero(~on_it) < 100
    assert_array_equal(patches.inside([whole], len(field.flux)), on_it)


def test_images_of_several_shapes_are_used_whole(field, cut):
    exposure = replace(field.frames[0].exposure, shape=(200, 200))
    other = replace(field.frames[0], exposure=exposure)
    assert patches.is_cut(field.frames)
    assert not patches.is_cut([*field.frames, other])


def test_a_patch_is_a_part_of_each_frame(field, cut):
    made = patches.make_patches(field.frames, START, field.flux, 0.1)
    assert [patch.corner for patch in made] == [(0, 0), (0, 80), (60, 0), (60, 80)]
    for patch in made:
        row, column = patch.corner
        for part, whole in zip(patch.frames, field.frames, strict=True):
            window = slice(row, row + SIDE), slice(column, column + SIDE)
            image, full = part.read(), whole.read()
            assert part.shape == image.flux.shape == (SIDE, SIDE)
            assert_allclose(image.flux, full.flux[window], rtol=1e-7)
            assert_allclose(image.flux_err, full.flux_err[window], rtol=1e-7)
            assert_array_equal(image.flags, full.flags[window])
            assert image.flux.dtype == full.flux.dtype
            assert image.flags.dtype == full.flags.dtype
            assert image.poisson_slope == full.poisson_slope
            x, y = part.wcs.sky_to_pixel(part.ra, part.dec)
            there = whole.wcs.sky_to_pixel(field.ra[patch.sources], field.dec[patch.sources])
            assert_allclose([x + column, y + row], there, atol=1e-8)


def test_a_patch_has_all_sources_that_shine_on_it(field, cut):
    for patch in patches.make_patches(field.frames, START, field.flux, 0.1):
        row, column = patch.corner
        window = slice(row, row + SIDE), slice(column, column + SIDE)
        others = np.setdiff1d(np.arange(len(field.flux)), patch.sources)
        assert 10 < len(patch.sources) < 100
        for whole, shift in zip(field.frames, field.shift, strict=True):
            state = AS_IN_HEADER.at(*shift)
            stars = FrameModel(whole, TRUTH, field.flux, 0.1, state, solved=1.0).only(others)
            assert stars.stamps.model(field.flux[others])[window].max() == 0.0


def test_sources_inside(field, cut):
    made = patches.make_patches(field.frames, START, field.flux, 0.1)
    x, y = field.frames[0].wcs.sky_to_pixel(field.ra, field.dec)
    across = ((x > -0.5) & (x < 39.5)) | ((x > 79.5) & (x < 119.5))
    down = ((y > -0.5) & (y < 39.5)) | ((y > 59.5) & (y < 99.5))
    assert_array_equal(patches.inside(made, len(x)), across & down)


def fit(field, flux=None, start=START):
    flux = field.flux if flux is None else flux
    sigma, flags = 5.0 * np.sqrt(field.flux), np.zeros(len(flux), np.int32)
    return tensor.learn_tensor(field.frames, Prior(flux, sigma), flags, start, SETTINGS)


@pytest.fixture
def fitted(field, cut):
    return fit(field)


def distance(prf):
    grid = np.meshgrid(np.linspace(-4.0, 4.0, 81), np.linspace(-4.0, 4.0, 81))
    truth = TRUTH.on_pixels(*grid, TRUTH.jacobian)
    return np.abs(prf.on_pixels(*grid, prf.jacobian) - truth).max() / truth.max()


def test_patches_give_prf_and_shifts_of_the_frames(field, fitted):
    assert distance(START) > 0.08
    assert distance(fitted.prf) < 0.006
    off = np.array([state.shift[:2] for state in fitted.states]) - field.shift
    assert np.abs(off).max() < 0.004
    assert np.abs(off / np.array([state.shift[2:] for state in fitted.states])).max() < 4.0
    last = fitted.rounds[-1]
    assert last.chi2 == pytest.approx(1.0, abs=0.08)
    assert last.n_pixels < 4 * 6 * SIDE**2


def test_nodes_of_patches_are_those_of_the_image(field, cut):
    """Each patch shapes the node in its corner of the image."""
    start = START.with_nodes(2, SHAPE)
    prf = fit(field, start=start).prf
    assert_array_equal(prf.rows, start.rows)
    assert_array_equal(prf.columns, start.columns)
    for x, y in ((10.0, 10.0), (110.0, 10.0), (10.0, 90.0), (110.0, 90.0), (60.0, 50.0)):
        assert distance(prf.at(x, y)) < 0.02


def test_fluxes_are_measured_on_patches_only(field, fitted, cut):
    made = patches.make_patches(field.frames, START, field.flux, 0.1)
    inside = patches.inside(made, len(field.flux))
    beyond = np.setdiff1d(np.arange(len(field.flux)), np.concatenate([p.sources for p in made]))
    assert_array_equal(fitted.flux[beyond], field.flux[beyond])
    ratio = fitted.flux[inside] / field.flux[inside]
    assert (ratio == 1.0).mean() < 0.05  # at an edge of the image
    assert np.abs(np.median(ratio) - 1.0) < 0.003


def test_common_flux_is_of_all_pixels(field):
    wrong = field.flux * np.random.default_rng(6).normal(1.0, 0.05, len(field.flux))
    states = [FrameState(Shift(*shift, 0.0, 0.0)) for shift in field.shift]
    models = FrameModels(field.frames, TRUTH, wrong, 0.1, states)
    flux = tensor.common_flux(models, field.flux)
    x, y = WCS.sky_to_pixel(field.ra, field.dec)
    shown = (x > 3.0) & (x < 116.0) & (y > 3.0) & (y < 96.0)
    assert np.abs(flux / field.flux - 1.0)[shown].max() < 0.06
    assert np.std(flux / field.flux - 1.0, where=shown) < 0.01
    far = (x < -4.0) | (y < -4.0)
    assert far.any()
    assert_array_equal(flux[far], wrong[far])


def test_a_shift_is_the_mean_over_the_patches():
    one, two = Shift(1.0, 2.0, 0.1, 0.2), Shift(2.0, 2.5, 0.2, 0.1)
    failed = Shift(9.0, 9.0, np.nan, np.nan)
    assert tensor._combined([failed, one]) == one
    assert tensor._combined([failed, failed]) == failed
    x, y, x_err, y_err = tensor._combined([one, failed, two])
    assert (x, y) == pytest.approx(((4 * 1.0 + 2.0) / 5, (2.0 + 4 * 2.5) / 5))
    assert (x_err, y_err) == pytest.approx((0.2 / 5**0.5, 0.2 / 5**0.5))
