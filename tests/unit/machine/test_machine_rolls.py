"""Frames of different rolls share a PRF that is fixed to the detector."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import fields
from machines import prf
from romanprf import Machine
from romanprf.frame.stamps import make_stamps

SIDE, N = 44, 60
ROLLS = np.deg2rad([30.0, 31.0, 32.0, 210.0, 211.0, 215.0])


def rolled_frames(seed: int = 4):
    """Arrays of frames with the PRF of roll 0, turned with the detector; fluxes and places."""
    rng = np.random.default_rng(seed)
    first = fields.wcs(SIDE, SIDE, angle=float(ROLLS[0]))
    ra, dec = first.pixel_to_sky(*rng.uniform(-8.0, SIDE + 8.0, (2, N)))
    flux = 10.0 ** rng.uniform(2.5, 4.5, N)
    row, column = np.mgrid[:SIDE, :SIDE].astype(float)
    images, skies, places = [], [], []
    for roll in ROLLS:
        wcs = fields.wcs(SIDE, SIDE, angle=float(roll))
        frame = fields.frame(ra, dec, wcs, (SIDE, SIDE))
        model = prf().turned(float(roll - ROLLS[0]))
        images.append(make_stamps(model, frame, flux * 1e6, 1e-9).model(flux))
        skies.append(wcs.pixel_to_sky(column, row))
        places.append(wcs.sky_to_pixel(ra, dec))
    model = np.stack(images)
    error = np.sqrt(4.0 + model / 66.0)
    sky = np.stack(skies, axis=1)
    arrays = {"flux": model + error * rng.normal(size=model.shape), "flux_err": error,
              "ra": sky[0], "dec": sky[1], "row": row, "column": column,
              "time": 2461000.0 + np.arange(len(ROLLS)),
              "sources": pd.DataFrame({"ra": ra, "dec": dec, "flux": flux})}  # fmt: skip
    return arrays, flux, np.array(places)


def seasons(machine: Machine, flux: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Step of bright stars from season to season, relative."""
    inside = ((places > 4.0) & (places < SIDE - 5.0)).all(axis=(0, 1)) & (flux > 3e3)
    assert inside.sum() > 8
    return (machine.ws[:3].mean(0) / machine.ws[3:].mean(0) - 1.0)[inside]


@pytest.mark.parametrize("model", ["log-polar", "tensor"])
def test_seasons_agree(model, tmp_path):
    arrays, flux, places = rolled_frames()
    machine = Machine(**arrays)
    machine.quiet = True
    machine.build_shape_model(frame_index="all", model=model)
    machine.fit_model()
    assert np.median(np.abs(seasons(machine, flux, places))) < 0.01
    if model == "tensor":
        return
    # The file tells the roll: a frame of another one uses it as well.
    path = tmp_path / "prf.fits"
    machine.save_shape_model(path)
    machine.load_shape_model(path, frame_index=4)
    machine.fit_model()
    assert np.median(np.abs(seasons(machine, flux, places))) < 0.01
    turn = machine.scene.prf_of(machine._series.frame(0)).turn
    assert turn == pytest.approx(0.0, abs=1e-9)


def test_a_turned_model_is_the_same_in_the_axes_of_the_detector():
    frame = fields.frame(*fields.wcs(9, 9).pixel_to_sky(np.array([4.2]), np.array([3.9])),
                         fields.wcs(9, 9), (9, 9))  # fmt: skip
    turned = fields.wcs(9, 9, angle=0.4 + 2.0)
    other = fields.frame(*turned.pixel_to_sky(np.array([4.2]), np.array([3.9])), turned, (9, 9))
    flux = np.array([1e6])
    expected = make_stamps(prf(), frame, flux, 1e-3).dot(np.eye(9))
    found = make_stamps(prf().turned(2.0), other, flux, 1e-3).dot(np.eye(9))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    r, phi = np.full(5, 0.3), np.linspace(-3.0, 3.0, 5)
    np.testing.assert_allclose(prf().turned(0.7).evaluate(r, phi + 0.7), prf().evaluate(r, phi))
