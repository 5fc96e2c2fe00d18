from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fields
from romanprf import schemas
from romanprf.errors import InputError
from romanprf.flags import BAD_MEASUREMENT, SourceFlag
from romanprf.io.tables import write_table
from romanprf.metrics.coverage import image_fraction
from romanprf.metrics.lightcurves import centroid_statistics, light_curve_statistics
from romanprf.steps import metrics

SHAPE = (40, 44)
SUBPIXELS = 4


# light curves


def _plain(flux, flux_err, flags):
    """Statistics of one light curve, written out."""
    good = [
        k
        for k in range(len(flux))
        if not flags[k] & BAD_MEASUREMENT and np.isfinite(flux[k]) and flux_err[k] > 0
    ]
    f, e = flux[good].astype(float), flux_err[good].astype(float)
    enough = len(good) > 1
    mean = np.average(f, weights=e**-2.0) if good else np.nan
    return {
        "n_good": len(good),
        "median_flux": np.median(f) if good else np.nan,
        "scatter": 1.4826 * np.median(abs(f - np.median(f))) if enough else np.nan,
        "expected_scatter": np.median(e) if good else np.nan,
        "reduced_chi2": np.sum((f - mean) ** 2 / e**2) / (len(good) - 1) if enough else np.nan,
        "flags": int(np.bitwise_or.reduce(flags[good])) if good else 0,
    }


def test_statistics_of_light_curves():
    rng = np.random.default_rng(61)
    flux = (100.0 + rng.normal(0, 3, (9, 31))).astype(np.float32)
    error = rng.uniform(2.0, 4.0, flux.shape).astype(np.float32)
    flags = rng.choice([0, 0, 0, int(SourceFlag.EDGE), int(SourceFlag.MASKED)], flux.shape)
    flux[0, 3], error[0, 4], error[0, 5], error[0, 6], flux[0, 7] = np.nan, np.nan, 0, -1, np.inf
    flags[1, :10] = int(SourceFlag.NO_DATA | SourceFlag.SATURATED)
    flags[2, 5:] |= int(SourceFlag.BAD_EXPOSURE)
    flux[3], error[3], flags[3] = np.nan, np.nan, int(SourceFlag.BAD_EXPOSURE)  # nothing
    flags[4, 1:] = int(SourceFlag.NO_DATA)  # one measurement
    flags[5, 2:] = int(SourceFlag.NO_DATA)  # two
    ours = light_curve_statistics(flux, error, flags)
    for s in range(9):
        for name, expected in _plain(flux[s], error[s], flags[s]).items():
            assert_allclose(ours[name][s], expected, rtol=1e-9, err_msg=f"{name} of {s}")
    assert ours["n_good"][:6].tolist() == [26, 21, 5, 0, 1, 2]
    assert ours["n_good"].dtype == ours["flags"].dtype == np.int32


def test_statistics_of_constant_stars_are_those_of_the_noise():
    rng = np.random.default_rng(62)
    error = np.full((300, 200), 2.0)
    flux = 50.0 + error * rng.normal(size=error.shape)
    ours = light_curve_statistics(flux, error, np.zeros(error.shape, int))
    assert ours["reduced_chi2"].mean() == pytest.approx(1.0, abs=4 * np.sqrt(2 / 199 / 300))
    assert np.median(ours["scatter"]) == pytest.approx(2.0, rel=0.03)


def test_statistics_of_no_exposures():
    nothing = np.empty((3, 0))
    ours = light_curve_statistics(nothing, nothing, np.empty((3, 0), int))
    assert ours["n_good"].tolist() == ours["flags"].tolist() == [0, 0, 0]
    assert np.isnan(ours["median_flux"]).all()


def test_statistics_of_centroids():
    rng = np.random.default_rng(65)
    error = np.broadcast_to([[1.0], [3.0], [2.0], [1.0]], (4, 500)).copy()
    east, north = (5.0 + error * rng.normal(size=error.shape) for _ in range(2))
    north[0] += 100.0  # each direction has its own centre
    for series in (east, north, error):
        series[2, 1:] = np.nan  # one measurement
        series[3] = np.nan
    ours = centroid_statistics(east, north, error, error)
    assert_allclose(ours["centroid_scatter"][:2], [1.0, 3.0], rtol=0.15)
    assert ours["expected_centroid_scatter"][:2].tolist() == [1.0, 3.0]
    assert np.isnan([series[2:] for series in ours.values()]).all()


# image_fraction


def _brute_fraction(x, y):
    """Sum over the sub-pixels of the image, each with the PRF at its own offset."""
    step = 1.0 / SUBPIXELS
    column, row = np.meshgrid(
        np.arange(SHAPE[1] * SUBPIXELS) * step - 0.5 + 0.5 * step - x,
        np.arange(SHAPE[0] * SUBPIXELS) * step - 0.5 + 0.5 * step - y,
    )
    jacobian = fields.wcs(*SHAPE).jacobian((SHAPE[1] - 1) / 2.0, (SHAPE[0] - 1) / 2.0)
    east, north = np.einsum("ij,jrc->irc", jacobian, np.stack([column, row]))
    light = fields.prf().evaluate(np.hypot(east, north), np.arctan2(north, east))
    area = np.abs(np.linalg.det(jacobian)) / fields.prf().pixel_area
    return light.sum() * step**2 * area


def _fraction(x, y, subpixels=SUBPIXELS):
    x, y = np.array(x, float), np.array(y, float)
    return image_fraction(fields.prf(), x, y, fields.wcs(*SHAPE), SHAPE, subpixels)


