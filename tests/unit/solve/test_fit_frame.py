from dataclasses import fields as dataclass_fields
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fields
import naive
from romanprf.core import accelerate
from romanprf.core.image import masked_image
from romanprf.flags import PixelFlag, SourceFlag
from romanprf.solve import normal, solver
from romanprf.solve.fit import fit_frame
from romanprf.solve.fluxes import Method, Prior, solve_frame

SHAPE = (40, 44)
TOLERANCE = 1e-9
SEEDS = st.integers(0, 2**31)


def _fit(scene, image, mu=None, width=20.0, reweight=0, tolerance=TOLERANCE):
    mu = scene.flux if mu is None else mu
    sigma = width * np.sqrt(np.maximum(scene.flux, 1.0))
    return fit_frame(image, scene.stamps, Prior(mu, sigma), Method(tolerance, reweight))


def _has(fit, flag):
    return (fit.flags & int(flag)) != 0


def _random(seed, n=30, shape=SHAPE, **keywords):
    rng = np.random.default_rng(seed)
    return fields.random_scene(rng, n, shape, **keywords), rng


def _inverse(scene, image, sigma):
    """Dense inverse of the normal matrix of fluxes and background."""
    weight = np.where(np.isfinite(image.flux_err), image.flux_err**-2.0, 0.0).ravel()
    stamps = scene.stamps
    design = naive.images(stamps.window, stamps.offset, stamps.values, stamps.shape)
    design = np.vstack([design.reshape(len(stamps), -1), np.ones(weight.size)])
    matrix = (design * weight) @ design.T + np.diag(np.append(sigma**-2.0, 0.0))
    scale = np.sqrt(np.diag(matrix))
    return np.linalg.inv(matrix / np.outer(scale, scale)) / np.outer(scale, scale), design, weight


def test_noise_free_image_gives_its_fluxes():
    scene, _ = _random(41, 40, margin=-2.0)
    fit = _fit(scene, scene.image(), mu=0.8 * scene.flux, width=1e4, reweight=1)
    assert_allclose(fit.flux, scene.flux, rtol=1e-6)
    assert fit.background == pytest.approx(1.5, rel=1e-6)
    assert np.abs(fit.residual).max() < 1e-4
    assert fit.mean_chi2 < 1e-8
    assert np.nanmax(fit.chi2) < 1e-8
    inside = fit.flags == 0
    assert inside.sum() > 20
    assert (fit.psf_fraction[inside] > 0.6).all()


def test_solution_and_errors_are_those_of_the_dense_matrix(monkeypatch):
    monkeypatch.setattr(solver, "_TILE_SOURCES", 1000)  # one tile
    scene, rng = _random(42, 40)
    image = replace(scene.image(rng), poisson_slope=0.0)
    mu, sigma = 0.9 * scene.flux, 3.0 * np.sqrt(scene.flux)
    fit = fit_frame(image, scene.stamps, Prior(mu, sigma), Method(1e-12))
    inverse, design, weight = _inverse(scene, image, sigma)
    right = (design * weight) @ image.flux.ravel() + np.append(mu / sigma**2, 0.0)
    expected, error = inverse @ right, np.sqrt(np.diag(inverse))
    seen = ~_has(fit, SourceFlag.NO_DATA)
    assert seen.sum() > 30
    assert_allclose(fit.flux_err[seen], error[:-1][seen], rtol=1e-8)
    assert fit.background_err == pytest.approx(error[-1], rel=1e-8)
    assert np.abs((fit.flux - expected[:-1]) / error[:-1])[seen].max() < 1e-8
    assert abs(fit.background - expected[-1]) < 1e-8 * error[-1]
    residual = image.flux - (expected @ design).reshape(SHAPE)
    assert_allclose(fit.residual, residual, atol=1e-7)
    assert fit.mean_chi2 == pytest.approx(np.mean((residual / image.flux_err) ** 2), rel=1e-9)
    normalised = (residual / image.flux_err).ravel() ** 2
    light = design[:-1].sum(axis=1)
    assert_allclose(fit.psf_fraction, light, rtol=1e-12)
    assert_allclose(fit.chi2[seen], (design[:-1] @ normalised)[seen] / light[seen], rtol=1e-7)


