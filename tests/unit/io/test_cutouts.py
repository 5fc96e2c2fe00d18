from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord

import imagefiles as files
from romanprf.errors import InputError
from romanprf.io.cutouts import read_cutouts
from romanprf.io.images import exposure_rows, read_image
from romanprf.io.pixel_series import PixelPosition
from romanprf.sky.wcs import TangentWCS

ZERO_POINT = 27.5
NROWS, NCOLS = files.SHAPE


def frames(folder: Path, n: int = 3, **changes: object) -> list[Path]:
    """Frames with different pixels at one pointing, in time."""
    return [
        files.write_frame(
            folder / f"{k}.fits",
            *files.pixels(k),
            EXP_NO=k,
            TSTART=2461450.0 + k,
            TEND=2461450.5 + k,
            **changes,
        )
        for k in range(n)
    ]


def dithered_cube(path: Path) -> Path:
    """A cube of one sky field, each plane shifted by (+1, -1) pixels on the detector."""
    tree = files.cube_tree(dithered=True)
    for k, wcs in enumerate(tree["wcs"]):
        wcs.wcs.crpix = [23.0 + 2 * k, 45.0]  # axis 1 counts rows; the stars move by (2, 0)
    return files.write_cube(path, tree)


def centre(row: dict, y: float, x: float) -> tuple[float, float]:
    ra, dec = TangentWCS.from_json(row["wcs"]).pixel_to_sky(np.array(x), np.array(y))
    return float(ra), float(dec)


def test_whole_images_by_time(tmp_path: Path) -> None:
    paths = frames(tmp_path)
    series = read_cutouts([paths[2], paths[0], paths[1]], zero_point=ZERO_POINT)
    assert series.time.tolist() == [2461450.25, 2461451.25, 2461452.25]
    for k in range(3):
        flux, flux_err = files.pixels(k)
        np.testing.assert_array_equal(series.flux[k], flux.ravel())
        np.testing.assert_array_equal(series.flux_err[k], flux_err.ravel())
    y, x = np.indices(files.SHAPE)
    np.testing.assert_array_equal(series.row, y.ravel())  # (npix,): one pointing
    np.testing.assert_array_equal(series.column, x.ravel())
    (row,) = exposure_rows(paths[0], None, ZERO_POINT)
    expected = TangentWCS.from_json(row["wcs"]).pixel_to_sky(x.ravel(), y.ravel())
    np.testing.assert_array_equal([series.ra, series.dec], expected)
    assert series.meta == {
        "mission": "Roman",
        "filter": "F146",
        "detector": "WFI02",
        "time_scale": "utc",
        "zero_point": ZERO_POINT,
        "pixel_area": None,
        "shape": files.SHAPE,
    }
    assert series.extra["exposure"].tolist() == [0, 1, 2]
    assert series.extra["poisson_slope"] == pytest.approx(1 / 54.0)


def test_one_path_is_enough(tmp_path: Path) -> None:
    (path,) = frames(tmp_path, 1)
    assert read_cutouts(str(path), zero_point=ZERO_POINT).flux.shape == (1, NROWS * NCOLS)


@pytest.mark.parametrize("kind", ["tuple", "list", "icrs", "galactic", "pixel"])
def test_cut_out_about_a_position(tmp_path: Path, kind: str) -> None:
    paths = frames(tmp_path)
    (row,) = exposure_rows(paths[0], None, ZERO_POINT)
    sky = centre(row, 3.3, 4.4)
    position = {
        "tuple": sky,
        "list": list(sky),
        "icrs": SkyCoord(*sky, unit="deg"),
        "galactic": SkyCoord(*sky, unit="deg").galactic,
        "pixel": PixelPosition(3.3, 4.4),
    }[kind]
    series = read_cutouts(paths, position, (3, 5), zero_point=ZERO_POINT)
    box = np.s_[2:5, 2:7]
    for k in range(3):
        np.testing.assert_array_equal(series.flux[k], files.pixels(k)[0][box].ravel())
    y, x = (axis[box].ravel() for axis in np.indices(files.SHAPE))
    np.testing.assert_array_equal([series.row, series.column], [y, x])
    assert series.meta["shape"] == (3, 5)


def test_the_sky_is_followed_through_dithers(tmp_path: Path) -> None:
    path = dithered_cube(tmp_path / "cube.asdf")
    exposures = exposure_rows(path, None, ZERO_POINT)
    first = exposures[0]
    position = PixelPosition(first["row0"] + 1, first["column0"] + 4)
    series = read_cutouts(path, position, 1, zero_point=ZERO_POINT)
    # stars move by (2, 0) and the arrays by (1, -1): (1, 1) in the array
    assert series.row.ravel().tolist() == [21, 23, 25]
    assert series.column.ravel().tolist() == [44, 44, 44]
    assert series.row.shape == series.column.shape == series.ra.shape == series.dec.shape == (3, 1)
    for k, row in enumerate(exposures):
        assert series.flux[k, 0] == read_image(row).flux[1 + k, 4 + k]
    sky = SkyCoord(series.ra, series.dec, unit="deg")
    assert np.max(sky.separation(sky[0]).arcsec) < 1e-5


