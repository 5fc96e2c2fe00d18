import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fields
import naive
from naive import both
from romanprf.frame import stamps_nb as nb


@pytest.fixture
def stamps():
    """On more rows than a thread takes at a time."""
    return fields.random_scene(np.random.default_rng(4), 14, (nb.BAND + 20, 23), margin=12.0).stamps


@both(nb.list_bands)
def test_list_bands(kernel, stamps):
    start, members = kernel(stamps.window, stamps.shape[0])
    ours = [part.tolist() for part in np.split(members, start[1:-1])]
    assert ours == naive.list_bands(stamps.window, stamps.shape[0], nb.BAND)
    assert len(ours) == 2
    assert len(ours[0]) + len(ours[1]) == len(members) > len(stamps) // 2


@both(nb.dot_two)
def test_dot_two(kernel, stamps):
    images = np.random.default_rng(52).normal(size=(2, *stamps.shape))
    out = np.empty((2, len(stamps)))
    kernel(stamps.footprints, *images, *out)
    expected = naive.dot_two(*stamps.footprints, *images)
    assert_allclose(out, expected, rtol=1e-10, atol=1e-12)
    assert_allclose(list(stamps.dots([*images, images[0]])), [*expected, expected[0]], rtol=1e-10)


@both(nb.add)
def test_add(kernel, stamps):
    flux = np.random.default_rng(5).normal(10.0, 30.0, len(stamps))
    rest, image = np.ones(stamps.shape), np.full(stamps.shape, np.nan)
    kernel(stamps.footprints, *stamps.bands, flux, rest, image)
    expected = naive.add(*stamps.footprints, flux, stamps.shape)
    assert_allclose(image, 1.0 + expected, rtol=1e-12)
    assert np.ptp(image) > 1.0


@both(nb.add_listed)
def test_add_listed(kernel, stamps):
    rng = np.random.default_rng(51)
    flux, place = rng.normal(10.0, 30.0, len(stamps)), np.full(stamps.shape, -1, np.int32)
    some = rng.choice(place.size, 200, replace=False)
    place.flat[some] = np.arange(200)
    ours, expected = np.ones(200), np.ones(200)
    kernel(stamps.footprints, flux, place, ours)
    naive.add_listed(*stamps.footprints, flux, place, expected)
    assert_allclose(ours, expected, rtol=1e-12)
    assert np.ptp(ours) > 1.0


@both(nb.dot)
def test_dot(kernel, stamps):
    image = np.random.default_rng(6).normal(size=stamps.shape)
    out = np.empty(len(stamps))
    kernel(stamps.footprints, image, out)
    expected = naive.dot(*stamps.footprints, image)
    assert_allclose(out, expected, rtol=1e-12, atol=1e-15)
    assert np.abs(out).max() > 0.1


@both(nb.count_near)
def test_count_near(kernel):
    rng = np.random.default_rng(7)
    x, y = rng.uniform(-4.0, 16.0, (2, 40))
    x[:2], y[:2] = 5.0, [3.0, 12.0]  # pixels at the radius itself
    marked, out = rng.uniform(size=(11, 13)) < 0.4, np.full(40, -1)
    kernel(x, y, 2.0, marked, out)
    assert_array_equal(out, naive.count_near(x, y, 2.0, marked))
    assert out.max() > 5 > out.min() == 0


@both(nb._chord)
def test_chord(kernel):
    for x, room in [(5.0, 4.0), (5.3, 7.0), (5.5, 0.1), (-3.0, 9.0), (-9.0, 4.0), (14.2, 50.0)]:
        first, last = kernel(x, room, 3, 5, 7)
        assert list(range(first, last)) == naive.chord(x, room, 3, 5, 7)


@both(nb._add_part)
def test_add_part(kernel):
    prf = np.linspace(0.5, 1.0, 5).astype(np.float32)
    for first, last in [(3, 8), (4, 6), (5, 5), (6, 2)]:
        line = np.ones(9)
        kernel(line, 2.0, prf, 3, first, last)
        assert_allclose(line, naive.add_part(np.ones(9), 2.0, prf, 3, first, last), rtol=1e-14)


@both(nb.add_rings)
def test_add_rings(kernel):
    """Rings within the image, over its border, around all of it and wider than the table."""
    rng, shape = np.random.default_rng(8), (nb.BAND + 9, 20)
    x, y = rng.uniform(-4.0, 24.0, 24), rng.uniform(-4.0, shape[0] + 4.0, 24)
    x[:2], y[:2] = [9.0, 11.5], [nb.BAND, nb.BAND - 0.5]  # amid and between pixels
    inner = rng.uniform(0.0, 4.0, 24)
    inner[:2] = 3.0, 0.2
    outer, flux = inner + rng.uniform(0.0, 6.0, 24), rng.normal(10.0, 20.0, 24)
    table = rng.uniform(0.5, 1.0, (3, 3, 15, 15)).astype(np.float32)
    image = np.ones(shape)
    kernel(x, y, inner, outer, flux, table, image)
    expected = naive.add_rings(x, y, inner, outer, flux, table, shape)
    assert_allclose(image, 1.0 + expected, rtol=1e-12, atol=1e-12)
    assert np.count_nonzero(expected) > 300
