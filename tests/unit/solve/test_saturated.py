"""Stars without a core: from the files of a simulation to fluxes and flags."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from romanprf.config import Simulate
from romanprf.flags import PixelFlag, SourceFlag
from romanprf.frame.stamps import Stamps
from romanprf.io.images import exposure_rows, read_image
from romanprf.io.simulated import write_cube, write_frame
from romanprf.simulate import SimulatedExposure, inject, wfi
from romanprf.simulate.detector import expose
from romanprf.simulate.exposure import pointing
from romanprf.solve.fit import fit_frame
from romanprf.solve.fluxes import Method, Prior

SIDE = 132
SHAPE = (SIDE, SIDE)
SETTINGS = Simulate(size=SIDE)
#: Nine saturated stars, each with a neighbour at each of these distances (pixels).
BRIGHT = np.linspace(14.0, 15.0, 9)
DISTANCE, FAINT = np.array([2.5, 4.0, 7.0, 12.0]), np.array([18.0, 19.5, 20.5, 21.5])
SEEDS = range(8)
WRITERS = {"frame.fits": write_frame, "cube.asdf": lambda path, one: write_cube(path, [one])}


class Field:
    """Places drawn anew for each seed; ``stamps`` hold the PRF that is drawn."""

    def __init__(self, seed):
        self.rng = np.random.default_rng([81, seed])
        grid = np.array(np.meshgrid(*2 * [[22.0, 66.0, 110.0]])).reshape(2, -1)
        places = grid + self.rng.uniform(-0.5, 0.5, grid.shape)
        turn = self.rng.uniform(0.0, 2.0 * np.pi, (len(DISTANCE), 9))
        offset = DISTANCE[:, None] * np.stack([np.cos(turn), np.sin(turn)])
        around = (places[:, None] + offset).reshape(2, -1)
        x, y = np.concatenate([places, around], axis=1)
        self.flux = wfi.to_flux(np.append(BRIGHT, np.repeat(FAINT, 9)))
        values = np.array([inject(np.zeros(SHAPE), *p, 1e7) / 1e7 for p in zip(x, y, strict=True)])
        window = np.tile(np.array([0, SIDE, 0, SIDE], np.int32), (x.size, 1))
        offset = np.arange(x.size + 1, dtype=np.int64) * SIDE**2
        values, radius = values.ravel().astype(np.float32), np.full(x.size, 1e3)
        self.stamps = Stamps(x, y, radius, window, offset, values, SHAPE)
        self.light = self.stamps.model(self.flux)

    def exposure(self, bad=None):
        bad = np.zeros(SHAPE, bool) if bad is None else bad
        pixels = expose(self.light, np.zeros(SHAPE), bad, self.rng)
        return SimulatedExposure(0, wfi.START, 2, *pixels, pointing(SETTINGS, 0.0, 0.0))

    def fit(self, image):
        mu = self.flux * self.rng.normal(1.0, 0.02, self.flux.size)
        return fit_frame(image, self.stamps, Prior(mu, 20.0 * np.sqrt(mu)), Method(1e-6, 2, 6.0))


def through_file(path, exposure):
    WRITERS[path.name](path, exposure)
    (row,) = exposure_rows(path, None, None)
    return read_image(row)


def has(fit, flag):
    return (fit.flags & int(flag)) != 0


@pytest.mark.parametrize("name", WRITERS)
def test_lost_cores_are_flagged_though_the_file_has_no_data_quality(tmp_path, name):
    field = Field(0)
    dead = np.zeros(SHAPE, bool)
    lone = np.flatnonzero(np.repeat(DISTANCE, 9) == 12.0) + 9
    places = np.rint([field.stamps.y[lone], field.stamps.x[lone]]).astype(int)
    dead[tuple(places[:, :5])] = True
    image = through_file(tmp_path / name, field.exposure(dead))
    lost = field.light > wfi.SATURATION_RATE + 100.0  # over the noise
    assert lost.sum() >= 9
    assert not image.usable[lost].any()
    assert not (image.flags & PixelFlag.SATURATED).any()
    fit = field.fit(image)
    assert has(fit, SourceFlag.SATURATED)[:9].all()
    assert has(fit, SourceFlag.MASKED)[:9].all()
    assert_array_equal(has(fit, SourceFlag.MASKED)[lone], [True] * 5 + [False] * 4)
    assert not has(fit, SourceFlag.SATURATED)[lone].any()
    assert np.isnan(fit.residual[lost]).all()


def test_wings_tell_the_flux_and_neighbours_do_not_suffer(tmp_path):
    pulls, ratio = [], []
    for seed in SEEDS:
        field = Field(seed)
        fit = field.fit(through_file(tmp_path / "frame.fits", field.exposure()))
        assert has(fit, SourceFlag.SATURATED)[:9].all()
        assert not has(fit, SourceFlag.SATURATED)[18:].any()  # 4 pixels off and more
        assert not has(fit, SourceFlag.NO_DATA | SourceFlag.PRIOR | SourceFlag.OUTLIER)[:9].any()
        pulls.append(((fit.flux - field.flux) / fit.flux_err).reshape(5, 9))
        ratio.append((fit.flux / field.flux).reshape(5, 9))
    pulls, ratio = np.array(pulls), np.array(ratio)
    n = pulls.shape[0] * pulls.shape[2]
    assert np.abs(pulls.mean(axis=(0, 2))).max() < 3.5 / np.sqrt(n)
    assert np.abs(pulls.std(axis=(0, 2)) - 1.0).max() < 3.5 / np.sqrt(2.0 * n)
    bright = ratio[:, 0]
    assert np.median(bright) == pytest.approx(1.0, abs=2e-4)
    assert np.abs(bright - 1.0).max() < 3e-3
