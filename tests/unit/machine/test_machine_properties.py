"""What must not matter to the answer of Machine, and what must change it in proportion."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from machines import simulated

few = settings(max_examples=5, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 2**32 - 1)
PIXELS = "ra", "dec", "row", "column"
IMAGES = "flux", "flux_err"
N, NT = 20, 2


@pytest.fixture(scope="module")
def sky():
    return simulated(nt=NT, side=32, n=N, seed=41)


@pytest.fixture(scope="module")
def answer(sky):
    return solved(sky.machine())


def solved(machine, **shape):
    machine.build_shape_model(**shape)
    machine.fit_model(compute_model=True)
    return machine


def assert_same_fluxes(ours, machine, sigmas=1e-5):
    """NaN where NaN, otherwise within ``sigmas`` of each other; the solver stops at 1e-6."""
    ws, werrs = ours
    assert_array_equal(np.isnan(ws), np.isnan(machine.ws))
    seen = np.isfinite(ws)
    assert seen.mean() > 0.9
    assert_allclose((ws - machine.ws)[seen] / machine.werrs[seen], 0.0, atol=sigmas)
    assert_allclose(werrs[seen], machine.werrs[seen], rtol=1e-6)


@few
@given(seed=seeds)
def test_order_of_the_sources(sky, answer, seed):
    order = np.random.default_rng(seed).permutation(N)
    machine = solved(sky.machine(sources=sky.arrays["sources"].iloc[order]))
    back = np.argsort(order)
    assert_same_fluxes((machine.ws[:, back], machine.werrs[:, back]), answer)
    assert_allclose(machine.prf.coefficients, answer.prf.coefficients, rtol=1e-7, atol=1e-7)
    assert (machine.source_mask[back] != answer.source_mask).nnz == 0


@few
@given(seed=seeds)
def test_order_of_the_pixels(sky, answer, seed):
    order = np.random.default_rng(seed).permutation(32 * 32)
    changes = {n: sky.arrays[n].ravel()[order] for n in PIXELS}
    changes |= {n: sky.arrays[n].reshape(NT, -1)[:, order] for n in IMAGES}
    machine = solved(sky.machine(**changes))
    assert_same_fluxes((machine.ws, machine.werrs), answer)
    back = np.argsort(order)
    assert_allclose(machine.model_flux[:, back], answer.model_flux, atol=1e-4)
    assert_allclose(machine.r[:, back], answer.r, rtol=0, atol=1e-9)


@few
@given(row=st.integers(-500, 500), column=st.integers(0, 5000))
def test_origin_of_rows_and_columns(sky, answer, row, column):
    shifted = {"row": sky.arrays["row"] + row, "column": sky.arrays["column"] + column}
    machine = solved(sky.machine(**shifted))
    assert_array_equal(machine.ws, answer.ws)


@few
@given(factor=st.floats(0.01, 100.0))
def test_flux_and_errors_in_other_units(sky, answer, factor):
    scaled = {n: factor * sky.arrays[n] for n in IMAGES}
    machine = sky.machine(**scaled)
    machine.build_shape_model(flux_cut_off=factor, source_flux_limit=factor)
    assert machine.flux_scale == pytest.approx(factor * answer.flux_scale, rel=1e-6)
    mu = machine.flux_scale * machine.source_flux_estimates
    sigma = factor * 5.0 * np.sqrt(mu / factor)
    machine.fit_model(mu, sigma)
    assert_same_fluxes((machine.ws / factor, machine.werrs / factor), answer, sigmas=1e-3)


@few
@given(
    arcsec=st.floats(10.0, 3e5),
    angle=st.floats(0.0, 2.0 * np.pi),
    log_flux=st.floats(-1.0, 7.0),
)
def test_a_far_star_changes_nothing(sky, answer, arcsec, angle, log_flux):
    centre = {n: sky.arrays[n].mean() for n in ("ra", "dec")}
    star = {
        "ra": centre["ra"] + arcsec * np.cos(angle) / 3600.0,
        "dec": np.clip(centre["dec"] + arcsec * np.sin(angle) / 3600.0, -90.0, 90.0),
        "flux": 10.0**log_flux,
    }
    sources = pd.concat([pd.DataFrame([star]), sky.arrays["sources"]])
    machine = solved(sky.machine(sources=sources))
    assert np.isnan(machine.ws[:, 0]).all()
    assert machine.source_mask[0].nnz == 0
    assert_same_fluxes((machine.ws[:, 1:], machine.werrs[:, 1:]), answer)


@few
@given(frame=st.integers(0, NT - 1))
def test_frames_are_fitted_one_by_one(sky, answer, frame):
    machine = sky.machine(**{n: sky.arrays[n][[frame]] for n in ("time", *IMAGES)})
    machine._adopt(answer.scene, 0)
    machine.fit_model()
    assert_array_equal(machine.ws[0], answer.ws[frame])
    assert_array_equal(machine.werrs[0], answer.werrs[frame])


@few
@given(turn=st.floats(-360.0, 360.0))
def test_the_origin_of_right_ascension(sky, answer, turn):
    sources = sky.arrays["sources"]
    machine = sky.machine(
        ra=(sky.arrays["ra"] + turn) % 360.0,
        sources=sources.assign(ra=(sources["ra"] + turn) % 360.0),
    )
    solved(machine)
    assert_same_fluxes((machine.ws, machine.werrs), answer, sigmas=1e-3)


def test_frames_of_their_own_grids_that_are_the_same(sky, answer):
    """A grid for each frame, one of them moved by less than matters, gives the same fluxes."""
    ra = np.broadcast_to(sky.arrays["ra"], (NT, 32, 32)).copy()
    ra[1] += 1e-13
    machine = sky.machine(ra=ra)
    assert machine._series.dithered
    solved(machine)
    assert_same_fluxes((machine.ws, machine.werrs), answer, sigmas=1e-3)
