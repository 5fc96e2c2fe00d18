"""The scale of all fluxes: a source gives the sum of its pixels, with the error of the scale."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.special import erf

import fields
from romanprf import Machine

SIDE = 41
ROW, COLUMN = np.mgrid[:SIDE, :SIDE].astype(float)


def gauss(dx: np.ndarray, dy: np.ndarray, sigma: float = 0.85) -> np.ndarray:
    """Light of a Gaussian of 1 e-/s in pixels."""
    x, y = (
        0.5 * (erf((d + 0.5) / (np.sqrt(2) * sigma)) - erf((d - 0.5) / (np.sqrt(2) * sigma)))
        for d in (dx, dy)
    )
    return x * y


def with_wing(dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """The same with a fifth of the light in a wing that falls with the cube of the radius."""
    core = 1.5
    wing = (1.0 + (dx**2 + dy**2) / core**2) ** -1.5 / (2.0 * np.pi * core**2)
    return 0.8 * gauss(dx, dy) + 0.2 * wing


def machine(light, x, y, flux, sky=0.0, seed=1, rows=(), **settings) -> Machine:
    """Three frames of some sources; ``rows`` (x, y, flux) are more of the catalogue."""
    rng, wcs = np.random.default_rng(seed), fields.wcs(SIDE, SIDE)
    model = sky + sum(f * light(COLUMN - a, ROW - b) for a, b, f in zip(x, y, flux, strict=True))
    error = np.broadcast_to(np.sqrt(4.0 + np.maximum(model, 0.0) / 66.0), (3, SIDE, SIDE))
    data = model + error * rng.normal(size=error.shape)
    for row in rows:
        x, y, flux = (np.append(a, b) for a, b in zip((x, y, flux), row, strict=True))
    ra, dec = wcs.pixel_to_sky(np.asarray(x, float), np.asarray(y, float))
    sources = pd.DataFrame({"ra": ra, "dec": dec, "flux": flux})
    sky_of_pixels = wcs.pixel_to_sky(COLUMN, ROW)
    made = Machine(2461000.0 + np.arange(3), data, error, *sky_of_pixels, sources, COLUMN, ROW,
                   **settings)  # fmt: skip
    made.quiet = True
    made.build_shape_model()
    made.fit_model()
    return made


@pytest.mark.parametrize(("flux", "within"), [(5e3, 0.04), (1e5, 0.01)])
@pytest.mark.parametrize("sky", [None, 0.0, 10.0])
def test_a_lone_source_is_the_sum_of_its_pixels(sky, flux, within):
    m = machine(gauss, [20.23], [19.69], [flux], sky or 0.0, fit_background=sky is not None)
    assert m.ws.mean() == pytest.approx(flux, rel=within)
    assert np.abs((m.ws - flux) / m.werrs).max() < 3.0
    assert m.background.mean() == pytest.approx(sky or 0.0, abs=0.3)


@pytest.mark.parametrize("sky", [None, 10.0])
@pytest.mark.parametrize("light", [gauss, with_wing])
def test_fluxes_of_a_crowd(light, sky):
    rng = np.random.default_rng(3)
    x, y = rng.uniform(-2.0, SIDE + 1.0, (2, 60))
    flux = 10.0 ** rng.uniform(1.8, 4.3, 60)
    m = machine(light, x, y, flux, sky or 0.0, fit_background=sky is not None)
    bright = (np.abs(x - 20) < 16) & (np.abs(y - 20) < 16) & (flux > 1500.0)
    assert np.median(m.ws[:, bright] / flux[bright]) == pytest.approx(1.0, abs=0.015)
    assert m.background.mean() == pytest.approx(sky or 0.0, abs=1.0)


def test_an_absurd_row_moves_no_other_source():
    rng = np.random.default_rng(5)
    x, y = rng.uniform(0.0, SIDE, (2, 30))
    flux = 10.0 ** rng.uniform(2.5, 4.3, 30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = machine(gauss, x, y, flux)
    bright = flux > 1000.0
    for claim in (1e5, 1e9):
        with pytest.warns(UserWarning, match=r"row 30 is 1e.0\d, more than 50 times"):
            m = machine(gauss, x, y, flux, rows=[(13.0, 20.0, claim)])
        change = (m.ws[:, :30] - expected.ws)[:, bright]
        assert np.median(np.abs(change / expected.ws[:, bright])) < 0.01
        assert abs(m.ws[:, 30]).max() < 100.0
