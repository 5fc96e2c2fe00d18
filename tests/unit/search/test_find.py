"""Finding stars that the catalogue lacks."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fields
from romanprf.core.image import masked_image
from romanprf.frame.model import FrameModels
from romanprf.frame.stamps import make_stamps
from romanprf.frame.state import FrameState, Shift
from romanprf.prf.tensor import TensorPRF
from romanprf.search import find
from romanprf.search.find import find_stars
from romanprf.solve.fluxes import Prior

SHAPE, SIDE = (48, 48), 48
WCS = fields.wcs(*SHAPE)
ARCSEC = 3600.0
KNOWN = np.array([[10.0, 12.0, 3000.0], [30.2, 33.7, 800.0], [40.1, 8.6, 20000.0]])
CUT_OFF = 0.02


def core(dx, dy):
    """As undersampled as Roman's."""
    a, b = 0.55, 0.65
    return np.exp(-0.5 * ((dx / a) ** 2 + (dy / b) ** 2)) / (2.0 * np.pi * a * b)


PRF = TensorPRF.projected(core, 8.0, WCS.jacobian(*np.full((2,), 23.5)))


class Frames:
    """Dithered frames of stars (x, y in the field, flux), of which the first are known."""

    def __init__(self, missing, n_frames=8, seed=1, rays=(), masked=(), jitter=0.0):
        stars = np.vstack([KNOWN, np.reshape(missing, (-1, 3))])
        rng = np.random.default_rng(seed)
        ra, dec = WCS.pixel_to_sky(stars[:, 0], stars[:, 1])
        self.ra, self.dec, self.flux = ra, dec, stars[:, 2]
        shifts = [Shift(*rng.normal(0.0, jitter, 2), 0.0, 0.0) for _ in range(n_frames)]
        self.states = [FrameState(shift) for shift in shifts]
        self.frames = []
        for number, shift in enumerate(shifts):
            east, north = fields.SCALE / ARCSEC * rng.uniform(-2.0, 2.0, 2)
            wcs = fields.wcs(*SHAPE, 268.0 + east / np.cos(np.deg2rad(29.2)), -29.2 + north)
            frame = fields.frame(ra, dec, wcs, SHAPE)
            stamps = make_stamps(PRF, frame, self.flux, 1e-3, FrameState(shift))
            model = stamps.model(self.flux) + 1.5
            data = model + 0.3 * rng.normal(size=SHAPE)
            data[tuple(np.transpose([ray[1:] for ray in rays if ray[0] == number]))] += 300.0
            flags = np.zeros(SHAPE, int)
            x, y = wcs.sky_to_pixel(*WCS.pixel_to_sky(*np.reshape(masked, (-1, 2)).T))
            columns, rows = np.meshgrid(*2 * (np.arange(SIDE),))
            for place in zip(x, y, strict=True):
                flags[np.hypot(columns - place[0], rows - place[1]) < 2.5] = 1
            image = masked_image(data, np.full(SHAPE, 0.3), flags, 0.0)
            n = len(KNOWN)
            self.frames.append(fields.with_image(frame.only(slice(n)), image))

    def models(self, flux, frames=None):
        return FrameModels(frames or self.frames, PRF, flux, CUT_OFF, self.states)

    def find(self, known=KNOWN[:, 2], frames=None):
        prior = Prior(known, 5.0 * np.sqrt(known))
        return find_stars(self.models(known, frames), prior, 5.0)

    def with_stars(self, ra, dec):
        n = len(KNOWN)
        return [
            replace(e, ra=np.append(e.ra[:n], ra), dec=np.append(e.dec[:n], dec))
            for e in self.frames
        ]


def pixels(found):
    return np.stack(WCS.sky_to_pixel(found.ra, found.dec), axis=1)


MISSING = np.array([[20.3, 20.8, 60.0], [35.6, 22.1, 25.0], [6.2, 40.4, 12.0]])


def test_missing_stars_are_found_and_cosmic_rays_are_not():
    rays = [(2, 25, 14), (5, 24, 34), (6, 12, 25)]
    found = Frames(MISSING, rays=rays).find()
    assert_allclose(pixels(found), MISSING[:, :2], atol=0.12)
    assert_allclose(found.flux, MISSING[:, 2], rtol=0.1)
    assert (np.diff(found.significance) < 0.0).all()
    assert found.significance[-1] > 20.0
    assert found.n_negative == 0


