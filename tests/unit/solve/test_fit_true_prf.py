"""Fluxes of stars with the PRF that the simulation draws."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from romanprf.core.image import Image, masked_image
from romanprf.flags import SourceFlag
from romanprf.frame.stamps import Stamps
from romanprf.simulate import inject, wfi
from romanprf.solve.fit import FrameFit, fit_frame
from romanprf.solve.fluxes import Method, Prior

TIME = wfi.EXPOSURE_TIME
WIDTH = 20.0


def _stamps(x, y, shape, flux=1e9, cut_off=0.0) -> Stamps:
    """True PRFs on the whole image, or where they hold more light than ``cut_off``."""
    flux = np.broadcast_to(flux, len(x))
    places = np.column_stack([x, y])
    values = np.array([inject(np.zeros(shape), *place, 1e7) / 1e7 for place in places])
    values[values * flux[:, None, None] < cut_off] = 0.0
    window = np.tile(np.array([0, shape[0], 0, shape[1]], np.int32), (len(x), 1))
    offset = np.arange(len(x) + 1, dtype=np.int64) * shape[0] * shape[1]
    radius = np.full(len(x), 1e3)
    values = values.ravel().astype(np.float32)
    return Stamps(np.asarray(x), np.asarray(y), radius, window, offset, values, shape)


def _image(light, rng) -> Image:
    """Exposure as the simulation makes it, without saturation."""
    electrons = rng.poisson((light + wfi.BACKGROUND) * TIME) + rng.normal(
        0, wfi.READ_NOISE, light.shape
    )
    data = electrons / TIME - wfi.BACKGROUND
    variance = (np.maximum(data, 0.0) + wfi.BACKGROUND) / TIME + (wfi.READ_NOISE / TIME) ** 2
    return masked_image(data, np.sqrt(variance), np.zeros(light.shape, int), 1.0 / TIME)


def _fit(image, stamps, mu, far=None) -> FrameFit:
    return fit_frame(image, stamps, Prior(mu, WIDTH * np.sqrt(mu)), Method(1e-6, 2, 6.0), far)


@pytest.mark.parametrize(
    ("distance", "difference", "degenerate"),
    [(0.2, 0.0, True), (0.5, 0.0, False), (1.0, 0.0, False), (2.0, 0.0, False), (1.0, 2.0, False)],
)
def test_pairs(distance, difference, degenerate):
    """The sum of a pair is unbiased, each member scatters as its error says."""
    rng, shape = np.random.default_rng(71), (110, 110)
    x, y = np.array(np.meshgrid(*2 * [np.arange(11.0, 110.0, 22.0)])).reshape(2, -1)
    x, y = np.array([x, y]) + rng.uniform(-0.5, 0.5, (2, x.size))
    turn = rng.uniform(0.0, 2.0 * np.pi, x.size)
    x = np.append(x, x + distance * np.cos(turn))
    y = np.append(y, y + distance * np.sin(turn))
    flux = np.repeat(wfi.to_flux(np.array([19.0, 19.0 + difference])), x.size // 2)
    stamps = _stamps(x, y, shape)
    light, sums, pulls = stamps.model(flux), [], []
    for _ in range(8):
        catalogue = flux * rng.normal(1.0, 0.1, flux.size)
        fit = _fit(_image(light, rng), stamps, catalogue)
        sums.append(fit.flux.reshape(2, -1).sum(axis=0) / flux.reshape(2, -1).sum(axis=0))
        pulls.append(((fit.flux - flux) / fit.flux_err).reshape(2, -1))
        flagged = (fit.flags & int(SourceFlag.DEGENERATE)) != 0
        assert (flagged == degenerate).mean() > 0.9
        assert fit.n_outliers == 0
    assert np.mean(sums) == pytest.approx(1.0, abs=0.003)
    assert_array_equal(np.abs(np.std(pulls, axis=(0, 2)) - 1.0) < 0.15, True)
    assert np.abs(np.mean(pulls, axis=(0, 2))).max() < 4.0 / np.sqrt(8 * 25)


@pytest.mark.parametrize("mag", [15.0, 17.0, 19.0, 22.0])
def test_microlensing_peak_is_neither_clipped_nor_drawn_back(mag):
    """A star thirty times brighter than catalogued, with two neighbours."""
    rng, shape, x, y = np.random.default_rng(72), (50, 50), [22.0, 24.1, 30.0], [24.0, 24.6, 35.0]
    mu, bias = wfi.to_flux(np.array([mag, 20.0, 21.0])), []
    for phase in np.linspace(0.0, 0.9, 6):
        stamps = _stamps(np.add(x, phase), np.add(y, 0.4 * phase), shape)
        fit = _fit(_image(stamps.model(mu * [30.0, 1.0, 1.0]), rng), stamps, mu)
        assert fit.n_outliers == 0
        assert_array_equal(fit.core_outliers, 0)
        assert (fit.flags & int(SourceFlag.OUTLIER | SourceFlag.PRIOR) == 0).all()
        bias.append((fit.flux[0] - 30.0 * mu[0]) / (29.0 * mu[0]))
        noise = fit.flux_err[0] / (29.0 * mu[0])
    assert abs(np.median(bias)) < 0.004 + noise


def test_light_of_a_risen_star_beyond_its_footprint_is_no_outlier():
    shape, cut_off, mu = (90, 90), 0.1, wfi.to_flux(np.array([20.0, 20.0]))
    x, y = np.array([40.3, 80.0]), np.array([42.6, 10.2])
    whole, small = _stamps(x, y, shape), _stamps(x, y, shape, mu, cut_off)
    image = _image(whole.model(mu * [30.0, 1.0]), np.random.default_rng(73))
    assert _fit(image, small, mu).n_outliers > 3

    def far(flux, image):
        image += whole.model(flux) - small.model(flux)
        return image

    fit = _fit(image, small, mu, far)
    assert fit.n_outliers == 0
    assert fit.flux[0] == pytest.approx(30.0 * mu[0], rel=0.01)


def test_outliers_of_a_source_are_counted():
    rng, shape = np.random.default_rng(74), (40, 40)
    x, y, flux = np.array([10.2, 28.0]), np.array([11.3, 27.0]), np.full(2, 800.0)
    stamps = _stamps(x, y, shape)
    light = stamps.model(flux)
    light[27, 29], light[26, 27], light[5, 20] = 3000.0, 2000.0, 2000.0
    prior = Prior(flux, WIDTH * np.sqrt(flux))
    fit = fit_frame(_image(light, rng), stamps, prior, Method(1e-6, 4, 6.0))
    assert fit.n_outliers == 3
    assert fit.core_outliers.tolist() == [0, 2]