@pytest.mark.parametrize(("width", "least", "usual"), [(5.0, 0.99, 0.9999), (20.0, 0.96, 0.995)])
@pytest.mark.parametrize("seed", [51, 52, 53])
def test_errors_with_many_tiles(seed, width, least, usual):
    """The error of a star ignores what its tile does not hold: by less than 4 %."""
    shape = (96, 96)
    scene, _ = _random(seed, 800, shape, margin=12.0)  # a star for every 18 pixels
    image = replace(scene.image(), poisson_slope=0.0)
    fit = _fit(scene, image, width=width)
    tiles = solver.make_tiles(scene.stamps.x, scene.stamps.y, shape)
    assert len(tiles.n_halo) >= 9
    sigma = width * np.sqrt(np.maximum(scene.flux, 1.0))
    inverse, _, _ = _inverse(scene, image, sigma)
    seen = ~_has(fit, SourceFlag.NO_DATA)
    ratio = (fit.flux_err / np.sqrt(np.diag(inverse))[:-1])[seen]
    assert ratio.max() < 1.0 + 1e-6  # what is ignored only widens
    assert ratio.min() > least
    assert np.percentile(ratio, 5) > usual


def test_pulls_are_normal():
    """Fluxes scatter around the truth as their errors say, blends included."""
    rng = np.random.default_rng(43)
    side = np.arange(6.0, 120.0, 9.0)
    x, y = np.array(np.meshgrid(side, side)).reshape(2, -1) + rng.uniform(-0.5, 0.5, (2, 169))
    close = slice(0, 80)  # half of them have a neighbour at 0.8 to 1.5 pixels
    turn, distance = rng.uniform(0.0, 2.0 * np.pi, 80), rng.uniform(0.8, 1.5, 80)
    x = np.append(x, x[close] + distance * np.cos(turn))
    y = np.append(y, y[close] + distance * np.sin(turn))
    scene = fields.scene(x, y, 10.0 ** rng.uniform(1.5, 4.0, x.size), (126, 126))
    pulls, backgrounds = [], []
    for _ in range(6):
        fit = _fit(scene, scene.image(rng), width=1e3, reweight=2)
        pulls.append((fit.flux - scene.flux) / fit.flux_err)
        backgrounds.append((fit.background - scene.background) / fit.background_err)
    blended = np.zeros(x.size, bool)
    blended[close] = blended[169:] = True
    for group in (np.array(pulls)[:, blended], np.array(pulls)[:, ~blended]):
        assert abs(group.mean()) < 4.0 / np.sqrt(group.size)
        assert abs(group.std() - 1.0) < 4.0 / np.sqrt(2.0 * group.size)
    assert abs(np.mean(backgrounds)) < 4.0 / np.sqrt(6)
    blend_error, single_error = fit.flux_err[blended], fit.flux_err[~blended]
    assert np.median(blend_error) > 1.1 * np.median(single_error)


def test_weights_of_the_model_do_not_bias_faint_fluxes():
    """The data's own photon noise would: bright pixels look noisy, faint ones certain."""
    rng = np.random.default_rng(44)
    side = np.arange(5.0, 100.0, 7.0)
    x, y = np.array(np.meshgrid(side, side)).reshape(2, -1)
    scene = fields.scene(x, y, np.full(x.size, 20.0), (105, 105), background=40.0)
    quiet = scene.model
    means = {}
    for slope in (1.0, 0.0):  # slope 0 leaves the data's errors as they are
        pulls = []
        for _ in range(4):
            data = rng.poisson(quiet).astype(float)
            image = masked_image(data, np.sqrt(data), np.zeros(data.shape, int), slope)
            fit = _fit(scene, image, width=1e3, reweight=2)
            pulls.append((fit.flux - 20.0) / fit.flux_err)
        means[slope] = np.mean(pulls), fit.background
    assert abs(means[1.0][0]) < 4.0 / np.sqrt(4 * x.size)
    assert abs(means[1.0][1] - 40.0) < 0.3
    assert means[0.0][1] < 39.5


def test_photon_noise_is_iterated():
    scene, rng = _random(45)
    image = scene.image(rng)
    once, twice = (_fit(scene, image, mu=0.5 * scene.flux, reweight=n) for n in (0, 3))
    right = _fit(scene, image, reweight=3)
    inside = np.isfinite(once.flux)
    error = np.abs(twice.flux_err / right.flux_err - 1.0)[inside].max()
    assert error < 0.02 < np.abs(once.flux_err / right.flux_err - 1.0)[inside].max()
    assert twice.iterations > once.iterations


