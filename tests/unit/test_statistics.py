"""Robust measures of spread."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from romanprf.statistics import MAD_SCALE, robust_spread, small_sample_scatter


@pytest.mark.parametrize("n", [3, 4, 5, 8, 12, 16, 33, 80])
def test_scatter_of_few_values_is_corrected(n):
    draws = np.random.default_rng(n).normal(size=(30000, n))
    deviation = np.abs(draws - np.median(draws, axis=1, keepdims=True))
    typical = np.median(MAD_SCALE * np.median(deviation, axis=1))
    assert small_sample_scatter(n) == pytest.approx(typical, abs=0.01)


def test_scatter_of_many_values_is_not():
    assert_allclose(small_sample_scatter(np.array([1e4, 1e6])), 1.0, atol=2e-4)


def test_robust_spread_is_the_standard_deviation_of_normal_values():
    values = np.random.default_rng(1).normal(3.0, 2.0, 100_001)
    values[:1000] = 1e9
    assert robust_spread(values) == pytest.approx(2.0, rel=0.03)
