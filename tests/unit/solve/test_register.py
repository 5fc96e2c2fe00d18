"""Registration of a frame by its stars."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

import fields
from romanprf.config import Fit
from romanprf.core.image import masked_image
from romanprf.flags import PixelFlag, SourceFlag
from romanprf.frame.frame import Frame
from romanprf.frame.model import FrameModel
from romanprf.frame.state import AS_IN_HEADER, UNREGISTERED, Shift
from romanprf.prf.tensor import TensorPRF
from romanprf.solve.register import reference_stars, register
from romanprf.steps import fit

SHAPE = (64, 64)
WCS = fields.wcs(*SHAPE)


def gaussian(dx, dy):
    """A smooth, slightly elongated PRF, as undersampled as Roman's."""
    a, b = 0.65, 0.75
    return np.exp(-0.5 * ((dx / a) ** 2 + (dy / b) ** 2)) / (2.0 * np.pi * a * b)


PRF = TensorPRF.projected(gaussian, 6.0, WCS.jacobian(*np.full(2, 31.5)))


class Field:
    """Twenty bright stars and many faint ones on a frame that is off its WCS."""

    def __init__(self, brightest=4.0):
        rng = np.random.default_rng(3)
        bright, faint = 10.0 ** rng.uniform(2.1, brightest, 20), 10.0 ** rng.uniform(0.5, 1.9, 80)
        self.flux = np.append(bright, faint)
        self.ra, self.dec = WCS.pixel_to_sky(*rng.uniform(2.0, 62.0, (2, self.flux.size)))
        self.stars = reference_stars(self.flux, np.zeros(self.flux.size, np.int32))

    def stamps(self, chosen, shift):
        return self.model(shift).only(chosen).stamps

    def model(self, shift):
        frame = fields.frame(self.ra, self.dec, WCS, SHAPE)
        return FrameModel(frame, PRF, self.flux, 0.01, AS_IN_HEADER.at(*shift), solved=1.0)

    def image(self, shift, rng=None, flags=None, spikes=(), sky=1.5):
        model = self.stamps(slice(None), shift).model(self.flux) + sky
        error = np.sqrt(fields.READ_VARIANCE + fields.SLOPE * model)
        data = model if rng is None else model + error * rng.normal(size=SHAPE)
        for row, column, light in spikes:
            data[row, column] += light
        error = np.sqrt(fields.READ_VARIANCE + fields.SLOPE * np.maximum(data, 0.0))
        flags = np.zeros(SHAPE, np.int32) if flags is None else flags
        return masked_image(data, error, flags, fields.SLOPE)

    def shift(self, image, start=(0.0, 0.0)):
        return register(image, self.model(start), self.flux, self.stars)


def _pulls(shift: Shift, truth) -> np.ndarray:
    return np.array([(shift.x - truth[0]) / shift.x_err, (shift.y - truth[1]) / shift.y_err])


@pytest.mark.parametrize("size", [0.03, 0.1, 0.2, 0.3, 0.6])
def test_shifts_are_found(size):
    field, rng = Field(), np.random.default_rng(int(1000 * size))
    for angle in (0.3, 2.4, 4.5):
        truth = size * np.cos(angle), size * np.sin(angle)
        shift = field.shift(field.image(truth, rng))
        assert np.abs(_pulls(shift, truth)).max() < 4.0
        assert max(shift.x_err, shift.y_err) < 0.003


def test_first_guess_does_not_matter():
    field = Field()
    image = field.image((0.11, -0.07), np.random.default_rng(5))
    near, far = field.shift(image, (0.11, -0.07)), field.shift(image, (-0.2, 0.3))
    # What is left comes from the faint stars, which stay where the first guess has them.
    assert np.abs(_pulls(far, near[:2])).max() < 1.0


def test_noise_free_shift_is_exact():
    field = Field()
    field.flux[~field.stars] = 0.0
    shift = field.shift(field.image((0.12, -0.21)))
    assert shift[:2] == pytest.approx((0.12, -0.21), abs=1e-4)


def test_errors_are_those_of_the_noise():
    """Of stars so faint that the error allowed for the PRF is far below the noise."""
    field, rng = Field(brightest=2.4), np.random.default_rng(7)
    pulls = []
    for _ in range(20):
        truth = rng.normal(0.0, 0.05, 2)
        pulls.append(_pulls(field.shift(field.image(truth, rng)), truth))
    assert 0.75 < np.std(pulls) < 1.3
    assert abs(np.mean(pulls)) < 4.0 / np.sqrt(40.0)


@pytest.mark.parametrize("sky", [-3.0, 0.0, 60.0])
def test_the_sky_does_not_matter(sky):
    field, truth = Field(), (0.21, -0.14)
    shift = field.shift(field.image(truth, np.random.default_rng(12), sky=sky))
    assert np.abs(_pulls(shift, truth)).max() < 4.0
    assert max(shift.x_err, shift.y_err) < 0.003


