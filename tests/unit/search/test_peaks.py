"""Bright peaks of an image, and first fluxes of stars at given places."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

import fields
from romanprf.flags import PixelFlag
from romanprf.search.peaks import bright_peaks, saturated_cores
from romanprf.solve.first import aperture_fluxes, first_fluxes

SHAPE = (60, 70)


@pytest.fixture
def scene():
    rng = np.random.default_rng(4)
    return fields.random_scene(rng, 300, SHAPE)


def test_peaks_are_stars(scene):
    flags = np.zeros(SHAPE, np.int32)
    flags[20:22, 30] = PixelFlag.BAD
    peaks = bright_peaks(scene.image(np.random.default_rng(1), flags))
    assert len(peaks.x) > 15
    assert (np.diff(peaks.height) <= 0.0).all()
    bright = np.argsort(-scene.flux)[:60]
    stars = np.stack([scene.x[bright], scene.y[bright]], axis=1)
    distance, _ = cKDTree(stars).query(np.stack([peaks.x, peaks.y], axis=1)[:15])
    assert np.median(distance) < 0.3
    assert np.hypot(peaks.x - 30, peaks.y - 20.5).min() > 2.0


def test_an_empty_image_has_no_peaks():
    scene = fields.scene([30.0], [30.0], [0.0], SHAPE)
    assert len(bright_peaks(scene.image()).x) == 0
    assert len(saturated_cores(scene.image()).x) == 0


def test_saturated_cores_are_stars_and_bad_pixels_are_not():
    scene = fields.scene([30.2, 50.0], [20.3, 40.0], [1e5, 2e3], SHAPE)
    flags = np.zeros(SHAPE, np.int32)
    flags[19:22, 29:32] = PixelFlag.NO_ERROR
    flags[5, 60] = flags[:2] = PixelFlag.BAD
    cores = saturated_cores(scene.image(np.random.default_rng(1), flags))
    assert (cores.x.tolist(), cores.y.tolist()) == ([30.0], [20.0])


def test_apertures(scene):
    star = fields.scene([30.0], [20.0], [500.0], SHAPE)
    x, y = np.array([30.0, -5.0, 100.0, np.nan]), np.array([20.0, 5.0, 5.0, 5.0])
    flux = aperture_fluxes(star.image(), x, y)
    assert 0.3 * 500 < flux[0] < 500
    assert flux[1:].tolist() == [0.0, 0.0, 0.0]
    flags = np.zeros(SHAPE, np.int32)
    flags[50, 50] = PixelFlag.BAD  # as the core of a saturated star
    flux = aperture_fluxes(star.image(flags=flags), np.array([30.0, 50.0]), np.array([20.0, 51.0]))
    assert flux[1] == pytest.approx(flux[0], rel=0.3)


def test_first_fluxes(scene):
    wcs = fields.wcs(*SHAPE)
    ra, dec = wcs.pixel_to_sky(np.append(scene.x, -60.0), np.append(scene.y, 30.0))
    image = scene.image(np.random.default_rng(2))
    frame = fields.with_image(fields.frame(ra, dec, wcs, SHAPE), image)
    colour = 10.0 ** np.random.default_rng(3).normal(-0.8, 0.3, scene.flux.size)
    catalogued = np.append(scene.flux * colour, 100.0)
    catalogued[:-1:7] = np.nan
    flux = first_fluxes([frame, frame], catalogued, fields.prf(), 0.05).flux
    assert (flux > 0.0).all()
    inside = (np.abs(scene.x - 35) < 30) & (np.abs(scene.y - 30) < 25) & (scene.flux > 200.0)
    ratio = flux[:-1][inside] / scene.flux[inside]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.05)
    assert np.percentile(np.abs(ratio - 1.0), 80) < 0.15
    assert flux[-1] == pytest.approx(100.0 * 10**0.8, rel=0.3)  # of a star that is not shown


def test_first_fluxes_without_a_catalogue(scene):
    wcs = fields.wcs(*SHAPE)
    ra, dec = wcs.pixel_to_sky(scene.x, scene.y)
    frame = fields.with_image(fields.frame(ra, dec, wcs, SHAPE), scene.image())
    flux = first_fluxes([frame], np.full(ra.size, np.nan), fields.prf(), 0.05).flux
    inside = (np.abs(scene.x - 35) < 30) & (np.abs(scene.y - 30) < 25) & (scene.flux > 200.0)
    assert np.median(flux[inside] / scene.flux[inside]) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("error", [1e-3, 0.02, 50.0, 3000.0])
def test_catalogued_fluxes_that_the_images_contradict(scene, error):
    wcs, scene = fields.wcs(*SHAPE), fields.scene(scene.x, scene.y, 10.0 * scene.flux, SHAPE)
    ra, dec = wcs.pixel_to_sky(scene.x, scene.y)
    image = scene.image(np.random.default_rng(2))
    frame = fields.with_image(fields.frame(ra, dec, wcs, SHAPE), image)
    inside = (np.abs(scene.x - 35) < 30) & (np.abs(scene.y - 30) < 25)
    wrong = int(np.argmax(np.where(inside, scene.flux, 0.0)))
    catalogued = 0.8 * scene.flux
    found = first_fluxes([frame], catalogued, fields.prf(), 0.05)
    assert not found.contradict(catalogued).any()
    catalogued[wrong] *= error
    assert np.flatnonzero(found.contradict(catalogued)).tolist() == [wrong]
    assert found.typical(catalogued) == pytest.approx(1.25, rel=0.05)


def test_stars_that_exchange_light_contradict_no_catalogue():
    wcs = fields.wcs(*SHAPE)
    x, y = np.array([30.0, 30.1, 50.0, 15.0]), np.array([30.0, 30.0, 20.0, 40.0])
    scene = fields.scene(x, y, np.array([9e3, 10.0, 5e3, 5e3]), SHAPE)
    frame = fields.with_image(
        fields.frame(*wcs.pixel_to_sky(x, y), wcs, SHAPE), scene.image(np.random.default_rng(2))
    )
    found = first_fluxes([frame], scene.flux, fields.prf(), 0.05)
    # The images hardly tell which of the two is the bright one.
    assert not found.contradict(scene.flux[[1, 0, 2, 3]]).any()
    assert found.contradict(scene.flux * [0.02, 1.0, 1.0, 1.0])[0]
