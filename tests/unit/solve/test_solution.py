"""The solution of a crowded field, against a direct one."""

from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import block_array
from scipy.sparse.linalg import splu

import fields
from romanprf.config import Fit
from romanprf.frame.stamps import make_stamps
from romanprf.prf import TensorPRF
from romanprf.solve import solver
from romanprf.solve.fluxes import Method, Prior, solve_frame
from romanprf.solve.normal import NormalMatrix, normal_matrix

SHAPE, STARS = (128, 128), 1500  # a star for every 11 pixels
SETTINGS = Fit()


def winged(dx, dy):
    """As wide as Roman's, with wings r^-3."""
    return 0.3 * (1.0 + (dx**2 + dy**2) / 0.6) ** -1.5


class Field:
    """A noisy frame and a catalogue that is 10 % off."""

    def __init__(self):
        rng = np.random.default_rng(81)
        wcs, (x, y) = fields.wcs(*SHAPE), rng.uniform(-8.0, SHAPE[0] + 8.0, (2, STARS))
        flux = 11.0 * 1e4 ** rng.uniform(0.0, 1.0, STARS) ** 3
        prf = TensorPRF.projected(winged, 30.0, wcs.jacobian(*np.full(2, 64.0)))
        self.stamps = make_stamps(
            prf, fields.frame(*wcs.pixel_to_sky(x, y), wcs, SHAPE), flux, 0.02
        )
        scene = fields.Scene(x, y, flux, 1.5, self.stamps)
        self.image = scene.image(rng)
        self.mu = flux * rng.normal(1.0, 0.1, STARS)
        self.sigma = SETTINGS.prior_width * np.sqrt(np.maximum(self.mu, 1.0))
        prior, method = Prior(self.mu, self.sigma), Method.configured(SETTINGS)
        self.solve = partial(solve_frame, self.image, self.stamps, prior, method)


@pytest.fixture(scope="module")
def field() -> Field:
    return Field()


@pytest.fixture(scope="module")
def direct(field):
    """Pulls of fluxes and sky from a direct solution with the same weights; ratio of errors."""
    fit = field.solve()
    seen, stamps = field.stamps.seen()
    matrix = normal_matrix(stamps, fit.weight, field.sigma[seen])
    c = stamps.dot(fit.weight)[:, None]
    whole = block_array([[matrix, c], [c.T, [[fit.weight.sum()]]]]).tocsc()
    light = fit.weight * field.image.flux
    vector = stamps.dot(light) + field.mu[seen] / field.sigma[seen] ** 2
    solution = splu(whole).solve(np.append(vector, light.sum()))
    error = np.sqrt(np.diag(np.linalg.inv(whole.toarray())))
    shown = fit.light[seen] > 0.0  # others have but a corner of their window on the frame
    assert shown.sum() > 1300
    flux, flux_err = fit.flux[seen][shown], fit.flux_err[seen][shown]
    pull = np.append(flux - solution[:-1][shown], fit.background - solution[-1])
    error = error[np.append(shown, True)]
    return pull / error, np.append(flux_err, fit.background_err) / error


def test_solution_is_the_direct_one(direct):
    assert np.abs(direct[0]).max() < 1e-7


def test_errors_are_those_of_the_whole_inverse(direct):
    _, ratio = direct
    assert ratio[:-1].max() < 1.0 + 1e-3
    assert ratio.min() > 0.9
    assert np.percentile(ratio, 1) > 0.99
    assert ratio[-1] == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("number", [25, 45])
def test_borders_of_the_tiles_leave_no_seams(field, number, monkeypatch):
    one = field.solve()
    monkeypatch.setattr(solver, "_TILE_SOURCES", number)
    two = field.solve()
    assert (two.flux != one.flux).any()
    assert_allclose(two.flux, one.flux, rtol=1e-9)
    x, y = field.stamps.x, field.stamps.y
    inside = (np.minimum(x, y) > -0.5) & (np.maximum(x, y) < SHAPE[0] - 0.5)
    assert_allclose(two.flux_err[inside], one.flux_err[inside], rtol=0.015)
    # of the stars outside the frame only wings are seen, which reach beyond halos
    assert_allclose(two.flux_err, one.flux_err, rtol=0.1)


def test_tiles_are_renewed_where_weights_have_changed(field):
    seen, stamps = field.stamps.seen()
    rng = np.random.default_rng(82)
    normal = NormalMatrix(stamps, field.sigma[seen])
    weight = rng.uniform(0.1, 0.3, SHAPE)
    normal.follow(weight)
    tiles = solver.make_tiles(stamps.x, stamps.y, SHAPE)
    renewed = solver.Solver(normal.matrix, tiles)
    before = renewed.sigma
    weight[60:70, 30:36] *= 0.3
    weight[3, 100] = 0.0
    stale = tiles.touched(normal.follow(weight))
    renewed.renew(stale)
    fresh = solver.Solver(normal.matrix, tiles)
    assert 0 < stale.sum() < 0.5 * stale.size
    assert np.abs(before / fresh.sigma - 1.0).max() > 0.05
    assert_allclose(renewed.sigma, fresh.sigma, rtol=1e-3)
    vector, none = rng.normal(size=seen.size), np.zeros(seen.size)
    one, two = (each.solve(vector, none, 1e-6) for each in (renewed, fresh))
    assert np.abs((one - two) / fresh.sigma).max() < 2e-6
