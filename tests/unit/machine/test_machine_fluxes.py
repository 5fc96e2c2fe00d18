"""Fluxes, errors, background and time model of Machine, against dense numpy and the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal

from machines import simulated
from romanprf.solve.normal import normal_matrix


@pytest.fixture(scope="module")
def sky():
    return simulated(nt=2, side=40, n=40, seed=7)


@pytest.fixture(scope="module")
def background_sky():
    return simulated(nt=3, side=48, n=30, seed=8, background=30.0)


def far_light(machine, t: int) -> np.ndarray:
    """Light beyond the footprints, e-/s in each pixel."""
    frame = machine._series.frame(t)
    return frame.grid.pixels(machine.scene.far(frame))


def dense_solution(machine, t: int, mu, sigma, with_background: bool):
    """Fluxes, errors and background (value, error) from one dense system of equations."""
    p = machine.mean_model.toarray()
    good = np.isfinite(machine.flux[t]) & np.isfinite(machine.flux_err[t])
    p, y, err = p[:, good], machine.flux[t, good], machine.flux_err[t, good]
    y = y - far_light(machine, t)[good]
    if with_background:
        p = np.vstack([p, np.ones(p.shape[1])])
    prior = np.append(sigma**-2.0, [0.0] * with_background)
    matrix = (p / err**2) @ p.T + np.diag(prior)
    vector = (p / err**2) @ y + prior * np.append(mu, [0.0] * with_background)
    errors = np.sqrt(np.diag(np.linalg.inv(matrix)))
    return np.linalg.solve(matrix, vector), errors


@pytest.mark.parametrize("with_background", [False, True])
@pytest.mark.parametrize("frame", [0, 1])
def test_fluxes_are_those_of_dense_algebra(sky, frame, with_background):
    errors = sky.arrays["flux_err"].copy()
    errors[:, 5:9, 5:7] = np.inf
    machine = sky.machine(flux_err=errors, fit_background=with_background)
    machine.build_shape_model()
    machine.fit_model()
    mu = machine.flux_scale * machine.source_flux_estimates
    sigma = 5.0 * np.sqrt(mu)
    flux, error = dense_solution(machine, frame, mu, sigma, with_background)
    seen = np.isfinite(machine.ws[frame])
    own = np.append(seen, np.ones(int(with_background), bool))
    flux, error = flux[own], error[own]
    n = seen.sum()
    assert n > 30
    assert (np.abs(machine.ws[frame, seen] - flux[:n]) < 1e-5 * error[:n]).all()
    shared = machine.scale_error * flux[:n]
    assert 0.0 < machine.scale_error < 0.1
    assert_allclose(machine.werrs[frame, seen], np.hypot(error[:n], shared), rtol=1e-5)
    if with_background:
        assert abs(machine.background[frame] - flux[-1]) < 1e-5 * error[-1]
        assert_allclose(machine.background_err[frame], error[-1], rtol=1e-6)


def test_normal_equations_are_those_of_dense_algebra(sky):
    machine = sky.machine()
    machine.build_shape_model()
    _, stamps = machine._results.shape.stamps.seen()
    p = machine.mean_model.toarray()
    p = p[np.diff(machine._results.shape.stamps.offset) > 0]
    weight = machine.flux_err[0] ** -2.0
    sigma = np.random.default_rng(1).uniform(5.0, 50.0, len(stamps))
    ours = normal_matrix(stamps, weight.reshape(40, 40), sigma).toarray()
    expected = (p * weight) @ p.T + np.diag(sigma**-2.0)
    assert_allclose(ours, expected, rtol=1e-10, atol=1e-10 * expected.diagonal().min())


def test_priors(sky):
    machine = sky.known()
    mu = 0.5 * machine.source_flux_estimates
    machine.fit_model(prior_mu=mu, prior_sigma=np.full(40, 1e-6))
    seen = np.isfinite(machine.ws[0])
    assert_allclose(machine.ws[:, seen], np.tile(mu[seen], (2, 1)), rtol=0, atol=1e-5)
    assert (machine.werrs[:, seen] <= 1e-6).all()
    machine.fit_model(prior_mu=mu)
    first = machine.ws
    machine.fit_model(prior_mu=mu, prior_sigma=5.0 * np.sqrt(mu))
    assert_array_equal(machine.ws, first)
    machine.fit_model()
    first = machine.ws
    default = machine.flux_scale * machine.source_flux_estimates
    machine.fit_model(default, 5.0 * np.sqrt(default))
    assert_array_equal(machine.ws, first)
    machine.fit_model(default, np.full(40, 1e9))
    assert (np.abs(machine.ws - first)[:, seen] > 1e-6).any()


def test_sources_without_a_usable_pixel_are_nan(sky):
    star = int(np.argmax(sky.inside(6.0)))
    machine = sky.known()
    pixels = machine.source_mask[star].indices
    errors = sky.arrays["flux_err"].reshape(2, -1).copy()
    errors[1, pixels] = np.nan
    machine = sky.known(flux_err=errors.reshape(2, 40, 40))
    machine.fit_model(compute_model=True)
    assert np.isfinite(machine.ws[0, star])
    assert np.isnan([machine.ws[1, star], machine.werrs[1, star]]).all()
    assert np.isfinite(machine.model_flux).all()
    assert (machine.fit_quality == 0).all()


def test_model_flux_is_the_sum_of_the_sources(sky):
    machine = sky.known(fit_background=True)
    machine.fit_model(compute_model=True)
    expected = np.nan_to_num(machine.ws) @ machine.mean_model + machine.background[:, None]
    expected += far_light(machine, 0)
    assert_allclose(machine.model_flux, expected, rtol=1e-12, atol=1e-9)
    machine.fit_model()
    with pytest.raises(AttributeError, match="compute_model=True"):
        _ = machine.model_flux


def test_pulls_with_the_true_prf():
    sky = simulated(nt=5, side=48, n=90, seed=20260417)
    machine = sky.known()
    machine.fit_model(prior_sigma=np.full(90, 1e9))
    pull = ((machine.ws - sky.flux) / machine.werrs)[:, sky.inside(0.0)]
    assert pull.size > 300
    assert 0.9 < pull.std() < 1.1
    assert abs(pull.mean()) < 4.0 / np.sqrt(pull.size)
    assert np.abs(pull).max() < 4.5


def test_blends_have_larger_errors():
    sky = simulated(nt=1, side=24, n=2, seed=9, brightest=2.0)
    sources = sky.arrays["sources"].copy()
    sources[["ra", "dec"]] = [[sky.arrays["ra"][12, 12], sky.arrays["dec"][12, 12]]] * 2
    apart = sources.copy()
    sources.iloc[1, sources.columns.get_loc("ra")] += 0.05 / 3600.0
    apart.iloc[1, apart.columns.get_loc("ra")] = sky.arrays["ra"][12, 3]
    apart.iloc[1, apart.columns.get_loc("dec")] = sky.arrays["dec"][12, 3]
    bright = simulated(nt=1, side=24, n=20, seed=9)
    scene = bright.known().scene
    errors = []
    for table in (sources, apart):
        machine = sky.machine(sources=table)
        ra, dec = (table[n].to_numpy() for n in ("ra", "dec"))
        machine._adopt(replace(scene, ra=ra, dec=dec, flux=np.full(2, 1e4)), 0)
        machine.fit_model(prior_sigma=np.full(2, 1e9))
        errors.append(machine.werrs[0, 0])
    assert errors[0] > 1.5 * errors[1]


def test_background_is_recovered(background_sky):
    machine = background_sky.machine(fit_background=True)
    backgrounds = []
    for cut_off in (0.01, 1.0):
        machine.build_shape_model(cut_off, frame_index="all")
        machine.fit_model()
        assert (machine.background_err > 0.0).all()
        backgrounds.append(machine.background)
    # The light beyond the footprints is no sky, wherever they end.
    assert_allclose(backgrounds[0], 30.0, atol=0.5)
    assert_allclose(backgrounds[1], backgrounds[0], atol=0.1)
    known = background_sky.known(fit_background=True)
    known.fit_model(prior_sigma=np.full(30, 1e9))
    assert (np.abs(known.background - 30.0) < 4.0 * known.background_err).all()
    pull = ((known.ws - background_sky.flux) / known.werrs)[:, background_sky.inside(0.0)]
    assert 0.75 < pull.std() < 1.25
    without = background_sky.known()
    without.fit_model(prior_sigma=np.full(30, 1e9))
    assert np.nanmedian(without.ws - known.ws) > 100.0
    assert not without.background.any()


# ---- the time model ----

NT = 20
PHASE = np.linspace(-1.0, 1.0, NT)
FINE = {"time_nknots": 9, "time_radius": 0.6, "poly_order": 1}


@pytest.fixture(scope="module")
def drifting():
    drift = 0.03 * np.stack([PHASE, 0.5 * PHASE], axis=1)
    return simulated(nt=NT, side=56, n=40, seed=22, drift=drift, brightest=5.0)


@pytest.fixture(scope="module")
def perturbed(drifting):
    machine = drifting.machine()
    machine.build_shape_model(frame_index="mean")
    machine.build_time_model(**FINE)
    machine.fit_model()
    return machine


def dense_light(model) -> np.ndarray:
    return model.toarray().sum(axis=1)


def scatter(flux: np.ndarray) -> np.ndarray:
    return flux.std(axis=0) / flux.mean(axis=0)


def test_perturbed_fluxes_scatter_less(drifting, perturbed):
    bright = drifting.inside(4.0, 3000.0)
    assert bright.sum() >= 10
    plain, better = (scatter(w[:, bright]) for w in (perturbed.ws, perturbed.ws_va))
    own_error = np.sqrt((perturbed.werrs / perturbed.ws) ** 2 - perturbed.scale_error**2)
    assert np.median(plain) > 5.0 * np.median(own_error[:, bright])
    assert np.median(better) < 0.4 * np.median(plain)
    assert np.mean(better < plain) >= 0.9
    assert perturbed.werrs_va.shape == perturbed.ws_va.shape == (NT, 40)
    assert_allclose(perturbed.ws_va[:, bright].mean(0), perturbed.ws[:, bright].mean(0), rtol=0.01)


def test_metrics_of_the_time_model(drifting, perturbed):
    perturbed.get_psf_metrics(1)
    seen = perturbed.mean_model.getnnz(axis=1) > 0
    assert_allclose(perturbed.perturbed_ratio_mean[seen], 1.0, atol=0.01)
    assert np.isnan(perturbed.perturbed_ratio_mean[~seen]).all()
    light = np.stack([dense_light(perturbed.perturbed_model(t)) for t in range(NT)])
    assert_allclose(perturbed.perturbed_std, light.std(axis=0), rtol=1e-12)
    assert (perturbed.perturbed_std[seen] > 0.0).all()


def test_perturbed_model(perturbed):
    mean = perturbed.mean_model
    for t in (0, np.int64(NT - 1), -1):
        model = perturbed.perturbed_model(t)
        assert model.shape == mean.shape
        assert model.nnz <= mean.nnz
    first, last = perturbed.perturbed_model(0), perturbed.perturbed_model(-1)
    assert np.abs(first - last).max() > 1e-3
    series = sum(perturbed.perturbed_model(t) for t in range(NT)) / NT
    assert np.abs(series - mean).max() < 1e-10


def test_a_steady_series_keeps_its_fluxes():
    sky = simulated(nt=NT, side=48, n=40, seed=23)
    machine = sky.machine()
    machine.build_shape_model(frame_index="mean")
    machine.build_time_model(**FINE)
    machine.fit_model()
    bright = sky.inside(4.0, 1000.0)
    change = (machine.ws_va - machine.ws)[:, bright] / machine.werrs[:, bright]
    assert np.sqrt(np.mean(change**2)) < 0.5


def test_vectors_in_time(drifting, perturbed):
    machine = drifting.machine()
    machine.build_shape_model(frame_index="mean")
    machine.build_time_model(**FINE | {"vectors": PHASE[:, None], "segments": False})
    machine.fit_model()
    assert_allclose(machine.ws_va, perturbed.ws_va, rtol=1e-6)
    machine.build_time_model(**FINE | {"vectors": "centroid"})
    assert machine.time_model.vectors.shape == (NT, 5)
    assert abs(np.corrcoef(machine.time_model.vectors[:, 0], PHASE)[0, 1]) > 0.99


def test_knots_of_the_time_model(drifting):
    machine = drifting.machine()
    machine.build_shape_model(frame_index="mean")
    assert machine.cartesian_knot_spacing == "sqrt"
    machine.build_time_model(time_nknots=5)
    assert_allclose(machine.time_model.knots, [-0.33, -0.0825, 0.0, 0.0825, 0.33])  # three pixels
    machine.cartesian_knot_spacing = "linear"
    machine.build_time_model(time_nknots=5, time_radius=0.8)
    assert_allclose(machine.time_model.knots, [-0.8, -0.4, 0.0, 0.4, 0.8])


def test_old_results_of_the_time_model_go(drifting):
    machine = drifting.machine()
    machine.build_shape_model(frame_index="mean")
    assert isinstance(machine.build_time_model(poly_order=1, plot=True), Figure)
    assert isinstance(machine.plot_time_model(), Figure)
    machine.fit_model()
    assert "perturbed_flux" in machine.to_table().colnames
    machine.build_time_model(poly_order=2)
    with pytest.raises(AttributeError, match=r"call build_time_model\(\) and then fit_model"):
        _ = machine.ws_va
    assert "perturbed_flux" not in machine.to_table().colnames
    machine.build_shape_model()
    with pytest.raises(AttributeError, match="call build_time_model"):
        _ = machine.time_model
