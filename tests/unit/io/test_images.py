from __future__ import annotations

import os
from pathlib import Path

import asdf
import numpy as np
import pytest
from astropy.coordinates import FK5, SkyCoord
from astropy.io import fits
from roman_datamodels.dqflags import pixel as dq_bits

import imagefiles as files
from refusals import refusal
from romanprf.errors import InputError
from romanprf.flags import ExposureFlag, PixelFlag
from romanprf.io import reading as exposure
from romanprf.io import rimtimsim, roman_cuts, roman_l2
from romanprf.io.images import detect_format, exposure_rows, read_image
from romanprf.schemas import EXPOSURES
from romanprf.sky.wcs import TangentWCS

GAIN, ZERO_POINT = 2.0, 27.5
WRITERS = {
    "rimtimsim": files.write_frame,
    "roman_cuts": files.write_cube,
    "roman_l2": files.write_l2,
}


def one(path: Path, gain: float | None = GAIN, zero_point: float | None = ZERO_POINT) -> dict:
    (row,) = exposure_rows(path, gain, zero_point)
    return row


def complaint(path: Path, **settings: float | None) -> str:
    """The one line that `exposure_rows` says of a file."""
    options = {"gain": GAIN, "zero_point": ZERO_POINT} | settings
    return refusal(exposure_rows, path, **options)


@pytest.mark.parametrize("name", WRITERS)
def test_format_is_told_by_content(tmp_path: Path, name: str) -> None:
    path = WRITERS[name](tmp_path / "misleading.csv")
    assert detect_format(path) == name
    for row in exposure_rows(path, GAIN, ZERO_POINT):
        assert row["format"] == name
        assert set(row) == set(EXPOSURES.names)


# --- what is read ---------------------------------------------------------------------------


def test_rimtimsim_row(tmp_path: Path) -> None:
    row = one(files.write_frame(tmp_path / "a"))
    assert (row["exposure"], row["plane"], row["filter"], row["detector"]) == (
        3,
        0,
        "F146",
        "WFI02",
    )
    assert (row["nrows"], row["ncols"]) == files.SHAPE
    assert row["time"] == 2461450.25
    assert (row["time_scale"], row["gain"], row["zero_point"]) == ("utc", 1.0, ZERO_POINT)
    assert row["pixel_area"] is None
    assert (row["flags"], row["usable_fraction"]) == (0, 1.0)


def test_rimtimsim_header_goes_before_config(tmp_path: Path) -> None:
    row = one(files.write_frame(tmp_path / "a", ABMAGZP=26.0, TIMESYS="TDB"))
    assert (row["zero_point"], row["time_scale"]) == (26.0, "tdb")


def test_rimtimsim_axes_are_swapped_and_icrs(tmp_path: Path) -> None:
    wcs = TangentWCS.from_json(one(files.write_frame(tmp_path / "a"))["wcs"])
    x, y = np.array([7.0, 0.0]), np.array([1.0, 5.0])
    expected = SkyCoord(*files.swapped_wcs().all_pix2world(y, x, 0), unit="deg", frame=FK5).icrs
    ra, dec = wcs.pixel_to_sky(x, y)
    separation = SkyCoord(ra, dec, unit="deg").separation(expected).arcsec
    assert np.all(separation < 1e-6)
    assert ra[1] < ra[0]  # east is towards smaller rows
    assert dec[1] < dec[0]  # north is towards larger columns


def test_cube_rows(tmp_path: Path) -> None:
    tree = files.cube_tree(dithered=True)
    tree["data"]["quality"][1] = 4
    rows = exposure_rows(files.write_cube(tmp_path / "a", tree), None, ZERO_POINT)
    assert [row["exposure"] for row in rows] == [10, 11, 12]
    assert [row["plane"] for row in rows] == [0, 1, 2]
    assert [(row["row0"], row["column0"]) for row in rows] == [(20, 40), (21, 39), (22, 38)]
    assert [row["flags"] for row in rows] == [0, ExposureFlag.QUALITY, 0]
    assert len({row["content_hash"] for row in rows}) == 3
    ra, dec = TangentWCS.from_json(rows[2]["wcs"]).pixel_to_sky(3.0, 2.0)
    expected = SkyCoord(*files.swapped_wcs().all_pix2world(24, 41, 0), unit="deg", frame=FK5).icrs
    assert SkyCoord(ra, dec, unit="deg").separation(expected).arcsec < 1e-6
    for plane, row in enumerate(rows):
        assert np.array_equal(read_image(row).flux, tree["data"]["flux"][plane])


