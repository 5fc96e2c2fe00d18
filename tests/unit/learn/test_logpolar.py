from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import fields
from romanprf.config import Shape
from romanprf.errors import InputError
from romanprf.flags import SourceFlag
from romanprf.learn.logpolar import LogPolarSettings, learn_logpolar
from romanprf.sky.deltas import find_deltas

SHAPE = (100, 100)
SETTINGS = LogPolarSettings.configured(
    Shape(n_r_knots=12, n_phi_knots=6, rmax=1.1, cut_r=fields.CUT_R, iterations=3)
)


def _pixels(positions, flux, exposures=3, rejected=0.0, rng=None):
    """Rows of ``deltas`` and ``sources`` of dithered exposures of a field of known PRF."""
    rng = rng or np.random.default_rng(31)
    tables = []
    for number in range(exposures):
        x, y = positions + rng.uniform(-3.0, 3.0, (2, 1))
        scene = fields.scene(x, y, flux, SHAPE, background=2.0, flux_cut_off=1e-4)
        image = scene.image(rng)
        error = np.where(rng.random(SHAPE) < rejected, np.inf, image.flux_err)
        wcs = fields.wcs(*SHAPE)
        pairs = find_deltas(*wcs.pixel_to_sky(x, y), np.full(len(x), 9.0), wcs, SHAPE)
        row, column = pairs["row"], pairs["column"]
        table = pd.DataFrame(pairs).assign(exposure=number)
        data = np.where(np.isfinite(error), image.flux, 0.0)
        tables.append(table.assign(flux=data[row, column], flux_err=error[row, column]))
    sources = pd.DataFrame({"flux": flux, "flags": np.zeros(len(flux), np.int32)})
    return pd.concat(tables, ignore_index=True), sources


def _error(model):
    """Largest and rms difference from the truth in dex, weighted like the light."""
    r = 0.8 * np.sqrt((np.arange(60) + 0.5) / 60)[:, None]
    phi = np.linspace(-np.pi, np.pi, 24, endpoint=False)
    truth = fields.prf().evaluate(r, phi)
    left = np.log10(model.evaluate(r, phi) / truth)
    return left.mean(axis=1), np.sqrt(np.average(left**2, weights=truth))


def _grid(rng):
    side = np.arange(14.0, 100.0, 24.0)
    return np.array(np.meshgrid(side, side)).reshape(2, -1) + rng.uniform(-2.0, 2.0, (2, 16))


def test_isolated_stars_give_the_prf():
    rng = np.random.default_rng(32)
    deltas, sources = _pixels(_grid(rng), 10.0 ** rng.uniform(3.5, 5.0, 16), rejected=0.02)
    model, history = learn_logpolar(deltas, sources, fields.SCALE**2, SETTINGS)
    profile, rms = _error(model)
    assert rms < 0.005
    assert np.abs(profile).max() < 0.02
    assert len(history) == 3
    assert history[-1].n_sources == 16
    assert history[-1].background == pytest.approx([2.0] * 3, abs=0.2)
    assert model.integral() == pytest.approx(1.0, abs=0.01)


def test_neighbours_are_subtracted():
    rng = np.random.default_rng(38)
    positions = np.hstack([_grid(rng), rng.uniform(2.0, 97.0, (2, 150))])
    flux = np.concatenate([10.0 ** rng.uniform(3.8, 5.0, 16), 10.0 ** rng.uniform(1.0, 3.0, 150)])
    deltas, sources = _pixels(positions, flux)
    model, history = learn_logpolar(deltas, sources, fields.SCALE**2, SETTINGS)
    profile, rms = _error(model)
    assert rms < 0.002
    assert np.abs(profile).max() < 0.02
    assert history[-1].n_sources > 16


def test_untrusted_sources_do_not_shape_the_prf():
    rng = np.random.default_rng(34)
    deltas, sources = _pixels(_grid(rng), np.full(16, 2e4))
    lies = np.arange(16) < 5
    deltas.loc[lies[deltas["source"]], "phi"] += 2.0
    misled, _ = learn_logpolar(deltas, sources, fields.SCALE**2, SETTINGS)
    sources.loc[lies, "flags"] = int(SourceFlag.BLENDED)
    model, history = learn_logpolar(deltas, sources, fields.SCALE**2, SETTINGS)
    assert history[-1].n_sources == 11
    assert _error(model)[1] < 0.5 * _error(misled)[1]


def test_a_hit_pixel_is_clipped():
    rng = np.random.default_rng(38)
    deltas, sources = _pixels(_grid(rng), np.full(16, 2e4))
    hit = rng.random(len(deltas)) < 0.005
    deltas.loc[hit, "flux"] += 5e3
    model, _ = learn_logpolar(deltas, sources, fields.SCALE**2, SETTINGS)
    assert _error(model)[1] < 0.008


@pytest.mark.parametrize("limit", [1e9, 1.0])
def test_too_few_pixels(limit):
    rng = np.random.default_rng(36)
    deltas, sources = _pixels(_grid(rng), np.full(16, 2e4), exposures=1)
    deltas = deltas if limit > 1.0 else deltas.iloc[:0]
    settings = replace(SETTINGS, source_flux_limit=limit)
    with pytest.raises(InputError, match=r"shape: 0 pixels are left to fit a PRF of \d+ radial"):
        learn_logpolar(deltas, sources, fields.SCALE**2, settings)
