"""Robust measures of spread."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from romanprf.core.statistics import MAD_SCALE, robust_spread, small_sample_scatter, typical_ratio


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


def test_typical_ratio_is_better_than_a_median():
    rng = np.random.default_rng(2)
    reference = rng.uniform(10.0, 20.0, 400)
    measured = reference * rng.normal(1.2, 0.02, (300, 400))
    found = np.array([typical_ratio(row, reference, 1) for row in measured])
    medians = np.median(measured / reference, axis=1)
    assert found.mean() == pytest.approx(1.2, abs=3e-4)
    assert found.std() < 0.92 * medians.std()
    measured[:, :60] *= 1.0 + rng.exponential(0.3, 60)  # blends that nobody knows of
    found = np.array([typical_ratio(row, reference, 1) for row in measured])
    assert (
        np.abs(found - 1.2).mean()
        < 0.5 * np.abs(np.median(measured / reference, axis=1) - 1.2).mean()
    )


def test_typical_ratio_of_the_brightest():
    reference = np.arange(1.0, 41.0)
    measured = np.where(reference > 30.0, 3.0, 1.0) * reference
    assert typical_ratio(measured, reference, 4) == pytest.approx(3.0)
    assert typical_ratio(measured[:4], reference[:4], 4) == pytest.approx(1.0)  # fewer than ten
    assert typical_ratio(measured[:0], reference[:0], 4) == 1.0