def test_scalar_first_pixel(tmp_path: Path) -> None:
    rows = exposure_rows(files.write_cube(tmp_path / "a"), None, ZERO_POINT)
    assert {(row["row0"], row["column0"]) for row in rows} == {(20, 40)}


def test_l2_row(tmp_path: Path) -> None:
    row = one(files.write_l2(tmp_path / "a"), zero_point=None)
    assert row["exposure"] == 10020030040005
    assert (row["detector"], row["filter"], row["time_scale"]) == ("WFI02", "F146", "utc")
    assert row["time"] == pytest.approx(2461469.500384329, abs=1e-9)
    assert row["pixel_area"] == 2.7e-13
    jansky = 0.25 * 2.7e-13 * 1e6 / GAIN
    assert row["zero_point"] == pytest.approx(-2.5 * np.log10(jansky) + 8.9, abs=1e-4)


def test_l2_image_is_in_electrons(tmp_path: Path) -> None:
    model = files.l2_model()
    bits = [dq_bits.SATURATED, dq_bits.JUMP_DET, dq_bits.NO_LIN_CORR, dq_bits.DO_NOT_USE]
    model["dq"][0, :4] = bits
    model["err"][1, 0] = 0.0
    row = one(files.write_l2(tmp_path / "a", model))
    image = read_image(row)
    assert image.flux.dtype == image.flux_err.dtype == np.float64
    assert image.flags.dtype == np.int32
    assert image.flags[0, :4].tolist() == [
        PixelFlag.SATURATED,
        PixelFlag.JUMP,
        0,
        PixelFlag.BAD,
    ]
    assert image.flags[1, 0] == PixelFlag.NO_ERROR
    masked = np.zeros(files.SHAPE, dtype=bool)
    masked[0, 3] = masked[1, 0] = True
    flux, flux_err = files.pixels(3)
    assert np.array_equal(image.flux, np.where(masked, 0, GAIN * flux.astype(float)))
    expected = np.where(masked, np.inf, GAIN * flux_err.astype("f2").astype(float))
    assert np.array_equal(image.flux_err, expected)
    assert row["usable_fraction"] == pytest.approx(1 - 2 / flux.size)
    assert image.poisson_slope == pytest.approx(GAIN * 0.01, rel=1e-3)


def test_l2_slope_without_photon_variance(tmp_path: Path) -> None:
    model = files.l2_model()
    model["var_poisson"][:] = 0
    image = read_image(one(files.write_l2(tmp_path / "a", model)))
    assert image.poisson_slope == pytest.approx(1 / 66.4)


def test_l2_wcs_frame_is_converted(tmp_path: Path) -> None:
    rows = [
        one(files.write_l2(tmp_path / name, files.l2_model(frame)))
        for name, frame in (("icrs", None), ("fk5", FK5()))
    ]
    icrs, fk5 = (TangentWCS.from_json(row["wcs"]).pixel_to_sky(4.0, 2.5) for row in rows)
    assert icrs == pytest.approx((268.0, -29.0), abs=1e-10)
    expected = SkyCoord(268.0, -29.0, unit="deg", frame=FK5).icrs
    assert fk5 == pytest.approx((expected.ra.deg, expected.dec.deg), abs=1e-10)
    assert abs(fk5[0] - icrs[0]) * 3.6e6 > 10  # milliarcseconds


def test_l2_config_zero_point_when_file_has_none(tmp_path: Path) -> None:
    model = files.l2_model()
    model.meta["photometry"]["conversion_megajanskys"] = None
    path = files.write_l2(tmp_path / "a", model)
    assert one(path)["zero_point"] == ZERO_POINT
    assert "set exposures.zero_point" in complaint(path, zero_point=None)


