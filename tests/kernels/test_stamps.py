import numpy as np
import pytest
from numpy.testing import assert_allclose

import fields
import naive
from naive import both
from romanprf.photometry import stamps_nb as nb


@pytest.fixture
def stamps():
    return fields.random_scene(np.random.default_rng(4), 14, (20, 23), margin=12.0).stamps


@both(nb.add)
def test_add(kernel, stamps):
    flux = np.random.default_rng(5).normal(10.0, 30.0, len(stamps))
    image = np.ones(stamps.shape)
    kernel(stamps.window, stamps.offset, stamps.values, flux, image)
    expected = naive.add(stamps.window, stamps.offset, stamps.values, flux, stamps.shape)
    assert_allclose(image, 1.0 + expected, rtol=1e-12)
    assert np.ptp(image) > 1.0


@both(nb.dot)
def test_dot(kernel, stamps):
    image = np.random.default_rng(6).normal(size=stamps.shape)
    out = np.empty(len(stamps))
    kernel(stamps.window, stamps.offset, stamps.values, image, out)
    expected = naive.dot(stamps.window, stamps.offset, stamps.values, image)
    assert_allclose(out, expected, rtol=1e-12, atol=1e-15)
    assert np.abs(out).max() > 0.1