def test_first_weights_are_those_of_the_prior_fluxes():
    rng = np.random.default_rng(54)
    scene = fields.scene([10.2, 30.7], [28.1, 15.4], [2e4, 5e4], SHAPE)
    image = scene.image(rng)
    sigma = np.full(2, 1e6)
    fit = fit_frame(image, scene.stamps, Prior(scene.flux, sigma), Method(TOLERANCE))
    truth = replace(image, flux_err=np.sqrt(fields.READ_VARIANCE + fields.SLOPE * scene.model))
    inverse, _, _ = _inverse(scene, truth, sigma)
    assert_allclose(fit.flux_err, np.sqrt(np.diag(inverse))[:2], rtol=1e-3)


def test_prior_fills_in_where_the_pixels_are_silent():
    scene = fields.scene([20.0, 10.0], [20.0, 30.0], [100.0, 100.0], SHAPE)
    image = replace(scene.image(), poisson_slope=0.0)
    mu = np.array([150.0, 150.0])
    loose, tight = (
        fit_frame(image, scene.stamps, Prior(mu, np.array([1e3, sigma])), Method(TOLERANCE))
        for sigma in (1e3, 0.5)
    )
    assert_allclose(loose.flux, 100.0, atol=0.1)
    assert_array_equal(_has(loose, SourceFlag.PRIOR), False)
    assert tight.flux[0] == pytest.approx(100.0, abs=0.1)
    assert 145.0 < tight.flux[1] < 150.0
    assert_array_equal(_has(tight, SourceFlag.PRIOR), [False, True])
    # product of two normal distributions (the other star and the background hardly matter)
    precision = loose.flux_err[1] ** -2.0 - 1e3**-2.0
    expected = (100.0 * precision + 150.0 / 0.25) / (precision + 1.0 / 0.25)
    assert tight.flux[1] == pytest.approx(expected, rel=1e-3)
    assert tight.flux_err[1] == pytest.approx((precision + 4.0) ** -0.5, rel=1e-3)


def test_masked_sources():
    """Both cores masked: one wholly, one in part; the third is clean."""
    x, y = np.array([10.0, 25.0, 34.0]), np.array([12.0, 25.0, 8.0])
    scene = fields.scene(x, y, np.full(3, 500.0), SHAPE)
    flags = np.zeros(SHAPE, np.int32)
    flags[0:25, 0:22] = int(PixelFlag.BAD)
    flags[25, 26] = int(PixelFlag.BAD)
    fit = _fit(scene, scene.image(flags=flags))
    assert_array_equal(_has(fit, SourceFlag.NO_DATA), [True, False, False])
    assert_array_equal(_has(fit, SourceFlag.MASKED), [True, True, False])
    assert_array_equal(np.isnan(fit.flux), [True, False, False])
    assert_array_equal(np.isnan(fit.flux_err), [True, False, False])
    assert_array_equal(np.isnan(fit.chi2), [True, False, False])
    assert_allclose(fit.flux[1:], 500.0, rtol=1e-6)
    assert fit.psf_fraction[0] == 0.0
    assert fit.psf_fraction[1] < fit.psf_fraction[2] - 0.02
    assert fit.flux_err[1] > fit.flux_err[2]
    assert_array_equal(np.isnan(fit.residual), flags != 0)
    assert fit.flags[2] == 0


def test_values_of_rejected_pixels_do_not_matter():
    scene, rng = _random(46)
    clean = scene.image(rng)
    hit = rng.random(SHAPE) < 0.05
    flags = np.where(hit, int(PixelFlag.BAD), 0)
    fits = []
    for garbage, error in [(0.0, 1.0), (1e9, 1.0), (np.nan, 1.0), (np.inf, np.nan), (-5.0, 0.0)]:
        data, errors = np.where(hit, garbage, clean.flux), np.where(hit, error, clean.flux_err)
        known = flags if np.isfinite(garbage) and error > 0.0 else np.zeros(SHAPE, int)
        fits.append(_fit(scene, masked_image(data, errors, known, fields.SLOPE)))
    for fit in fits[1:]:
        assert_array_equal(fit.flux, fits[0].flux)
        assert_array_equal(fit.flux_err, fits[0].flux_err)
        assert fit.background == fits[0].background