@pytest.mark.parametrize("unknown", [None, -999999.0])
def test_l2_without_flux_calibration(tmp_path: Path, unknown: float | None) -> None:
    model = files.l2_model()
    model.meta["photometry"]["conversion_megajanskys"] = unknown
    model.meta["photometry"]["pixel_area"] = unknown
    path = files.write_l2(tmp_path / "a", model)
    row = one(path)
    assert row["zero_point"] == ZERO_POINT
    assert row["pixel_area"] == pytest.approx(np.deg2rad(files.SCALE) ** 2, rel=1e-6, abs=0.0)
    assert "set exposures.zero_point" in complaint(path, zero_point=None)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_bad_errors_mask(tmp_path: Path, bad: float) -> None:
    flux, flux_err = files.pixels()
    flux_err[2, 3] = bad
    image = read_image(one(files.write_frame(tmp_path / "a", flux, flux_err)))
    assert image.flags[2, 3] == PixelFlag.NO_ERROR
    assert (image.flux[2, 3], image.flux_err[2, 3]) == (0.0, np.inf)
    assert np.count_nonzero(image.flags) == 1
    assert image.poisson_slope == 1 / 54


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_bad_flux_masks(tmp_path: Path, bad: float) -> None:
    flux, flux_err = files.pixels()
    flux[4, 8] = bad
    image = read_image(one(files.write_frame(tmp_path / "a", flux, flux_err)))
    assert image.flags[4, 8] == PixelFlag.BAD
    assert (image.flux[4, 8], image.flux_err[4, 8]) == (0.0, np.inf)
    assert np.isfinite(image.flux).all()


@pytest.mark.parametrize("name", WRITERS)
def test_unusable_exposure_is_flagged(tmp_path: Path, name: str) -> None:
    if name == "rimtimsim":
        path = files.write_frame(tmp_path / "a", flux_err=np.zeros(files.SHAPE, "f4"))
    elif name == "roman_cuts":
        tree = files.cube_tree(n=1)
        tree["data"]["flux"][:] = np.nan
        path = files.write_cube(tmp_path / "a", tree)
    else:
        model = files.l2_model()
        model["dq"][:] = dq_bits.DO_NOT_USE
        path = files.write_l2(tmp_path / "a", model)
    row = one(path)
    assert (row["flags"], row["usable_fraction"]) == (ExposureFlag.UNUSABLE, 0.0)
    assert np.isinf(read_image(row).flux_err).all()


def test_tall_image_is_sampled_but_never_misjudged(tmp_path: Path) -> None:
    shape = (1024, 4)
    flux, flux_err = np.ones(shape, "f4"), np.zeros(shape, "f4")
    assert one(files.write_frame(tmp_path / "a", flux, flux_err))["flags"] == 1
    flux_err[5] = 1.0  # between the sampled rows 4 and 8
    row = one(files.write_frame(tmp_path / "b", flux, flux_err))
    assert (row["flags"], row["usable_fraction"]) == (0, 1 / 1024)


def test_hash_follows_content_not_name(tmp_path: Path) -> None:
    first = one(files.write_frame(tmp_path / "a"))["content_hash"]
    assert one(files.write_frame(tmp_path / "b"))["content_hash"] == first
    flux, _ = files.pixels()
    flux[3, 3] += 1
    changes = [{"flux": flux}, {"EXPOSURE": 55.0}, {"CRVAL1": 268.001}]
    hashes = {one(files.write_frame(tmp_path / "c", **c))["content_hash"] for c in changes}
    assert len(hashes | {first}) == 4


def test_files_are_closed(tmp_path: Path) -> None:
    for name, write in WRITERS.items():
        path = write(tmp_path / name)
        for row in exposure_rows(path, GAIN, ZERO_POINT):
            read_image(row)
    open_files = {os.readlink(f"/proc/self/fd/{fd}") for fd in _descriptors()}
    kept = {str(tmp_path / "roman_cuts")}  # a cube, until the next one is read
    assert {name for name in open_files if str(tmp_path) in name} <= kept


def test_a_cube_is_opened_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, opened, real = tmp_path / "a", [], asdf.open
    rows = exposure_rows(files.write_cube(path), None, ZERO_POINT)
    monkeypatch.setattr(asdf, "open", lambda *a, **k: opened.append(a) or real(*a, **k))
    first = [read_image(row).flux for row in rows]
    assert len(opened) == 1
    tree = files.cube_tree()
    tree["data"]["flux"] += 1.0
    files.write_cube(tmp_path / "b", tree).replace(path)
    os.utime(path, ns=(1, 1))
    for row, flux in zip(rows, first, strict=True):
        np.testing.assert_allclose(read_image(row).flux, flux + 1.0, rtol=1e-6)
    assert len(opened) == 2


