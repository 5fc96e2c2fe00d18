from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fields
import naive
from romanprf.core.image import enough_rows
from romanprf.flags import PixelFlag
from romanprf.frame.background import Mesh
from romanprf.solve import solver
from romanprf.solve.fit import fit_frame
from romanprf.solve.fluxes import Method, Prior, solve_frame

SHAPE = (40, 44)


def _coordinates(shape):
    return np.meshgrid(*(np.linspace(-1.0, 1.0, n) for n in shape), indexing="ij")


def _functions(mesh):
    """Image of each function of a mesh."""
    return np.einsum("ri,cj->ijrc", mesh.rows, mesh.columns).reshape(mesh.nodes**2, *SHAPE)


@pytest.mark.parametrize("nodes", [0, 1, 2, 3, 4, 7])
def test_sums_over_pixels(nodes):
    mesh, weight = Mesh(nodes, SHAPE), np.random.default_rng(1).random(SHAPE)
    functions = _functions(mesh)
    weighted = np.array(list(mesh.weighted(weight))).reshape(nodes**2, *SHAPE)
    assert_allclose(weighted, functions * weight, rtol=1e-14)
    assert_allclose(mesh.dot(weight), (functions * weight).sum(axis=(1, 2)))
    expected = np.einsum("krc,rc,lrc->kl", functions, weight, functions)
    assert_allclose(mesh.gram(weight), expected, atol=1e-12)
    coefficients = np.arange(float(nodes**2)).reshape(nodes, nodes)
    expected = np.tensordot(coefficients.ravel(), functions, 1)
    assert_allclose(mesh.image(coefficients), expected, atol=1e-12)
    if nodes > 0:
        assert_allclose(functions.sum(axis=0), 1.0, rtol=1e-12)
        assert functions.min() >= 0.0


@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 6])
def test_polynomials_are_exact(nodes):
    y, x = _coordinates(SHAPE)
    degree = min(nodes - 1, 3)
    mesh, sky = Mesh(nodes, SHAPE), (1.5 + y - 0.7 * x) ** degree
    coefficients = np.linalg.solve(mesh.gram(np.ones(SHAPE)), mesh.dot(sky))
    assert_allclose(mesh.image(coefficients.reshape(nodes, nodes)), sky, atol=1e-11)


@pytest.mark.parametrize("nodes", [1, 2, 4])
def test_solution_and_errors_are_those_of_the_dense_matrix(nodes, monkeypatch):
    monkeypatch.setattr(solver, "_TILE_SOURCES", 1000)  # one tile
    rng = np.random.default_rng(42)
    scene = fields.random_scene(rng, 40, SHAPE)
    image = replace(scene.image(rng), poisson_slope=0.0)
    mu, sigma = 0.9 * scene.flux, 20.0 * np.sqrt(scene.flux)
    fit = fit_frame(image, scene.stamps, Prior(mu, sigma), Method(1e-12, background_nodes=nodes))
    stamps, mesh = scene.stamps, Mesh(nodes, SHAPE)
    design = naive.images(stamps.window, stamps.offset, stamps.values, stamps.shape)
    design = np.concatenate([design, _functions(mesh)]).reshape(40 + nodes**2, -1)
    weight = image.flux_err.ravel() ** -2.0
    prior = np.append(sigma**-2.0, np.zeros(nodes**2))
    inverse = np.linalg.inv((design * weight) @ design.T + np.diag(prior))
    expected = inverse @ (
        design @ (weight * image.flux.ravel()) + np.append(mu, prior[40:]) * prior
    )
    error, seen = np.sqrt(np.diag(inverse)[:40]), np.isfinite(fit.flux)
    assert seen.sum() > 30
    assert_allclose(fit.flux_err[seen], error[seen], rtol=1e-7)
    assert np.abs((fit.flux - expected[:40]) / error)[seen].max() < 1e-6
    assert_allclose(fit.background_mesh.ravel(), expected[40:], atol=1e-6)
    mean = np.append(np.zeros(40), mesh.dot(np.ones(SHAPE)) / image.flux.size)
    assert fit.background == pytest.approx(mean @ expected, rel=1e-6)
    assert fit.background_err == pytest.approx(np.sqrt(mean @ inverse @ mean), rel=1e-6)
    assert_allclose(fit.residual, image.flux - (expected @ design).reshape(SHAPE), atol=1e-6)