def test_marked_pixels_in_the_core():
    x, y = np.array([10.0, 25.0, 34.0]), np.array([12.0, 25.0, 8.0])
    scene = fields.scene(x, y, np.full(3, 500.0), SHAPE)
    flags = np.zeros(SHAPE, np.int32)
    flags[13, 10] = int(PixelFlag.SATURATED)
    flags[25, 28] = int(PixelFlag.SATURATED)  # three pixels off
    flags[8, 35] = int(PixelFlag.JUMP | PixelFlag.SUSPECT)
    fit = _fit(scene, scene.image(flags=flags))
    assert fit.flags.tolist() == [int(SourceFlag.SATURATED), 0, int(SourceFlag.JUMP)]
    assert_allclose(fit.flux, 500.0, rtol=1e-6)


def test_edges_and_sources_off_the_image():
    x = np.array([20.0, 2.0, 20.0, 43.4, -2.0, -60.0, 20.0, 44.0])
    y = np.array([20.0, 20.0, 37.6, 5.0, 10.0, 20.0, 900.0, -9.0])
    scene = fields.scene(x, y, np.full(8, 2000.0), SHAPE)
    fit = _fit(scene, scene.image())
    assert_array_equal(_has(fit, SourceFlag.EDGE), [False] + [True] * 7)
    assert_array_equal(_has(fit, SourceFlag.NO_DATA), [False] * 5 + [True, True, False])
    assert_array_equal(np.isnan(fit.flux), _has(fit, SourceFlag.NO_DATA))
    assert fit.psf_fraction[0] > 0.9 > fit.psf_fraction[3] > 0.3 > fit.psf_fraction[4] > 0.0
    assert_allclose(fit.flux[:4], 2000.0, rtol=1e-4)
    assert _has(fit, SourceFlag.PRIOR)[5:].all()


def test_thousands_of_sources_off_the_image_cost_nothing():
    """A catalogue reaches beyond the image; its distant sources must not fill one dense tile."""
    scene, rng = _random(47)
    many = rng.uniform(1000.0, 3000.0, (2, 4000))
    wide = fields.scene(
        np.append(scene.x, many[0]),
        np.append(scene.y, many[1]),
        np.append(scene.flux, np.full(4000, 1e3)),
        SHAPE,
    )
    image = scene.image(rng)
    fit, fit_wide = _fit(scene, image), _fit(wide, image)
    assert_array_equal(fit_wide.flux[:30], fit.flux)
    assert_array_equal(fit_wide.flux_err[:30], fit.flux_err)
    assert_array_equal(fit_wide.flags[:30], fit.flags)
    assert np.isnan(fit_wide.flux[30:]).all()
    assert fit_wide.iterations == fit.iterations


def test_one_source():
    scene = fields.scene([20.3], [18.7], [300.0], SHAPE)
    image = scene.image(np.random.default_rng(48))
    fit = _fit(scene, image)
    assert abs(fit.flux[0] - 300.0) < 4.0 * fit.flux_err[0]
    assert fit.flags.tolist() == [0]
    assert 0.8 < fit.mean_chi2 < 1.2


def test_no_source_leaves_the_background():
    scene = fields.scene([], [], [], SHAPE, background=3.0)
    image = scene.image(np.random.default_rng(49))
    fit = _fit(scene, image)
    assert fit.flux.shape == fit.flags.shape == (0,)
    expected = np.average(
        image.flux, weights=1.0 / (fields.READ_VARIANCE + 3.0 * fields.SLOPE) * np.ones(SHAPE)
    )
    assert fit.background == pytest.approx(expected, abs=2e-3)
    assert fit.background_err == pytest.approx(
        np.sqrt((fields.READ_VARIANCE + 3.0 * fields.SLOPE) / image.flux.size), rel=1e-3
    )


