"""A frame, parsed once from its row, and what it looks like under a PRF and a state."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fields
from romanprf.frame.frame import Frame
from romanprf.frame.model import SOLVED, FrameModel, FrameModels
from romanprf.frame.state import AS_IN_HEADER, UNREGISTERED, FrameState, Shift
from romanprf.io.exposure import Exposure

SHAPE = (40, 60)
WCS = fields.wcs(*SHAPE)
CUT_OFF = 0.05


def row(**changed):
    same = {"exposure": 7, "time": 2461500.0, "flags": 4, "pixel_area": np.nan}
    return {"nrows": 40, "ncols": 60, "wcs": WCS.to_json(), **same, **changed}


@pytest.fixture
def frame():
    rng = np.random.default_rng(1)
    ra, dec = WCS.pixel_to_sky(rng.uniform(-10.0, 70.0, 30), rng.uniform(-10.0, 50.0, 30))
    return fields.frame(ra, dec, WCS, SHAPE)


@pytest.fixture
def flux():
    return 10.0 ** np.random.default_rng(2).uniform(1.0, 4.0, 30)


@pytest.mark.parametrize(("given", "area"), [(np.nan, None), (None, None), (2.8e-13, 2.8e-13)])
def test_a_row_is_parsed_once(given, area):
    exposure = Exposure.from_row(row(pixel_area=given))
    assert (exposure.number, exposure.time, exposure.flags) == (7, 2461500.0, 4)
    assert exposure.shape == SHAPE
    assert exposure.centre == (29.5, 19.5)
    assert exposure.area == area
    assert exposure.pixel_scale == pytest.approx(fields.SCALE, rel=1e-6)
    own = fields.SCALE**2 if area is None else area * np.rad2deg(3600.0) ** 2
    assert exposure.pixel_area == pytest.approx(own, rel=1e-6)


def test_stars_are_where_they_are_at_that_time():
    """A Julian date of 2027.1233, one year after the positions."""
    columns = {"ra": [268.0, 268.0], "dec": [-29.2, -29.2], "pmra": [0.0, 0.0], "parallax": 0.0}
    sources = pd.DataFrame(columns | {"pmdec": [0.0, 1000.0], "epoch": 2026.1233})
    frame = Frame.from_row(row(time=2451545.0 + 365.25 * 27.1233), sources)
    assert len(frame) == 2
    assert_allclose((frame.dec - columns["dec"]) * 3600.0, [0.0, 1.0], atol=1e-6)
    x, y = frame.places()
    assert np.hypot(np.diff(x), np.diff(y)) == pytest.approx(1.0 / fields.SCALE, rel=1e-3)


def test_a_cut_is_a_frame_of_its_own(frame):
    part = frame.only(slice(5)).cut((10, 20), (15, 25), lambda: "pixels")
    assert (len(part), part.shape, part.read()) == (5, (15, 25), "pixels")
    assert_allclose(np.add(part.places(), [[20], [10]]), np.stack(frame.places())[:, :5], atol=1e-7)


def test_a_shift_moves_stars_and_not_the_sky(frame, flux):
    state = AS_IN_HEADER.at(0.3, -0.2)
    moved = FrameModel(frame, fields.prf(), flux, CUT_OFF, state)
    x, y = frame.places()
    assert_allclose(moved.places(), [x + 0.3, y - 0.2])
    assert_allclose(moved.to_sky(*moved.places()), [frame.ra, frame.dec], rtol=1e-9)
    assert_allclose(moved.stamps.x, moved.places()[0])
    assert (AS_IN_HEADER.shift, state.shift[:2]) == (UNREGISTERED, (0.3, -0.2))


def test_footprints_and_the_light_beyond_them_are_all_light(frame, flux):
    solved = FrameModel(frame, fields.prf(), flux, CUT_OFF)
    whole = FrameModel(frame, fields.prf(), flux, CUT_OFF, solved=0.2)  # where far light ends
    assert (solved.stamps.radius <= whole.stamps.radius).all()
    assert (solved.stamps.radius < whole.stamps.radius).any()
    assert_array_equal(solved.stamps.radius, solved.footprints(flux, SOLVED * CUT_OFF).radius)
    total, far = whole.stamps.model(flux), solved.far(flux)
    assert far.sum() == pytest.approx((total - solved.stamps.model(flux)).sum(), rel=0.02)
    assert_allclose(solved.add_far(flux, np.ones(SHAPE)), far + 1.0)


def test_some_stars_have_the_footprints_they_had(frame, flux):
    model, chosen = FrameModel(frame, fields.prf(), flux, CUT_OFF), np.arange(30) % 3 == 0
    some, rest = model.only(chosen), model.only(~chosen)
    both = some.stamps.model(flux[chosen]) + rest.stamps.model(flux[~chosen])
    assert_allclose(both, model.stamps.model(flux), rtol=1e-12, atol=1e-12)


def test_models_of_frames_are_made_when_they_are_asked_for(frame, flux):
    states = [AS_IN_HEADER, FrameState(Shift(0.1, 0.2, 0.01, 0.01))]
    models = FrameModels([frame, frame], fields.prf(), flux, CUT_OFF, states)
    assert len(models) == 2
    assert [model.state for model in models] == states
    assert models[1].stamps is not models[1].stamps