def _on_sky(seed, sky, n=350, shape=(96, 96)):
    rng = np.random.default_rng(seed)
    scene = fields.random_scene(rng, n, shape)
    model = scene.stamps.model(scene.flux) + sky
    error = np.sqrt(fields.READ_VARIANCE + fields.SLOPE * model)
    image = replace(scene.image(), flux=model + error * rng.normal(size=shape), flux_err=error)
    return scene, replace(image, poisson_slope=0.0)


@pytest.mark.parametrize(("shape", "nodes"), [("tilted", 2), ("curved", 4)])
def test_a_mesh_frees_the_fluxes_of_a_sky_that_is_not_constant(shape, nodes):
    y, x = _coordinates((96, 96))
    sky = 8.0 + {"tilted": 3.0 * x - 2.0 * y, "curved": 4.0 * np.cos(2.0 * x) * np.exp(y)}[shape]
    pulls = {1: [], nodes: []}
    for seed in range(4):
        scene, image = _on_sky(seed, sky)
        sigma = 20.0 * np.sqrt(scene.flux)
        for n, values in pulls.items():
            method = Method(1e-6, clip=6.0, background_nodes=n)
            fit = solve_frame(image, scene.stamps, Prior(scene.flux, sigma), method)
            values.append((fit.flux - scene.flux) / fit.flux_err)
        off = Mesh(nodes, sky.shape).image(fit.background_mesh) - sky
        assert np.sqrt(np.mean(off**2)) < 0.3  # the sky's own spread is 1.5 to 2
        assert abs(fit.background - sky.mean()) < 4.0 * fit.background_err + 0.02
    pull, constant = (np.concatenate(pulls[n]) for n in (nodes, 1))
    pull, constant = pull[np.isfinite(pull)], constant[np.isfinite(constant)]
    assert abs(pull.mean()) < 4.0 / np.sqrt(pull.size)
    assert pull.std() == pytest.approx(1.0, abs=4.0 / np.sqrt(2.0 * pull.size))
    assert constant.std() > 1.5


def test_a_part_without_pixels_does_not_matter():
    """Functions of the mesh that no pixel tells of are left alone."""
    scene, image = _on_sky(9, 5.0)
    flags = np.zeros(image.flux.shape, np.int32)
    flags[:, :60] = int(PixelFlag.BAD)
    error = np.where(flags > 0, np.inf, image.flux_err)
    image = replace(image, flux_err=error, flags=flags)
    sigma = 20.0 * np.sqrt(scene.flux)
    fits = [
        solve_frame(image, scene.stamps, Prior(scene.flux, sigma), Method(1e-6, background_nodes=n))
        for n in (1, 8)
    ]
    assert_array_equal(np.isfinite(fits[1].flux), np.isfinite(fits[0].flux))
    pull = (fits[1].flux - scene.flux) / fits[1].flux_err
    assert np.nanstd(pull) == pytest.approx(1.0, abs=0.25)
    assert np.isfinite(fits[1].background_mesh).all()
    assert fits[1].background == pytest.approx(5.0, abs=0.3)
    assert 0.0 < fits[0].background_err <= fits[1].background_err < 0.2


def test_rows_that_show_an_image():
    usable = np.ones((1000, 3), bool)
    assert enough_rows(usable, 300) == slice(None, None, 10)
    assert enough_rows(usable[:50], 300) == slice(None, None, 1)
    usable[::10] = False
    assert enough_rows(usable, 300) == slice(None)