def test_beyond_the_edge_there_is_sky_but_no_flux(tmp_path: Path) -> None:
    (path,) = frames(tmp_path, 1)
    series = read_cutouts(path, PixelPosition(0, NCOLS - 1), 3, zero_point=ZERO_POINT)
    flux = series.flux.reshape(3, 3)
    outside = np.array([[1, 1, 1], [0, 0, 1], [0, 0, 1]], dtype=bool)
    np.testing.assert_array_equal(np.isnan(flux), outside)
    np.testing.assert_array_equal(np.isinf(series.flux_err.reshape(3, 3)), outside)
    np.testing.assert_array_equal(flux[1:, :2], files.pixels(0)[0][:2, -2:])
    assert (series.row.min(), series.column.max()) == (-1, NCOLS)
    (row,) = exposure_rows(path, None, ZERO_POINT)
    expected = centre(row, -1, NCOLS)
    assert (series.ra[2], series.dec[2]) == expected


def test_rejected_pixels(tmp_path: Path) -> None:
    flux, flux_err = files.pixels()
    flux[2, 3], flux_err[4, 5] = np.nan, 0.0
    path = files.write_frame(tmp_path / "a.fits", flux, flux_err)
    series = read_cutouts(path, zero_point=ZERO_POINT)
    rejected = np.zeros(files.SHAPE, dtype=bool)
    rejected[2, 3] = rejected[4, 5] = True
    np.testing.assert_array_equal(np.isnan(series.flux[0]), rejected.ravel())
    np.testing.assert_array_equal(np.isinf(series.flux_err[0]), rejected.ravel())


def test_l2_needs_its_gain(tmp_path: Path) -> None:
    path = files.write_l2(tmp_path / "a.asdf")
    with pytest.raises(InputError, match="does not state the gain"):
        read_cutouts(path)
    series = read_cutouts(path, gain=2.0)
    np.testing.assert_allclose(series.flux[0], 2.0 * files.pixels(3)[0].ravel(), rtol=1e-6)
    assert series.meta["pixel_area"] == 2.7e-13


def complaint(error: type[Exception], *args: object, **settings: object) -> str:
    with pytest.raises(error) as caught:
        read_cutouts(*args, **{"zero_point": ZERO_POINT} | settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_position_off_the_images(tmp_path: Path) -> None:
    paths = frames(tmp_path, 2)
    for position in (PixelPosition(NROWS + 2, 0), PixelPosition(0, -3), (268.0, 29.0)):
        message = complaint(InputError, paths, position, 3)
        assert message.startswith(str(paths[0]))
        assert "nothing of the 3 x 3 pixels" in message
    inside = read_cutouts(paths, PixelPosition(NROWS, 0), 3, zero_point=ZERO_POINT)
    assert np.isfinite(inside.flux).sum() == 2 * 2  # one row of two pixels, twice


@pytest.mark.parametrize(("key", "value"), [("FILTER", "F213"), ("DETECTOR", "SCA03")])
def test_mixtures_are_refused(tmp_path: Path, key: str, value: str) -> None:
    paths = frames(tmp_path, 2)
    other = files.write_frame(tmp_path / "other.fits", **{key: value, "EXP_NO": 9})
    message = complaint(InputError, [*paths, other])
    assert str(other) in message
    assert str(paths[0]) in message
    assert key.lower() in message


def test_an_exposure_twice_is_refused(tmp_path: Path) -> None:
    paths = frames(tmp_path, 2)
    assert "exposure 1 is both in" in complaint(InputError, [*paths, paths[1]])


def test_whole_images_have_one_shape(tmp_path: Path) -> None:
    paths = frames(tmp_path, 1)
    other = files.write_frame(tmp_path / "b.fits", *files.pixels(1, (6, 8)), EXP_NO=9)
    message = complaint(InputError, [*paths, other])
    assert str(paths[0]) in message
    assert str(other) in message


@pytest.mark.parametrize(
    ("error", "position", "size", "says"),
    [
        (ValueError, (268.0, -29.0), None, "size None"),
        (ValueError, None, 5, "position is None"),
        (ValueError, (268.0, -29.0), 0, "size is 0"),
        (ValueError, (268.0, -29.0), (3, 2.5), "(3, 2.5)"),
        (ValueError, (268.0, -29.0), (3, 4, 5), "(3, 4, 5)"),
        (ValueError, (268.0, 291.0), 3, "291.0"),
        (ValueError, (np.nan, -29.0), 3, "nan"),
        (TypeError, 268.0, 3, "268.0"),
        (TypeError, ("a", "b"), 3, "'a'"),
        (TypeError, (1.0, 2.0, 3.0), 3, "3.0"),
        (TypeError, SkyCoord([1, 2], [1, 2], unit="deg"), 3, "one SkyCoord"),
    ],
)
def test_bad_arguments(tmp_path: Path, error: type, position, size, says: str) -> None:
    assert says in complaint(error, frames(tmp_path, 1), position, size)


def test_no_files() -> None:
    assert "files is empty" in complaint(ValueError, [])