def test_two_sources_at_one_place_share_the_light():
    scene = fields.scene([20.3, 20.3, 30.0], [18.7, 18.7, 9.0], [300.0, 300.0, 200.0], SHAPE)
    fit = _fit(scene, scene.image(), width=30.0)
    assert_allclose(fit.flux, scene.flux, rtol=1e-4)
    prior = 30.0 * np.sqrt(300.0)
    assert_allclose(fit.flux_err[:2], prior / np.sqrt(2.0), rtol=1e-3)
    assert fit.flux_err[2] < 0.1 * prior


def test_results_do_not_depend_on_the_number_of_threads():
    scene, rng = _random(50, 800, (96, 96))
    image = scene.image(rng)
    fits = []
    for threads in (1, 2):
        accelerate.set_threads(threads)
        fits.append(_fit(scene, image, width=5.0, reweight=1, tolerance=1e-4))
    for field in dataclass_fields(fits[0]):
        one, two = (np.asarray(getattr(fit, field.name), float) for fit in fits)
        assert_allclose(two, one, rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=15, derandomize=True)
@given(SEEDS)
def test_permuting_sources_permutes_the_answer(seed):
    scene, rng = _random(seed)
    image = scene.image(rng)
    order = rng.permutation(30)
    shuffled = fields.scene(scene.x[order], scene.y[order], scene.flux[order], SHAPE)
    fit, other = _fit(scene, image, width=5.0), _fit(shuffled, image, width=5.0)
    error = fit.flux_err[order]
    assert_array_equal(other.flags, fit.flags[order])
    assert_allclose(other.flux / error, (fit.flux / fit.flux_err)[order], atol=1e-6)
    assert_allclose(other.flux_err, error, rtol=1e-9)
    assert other.background == pytest.approx(fit.background, abs=1e-9)


@settings(deadline=None, max_examples=15, derandomize=True)
@given(SEEDS, st.floats(1e-3, 1e3))
def test_units_of_flux_do_not_matter(seed, k):
    scene, rng = _random(seed)
    image = scene.image(rng)
    scaled = replace(
        image,
        flux=k * image.flux,
        flux_err=k * image.flux_err,
        poisson_slope=k * image.poisson_slope,
    )
    sigma = 5.0 * np.sqrt(scene.flux)
    fit = fit_frame(image, scene.stamps, Prior(scene.flux, sigma), Method(TOLERANCE, 1))
    other = fit_frame(scaled, scene.stamps, Prior(k * scene.flux, k * sigma), Method(TOLERANCE, 1))
    assert_allclose(other.flux / k, fit.flux, rtol=1e-6)
    assert_allclose(other.flux_err / k, fit.flux_err, rtol=1e-9)
    assert other.background / k == pytest.approx(fit.background, rel=1e-7)
    assert_allclose(other.chi2, fit.chi2, rtol=1e-6)
    assert_array_equal(other.flags, fit.flags)


