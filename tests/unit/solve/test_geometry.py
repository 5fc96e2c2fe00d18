"""Turn and scale of a frame against its WCS, by its stars."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fields
from romanprf.core.image import masked_image
from romanprf.frame.model import FrameModel
from romanprf.frame.state import AS_IN_HEADER, RIGID, FrameState, Linear, Shift
from romanprf.prf.tensor import TensorPRF
from romanprf.solve.geometry import Seen, register_geometry, turned_apart

SHAPE = (110, 130)
WCS = fields.wcs(*SHAPE)
MIDDLE = (64.5, 54.5)
SHIFT = Shift(0.06, -0.04, 0.0, 0.0)
#: A turn that moves stars 60 pixels from the middle by 0.3 pixel.
TURN = Linear(0.0, 0.005, -0.005, 0.0)


def gaussian(dx, dy):
    return np.exp(-0.5 * ((dx / 0.65) ** 2 + (dy / 0.75) ** 2)) / (2.0 * np.pi * 0.65 * 0.75)


PRF = TensorPRF.projected(gaussian, 6.0, WCS.jacobian(*MIDDLE))


def registered(linear, n_stars=90, seed=4):
    """State found for a frame whose true state has these linear terms."""
    rng = np.random.default_rng(seed)
    flux = 10.0 ** rng.uniform(2.5, 4.0, n_stars)
    places = rng.uniform(2.0, np.array([[128.0], [108.0]]), (2, n_stars))
    frame = fields.frame(*WCS.pixel_to_sky(*places), WCS, SHAPE)
    truth = FrameState(SHIFT, linear, MIDDLE)
    light = FrameModel(frame, PRF, flux, 0.01, truth, solved=1.0).stamps.model(flux) + 1.5
    error = np.sqrt(fields.READ_VARIANCE + fields.SLOPE * light)
    image = masked_image(
        light + error * rng.normal(size=SHAPE), error, np.zeros(SHAPE, int), fields.SLOPE
    )
    model = FrameModel(frame, PRF, flux, 0.01, AS_IN_HEADER, solved=1.0)
    return register_geometry(image, model, flux, np.ones(n_stars, bool))


@pytest.mark.parametrize("linear", [TURN, Linear(0.001, 0.0, 0.0, 0.001)], ids=["turn", "scale"])
def test_linear_terms_are_found(linear):
    state = registered(linear)
    assert_allclose(np.multiply(60.0, state.linear), np.multiply(60.0, linear), atol=0.006)
    assert_allclose(state.shift[:2], SHIFT[:2], atol=0.004)


def test_a_rigid_frame_has_no_linear_terms():
    assert [registered(RIGID, seed=seed).linear for seed in range(4)] == [RIGID] * 4


def test_few_stars_give_a_shift_alone():
    assert registered(TURN, n_stars=30).linear == RIGID


def test_what_all_frames_share_belongs_to_the_stars():
    grid = np.meshgrid([20.0, 65.0, 110.0], [20.0, 55.0, 90.0])
    places = np.stack(grid, axis=-1).reshape(-1, 2)

    def cells(turn):
        return [
            Seen(x, y, Shift(turn * (y - MIDDLE[1]), -turn * (x - MIDDLE[0]), 0.002, 0.002))
            for x, y in places
        ]

    starts = [FrameState(SHIFT, origin=MIDDLE)] * 3
    states = turned_apart(starts, [cells(0.001), cells(0.001), cells(0.003)])
    assert states[:2] == starts[:2]
    assert_allclose(states[2].linear, [0.0, 0.002, -0.002, 0.0], atol=1e-9)


def test_places_move_there_and_back():
    state = FrameState(SHIFT, TURN, MIDDLE)
    x, y = np.array([3.0, 100.0]), np.array([90.0, 7.0])
    assert_allclose(state.unmoved(*state.moved(x, y)), [x, y], atol=1e-9)
    cut = state.seen_from(10, 20)
    assert_allclose(cut.moved(x - 10.0, y - 20.0), np.subtract(state.moved(x, y), [[10.0], [20.0]]))