def test_masked_pixels_do_not_matter():
    field, rng = Field(), np.random.default_rng(8)
    flags = np.where(rng.random(SHAPE) < 0.1, int(PixelFlag.BAD), 0)
    rows, columns = np.nonzero(flags)
    garbage = [(row, column, 1e5) for row, column in zip(rows, columns, strict=True)]
    truth = 0.08, -0.05
    shift = field.shift(field.image(truth, rng, flags, garbage))
    assert np.abs(_pulls(shift, truth)).max() < 4.0


def test_a_cosmic_ray_does_not_matter():
    field, truth = Field(), (0.08, -0.05)
    star = field.stamps(slice(0, 1), truth)
    row, column = int(star.y[0]), int(star.x[0])
    shifts = []
    for spikes in [(), ((row, column + 1, 2e4), (row + 1, column + 1, 9e3), (40, 3, 1e6))]:
        image = field.image(truth, np.random.default_rng(9), spikes=spikes)
        shifts.append(field.shift(image))
        assert np.abs(_pulls(shifts[-1], truth)).max() < 4.0
    assert np.abs(_pulls(shifts[1], shifts[0][:2])).max() < 1.0


def test_no_star_on_a_usable_pixel_leaves_the_first_guess():
    field = Field()
    flags = np.full(SHAPE, int(PixelFlag.BAD), np.int32)
    flags[0, 0] = 0
    field.ra += 1.0
    for image in (field.image((0.0, 0.0)), Field().image((0.0, 0.0), flags=flags)):
        shift = field.shift(image, (0.1, 0.2))
        assert shift[:2] == (0.1, 0.2)
        assert np.isnan(shift[2:]).all()


def test_reference_stars_are_bright_alone_and_not_saturated():
    flux = np.array([99.0, 100.0, np.nan, 1e6, 1e6, 1e6, 300.0, 200.0])
    flags = np.zeros(8, np.int32)
    unfit = SourceFlag.BLENDED, SourceFlag.CONTAMINANT, SourceFlag.SATURATED
    flags[3:6] = [int(flag) for flag in unfit]
    flags[6] = int(SourceFlag.AMBIGUOUS)
    expected = [False, True, False, False, False, False, True, True]
    assert_array_equal(reference_stars(flux, flags), expected)
    assert not reference_stars(flux[:1], flags[:1]).any()
    assert reference_stars(flux[:0], flags[:0]).shape == (0,)


def test_five_hundred_reference_stars_are_enough():
    flux = np.random.default_rng(1).permutation(np.arange(101.0, 1101.0))
    none = np.zeros(1000, np.int32)
    assert_array_equal(reference_stars(flux, none), flux > 600.0)
    assert reference_stars(np.full(1000, 200.0), none).sum() == 500  # magnitudes may be rounded


def _exposure_fit(field, image, register=True):
    n = field.flux.size
    still = {name: np.zeros(n) for name in ("parallax", "pmra", "pmdec")}
    columns = {"ra": field.ra, "dec": field.dec, "flux": field.flux, "flags": np.zeros(n, np.int32)}
    sources = pd.DataFrame({"source": np.arange(n), "epoch": 2027.0, **columns, **still})
    exposure = {"exposure": 0, "time": 2461500.0, "flags": 0, "wcs": WCS.to_json()}
    exposure |= {"nrows": SHAPE[0], "ncols": SHAPE[1], "pixel_area": np.nan}
    settings = {"prior_width": 5.0, "tolerance": 1e-4, "reweight": 1, "clip": 6.0}
    settings["background_nodes"] = 1
    reduction = fit.Reduction(sources, PRF, Fit(**settings, register_frames=register), 0.01)
    return fit.fit_exposure(Frame.from_row(exposure, sources), image, reduction)


def test_step_fits_at_the_shifted_places():
    field, truth = Field(), (0.15, -0.1)
    image = field.image(truth, np.random.default_rng(10))
    rows, row = _exposure_fit(field, image)
    unaware, off = _exposure_fit(field, image, register=False)
    assert (row["shift_x"], row["shift_y"]) == pytest.approx(truth, abs=0.006)
    assert 0.0 < row["shift_err"] < 0.003
    assert row["chi2"] == pytest.approx(1.0, abs=0.1)
    assert row["n_outliers"] == 0
    assert off["shift_x"] == off["shift_y"] == 0.0
    assert np.isnan(off["shift_err"])
    assert off["chi2"] > 1.5
    pull = (rows["psf_flux"] - field.flux) / rows["psf_flux_err"]
    assert np.std(pull[field.stars]) < 1.5
    assert (rows["flags"] & int(SourceFlag.OUTLIER) == 0).all()
    assert np.isfinite(unaware["psf_flux"]).all()


@pytest.mark.parametrize("case", ["faint", "elsewhere"])
def test_step_without_reference_stars_keeps_the_wcs(case):
    field = Field()
    if case == "faint":
        field.flux = np.minimum(field.flux, 90.0)
    else:
        field.ra[field.stars] += 1.0
    image = field.image((0.0, 0.0), np.random.default_rng(11))
    rows, row = _exposure_fit(field, image)
    assert (row["shift_x"], row["shift_y"]) == UNREGISTERED[:2] == (0.0, 0.0)
    assert np.isnan(row["shift_err"])
    assert np.isfinite(rows["psf_flux"][~field.stars]).all()
