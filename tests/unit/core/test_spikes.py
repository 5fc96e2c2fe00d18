"""Pixels that no star can make."""

import numpy as np
import pytest

import fields
from romanprf.core.image import masked_image, without_full_pixels, without_spikes
from romanprf.flags import PixelFlag
from romanprf.simulate.render import inject

SHAPE = (40, 48)


def crowded(seed=3):
    """Stars at all sub-pixel phases with Roman's PRF, and noise."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0.0, np.array([[47.0], [39.0]]), (2, 60))
    light = inject(np.zeros(SHAPE), x, y, 10.0 ** rng.uniform(1.0, 6.0, 60), 2) + 5.0
    error = np.sqrt(fields.READ_VARIANCE + fields.SLOPE * light)
    return light + error * rng.normal(size=SHAPE), error


def image(data, error, flags=None):
    flags = np.zeros(SHAPE, np.int32) if flags is None else flags
    return masked_image(data, error, flags, fields.SLOPE)


@pytest.mark.parametrize("seed", range(5))
def test_stars_are_no_spikes(seed):
    before = image(*crowded(seed))
    assert without_spikes(before) is before


@pytest.mark.parametrize("value", [3e5, 1e9, 1e20])
def test_a_single_pixel_is_rejected(value):
    data, error = np.full(SHAPE, 5.0), np.full(SHAPE, 0.3)
    data[10, 20] = value
    found = without_spikes(image(data, error))
    assert np.argwhere(~found.usable).tolist() == [[10, 20]]
    assert found.flags[10, 20] == PixelFlag.SPIKE
    assert (found.flux[10, 20], found.flux_err[10, 20]) == (0.0, np.inf)


@pytest.mark.parametrize("seed", range(5))
def test_stars_with_saturated_cores_are_no_spikes(seed):
    data, error = crowded(seed)
    flags = np.where(data > 0.05 * data.max(), int(PixelFlag.SATURATED | PixelFlag.BAD), 0)
    before = image(data, error, flags)
    assert (~before.usable).sum() > 3
    assert without_spikes(before) is before


def test_a_pixel_beside_a_rejected_one_is_judged_by_the_others():
    data, error, flags = np.full(SHAPE, 5.0), np.full(SHAPE, 0.3), np.zeros(SHAPE, np.int32)
    data[10, 20], flags[10, 21] = 1e4, int(PixelFlag.BAD)
    assert not without_spikes(image(data, error, flags)).usable[10, 20]


def test_pixels_at_full_well_are_saturated():
    data, error = crowded()
    full = data > 0.3 * data.max()
    assert full.sum() >= 3
    clipped = without_full_pixels(image(np.where(full, 0.3 * data.max(), data), error))
    assert np.array_equal(~clipped.usable, full)
    assert (clipped.flags[full] == PixelFlag.SATURATED | PixelFlag.BAD).all()


@pytest.mark.parametrize("seed", range(5))
def test_peaks_of_stars_are_not_full(seed):
    before = image(*crowded(seed))
    assert without_full_pixels(before) is before


def test_an_empty_image_is_not_full():
    before = image(np.zeros(SHAPE), np.ones(SHAPE))
    assert without_full_pixels(before) is before
    nothing = image(np.full(SHAPE, np.nan), np.ones(SHAPE))
    assert without_full_pixels(nothing) is nothing
