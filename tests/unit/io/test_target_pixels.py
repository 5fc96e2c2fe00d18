from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from romanprf.errors import InputError
from romanprf.io.target_pixels import read_target_pixels
from tpfs import DEC, NT, PLACES, RA, SHAPE, celestial, pixels, write_tpf


def as_object(path: Path, kept: np.ndarray) -> SimpleNamespace:
    """What makes a lightkurve TargetPixelFile."""
    return SimpleNamespace(path=str(path), hdu=fits.open(path), quality_mask=kept)


def complaint(tpfs: object, error: type[Exception] = InputError, **settings: object) -> str:
    with pytest.raises(error) as caught:
        read_target_pixels(tpfs, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("mission", PLACES)
def test_what_is_in_a_file(tmp_path: Path, mission: str) -> None:
    path = write_tpf(tmp_path / "a.fits", mission, POS_CORR1=np.arange(NT), POS_CORR2=-np.ones(NT))
    series = read_target_pixels([path])
    flux, flux_err = pixels()
    np.testing.assert_array_equal(series.flux, flux.reshape(NT, -1))
    np.testing.assert_array_equal(series.flux_err, flux_err.reshape(NT, -1))
    y, x = (axis.ravel() for axis in np.indices(SHAPE))
    np.testing.assert_array_equal([series.row, series.column], [y + 243, x + 655])
    sky = WCS(fits.Header(celestial(mission))).wcs_pix2world(x, y, 0)
    np.testing.assert_allclose([series.ra, series.dec], sky, rtol=0, atol=1e-12)
    epoch = 2457000 if mission == "TESS" else 2454833
    np.testing.assert_allclose(series.time, epoch + 1235.5 + np.arange(NT) / 48.0, rtol=0)
    assert series.extra["pos_corr1"].tolist() == [[k] for k in range(NT)]
    assert series.extra["pos_corr2"].tolist() == [[-1]] * NT
    assert series.extra["cadence"].tolist() == list(range(500, 500 + NT))
    expected = {key.lower(): value for key, value in PLACES[mission].items()}
    target = expected.pop("ticid" if mission == "TESS" else "keplerid")
    magnitude = "tessmag" if mission == "TESS" else "kepmag"
    expected |= {"mission": mission, "time_scale": "tdb", "targetid": [target]}
    assert series.meta == expected | {"ra_obj": [RA], "dec_obj": [DEC], magnitude: [11.5]}


def test_only_collected_pixels_are_read(tmp_path: Path) -> None:
    aperture = np.full(SHAPE, 1, dtype=np.int32)
    aperture[0, 0], aperture[2, 1], aperture[3, 2] = 0, 2, 4 | 8  # not collected, whatever else
    aperture[1, 1] = 1 | 2 | 8
    series = read_target_pixels([write_tpf(tmp_path / "a.fits", aperture=aperture)])
    keep = (aperture & 1).astype(bool)
    np.testing.assert_array_equal(series.flux, pixels()[0][:, keep])
    np.testing.assert_array_equal(series.row - 243, np.nonzero(keep)[0])


def test_rejected_values(tmp_path: Path) -> None:
    flux, flux_err = pixels()
    flux[1, 0, 0], flux_err[2, 0, 1], flux_err[3, 0, 2] = np.nan, 0.0, np.nan
    series = read_target_pixels([write_tpf(tmp_path / "a.fits", FLUX=flux, FLUX_ERR=flux_err)])
    rejected = np.argwhere(np.isnan(series.flux)).tolist()
    assert rejected == [[1, 0], [2, 1], [3, 2]]
    assert np.argwhere(np.isinf(series.flux_err)).tolist() == rejected


@pytest.mark.parametrize(
    ("mission", "quality", "rejected"),
    [
        ("Kepler", "default", [32768 * 2, 1, 1048576]),
        ("K2", "default", [32768 * 2, 1, 1048576]),
        ("TESS", "default", [1, 16384, 512]),
        ("Kepler", 128, [128]),
        ("Kepler", 0, []),
        ("Kepler", "none", []),
    ],
)
def test_quality(tmp_path: Path, mission: str, quality, rejected: list[int]) -> None:
    bits = [65536, 1, 128, 1048576, 16384, 512, 2048, 0]
    if mission != "TESS" and quality == "default":
        rejected = [*rejected, 16384]  # detector anomaly; of TESS bad calibration
    path = write_tpf(tmp_path / "a.fits", mission, QUALITY=np.array(bits))
    if mission == "TESS":
        rejected = [*rejected, 128]  # manual exclude; of Kepler a cosmic ray
    series = read_target_pixels([path], quality)
    kept = [500 + k for k, bit in enumerate(bits) if bit not in rejected]
    assert series.extra["cadence"].tolist() == kept


def test_a_cadence_without_time_is_never_kept(tmp_path: Path) -> None:
    time = 1235.5 + np.arange(NT) / 48.0
    time[3] = np.nan
    series = read_target_pixels([write_tpf(tmp_path / "a.fits", TIME=time)], 0)
    assert 503 not in series.extra["cadence"]
    assert np.isfinite(series.time).all()


def test_two_files_share_cadences_and_pixels(tmp_path: Path) -> None:
    quality = np.zeros(NT, dtype=int)
    quality[6] = 1
    a = write_tpf(tmp_path / "a.fits", QUALITY=quality, POS_CORR1=np.full(NT, 0.25))
    flux = pixels(7)[0]
    b = write_tpf(
        tmp_path / "b.fits",
        corner=(243 + 2, 655 + 1),  # 2 x 2 pixels are also in the first
        primary={"KEPLERID": 2, "KEPMAG": None},
        CADENCENO=502 + np.arange(NT),
        TIME=1235.5 + np.arange(2, 2 + NT) / 48.0 + 1e-4,
        FLUX=flux,
    )
    series = read_target_pixels([a, b])
    assert series.extra["cadence"].tolist() == [502, 503, 504, 505, 507]
    np.testing.assert_allclose(series.time, 2456068.5 + np.array([2, 3, 4, 5, 7]) / 48, rtol=0)
    assert len(series.row) == 12 + 12 - 4
    assert len(set(zip(series.row, series.column, strict=True))) == len(series.row)
    assert series.extra["file"].tolist() == [0] * 12 + [1] * 8
    shared = (series.row >= 245) & (series.column >= 656) & (series.extra["file"] == 0)
    assert shared.sum() == 4
    np.testing.assert_array_equal(series.flux[:, :12], pixels()[0][[2, 3, 4, 5, 7]].reshape(5, 12))
    last = flux[[0, 1, 2, 3, 5], 3, 2]  # its last pixel, at the same cadences
    np.testing.assert_array_equal(series.flux[:, -1], last)
    assert series.extra["pos_corr1"].shape == (5, 2)
    assert series.extra["pos_corr1"][0].tolist() == [0.25, 0.0]
    assert series.meta["targetid"] == [11904151, 2]
    assert np.isnan(series.meta["kepmag"][1])


def test_stacks_without_cadence_numbers(tmp_path: Path) -> None:
    none = np.zeros(NT, dtype=int)
    quality = none.copy()
    quality[2] = 1
    a = write_tpf(tmp_path / "a.fits", "TESS", CADENCENO=none, QUALITY=quality)
    b = write_tpf(tmp_path / "b.fits", "TESS", corner=(1, 1), CADENCENO=none)
    assert read_target_pixels([a, b]).extra["cadence"].tolist() == [0, 1, 3, 4, 5, 6, 7]


def test_objects_of_lightkurve(tmp_path: Path) -> None:
    path = write_tpf(tmp_path / "a.fits")
    kept = np.arange(NT) >= 3
    series = read_target_pixels([as_object(path, kept)])
    assert series.extra["cadence"].tolist() == [503, 504, 505, 506, 507]
    np.testing.assert_array_equal(series.flux, read_target_pixels(path).flux[3:])


def test_bad_arguments() -> None:
    assert "tpfs is empty" in complaint([], ValueError)
    assert "quality is 'hard'" in complaint(["a"], ValueError, quality="hard")
    assert "tpfs holds 3" in complaint([3], TypeError)


@pytest.mark.parametrize(
    ("mission", "key", "value"),
    [("Kepler", "CHANNEL", 2), ("Kepler", "QUARTER", 3), ("K2", "CAMPAIGN", 5), ("TESS", "CCD", 1)],
)
def test_other_pieces_of_silicon_are_refused(tmp_path: Path, mission, key, value) -> None:
    a = write_tpf(tmp_path / "a.fits", mission)
    b = write_tpf(tmp_path / "b.fits", mission, primary={key: value})
    message = complaint([a, b])
    assert message.startswith(str(b))
    assert f"{key.lower()} {value}" in message
    assert str(a) in message


def test_other_times_are_refused(tmp_path: Path) -> None:
    a = write_tpf(tmp_path / "a.fits")
    b = write_tpf(tmp_path / "b.fits", CADENCENO=900 + np.arange(NT))
    assert "no good cadence in common" in complaint([a, b])
    c = write_tpf(tmp_path / "c.fits", QUALITY=np.ones(NT))
    assert complaint([c]).startswith(str(c))


def test_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    assert "no such file" in complaint([path])
    path.write_text("no FITS file")
    assert complaint([path]).startswith(str(path))
    fits.PrimaryHDU(np.zeros((3, 3))).writeto(path, overwrite=True)
    assert "no target pixel file" in complaint([path])
    whole = write_tpf(tmp_path / "b.fits").read_bytes()
    for share in (0.3, 0.7):
        path.write_bytes(whole[: int(share * len(whole))])
        assert complaint([path]).startswith(str(path))
    assert "TELESCOP is 'HST'" in complaint([write_tpf(path, primary={"TELESCOP": "HST"})])
    assert "CHANNEL is" in complaint([write_tpf(path, primary={"CHANNEL": ""})])
    aperture = np.full(SHAPE, 2, dtype=np.int32)
    assert "no pixel was collected" in complaint([write_tpf(path, aperture=aperture)])
    assert "shapes" in complaint([write_tpf(path, aperture=aperture[1:])])


@pytest.mark.parametrize("key", ["BJDREFI", "1CRV5P", "1CTYP5", "TTYPE10"])
def test_missing_keywords(tmp_path: Path, key: str) -> None:
    path = write_tpf(tmp_path / "a.fits")
    with fits.open(path, mode="update") as hdus:
        if key == "TTYPE10":
            hdus[1].columns.change_name("QUALITY", "OTHER")
        else:
            del hdus[1].header[key]
    message = complaint([path])
    assert message.startswith(str(path))
    assert key in message or "QUALITY" in message


def test_the_wcs_of_the_aperture_serves_where_the_pixels_have_none(tmp_path):
    path = write_tpf(tmp_path / "star.fits")
    expected = read_target_pixels([path])
    with fits.open(path, mode="update") as hdus:
        for key in list(hdus[1].header):
            if re.fullmatch(r"[12](CTYP|CRPX|CRVL|CUNI|CDLT)\d|[12]{2}PC\d|WCAX\d", key):
                del hdus[1].header[key]
    found = read_target_pixels([path])
    np.testing.assert_allclose([found.ra, found.dec], [expected.ra, expected.dec], rtol=1e-12)
    with fits.open(path, mode="update") as hdus:
        for key in celestial("Kepler"):
            del hdus[2].header[key]
    with pytest.raises(InputError, match="no WCS of the column FLUX or of the aperture"):
        read_target_pixels([path])
