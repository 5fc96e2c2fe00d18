"""Arrays of the caller: units, masks, and that nobody changes them afterwards."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.coordinates import Longitude
from astropy.table import Column, MaskedColumn
from astropy.time import Time
from astropy.utils.masked import Masked
from numpy.testing import assert_allclose, assert_array_equal

from machines import simulated
from romanprf.machine.arrays import numbers

RATE = u.electron / u.s
#: Two numbers, 1 and 2 in the unit that is expected; the second one may be masked.
GOOD = {
    "numbers": ([1, 2], "d"),
    "electrons per minute": ([60.0, 120.0] * u.electron / u.min, "electron / s"),
    "column of a target pixel file": (Column([1, 2], unit="e-/s"), "electron / s"),
    "column without a unit": (Column([1, 2]), "deg"),
    "hours": (Longitude([1 / 15, 2 / 15] * u.hourangle), "deg"),
    "series": (pd.Series([1, 2], index=[5, 3]), "deg"),
    "time": (Time([1.0, 2.0], format="jd"), "d"),
}
MASKED = {
    "numpy": np.ma.masked_array([1.0, 1e30], [False, True]),
    "astropy": Masked([1.0, np.inf] * RATE, mask=[False, True]),
    "column": MaskedColumn([1, 7], mask=[False, True], unit="electron / s"),
    "nullable": pd.Series([1, None], dtype="Int64"),
    "not a number": [1.0, np.nan],
}
REFUSED = {
    "counts": ([1.0] * u.adu / u.s, "x has the unit 'adu / s', expected electron / s"),
    "magnitudes": ([18.0] * u.mag, "x has the unit 'mag', expected electron / s"),
    "no dimension": ([1.0] * u.dimensionless_unscaled, "x has the unit ''"),
    "an unknown unit": (Column([1.0], unit="e-/fortnight"), "x has the unit 'e-/fortnight'"),
    "one by one": ([1.0 * RATE], "or one Quantity"),
    "text": (["1"], "x has the type <U1, expected numbers"),
    "dates": (np.array(["2027-01-01"], "M8[ns]"), "x has the type datetime64"),
    "ragged": ([[1.0], [1.0, 2.0]], "no array of numbers"),
}


@pytest.mark.parametrize("case", GOOD)
def test_units_are_converted(case):
    values, unit = GOOD[case]
    assert_allclose(numbers(values, "x", unit), [1.0, 2.0], rtol=1e-14)


@pytest.mark.parametrize("case", MASKED)
def test_masked_numbers_are_nan(case):
    assert_array_equal(numbers(MASKED[case], "x", "electron / s"), [1.0, np.nan])


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_converted_is_refused_in_one_line(case):
    values, part = REFUSED[case]
    with pytest.raises(ValueError, match="expected") as caught:
        numbers(values, "x", "electron / s")
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def sky():
    return simulated(nt=2, side=30, n=25, seed=5)


def fluxes(machine):
    machine.build_shape_model()
    machine.fit_model()
    return machine.ws


def test_masks_and_units_give_the_fluxes_of_plain_arrays(sky):
    flux, error = sky.arrays["flux"], sky.arrays["flux_err"]
    bad = np.zeros(flux.shape, bool)
    bad[:, 12:15, 8:20] = True
    expected = fluxes(sky.machine(flux=np.where(bad, np.nan, flux)))
    junk = np.where(bad, 2e4, flux)
    assert_array_equal(fluxes(sky.machine(flux=np.ma.masked_array(junk, bad))), expected)
    # Junk under the mask of the errors need not be positive.
    junk_error = np.ma.masked_array(np.where(bad, -1.0, error), bad)
    assert_array_equal(fluxes(sky.machine(flux=junk, flux_err=junk_error)), expected)
    minutes = (Masked(junk, mask=bad) * RATE).to(u.electron / u.min)
    angles = {name: (sky.arrays[name] * u.deg).to(u.rad) for name in ("ra", "dec")}
    given = fluxes(sky.machine(flux=minutes, flux_err=(error * RATE).to(u.electron / u.min)))
    assert_allclose(given, expected, rtol=1e-9)
    turned = fluxes(sky.machine(flux=np.where(bad, np.nan, flux), **angles))
    assert_allclose(turned, expected, rtol=1e-4)


def test_priors_have_units(sky):
    machine = sky.machine()
    machine.build_shape_model()
    mu = machine.flux_scale * machine.source_flux_estimates
    machine.fit_model(prior_mu=mu)
    expected = machine.ws
    machine.fit_model(prior_mu=(mu * RATE).to(u.electron / u.min))
    assert_allclose(machine.ws, expected, rtol=1e-10)
    with pytest.raises(ValueError, match="prior_mu has the unit 'mag'"):
        machine.fit_model(prior_mu=mu * u.mag)


def test_arrays_of_the_caller_may_change_afterwards(sky):
    given = {k: v.copy() for k, v in sky.arrays.items()}
    mask = np.array([True, True])
    machine = type(sky.machine())(**given, time_mask=mask)
    machine.quiet = True
    for name in ("time", "flux", "flux_err", "ra", "dec", "row", "column"):
        given[name][...] = 0
    given["sources"].loc[:, :] = 0.0
    mask[:] = False
    assert_array_equal(fluxes(machine), fluxes(sky.machine()))
    assert_array_equal(machine.sources["flux"], sky.arrays["sources"]["flux"])


def test_a_fork_after_use_gives_the_same_fluxes():
    """Threads of kernels do not survive a fork; the child starts its own."""
    machine = simulated(nt=2, side=30, n=25, seed=5).machine()
    expected = fluxes(machine)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        again = pool.apply_async(fluxes, (machine,)).get(timeout=60)
    assert_array_equal(again, expected)
