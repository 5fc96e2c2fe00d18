"""Times of images: what they count from, their unit and their scale."""

from pathlib import Path

import numpy as np
import pytest
from astropy.time import Time

import imagefiles as files
import tpfs
from romanprf.errors import InputError
from romanprf.io.images import exposure_rows
from romanprf.io.target_pixels import read_target_pixels

JD = 2461450.25
#: Days since the dates below, of the same time.
MJD, LATER, SECONDS = JD - 2400000.5, JD - 2457000.0, 86400.0 * (JD - 2461450.0)


def time_of(path: Path) -> float:
    return exposure_rows(path, 2.0, 27.5)[0]["time"]


def complaint(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        exposure_rows(path, 2.0, 27.5)
    return str(caught.value)


def frame(path: Path, time: float, **cards: object) -> Path:
    return files.write_frame(path, **{"TSTART": time, "TEND": time, "MJDREF": None, **cards})


@pytest.mark.parametrize(
    ("time", "cards"),
    [
        (JD, {}),
        (JD, {"MJDREF": 0.0}),  # as astropy writes WCS headers, whatever the times count from
        (MJD, {"MJDREF": 0.0}),
        (LATER, {"JDREF": 2457000.0}),
        (LATER, {"MJDREFI": 56999, "MJDREFF": 0.5}),
        (SECONDS, {"JDREF": 2461450.0, "TIMEUNIT": "s"}),
        (JD * 1440.0, {"TIMEUNIT": "min"}),
    ],
)
def test_times_are_julian_dates_where_the_header_tells(tmp_path, time, cards) -> None:
    assert time_of(frame(tmp_path / "a", time, **cards)) == pytest.approx(JD, abs=1e-8)


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({"TSTART": MJD, "TEND": MJD}, "TSTART is 61449.75, expected a Julian date from 1900"),
        ({"TSTART": LATER, "TEND": LATER}, "TSTART is 4450.25, expected a Julian date"),
        ({"TSTART": LATER, "TEND": LATER, "MJDREF": 0.0}, "TSTART is 4450.25, expected"),
        (
            {"TEND": JD - 1.0},
            "TEND is 2461449.25, expected a time that is not before TSTART",
        ),
        ({"TSTART": True}, "TSTART is True, expected a number"),
        ({"TIMEUNIT": "banana"}, "TIMEUNIT is 'banana', expected a unit of time"),
        ({"TIMEUNIT": "deg"}, "TIMEUNIT is 'deg', expected a unit of time"),
        ({"TIMESYS": "banana"}, "TIMESYS is 'banana', expected one of"),
        ({"TIMESYS": 3}, "TIMESYS is '3', expected one of"),
    ],
)
def test_times_that_cannot_be_meant(tmp_path, cards, expected) -> None:
    assert expected in complaint(frame(tmp_path / "a", JD, **cards))


def test_old_names_of_time_scales(tmp_path) -> None:
    (row,) = exposure_rows(frame(tmp_path / "a", JD, TIMESYS="ET"), None, 27.5)
    assert row["time_scale"] == "tt"


def test_times_of_a_cube(tmp_path) -> None:
    tree = files.cube_tree()
    tree["data"]["time"] -= 2400000.5
    assert "roman.data.time is 61449.5, expected" in complaint(
        files.write_cube(tmp_path / "a", tree)
    )
    tree["meta"]["MJDREF"] = 0.0
    assert time_of(files.write_cube(tmp_path / "a", tree)) == 2461450.0
    tree["data"]["time"][1] = 0.0
    assert "roman.data.time is 0.0, expected" in complaint(files.write_cube(tmp_path / "a", tree))
    tree["data"]["time"] = Time(np.full(3, JD), format="jd")
    assert "roman.data.time has" in complaint(files.write_cube(tmp_path / "a", tree))


@pytest.mark.filterwarnings("ignore:.*dubious year")
def test_times_of_level_2(tmp_path) -> None:
    model = files.l2_model()
    model.meta["exposure"]["end_time"] = Time("2019-12-31T23:00:00", scale="utc")
    assert "end_time is 2019-12-31T23:00:00.000" in complaint(files.write_l2(tmp_path / "a", model))
    model = files.l2_model()
    model.meta["exposure"]["mid_time"] = Time("1719-03-05T00:00:00", scale="utc")
    assert "exposure.mid_time is 234" in complaint(files.write_l2(tmp_path / "b", model))


def test_times_of_target_pixels(tmp_path) -> None:
    path = tpfs.write_tpf(tmp_path / "a", TIME=np.arange(tpfs.NT) - 2454833.0)
    with pytest.raises(InputError, match=r"TIME is 0.0, expected a Julian date"):
        read_target_pixels([path])