def test_nothing_is_found_with_a_complete_catalogue():
    found = Frames([]).find()
    assert (len(found.ra), found.n_negative) == (0, 0)


@pytest.mark.parametrize("name", ["jitter", "tiles"])
def test_shifts_and_tiles_do_not_matter(name, monkeypatch):
    expected = Frames(MISSING).find()
    if name == "tiles":
        monkeypatch.setattr(find, "_TILE", 21)
    found = Frames(MISSING, jitter=0.4 if name == "jitter" else 0.0).find()
    assert_allclose(pixels(found), pixels(expected), atol=0.08 if name == "jitter" else 1e-3)


def test_what_the_first_frame_does_not_show_is_found():
    frames = Frames([[47.2, 20.0, 80.0]])
    star = frames.ra[-1:], frames.dec[-1:]
    x = np.array([exposure.wcs.sky_to_pixel(*star)[0][0] for exposure in frames.frames])
    assert x.max() > SIDE - 0.5
    assert (x < SIDE - 1.0).sum() >= 2
    frames.frames = [frames.frames[n] for n in np.argsort(-x)]
    assert_allclose(pixels(frames.find()), [[47.2, 20.0]], atol=0.15)


@pytest.mark.parametrize(("distance", "n"), [(0.4, 0), (1.4, 1)])
def test_a_star_beside_a_known_one(distance, n):
    found = Frames([[30.2 + distance, 33.7, 60.0]]).find()
    assert len(found.ra) == n


def test_the_fainter_of_two_is_found_next_time():
    pair = np.array([[20.3, 20.8, 300.0], [21.9, 20.8, 100.0]])
    frames = Frames(pair)
    first = frames.find()
    assert_allclose(pixels(first), pair[:1, :2], atol=0.3)
    more = frames.with_stars(frames.ra[3:4], frames.dec[3:4])
    second = frames.find(np.append(KNOWN[:, 2], first.flux), more)
    assert_allclose(pixels(second), pair[1:, :2], atol=0.2)


def test_nothing_is_found_where_pixels_are_masked():
    found = Frames(MISSING, masked=[MISSING[0, :2]]).find()
    assert_allclose(pixels(found), MISSING[1:, :2], atol=0.12)


@pytest.mark.parametrize("angle", np.deg2rad([0.0, 22.5, 30.0, 45.0, 90.0, 120.0]))
def test_a_star_stands_out_of_a_spike_and_the_spike_is_none(angle):
    rows, columns = np.arange(61) / 3.0, np.arange(70) / 3.0
    x, y = np.meshgrid(columns - 12.1, rows - 9.7)
    across = x * np.sin(angle) - y * np.cos(angle)
    along = x * np.cos(angle) + y * np.sin(angle)
    spike = (40.0 + np.cos(along)) * np.exp(-0.5 * (across / 1.2) ** 2)
    star = 40.0 * np.exp(-0.5 * (x**2 + y**2))
    nothing = find._peaks(spike, spike, rows, columns, 20.0)
    assert len(nothing) == 0
    found = find._peaks(spike + star, spike + star, rows, columns, 20.0)
    assert_allclose(found[:, :2], [[12.1, 9.7]], atol=0.2)
    assert_allclose(found[:, 3], 40.0, atol=10.0)


def test_a_spike_that_ends_where_nothing_is_seen_is_no_star():
    rows, columns = np.arange(61) / 3.0, np.arange(70) / 3.0
    x, y = np.meshgrid(columns - 12.1, rows - 9.7)
    spike = (40.0 + 0.2 * x) * np.exp(-0.5 * y**2)
    spike[:, x[0] > 1.0] = np.nan
    assert len(find._peaks(spike, spike, rows, columns, 20.0)) == 0


@pytest.mark.parametrize(
    ("positive", "negative", "before", "n"),
    [
        ([], [], 0, 0),
        ([9.0, 8.0], [], 0, 2),
        ([9.0, 8.0, 6.0], [7.0], 0, 2),
        ([9.0, 8.0], [9.0], 0, 0),
        # One in a hundred may be false.
        ([9.0, 8.0], [9.0], 98, 2),
        ([9.0, 8.0], [9.0], 97, 0),
        (np.linspace(110.0, 11.0, 100), [20.0], 0, 100),
        (np.linspace(110.0, 11.0, 100), [20.0, 11.5], 0, 90),
    ],
)
def test_peaks_count_until_the_negative_has_as_significant_ones(positive, negative, before, n):
    assert find._likely(np.array(positive, float), np.array(negative, float), before) == n
