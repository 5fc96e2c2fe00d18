"""How bright an uncatalogued star may be, and the light of such stars."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from romanprf.solve.uncatalogued import UncataloguedStars

SHAPE = (60, 70)
CATALOGUE, WIDTH = 500.0, 0.7


def prf(dx, dy):
    return np.exp(-0.5 * (dx**2 + dy**2) / WIDTH**2) / (2.0 * np.pi * WIDTH**2)


def unknown(sigmas=5.0, exposures=4):
    return UncataloguedStars(CATALOGUE, sigmas, exposures, prf)


def test_limit_is_so_many_errors_of_a_flux_in_the_stack():
    """Against the least-squares error of a star alone, its noise and the common error of pixels."""
    weight, common = np.full(SHAPE, 0.25), np.full(SHAPE, 0.3)
    weight[20:], common[:, 35:] = 0.05, 2.0
    found = unknown().limit(weight, common)
    for row, column in ((10, 12), (40, 12), (10, 60), (40, 60), (20, 35)):
        near = np.s_[row - 2 : row + 3, column - 2 : column + 3]
        dy, dx = np.mgrid[-2:3, -2:3]
        # A pixel in 4 frames: their noise averages out, what they have in common does not.
        variance = 1.0 / (4.0 * weight[near]) + common[near]
        expected = 5.0 / np.sqrt((prf(dx, dy) ** 2 / variance).sum())
        assert found[row, column] == pytest.approx(expected, rel=1e-9)


def test_a_star_of_the_catalogue_is_known():
    weight = np.full(SHAPE, 1e-6)
    weight[:30] = 0.0
    assert_allclose(unknown().limit(weight, np.zeros(SHAPE)), CATALOGUE)


def test_without_a_search_the_catalogue_is_the_limit():
    never = unknown(sigmas=np.inf, exposures=0)
    assert_allclose(never.limit(np.full(SHAPE, 0.25), np.zeros(SHAPE)), CATALOGUE)


def test_light_goes_as_the_square_root_of_the_limit():
    limit = np.full(SHAPE, CATALOGUE)
    limit[:, 35:] = CATALOGUE / 16.0
    squares = np.mean([image**2 for image in unknown().images(limit)], axis=0)
    bright, faint = squares[:, 5:30].mean(), squares[:, 40:65].mean()
    assert bright / faint == pytest.approx(16.0, rel=0.15)
    # One star in every pixel, and what is left of the square of a Gaussian.
    assert bright == pytest.approx(CATALOGUE**2 / (4.0 * np.pi * WIDTH**2), rel=0.1)


def test_light_of_neighbouring_pixels_is_that_of_stars():
    """The correlation of pixels is that of the PRF with itself."""
    images = unknown().images(np.full(SHAPE, CATALOGUE))
    pairs = np.concatenate([(image[:, 1:] * image[:, :-1]).ravel() for image in images])
    expected = CATALOGUE**2 / (4.0 * np.pi * WIDTH**2) * np.exp(-0.25 / WIDTH**2)
    assert pairs.mean() == pytest.approx(expected, rel=0.1)


def test_images_differ_from_each_other_and_not_from_run_to_run():
    limit = np.full(SHAPE, 10.0)
    one, two = list(unknown().images(limit)), list(unknown().images(limit))
    assert_allclose(one, two, rtol=0, atol=0)
    assert len({image[30, 30] for image in one}) == len(one) > 4