@pytest.mark.parametrize(
    ("x", "y"),
    [(22.0, 20.0), (-0.5, 20.0), (43.5, 39.5), (2.25, 38.0), (-3.5, 10.0), (30.0, -0.75)],
)
def test_fraction_is_the_sum_of_the_subpixels(x, y):
    assert _fraction([x], [y])[0] == pytest.approx(_brute_fraction(x, y), rel=1e-9)


def test_fraction_does_not_depend_on_the_pixels_of_the_model():
    """A PRF value is light per pixel area of the model, which need not be that of the image."""
    prf, wcs = fields.prf(), fields.wcs(*SHAPE)
    double = replace(prf, pixel_area=2.0 * prf.pixel_area).normalised()
    x, y = np.array([22.0, 3.0]), np.array([20.0, -0.5])
    assert_allclose(image_fraction(double, x, y, wcs, SHAPE, 4), _fraction(x, y), rtol=1e-9)


def test_fraction_between_subpixels():
    rng = np.random.default_rng(63)
    x, y = rng.uniform(-3.0, 46.0, 12), rng.uniform(-3.0, 42.0, 12)
    expected = [_brute_fraction(*star) for star in zip(x, y, strict=True)]
    assert_allclose(_fraction(x, y), expected, atol=0.02)
    assert_allclose(_fraction(x, y, 16), _fraction(x, y, 20), atol=1e-3)


def test_fraction_at_special_places():
    fraction = _fraction([21.5, 21.5, -0.5, -500.0, np.nan, np.inf], [19.5, -0.5, -0.5, 3, 5, 5])
    # the middle has all light within rmax: the integral without what lies beyond
    beyond = 2.0 * np.pi * 1.1**2 * fields.prf().evaluate(1.1 - 1e-9, np.linspace(-3, 3, 99)).mean()
    assert fraction[0] == pytest.approx(1.0 - beyond / fields.SCALE**2, abs=0.005)
    assert fraction[1] == pytest.approx(fraction[0] / 2.0, abs=0.03)
    assert fraction[2] == pytest.approx(fraction[0] / 4.0, abs=0.03)
    assert fraction[3:].tolist() == [0.0, 0.0, 0.0]


# the step


@pytest.fixture
def batches(tmp_path):
    """Photometry of 7 sources in three batches, later times in earlier batches."""
    rng = np.random.default_rng(64)
    exposures = pd.DataFrame({"exposure": [3, 4, 10, 11, 20]})
    exposures["time"] = [5.0, 4.0, 9.0, 1.0, 2.5]
    paths, everything = [], []
    for number, members in enumerate([[3, 4], [10, 11], [20]]):
        source, exposure = np.divmod(np.arange(7 * len(members)), len(members))
        table = pd.DataFrame({"source": source, "exposure": np.array(members)[exposure]})
        measured = {column.name for column in schemas.PHOTOMETRY.columns} - {*table}
        for name in sorted(measured - {"n_outliers", "flags"}):
            table[name] = rng.random(len(table)).astype(np.float32)
        table["n_outliers"] = np.int8(0)
        table["flags"] = rng.integers(0, 600, len(table)).astype(np.int32)
        table.loc[rng.random(len(table)) < 0.2, "psf_flux"] = np.nan
        paths.append(str(tmp_path / f"{number}.parquet"))
        write_table(paths[-1], table, schemas.PHOTOMETRY, {})
        everything.append(table)
    return paths, exposures, pd.concat(everything)


@pytest.mark.parametrize("measurements", [1, 15, 10**6])
def test_light_curves_in_chunks(batches, monkeypatch, measurements):
    paths, exposures, everything = batches
    monkeypatch.setattr(metrics, "_CHUNK", measurements)
    chunks = list(metrics.light_curves(paths, exposures, 7))
    assert [which.start for which, _ in chunks] == list(
        range(0, 7, {1: 1, 15: 3, 10**6: 1000000}[measurements])
    )
    for which, curves in chunks:
        assert curves["time"].tolist() == [1.0, 2.5, 4.0, 5.0, 9.0]
        assert curves["exposure"].tolist() == [11, 20, 4, 3, 10]
        for s in range(len(curves["psf_flux"])):
            rows = everything[everything["source"] == which.start + s].set_index("exposure")
            rows = rows.loc[[11, 20, 4, 3, 10]]
            assert_array_equal(curves["flags"][s], rows["flags"])
            for name in ("psf_flux", "dx", "dy"):
                off = np.abs(curves[name][s] - rows[name])
                assert not (off > rows[f"{name}_err"] / 60.0).any()  # as rounded in the files
                assert_array_equal(np.isnan(curves[name][s]), rows[name].isna())
            for name in ("psf_flux_err", "model_err", "dx_err", "dy_err", "dxy_corr"):
                assert_allclose(curves[name][s], rows[name], rtol=2.0**-9, atol=2.0**-9)


def test_missing_and_foreign_measurements_are_told(batches):
    paths, exposures, _ = batches
    with pytest.raises(InputError, match=r"14 measurements .* 0 to 6, .* each of 5 exposures"):
        list(metrics.light_curves(paths[:1], exposures, 7))
    other = exposures.assign(exposure=[3, 4, 10, 11, 21])
    with pytest.raises(InputError, match="each of 5 exposures"):
        list(metrics.light_curves(paths, other, 7))
