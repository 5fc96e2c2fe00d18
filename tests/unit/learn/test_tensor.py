"""Learning the tensor PRF from dithered frames."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fields
from romanprf.core import accelerate
from romanprf.core.image import masked_image
from romanprf.errors import InputError
from romanprf.flags import SourceFlag
from romanprf.frame.stamps import make_stamps
from romanprf.frame.state import FrameState, Shift
from romanprf.learn import tensor
from romanprf.prf.tensor import TensorPRF
from romanprf.solve.fluxes import Prior

SHAPE = (48, 48)
WCS = fields.wcs(*SHAPE)
CENTRE = np.full(2, 23.5)
BACKGROUND = 1.5
SETTINGS = tensor.TensorSettings(rounds=6, flux_cut_off=0.1, source_flux_limit=300.0)
GRID = np.meshgrid(np.linspace(-4.0, 4.0, 81), np.linspace(-4.0, 4.0, 81))


def analytic(width=1.0):
    """A slightly elongated core, as undersampled as Roman's, and a halo."""
    a, b = 0.65 * width, 0.75 * width

    def prf(dx, dy):
        core = np.exp(-0.5 * ((dx / a) ** 2 + (dy / b) ** 2)) / (2.0 * np.pi * a * b)
        return 0.9 * core + 0.1 * np.exp(-(dx**2 + dy**2) / 8.0) / (8.0 * np.pi)

    return prf


def projected(width=1.0):
    return TensorPRF.projected(analytic(width), 8.0, WCS.jacobian(*CENTRE))


TRUTH, START = projected(), projected(1.05)


class Field:
    """Forty stars on eight dithered frames, each off its WCS by some 0.05 pixel."""

    def __init__(self, n=40, n_frames=8, jitter=0.05, pixel_area=None, curves=None):
        rng = np.random.default_rng(1)
        self.flux, self.flags = 10.0 ** rng.uniform(2.6, 4.0, n), np.zeros(n, np.int32)
        self.ra, self.dec = WCS.pixel_to_sky(*rng.uniform(-1.0, 48.0, (2, n)))
        self.shift = rng.normal(0.0, jitter, (n_frames, 2))
        self.shift -= self.shift.mean(axis=0)
        dithers = fields.SCALE / 3600.0 * rng.uniform(-2.0, 2.0, (n_frames, 2))
        dithers[:, 0] /= np.cos(np.deg2rad(29.2))
        curves = np.ones((n_frames, n)) if curves is None else curves
        self.frames = []
        for (ra, dec), shift, curve in zip(dithers, self.shift, curves, strict=True):
            wcs = fields.wcs(*SHAPE, 268.0 + ra, -29.2 + dec)
            flux = self.flux * curve
            area = None if pixel_area is None else pixel_area * float(wcs.pixel_area(*CENTRE))
            frame = fields.frame(self.ra, self.dec, wcs, SHAPE, area)
            stamps = make_stamps(TRUTH, frame, flux, 1e-3, FrameState(Shift(*shift, 0.0, 0.0)))
            model = stamps.model(flux) + BACKGROUND
            noise = np.sqrt(fields.READ_VARIANCE + fields.SLOPE * model)
            data = model + noise * rng.normal(size=SHAPE)
            error = np.sqrt(fields.READ_VARIANCE + fields.SLOPE * np.maximum(data, 0.0))
            image = masked_image(data, error, np.zeros(SHAPE, int), fields.SLOPE)
            self.frames.append(fields.with_image(frame, image))

    def fit(self, start=START, flux=None, **settings):
        flux = self.flux if flux is None else flux
        sigma = 5.0 * np.sqrt(self.flux)
        options = replace(SETTINGS, **settings)
        return tensor.learn_tensor(self.frames, Prior(flux, sigma), self.flags, start, options)


def _shifts(found):
    """x, y and their errors of each frame, shape (nframes, 4)."""
    return np.array([state.shift for state in found.states])


def distance(prf):
    """Largest error of a model, over the peak."""
    truth = TRUTH.on_pixels(*GRID, TRUTH.jacobian)
    return np.abs(prf.on_pixels(*GRID, prf.jacobian) - truth).max() / truth.max()


@pytest.fixture(scope="module")
def field():
    return Field()


@pytest.fixture(scope="module")
def fitted(field):
    return field.fit()


@pytest.mark.parametrize("width", [0.95, 1.05, 1.2])
def test_a_known_prf_is_recovered(field, width):
    start = projected(width)
    found = field.fit(start)
    prf, history = found.prf, found.rounds
    assert distance(start) > 0.08
    assert distance(prf) < 0.005
    assert prf.integral() == pytest.approx(1.0, abs=0.003)
    change = np.array([found.change for found in history])
    moving = np.count_nonzero(change > 2e-4)  # afterwards it wavers about where it settles
    assert (np.diff(change[: moving + 1]) < 0.0).all()
    assert (change[moving:] < 2e-4).all()
    assert change[0] > 0.05
    assert change[-1] < 2e-3
    last = history[-1]
    assert last.chi2 == pytest.approx(1.0, abs=0.06)
    assert last.scale == pytest.approx(1.0, abs=0.003)
    assert last.excess < 0.002
    assert last.n_stars == 40
    assert last.n_pixels > 0.999 * len(field.frames) * 48 * 48


