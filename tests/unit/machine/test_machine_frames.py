"""Frames that are empty, and frames whose stars are elsewhere."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from machines import simulated
from romanprf import Machine
from tpfs import DEC, NT, RA, SHAPE, write_tpf


def fitted(machine: Machine, frames="mean") -> Machine:
    machine.build_shape_model(frame_index=frames)
    machine.fit_model(compute_model=True)
    return machine


@pytest.mark.parametrize("frames", ["mean", "all"])
def test_an_empty_frame_is_flagged_and_the_others_keep_their_fluxes(frames):
    sky = simulated(nt=4, side=30, n=25, seed=5)
    some = np.array([0, 1, 3])
    kept = {n: sky.arrays[n][some] for n in ("time", "flux", "flux_err")}
    expected = fitted(sky.machine(**kept), frames)
    flux = sky.arrays["flux"].copy()
    flux[2] = np.nan
    machine = fitted(sky.machine(flux=flux, fit_background=False), frames)
    assert machine.fit_quality.tolist() == [0, 0, 2, 0]
    assert_allclose(machine.ws[some], expected.ws, rtol=1e-9)
    for name in ("ws", "werrs", "model_flux", "frame_shift"):
        assert np.isnan(getattr(machine, name)[2]).all()
    machine.build_time_model(poly_order=1)
    machine.fit_model()
    assert np.isfinite(machine.ws_va[some]).any(axis=1).all()
    assert np.isnan(machine.ws_va[2]).all()


def test_an_empty_cadence_of_a_target_pixel_file(tmp_path):
    flux = np.random.default_rng(0).normal(1000.0, 5.0, (NT, *SHAPE)).astype(">f4")
    flux[3] = np.nan
    path = write_tpf(tmp_path / "star.fits", FLUX=flux)
    sources = simulated(nt=1, side=8, n=1).arrays["sources"].assign(ra=RA, dec=DEC)
    machine = Machine.from_tpfs([path], sources)
    assert machine.nt == NT
    assert not np.isfinite(machine.flux[3]).any()


@pytest.mark.parametrize("jumped", [np.arange(12) // 4 == 1, np.arange(12) > 5])
@pytest.mark.parametrize("amount", [0.3, 0.6])
def test_jumps_of_the_pointing(jumped, amount):
    """Fluxes of a PRF that pixels sample well, before and after."""
    drift = np.where(jumped[:, None], [amount, -0.7 * amount], 0.0)
    sky = simulated(nt=12, side=40, n=25, seed=3, drift=drift, brightest=5.0, scale=0.3)
    machine = sky.machine(fit_background=True)
    with pytest.warns(UserWarning, match=r"the stars of \d+ of 12 frames are elsewhere"):
        fitted(machine)
    steady = np.sort([jumped.sum(), (~jumped).sum()])[-1] != jumped.sum()
    away = jumped if steady else ~jumped
    moved = np.hypot(*(machine.frame_shift[jumped].mean(0) - machine.frame_shift[~jumped].mean(0)))
    assert moved == pytest.approx(amount * np.hypot(1.0, 0.7), abs=0.05)
    bright = sky.inside(5.0, 3000.0)
    step = machine.ws[away][:, bright].mean(0) / machine.ws[~away][:, bright].mean(0) - 1.0
    assert np.median(np.abs(step)) < 0.03
    assert (machine.fit_quality == 0).all()


def test_a_steady_series_is_not_moved():
    sky = simulated(nt=5, side=30, n=25, seed=5)
    machine = sky.machine()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(machine)
    assert np.abs(machine.frame_shift).max() < 0.05
    one = fitted(sky.machine())
    assert_array_equal(machine.ws, one.ws)


def test_frames_with_wrong_headers_are_registered():
    """The WCS of dithered frames is off by 0.1 pixel, as that of no frame of the truth."""
    off = np.random.default_rng(2).normal(0.0, 0.1, (8, 2))
    off -= off.mean(axis=0)
    sky = simulated(nt=8, side=40, n=40, seed=7, dither=2.0, drift=off, scale=0.3)
    machine = fitted(sky.machine(), "all")
    error = machine.frame_shift - machine.frame_shift.mean(axis=0) - off
    assert np.abs(error).max() < 0.03
    bright = sky.inside(6.0, 3000.0)
    assert np.median(machine.ws[:, bright].std(0) / machine.ws[:, bright].mean(0)) < 0.02