@pytest.mark.parametrize("name", WRITERS)
def test_large_image_is_not_read_to_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(exposure, "WHOLE_PIXELS", 10)
    monkeypatch.setattr(exposure, "GLANCE_ROWS", 2)
    for module in (rimtimsim, roman_cuts, roman_l2):

        def pixels(*args, _real=module._pixels):
            looked.append(len(range(files.SHAPE[0])[args[-1]]))
            return _real(*args)

        monkeypatch.setattr(module, "_pixels", pixels)
    path = WRITERS[name](tmp_path / "a")
    looked: list[int] = []
    before = exposure_rows(path, GAIN, ZERO_POINT)
    assert looked == ([] if name == "roman_l2" else [2] * len(before))
    os.utime(path, ns=(1, 1))
    after = exposure_rows(path, GAIN, ZERO_POINT)
    for old, new in zip(before, after, strict=True):
        changed = {key for key in old if old[key] != new[key]}
        assert changed == {"content_hash"}  # the date stands for the pixels


def _descriptors() -> list[str]:
    if not Path("/proc/self/fd").exists():
        pytest.skip("no /proc on this system")
    found = []
    for fd in os.listdir("/proc/self/fd"):
        if os.path.islink(f"/proc/self/fd/{fd}"):
            found.append(fd)
    return found


# --- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "empty file, expected an ASDF or FITS image"),
        (b"ra,dec\n1,2\n", "not an ASDF or FITS file"),
        (b"#ASDF 1.0.0\n", "expected a complete ASDF file"),
        (b"#ASDF 1.0.0\n%YAML 1.1\n---\na: [1\n...\n", "expected a complete ASDF file"),
        (b"#ASDF 1.0.0\n%YAML 1.1\n---\na: 1\n...\n", "ASDF file without images"),
        (b"SIMPLE  =                    T", "FITS"),
    ],
)
def test_not_an_image(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "image.asdf"
    path.write_bytes(content)
    assert expected in complaint(path)


def test_no_such_file_and_directory(tmp_path: Path) -> None:
    assert "no such file" in complaint(tmp_path / "absent")
    assert "is a directory" in complaint(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_image({"file": str(tmp_path / "absent"), "format": "rimtimsim"})


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("fraction", [0.02, 0.3, 0.6, 0.8])
def test_truncated(tmp_path: Path, name: str, fraction: float) -> None:
    path = WRITERS[name](tmp_path / "image")
    data = path.read_bytes()
    # an official file ends with large arrays that are not used: cut before the images
    end = data.index(b"\n...\n") + 200 if name == "roman_l2" else len(data)
    path.write_bytes(data[: int(fraction * end)])
    assert "damaged or truncated" in complaint(path)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"EXP_NO": None}, "EXP_NO is missing, expected a whole number"),
        ({"EXP_NO": "three"}, "EXP_NO is 'three', expected a whole number"),
        ({"TSTART": None}, "TSTART is missing, expected a number"),
        ({"EXPOSURE": 0.0}, "EXPOSURE is 0.0, expected a positive number"),
        ({"FILTER": None}, "FILTER is missing, expected a text"),
        ({"DETECTOR": "SCA19"}, "detector is 'SCA19', expected WFI01"),
        ({"DETECTOR": "NRCA1"}, "detector is 'NRCA1', expected WFI01"),
        ({"CTYPE1": None, "CTYPE2": None}, "no WCS"),
        ({"PC1_1": 0.0, "PC2_2": 0.0}, "WCS"),
        ({"ABMAGZP": "?"}, "ABMAGZP is '?', expected a number"),
    ],
)
def test_bad_header(tmp_path: Path, changes: dict, expected: str) -> None:
    assert expected in complaint(files.write_frame(tmp_path / "image", **changes))


def test_missing_zero_point_and_gain_name_the_key(tmp_path: Path) -> None:
    for name in ("rimtimsim", "roman_cuts"):
        message = complaint(WRITERS[name](tmp_path / name), zero_point=None)
        assert "set exposures.zero_point in the config" in message
    message = complaint(files.write_l2(tmp_path / "l2"), gain=None)
    assert "set exposures.gain in the config" in message


