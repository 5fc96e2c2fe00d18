"""What Machine keeps of its results, and what it drops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from machines import simulated
from romanprf import Machine
from romanprf.machine import data
from romanprf.machine.results import Results
from romanprf.machine.series import FramePixels
from romanprf.solve.solver import NotConvergedError
from tpfs import DEC, RA, write_tpf

FLUXES = "ws", "werrs", "fit_quality", "background", "background_err"
PERTURBED = "ws_va", "werrs_va", "perturbed_ratio_mean", "perturbed_std"
NT = 5


@pytest.fixture
def complete() -> Machine:
    """A machine with all results."""
    machine = simulated(nt=NT, side=24, n=12, seed=31).known()
    machine.build_time_model(poly_order=1)
    machine.fit_model(compute_model=True)
    machine.get_psf_metrics(1)
    return machine


def missing(machine: Machine) -> set[str]:
    names = (*FLUXES, *PERTURBED, "model_flux", "time_model", "source_psf_fraction")
    return {name for name in names if not hasattr(machine, name)}


def test_nothing_is_missing(complete):
    assert missing(complete) == set()


def test_a_shape_model_drops_all_results(complete):
    complete._adopt(complete.scene, 0)
    assert missing(complete) == {
        *FLUXES,
        *PERTURBED,
        "model_flux",
        "time_model",
        "source_psf_fraction",
    }


def test_a_time_model_drops_perturbed_results(complete):
    ws, fraction = complete.ws, complete.source_psf_fraction
    complete.build_time_model(poly_order=2)
    assert missing(complete) == set(PERTURBED)
    assert complete.ws is ws
    assert complete.source_psf_fraction is fraction


def test_a_fit_without_images_drops_images(complete):
    time_model, std = complete.time_model, complete.perturbed_std
    complete.fit_model()
    assert missing(complete) == {"model_flux"}
    assert complete.time_model is time_model
    assert complete.perturbed_std is std


def test_results_cannot_be_set(complete):
    with pytest.raises(
        AttributeError, match=r"^Machine.ws is a result of fit_model\(\) and cannot"
    ):
        complete.ws = np.zeros(3)
    with pytest.raises(AttributeError):
        complete._results.shape = None


def test_settings_can_be_set(complete):
    settings = {
        "quiet": False,
        "contaminant_flux_limit": 3.0,
        "cartesian_knot_spacing": "linear",
        "reference_frame": 1,
    }
    for name, value in settings.items():
        setattr(complete, name, value)
        assert getattr(complete, name) == value


def test_results_that_are_not_there():
    for name, method in (
        ("shape", "build_shape_model()"),
        ("perturbed_fluxes", "build_time_model() and then fit_model()"),
    ):
        with pytest.raises(AttributeError) as caught:
            Results().need(name, "this")
        assert str(caught.value) == f"Machine.this is not there yet: call {method} first"


def test_attributes_name_their_method_in_the_help():
    assert Machine.ws.__doc__ == "Computed by fit_model()."
    assert Machine.scene.__doc__ == "Computed by build_shape_model()."


def test_frames_without_a_solution_are_nan(complete, monkeypatch):
    solve, calls = FramePixels.solve, []

    def fails_once(*args):
        calls.append(args)
        if len(calls) == 3:  # the mean model of frame 1: two solutions per frame
            raise NotConvergedError("did not settle")
        return solve(*args)

    monkeypatch.setattr(FramePixels, "solve", fails_once)
    before = complete.ws
    complete.fit_model(compute_model=True)
    assert len(calls) == 2 * NT
    assert complete.fit_quality.tolist() == [0, 1, 0, 0, 0]
    for values in (complete.ws, complete.werrs, complete.model_flux, complete.background[:, None]):
        assert np.isnan(values[1]).all()
    assert np.isfinite(complete.model_flux[[0, 2, 3, 4]]).all()
    others = [0, 2, 3, 4]
    assert_array_equal(complete.ws[others], before[others])
    assert np.isfinite(complete.ws_va[1]).any()


def test_pixels_are_parsed_once_when_sources_are_left_out(tmp_path, monkeypatch):
    parsed = []

    def counted(*args):
        parsed.append(args)
        return make_grids(*args)

    make_grids = data.make_grids
    monkeypatch.setattr(data, "make_grids", counted)
    path = write_tpf(tmp_path / "star.fits")
    sources = pd.DataFrame({"ra": [RA + 3.0, RA], "dec": [DEC, DEC], "flux": [2.0, 1.0]})
    machine = Machine.from_tpfs([path], sources)
    assert len(parsed) == 1
    assert machine.sources.index.tolist() == [1]
    assert machine.nsources == 1
    assert_array_equal(machine.source_flux_estimates, [1.0])
    assert machine.r.shape == (1, machine.npixels)