@settings(deadline=None, max_examples=15, derandomize=True)
@given(SEEDS)
def test_a_far_star_changes_nothing(seed):
    """Where it shines, the others have no light; with many tiles they stay in theirs."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(4.0, 36.0, (2, 25))
    flux = 10.0 ** rng.uniform(1.0, 3.0, 25)
    shape = (44, 90)
    alone = fields.scene(x, y, flux, shape)
    joined = fields.scene(np.append(x, 75.3), np.append(y, 20.2), np.append(flux, 5e3), shape)
    image = joined.image(rng)
    star = joined.stamps.model(np.append(np.zeros(25), 5e3))
    without = replace(image, flux=image.flux - star, poisson_slope=0.0)
    image = replace(image, poisson_slope=0.0)
    fit, other = _fit(joined, image), _fit(alone, without)
    pull = (fit.flux[:25] - other.flux) / other.flux_err
    assert np.abs(pull).max() < 0.02  # both share a background, known a little less well
    assert_allclose(fit.flux_err[:25], other.flux_err, rtol=2e-3)
    assert_array_equal(fit.flags[:25], other.flags)
    assert_array_equal(joined.stamps.values[: joined.stamps.offset[25]], alone.stamps.values)


@settings(deadline=None, max_examples=15, derandomize=True)
@given(SEEDS, st.integers(-9, 9), st.integers(-9, 9))
def test_moving_everything_by_whole_pixels_moves_the_answer(seed, rows, columns):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(22.0, 48.0, (2, 20))
    flux = 10.0 ** rng.uniform(1.0, 3.0, 20)
    shape = (70, 70)
    scene = fields.scene(x, y, flux, shape, flux_cut_off=1.0)
    moved = fields.scene(x + columns, y + rows, flux, shape, flux_cut_off=1.0)
    image = scene.image(rng)
    shifted = replace(
        image,
        flux=np.roll(image.flux, (rows, columns), (0, 1)),
        flux_err=np.roll(image.flux_err, (rows, columns), (0, 1)),
    )
    fit, other = _fit(scene, image), _fit(moved, shifted)
    assert_allclose((other.flux - fit.flux) / fit.flux_err, 0.0, atol=1e-4)
    assert_allclose(other.flux_err, fit.flux_err, rtol=1e-4)
    assert other.background == pytest.approx(fit.background, abs=1e-5)


#: Light of a cosmic ray by (row, column): beside the first star of `_four`, on its peak ...
RAYS = {
    "beside": {(10, 15): 1e4},
    "beside, two pixels": {(10, 15): 1e4, (11, 15): 7e3},
    "peak": {(10, 12): 1e4},
    "peak, two pixels": {(10, 12): 1e4, (11, 12): 7e3},
    "shoulder": {(11, 13): 300.0},
    "shoulder, two pixels": {(11, 13): 200.0, (11, 12): 120.0},
}


def _four(brightness=800.0):
    x, y = [12.3, 30.4, 20.1, 25.2], [10.2, 12.6, 28.7, 30.1]
    return fields.scene(x, y, [brightness, 3000.0, 150.0, 60.0], SHAPE)


def _clipped(scene, rays, clip=6.0, mu=None, reweight=3, seed=0):
    """Fit of a noisy image with rays, as the workflow sets the priors."""
    mu = scene.flux if mu is None else mu
    clean = scene.image(np.random.default_rng(seed))
    data = clean.flux.copy()
    for place, light in rays.items():
        data[place] += light
    error = np.sqrt(fields.READ_VARIANCE + fields.SLOPE * np.maximum(data, 0.0))
    image = masked_image(data, error, clean.flags, fields.SLOPE)
    sigma = 20.0 * np.sqrt(np.maximum(mu, 1.0))
    return fit_frame(image, scene.stamps, Prior(mu, sigma), Method(TOLERANCE, reweight, clip))


@pytest.mark.parametrize("case", RAYS)
def test_cosmic_rays_are_left_out(case):
    scene, rays = _four(), RAYS[case]
    for seed in range(3):
        fit, naive_fit = (_clipped(scene, rays, clip, seed=seed) for clip in (6.0, np.inf))
        for place in rays:
            assert np.isnan(fit.residual[place])
        assert fit.n_outliers == np.isnan(fit.residual).sum() == len(rays)
        pull, without = ((f.flux - scene.flux) / f.flux_err for f in (fit, naive_fit))
        assert np.abs(pull).max() < 4.0
        assert abs(pull[0]) < 3.0
        assert without[0] > 10.0
        assert naive_fit.n_outliers == 0
        assert not _has(naive_fit, SourceFlag.OUTLIER).any()
        near = "beside" not in case
        assert_array_equal(_has(fit, SourceFlag.OUTLIER), [near, False, False, False])


def test_a_ray_of_one_pixel_takes_one_repeat():
    for rays in (RAYS["beside"], RAYS["peak"], RAYS["shoulder"]):
        fit = _clipped(_four(), rays, reweight=1)
        assert np.isnan(fit.residual[next(iter(rays))])
        assert abs(fit.flux[0] - 800.0) < 3.0 * fit.flux_err[0]


def test_light_on_outliers_is_lost():
    fit, clean = _clipped(_four(), RAYS["peak"]), _clipped(_four(), {})
    lost = _four().stamps.model(np.array([1.0, 0.0, 0.0, 0.0]))[10, 12]
    assert clean.psf_fraction[0] - fit.psf_fraction[0] == pytest.approx(lost, rel=1e-9)
    assert fit.flux_err[0] > 1.2 * clean.flux_err[0]


@pytest.mark.parametrize("prior", [100.0, 1000.0, 5000.0])
def test_a_star_that_brightens_is_no_outlier(prior):
    scene = _four(30.0 * prior)
    mu = scene.flux.copy()
    mu[0] = prior
    for seed in range(4):
        fit = _clipped(scene, {}, mu=mu, seed=seed)
        assert fit.n_outliers == 0
        assert fit.flags.tolist() == [0, 0, 0, 0]
        # The prior itself draws the flux back by the ratio of the variances.
        pulled = (fit.flux_err[0] / 20.0) ** 2 / prior * (scene.flux[0] - prior)
        assert 0.0 < pulled < 0.005 * scene.flux[0]
        assert abs(fit.flux[0] + pulled - scene.flux[0]) < 4.0 * fit.flux_err[0]


@pytest.mark.parametrize("seed", range(4))
def test_light_that_no_source_has_is_a_misfit(seed):
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(6.0, 40.0, 8.0), np.arange(6.0, 36.0, 8.0))
    scene = fields.scene(x.ravel(), y.ravel(), np.full(x.size, 2000.0), SHAPE)
    assert not _has(_fit(scene, scene.image(rng), reweight=1), SourceFlag.MISFIT).any()
    unlisted = fields.scene([x[2, 2] + 1.6], [y[2, 2]], [1500.0], SHAPE)
    image = scene.image(rng)
    image = replace(image, flux=image.flux + unlisted.stamps.model(unlisted.flux))
    found = _has(_fit(scene, image, reweight=1), SourceFlag.MISFIT)
    assert np.flatnonzero(found).tolist() == [2 * x.shape[1] + 2]


def test_noise_in_a_crowded_field_is_no_outlier():
    rng = np.random.default_rng(61)
    scene = fields.random_scene(rng, 1000, (96, 96))
    image = scene.image(rng)
    for width in (5.0, 100.0):
        sigma = width * np.sqrt(np.maximum(scene.flux, 1.0))
        fits = [
            fit_frame(image, scene.stamps, Prior(scene.flux, sigma), Method(1e-6, 2, clip))
            for clip in (6.0, np.inf)
        ]
        assert fits[0].n_outliers == 0
        assert_array_equal(fits[0].flux, fits[1].flux)


def test_leverage_is_how_far_a_pixel_draws_the_model():
    """The residual of a pixel of a lone star, against that of a fit without the pixel."""
    scene = fields.scene([20.3], [18.7], [2e4], SHAPE)
    image = scene.image(np.random.default_rng(62))
    image = replace(image, poisson_slope=0.0)
    weight, sigma = image.flux_err**-2.0, np.array([1e5])
    matrix = normal.normal_matrix(scene.stamps, weight, sigma)
    part = normal.leverage(scene.stamps, weight, matrix.diagonal())
    assert 0.0 <= part.min() <= part.max() < 1.0
    assert part.sum() == pytest.approx(1.0, abs=0.01)  # one parameter; what is not in its core
    for place in [(19, 20), (18, 20), (19, 22)]:
        flags = np.zeros(SHAPE, np.int32)
        flags[place] = int(PixelFlag.BAD)
        residuals = []
        for masked in (image, masked_image(image.flux, image.flux_err, flags, 0.0)):
            solution = solve_frame(
                masked,
                scene.stamps,
                Prior(scene.flux, sigma),
                Method(1e-12, background_nodes=0),
            )
            residuals.append(image.flux[place] - solution.model[place])
        assert residuals[0] == pytest.approx((1.0 - part[place]) * residuals[1], rel=1e-6)


def test_outliers_do_not_depend_on_the_number_of_threads():
    scene, rng = _random(63, 400, (96, 96))
    image = scene.image(rng)
    data = image.flux + np.where(rng.random(image.flux.shape) < 0.01, 500.0, 0.0)
    image, fits = masked_image(data, image.flux_err, image.flags, fields.SLOPE), []
    sigma = 5.0 * np.sqrt(np.maximum(scene.flux, 1.0))
    for threads in (1, 2):
        accelerate.set_threads(threads)
        fits.append(fit_frame(image, scene.stamps, Prior(scene.flux, sigma), Method(1e-4, 2, 6.0)))
    assert fits[0].n_outliers > 60
    assert_array_equal(np.isnan(fits[1].residual), np.isnan(fits[0].residual))
    assert_array_equal(fits[1].flags, fits[0].flags)
    assert_allclose(fits[1].flux, fits[0].flux, rtol=1e-9, atol=1e-9)
