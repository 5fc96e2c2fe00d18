"""The simulated field, its exposures and its variable stars."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import chi2, kstest

from romanprf.config import Simulate
from romanprf.errors import InputError
from romanprf.simulate import inject, make_exposure, make_field, wfi
from romanprf.simulate.detector import bad_pixels, cosmic_rays, expose
from romanprf.simulate.exposure import dither, places
from romanprf.simulate.variability import Dips, Microlensing
from romanprf.sky.motion import MAS, parallax_factors
from romanprf.sky.wcs import project

SETTINGS = Simulate(size=64, seed=7)


@pytest.fixture(scope="module")
def field():
    return make_field(SETTINGS)


@pytest.fixture(scope="module")
def exposure(field):
    return make_exposure(field, SETTINGS, 3)


@pytest.mark.parametrize(("limit", "per_detector"), [(21, 3.0e5), (23, 7.5e5), (25, 1.9e6)])
def test_counts_of_the_bulge(limit, per_detector):
    settings = Simulate(size=400, draw_limit=25.5, transits=0, eclipses=0, microlensing=0)
    stars = make_field(settings).stars
    expected = (per_detector - 3300) * (606 / 4088) ** 2
    assert (stars["mag"] < limit).sum() == pytest.approx(expected, abs=4 * np.sqrt(expected))
    assert stars["mag"].min() >= 14
    assert kstest(stars["x"], "uniform", (-103.5, 606)).pvalue > 1e-3
    assert kstest(stars["y"], "uniform", (-103.5, 606)).pvalue > 1e-3


def test_draw_limit_and_density():
    shallow = make_field(Simulate(draw_limit=22.0)).stars
    assert shallow["mag"].max() < 22.0
    dense = make_field(Simulate(draw_limit=22.0, density=3.0)).stars
    assert len(dense) / len(shallow) == pytest.approx(3.0, rel=0.1)


def test_catalogue_magnitudes_have_errors(field):
    error = field.stars["catalogue_mag"] - field.stars["mag"]
    assert error.std() == pytest.approx(0.02, rel=0.05)


def offsets(ra, dec, stars):
    """Places (degrees) relative to those of the stars, mas east and north."""
    return np.stack(project(ra, dec, stars["ra"].to_numpy(), stars["dec"].to_numpy())) / MAS


def test_catalogue_positions_have_errors():
    errors = {}
    for sigma in (0.0, 10.0, 40.0):
        stars = make_field(SETTINGS.model_copy(update={"position_error": sigma})).stars
        errors[sigma] = offsets(stars["catalogue_ra"], stars["catalogue_dec"], stars)
    assert_array_equal(errors[0.0], 0.0)
    assert_allclose(errors[10.0].std(axis=1), 10.0, rtol=0.05)
    assert_allclose(errors[40.0], 4.0 * errors[10.0], atol=1e-3)


def test_stars_move():
    moving = {"proper_motion": 4.0, "parallaxes": (1.0, 5.0), "cadence": 1440.0}
    settings = SETTINGS.model_copy(update=moving)
    field, still = make_field(settings), make_field(SETTINGS)
    stars = field.stars
    names = ["ra", "dec", "x", "y", "mag", "catalogue_mag"]
    pd.testing.assert_frame_equal(stars[names], still.stars[names])
    assert_allclose(stars[["pmra", "pmdec"]].std(), 4.0, rtol=0.05)
    nearby = stars["parallax"] > 0.0
    assert nearby.mean() == pytest.approx(0.05, abs=0.02)
    assert stars["parallax"][nearby].between(1.0, 5.0).all()
    exposure = make_exposure(field, settings, 300)
    assert exposure.time == wfi.START + 300.0
    dx, dy = dither(settings, 300)
    x, y = places(field, settings, exposure.time)
    sky = exposure.wcs.pixel_to_world_values(x + dx, y + dy)
    factors = parallax_factors(stars["ra"], stars["dec"], exposure.time)
    years, parallax = 300.0 / 365.25, stars["parallax"].to_numpy()
    expected = years * stars[["pmra", "pmdec"]].to_numpy().T + parallax * np.stack(factors)
    assert_allclose(offsets(*sky, stars), expected, atol=1e-3)


def test_stars_that_do_not_move_keep_their_place_to_the_bit(field):
    x, y = places(field, SETTINGS, wfi.START + 1000.0)
    assert_array_equal(x, field.stars["x"])
    assert_array_equal(y, field.stars["y"])


def test_parallaxes_are_a_range():
    with pytest.raises(ValueError, match="parallaxes: expected 0 <= low <= high"):
        Simulate(parallaxes=(2.0, 1.0))


def test_variable_stars(field):
    kinds = sorted(event.kind for event in field.events)
    assert kinds == sorted(3 * ["eclipse", "microlensing", "transit"])
    stars = field.stars.iloc[[event.star for event in field.events]]
    assert stars.index.is_unique
    assert stars["mag"].between(16.5, 20.5).all()
    assert stars[["x", "y"]].to_numpy().min() > SETTINGS.dither
    assert stars[["x", "y"]].to_numpy().max() < SETTINGS.size - SETTINGS.dither


def test_every_event_is_seen_in_sixteen_exposures():
    times = wfi.to_time(np.arange(16), Simulate().cadence)
    for seed in range(20):
        for event in make_field(Simulate(draw_limit=21.0, seed=seed)).events:
            factor = event.factor(times)
            if event.kind == "microlensing":
                assert factor.max() > 1.8
                assert factor[[0, -1]].max() < factor.max()
            else:
                depth = 1 - factor.min()
                assert depth > (0.015 if event.kind == "transit" else 0.1)
                assert (factor < 1 - 0.3 * depth).sum() >= 2


def test_microlensing_follows_paczynski():
    event = Microlensing(star=0, peak=100.0, einstein_time=2.0, impact=1.0)
    assert event.factor(np.array(100.0)) == pytest.approx(3 / np.sqrt(5))
    assert event.factor(np.array(98.0)) == pytest.approx(event.factor(np.array(102.0)))
    assert event.factor(np.array(300.0)) == pytest.approx(1.0, abs=1e-6)


def test_dips_are_periodic_trapezoids():
    event = Dips(0, "eclipse", 10.0, 4.0, duration=1.0, ingress=0.25, depth=0.4, secondary=0.1)
    times = np.array([10.0, 10.24, 10.375, 10.5, 11.0, 12.0, 8.0, 14.0, 6.0])
    expected = [0.6, 0.6, 0.8, 1.0, 1.0, 0.9, 0.9, 0.6, 0.6]
    assert_allclose(event.factor(times), expected, atol=1e-12)


def test_too_small_a_field_is_one_clear_line():
    with pytest.raises(InputError, match=r"simulate\.size, simulate\.density: \d+ stars"):
        make_field(Simulate(size=32, density=0.1))


def test_field_and_exposure_ignore_the_number_of_exposures(exposure):
    more = SETTINGS.model_copy(update={"exposures": 40})
    again = make_exposure(make_field(more), more, 3)
    assert_array_equal(again.flux, exposure.flux)
    assert_array_equal(again.flux_err, exposure.flux_err)
    assert again.wcs.to_header_string() == exposure.wcs.to_header_string()


def test_seed_changes_everything(exposure):
    other = SETTINGS.model_copy(update={"seed": 8})
    assert not np.array_equal(make_exposure(make_field(other), other, 3).flux, exposure.flux)
    assert dither(other, 3) != dither(SETTINGS, 3)


@pytest.mark.parametrize("largest", [0.0, 0.3, 1.0, 3.0])
def test_dithers_stay_within_their_limit(largest):
    dithers = np.array([dither(Simulate(dither=largest), n) for n in range(200)])
    assert np.abs(dithers).max() <= largest
    assert np.ptp(dithers, axis=0) == pytest.approx(2 * largest, rel=0.05)


def test_dithers_fill_the_pixel():
    phases = np.array([dither(SETTINGS, n) for n in range(16)]) % 1
    cells = {tuple(cell) for cell in (phases * 3).astype(int)}
    assert len(cells) == 9


def test_wcs_puts_stars_where_they_are_drawn(field, exposure):
    stars = field.stars
    x, y = exposure.wcs.world_to_pixel_values(stars["ra"], stars["dec"])
    dx, dy = dither(SETTINGS, 3)
    assert_allclose(x, stars["x"] + dx, atol=1e-6)
    assert_allclose(y, stars["y"] + dy, atol=1e-6)


def test_noise_and_errors_agree(field, exposure):
    dark = SETTINGS.model_copy(update={"cosmic_rays": 0.0})
    exposure = make_exposure(field, dark, 3)
    dx, dy = dither(dark, 3)
    x, y = field.stars["x"] + dx, field.stars["y"] + dy
    model = inject(np.zeros(exposure.flux.shape), x, y, field.fluxes(exposure.time), dark.sca)
    good = exposure.flux_err > 0
    variance = (model + wfi.BACKGROUND) / wfi.EXPOSURE_TIME + (
        wfi.READ_NOISE / wfi.EXPOSURE_TIME
    ) ** 2
    total = ((exposure.flux - model) ** 2 / variance)[good].sum()
    assert chi2(good.sum()).cdf(total) == pytest.approx(0.5, abs=0.499)
    flux, error = exposure.flux[good], exposure.flux_err[good]
    t = wfi.EXPOSURE_TIME
    assert_allclose(error**2, (np.maximum(flux, 0) + 5.2) / t + 121 / t**2, rtol=1e-5)


def test_saturated_and_bad_pixels_have_no_error():
    rate = np.zeros((8, 8))
    rate[2, 3] = 1e5
    bad = np.zeros((8, 8), dtype=bool)
    bad[5, 5] = True
    flux, error = expose(rate, np.zeros((8, 8)), bad, np.random.default_rng(0))
    assert flux[2, 3] == np.float32(wfi.SATURATION_RATE)
    assert np.isnan(flux[5, 5])
    assert_array_equal(np.argwhere(error == 0), [[2, 3], [5, 5]])


def test_bright_stars_saturate_and_keep_their_wings():
    settings = Simulate(size=200, seed=3, bad_pixels=0.0, draw_limit=21.0)
    field = make_field(settings)
    dx, dy = dither(settings, 0)
    stars = field.stars[["x", "y"]] + np.array([dx, dy])
    inside = stars.ge(3).all(axis=1) & stars.le(196).all(axis=1)
    saturated = make_exposure(field, settings, 0).flux_err == 0.0

    def pixels(bright):
        chosen = stars[inside & bright].round().astype(int)
        boxes = [saturated[y - 2 : y + 3, x - 2 : x + 3] for x, y in chosen.to_numpy()]
        return np.array([box.sum() for box in boxes])

    mag = field.stars["mag"]
    assert len(pixels(mag < 15)) > 3
    assert (pixels(mag < 15) > 0).all()
    assert pixels(mag < 15).max() < 10
    assert (pixels(mag.between(16.5, 18)) > 0).mean() < 0.05


def test_prf_span_changes_nothing_but_the_prf(field, exposure):
    spread = SETTINGS.model_copy(update={"prf_span": 4088.0})
    other = make_exposure(make_field(spread), spread, 3)
    assert_array_equal(other.flux_err == 0, exposure.flux_err == 0)
    brightest = np.nanmax(exposure.flux)
    difference = np.nanmax(np.abs(other.flux - exposure.flux)) / brightest
    assert 1e-3 < difference < 0.06


def test_bad_pixels_stay_where_they_are(field):
    masks = [np.isnan(make_exposure(field, SETTINGS, n).flux) for n in (0, 9)]
    assert masks[0].any()
    assert_array_equal(*masks)


def test_fractions_of_bad_and_hit_pixels():
    rng = np.random.default_rng(2)
    assert bad_pixels((300, 300), 0.01, rng).mean() == pytest.approx(0.01, rel=0.15)
    charge = cosmic_rays((300, 300), 0.02, rng)
    assert (charge > 0).mean() == pytest.approx(0.02, rel=0.25)
    assert charge.min() == 0
    assert not cosmic_rays((300, 300), 0.0, rng).any()