@pytest.mark.parametrize(
    ("hdus", "expected"),
    [
        ([fits.PrimaryHDU()], "no error image, expected it in extension 1"),
        ([fits.PrimaryHDU(np.ones((4, 4)))], "no error image"),
        ([fits.PrimaryHDU(), fits.ImageHDU(np.ones((4, 4)))], "no image, expected a 2-D flux"),
        ([fits.PrimaryHDU(np.ones((2, 4, 4))), fits.ImageHDU(np.ones((4, 4)))], "no image"),
        ([fits.PrimaryHDU(np.ones((4, 4))), fits.ImageHDU(np.ones((4, 5)))], "differ in shape"),
        ([fits.PrimaryHDU(np.ones((4, 4))), fits.BinTableHDU()], "no error image"),
    ],
)
def test_fits_without_images(tmp_path: Path, hdus: list, expected: str) -> None:
    path = tmp_path / "image"
    fits.HDUList(hdus).writeto(path)
    assert expected in complaint(path)


def _without(section: str, name: str) -> dict:
    tree = files.cube_tree()
    del tree[section][name]
    return tree


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"data": {"flux": np.ones((2, 3, 3))}, "meta": {}}, "no entry roman.wcs"),
        (_without("data", "flux_err"), "expected a 3-D array roman.data.flux_err"),
        (_without("data", "time"), "roman.data.time is missing"),
        (_without("meta", "FILTER"), "FILTER is missing"),
        (files.cube_with("data", "flux", np.ones((4, 4))), "expected a 3-D array roman.data.flux"),
        (files.cube_with("data", "flux", np.ones((3, 4, 4))), "differ in shape"),
        (
            files.cube_with("data", "exposureno", np.arange(5)),
            "roman.data.exposureno has shape (5,)",
        ),
        (files.cube_with("data", "exposureno", np.arange(3.0)), "expected 3 whole numbers"),
        (files.cube_with("data", "time", np.full(3, np.nan)), "roman.data.time holds NaN"),
        ({**files.cube_tree(), "wcs": [files.swapped_wcs()] * 2}, "no WCS, expected 3"),
        ({**files.cube_tree(), "wcs": "none"}, "no WCS"),
    ],
)
def test_bad_cube(tmp_path: Path, tree: dict, expected: str) -> None:
    assert expected in complaint(files.write_cube(tmp_path / "image", tree))


def _l2_with(section: str, name: str, value: object):
    model = files.l2_model()
    model.meta[section][name] = value
    return model


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("exposure", "effective_exposure_time", -999999.0), "expected a positive number"),
        (("exposure", "mid_time", None), "exposure.mid_time is None, expected a Time"),
        (("observation", "visit", 1000), "observation.visit is 1000, expected a number below"),
        (("photometry", "pixel_area", None), "photometry.pixel_area is None, expected a number"),
        (("photometry", "conversion_megajanskys", 0.0), "conversion_megajanskys is 0.0"),
    ],
)
def test_bad_l2_metadata(tmp_path: Path, change: tuple, expected: str) -> None:
    path = tmp_path / "image"
    files.write_l2(path, _l2_with(*change))
    assert expected in complaint(path)


def test_l2_without_wcs_or_arrays(tmp_path: Path) -> None:
    path = tmp_path / "image"
    files.write_l2(path, files.l2_model(wcs=False))
    assert "no WCS" in complaint(path)
    model = files.l2_model()
    model["err"] = np.ones((3, 3), "f2")
    files.write_l2(path, model)
    assert "images differ in shape" in complaint(path)


def test_image_changed_since_it_was_listed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    row = one(files.write_frame(path))
    files.write_frame(path, np.ones((4, 4), "f4"), np.ones((4, 4), "f4"))
    with pytest.raises(InputError, match=r"\(4, 4\), expected \(6, 9\)"):
        read_image(row)
    cube = exposure_rows(files.write_cube(tmp_path / "b"), None, ZERO_POINT)
    files.write_cube(tmp_path / "b", files.cube_tree(n=2))
    with pytest.raises(InputError, match="no plane 2"):
        read_image(cube[2])