def test_history_has_an_entry_a_round(field, fitted):
    history = fitted.rounds
    assert len(fitted.states) == len(field.frames)
    assert 3 <= len(history) <= SETTINGS.rounds
    if len(history) < SETTINGS.rounds:
        assert history[-1].change < tensor._SETTLED
    assert all(found.change >= tensor._SETTLED for found in history[:-1])
    two = field.fit(rounds=2).rounds
    assert two == history[:2]


def test_a_settled_fit_ends(field, fitted):
    history = field.fit(fitted.prf, rounds=20).rounds
    assert len(history) < 6
    assert history[-1].change < tensor._SETTLED


def test_shifts_are_those_injected(field, fitted):
    shifts = _shifts(fitted)
    assert_allclose(shifts[:, :2].mean(axis=0), 0.0, atol=1e-12)
    off = shifts[:, :2] - field.shift
    assert np.abs(off).max() < 0.004
    assert np.abs(off / shifts[:, 2:]).max() < 4.0


def test_a_start_off_centre_is_moved_back(field):
    """Shifts have mean 0, so that it is the PRF that moves."""

    def moved(dx, dy):
        return analytic()(dx - 0.06, dy + 0.04)

    start = TensorPRF.projected(moved, 8.0, WCS.jacobian(*CENTRE))
    found = field.fit(start)
    assert_allclose(_shifts(found).mean(axis=0)[:2], 0.0, atol=1e-12)
    assert distance(start) > 0.05
    assert distance(found.prf) < 0.006


def test_variable_stars_do_not_shape_the_prf(fitted):
    curves = np.ones((8, 40))
    variable = np.arange(0, 40, 5)
    curves[:, variable] += 0.5 * np.sin(2.1 * np.arange(8.0))[:, None]
    field = Field(curves=curves)
    found = field.fit()
    prf, history = found.prf, found.rounds
    assert history[-1].n_stars == 32
    assert distance(prf) < 0.01
    assert distance(prf) < distance(fitted.prf) + 0.004


def test_wrong_catalogued_fluxes_do_not_shape_the_prf(field):
    """The fit measures the fluxes itself; only their typical value calibrates it."""
    flux = field.flux * np.random.default_rng(2).normal(1.0, 0.01, 40)
    assert distance(field.fit(flux=flux).prf) < 0.01


def test_untrusted_stars_do_not_shape_the_prf(field):
    other = Field()
    other.flags[:5] = int(SourceFlag.BLENDED)
    other.flags[5:9] = int(SourceFlag.CONTAMINANT)
    found = other.fit()
    prf, history = found.prf, found.rounds
    assert history[-1].n_stars == 31
    assert distance(prf) < 0.01


def test_pixel_area_of_flat_fielded_images():
    """The PRF is that of a pixel of its own area, whatever area the images refer to."""
    field = Field(pixel_area=1.05)
    found = field.fit()
    prf, history = found.prf, found.rounds
    assert distance(prf) < 0.005
    assert history[-1].scale == pytest.approx(1.0, abs=0.003)


def test_a_catalogue_without_bright_stars_is_refused(field):
    with pytest.raises(InputError, match=r"none of 40 sources is brighter .* 20000"):
        field.fit(source_flux_limit=20000.0)
    other = Field(n_frames=2)
    other.flags[:] = int(SourceFlag.BLENDED)
    with pytest.raises(InputError, match="none of 40 sources"):
        other.fit()


def test_bright_stars_off_the_frames_are_refused():
    other = Field(n_frames=2)
    other.ra[other.flux >= 3000.0] += 1.0
    with pytest.raises(InputError, match=r"stars .* is on a usable pixel of 2 exposures"):
        other.fit(source_flux_limit=3000.0)


def test_a_start_far_off_still_finds_stars(field):
    """All stars differ between dithers then; that must not make all of them variable."""
    start = projected(1.7)
    found = field.fit(start, rounds=8)
    prf, history = found.prf, found.rounds
    assert distance(start) > 0.6
    assert history[0].n_stars > 20
    assert distance(prf) < 0.01


def test_two_threads_give_what_one_gives(field):
    fits = []
    for threads in (1, 2):
        accelerate.set_threads(threads)
        fits.append(field.fit(rounds=2))
    one, two = fits
    assert_allclose(two.prf.coefficients, one.prf.coefficients, rtol=0.0, atol=1e-9)
    assert_allclose(_shifts(two), _shifts(one), rtol=1e-9, atol=1e-9)
    assert [found.n_pixels for found in two.rounds] == [found.n_pixels for found in one.rounds]
    again = field.fit(rounds=2)
    assert_array_equal(again.prf.coefficients, two.prf.coefficients)


def test_the_catalogue_leaves_the_scale_uncertain(field):
    """By the error of a star over the root of their number."""
    rng, stars = np.random.default_rng(6), np.ones(field.flux.size, bool)
    error = [
        tensor._scale_error(
            field.flux * (1.0 + 0.02 * rng.normal(size=stars.size)), field.flux, stars
        )
        for _ in range(400)
    ]
    assert np.median(error) == pytest.approx(0.02 / np.sqrt(0.86 * stars.size), rel=0.1)
    assert tensor._scale_error(field.flux, field.flux, stars) == 0.0  # nothing was measured
    rough = field.fit(flux=field.flux * (1.0 + 0.05 * rng.normal(size=stars.size))).prf
    assert rough.scale_error == pytest.approx(0.05 / np.sqrt(0.86 * stars.size), rel=0.5)
