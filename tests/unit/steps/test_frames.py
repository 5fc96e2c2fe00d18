from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import imagefiles as files
from romanprf.errors import InputError
from romanprf.flags import ExposureFlag
from romanprf.io import images
from romanprf.io.exposures import read_exposures
from romanprf.steps import frames

SETTINGS = {"gain": None, "zero_point": 27.5}


def sheet(*paths: Path, numbers: dict[int, int] | None = None) -> list[dict]:
    numbers = numbers or {}
    return [{"file": str(p), "exposure": numbers.get(i)} for i, p in enumerate(paths)]


def run(tmp_path: Path, entries: list[dict], **settings: float | None) -> Path:
    outputs = {"exposures": tmp_path / "exposures.parquet"}
    inputs = {"images": [entry["file"] for entry in entries]}
    params = {"files": entries, "cache": tmp_path / "exposures_cache.parquet"}
    frames.run(inputs, outputs, {**params, **SETTINGS, **settings})
    return outputs["exposures"]


def frame(folder: Path, number: int, **changes: object) -> Path:
    return files.write_frame(folder / f"frame{number}", EXP_NO=number, **changes)


def test_table_is_sorted_and_complete(tmp_path: Path) -> None:
    cube = files.write_cube(tmp_path / "cube")  # exposures 10 to 12 of SCA 11
    paths = [frame(tmp_path, n, DETECTOR="SCA11") for n in (20, 3)]
    path = run(tmp_path, sheet(paths[0], cube, paths[1]))
    table = read_exposures(path)
    assert table["exposure"].tolist() == [3, 10, 11, 12, 20]
    assert table["file"].tolist() == [str(paths[1]), *[str(cube)] * 3, str(paths[0])]
    assert table["pixel_area"].isna().all()
    assert table["content_hash"].nunique() == 5
    assert pq.read_schema(path).metadata[b"table"] == b"exposures"


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    entries = sheet(frame(tmp_path, 3))
    first = run(tmp_path, entries).read_bytes()
    assert run(tmp_path, entries).read_bytes() == first


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that the step has opened."""
    names: list[str] = []

    def exposure_rows(file: str, *settings: float | None) -> list[dict]:
        names.append(Path(file).name)
        return images.exposure_rows(file, *settings)

    monkeypatch.setattr(frames, "exposure_rows", exposure_rows)
    return names


def test_known_images_are_not_opened_again(tmp_path: Path, opened: list[str]) -> None:
    cube = files.write_cube(tmp_path / "cube")
    entries = sheet(frame(tmp_path, 3, DETECTOR="SCA11"), cube)
    first = run(tmp_path, entries).read_bytes()
    del opened[:]
    assert run(tmp_path, entries).read_bytes() == first
    assert opened == []
    more = [*entries, *sheet(frame(tmp_path, 4, DETECTOR="SCA11"))]
    added = run(tmp_path, more).read_bytes()
    assert opened == ["frame4"]
    (tmp_path / "exposures_cache.parquet").unlink()
    assert run(tmp_path, more).read_bytes() == added


def test_changed_images_are_opened_again(tmp_path: Path, opened: list[str]) -> None:
    entries = sheet(frame(tmp_path, 3), frame(tmp_path, 4))
    first = read_exposures(run(tmp_path, entries))
    for change, expected in (
        ((tmp_path / "frame4").touch, ["frame4"]),
        (lambda: frame(tmp_path, 3, EXPOSURE=60.0), ["frame3"]),
        (lambda: entries[1].update(exposure=9), ["frame4"]),
        (lambda: entries[1].update(exposure=None), ["frame4"]),
    ):
        del opened[:]
        change()
        table = read_exposures(run(tmp_path, entries))
        assert opened == expected
    assert table["exposure_time"].tolist() == [60.0, 54.0]
    same = table["content_hash"] == first["content_hash"]
    assert same.tolist() == [False, True]
    del opened[:]
    assert set(read_exposures(run(tmp_path, entries, zero_point=26.0))["zero_point"]) == {26}
    assert opened == ["frame3", "frame4"]


def test_unreadable_table_is_written_anew(tmp_path: Path, opened: list[str]) -> None:
    (tmp_path / "exposures_cache.parquet").write_bytes(b"not a table")
    run(tmp_path, sheet(frame(tmp_path, 3)))
    assert opened == ["frame3"]


def test_numbers_of_the_sheet_replace_those_of_the_files(tmp_path: Path) -> None:
    path = run(tmp_path, sheet(frame(tmp_path, 3), frame(tmp_path, 4), numbers={0: 9}))
    assert read_exposures(path)["exposure"].tolist() == [4, 9]


def test_unusable_exposure_is_kept(tmp_path: Path) -> None:
    dead = frame(tmp_path, 4, flux_err=np.zeros(files.SHAPE, "f4"))
    table = read_exposures(run(tmp_path, sheet(frame(tmp_path, 3), dead)))
    assert table["flags"].tolist() == [0, ExposureFlag.UNUSABLE]


def test_fluxes_have_the_zero_point_of_the_first_exposure(tmp_path: Path, caplog) -> None:
    flux, flux_err = files.pixels()
    factor = 10.0 ** (0.4 * (27.5 - 26.0))
    same = frame(tmp_path, 3)
    other = frame(tmp_path, 4, flux=flux / factor, flux_err=flux_err / factor, ABMAGZP=26.0)
    table = read_exposures(run(tmp_path, sheet(same, other)))
    assert "the zero point is 27.5000 in " in caplog.text
    assert table["zero_point"].tolist() == [27.5, 27.5]
    first, second = (images.read_image(row) for row in table.to_dict("records"))
    np.testing.assert_allclose(second.flux, first.flux, rtol=1e-6)
    np.testing.assert_allclose(second.flux_err, first.flux_err, rtol=1e-6)
    assert second.poisson_slope == pytest.approx(factor * first.poisson_slope)
    # The same from the cache, and by the other's zero point where that comes first.
    again = read_exposures(run(tmp_path, sheet(same, other)))
    assert again["gain"].tolist() == table["gain"].tolist()
    earlier = read_exposures(run(tmp_path, sheet(same, other, numbers={1: 1})))
    assert earlier["zero_point"].tolist() == [26.0, 26.0]
    assert set(earlier["content_hash"]).isdisjoint(table["content_hash"][:1])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"EXP_NO": 3}, "exposure 3 is both in {0} and {1}"),
        ({"FILTER": "F087"}, "filter is F146 in {0} but F087 in {1}"),
        ({"DETECTOR": "SCA03"}, "detector is WFI02 in {0} but WFI03 in {1}"),
        ({"TIMESYS": "TDB"}, "time_scale is utc in {0} but tdb in {1}"),
        ({"EXPOSURE": None}, "{1}: EXPOSURE is missing"),
    ],
)
def test_exposures_that_do_not_go_together(tmp_path: Path, changes: dict, expected: str) -> None:
    paths = [
        files.write_frame(tmp_path / "a", EXP_NO=3),
        files.write_frame(tmp_path / "b", **{"EXP_NO": 4, **changes}),
    ]
    with pytest.raises(InputError) as error:
        run(tmp_path, sheet(*paths))
    assert expected.format(*paths) in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "exposures.parquet").exists()


def test_number_for_a_cube_and_empty_list(tmp_path: Path) -> None:
    cube = files.write_cube(tmp_path / "cube")
    with pytest.raises(InputError, match="gives exposure 5, but a cube numbers its own"):
        run(tmp_path, sheet(cube, numbers={0: 5}))
    with pytest.raises(InputError, match="no images"):
        run(tmp_path, [])


def test_read_some_exposures(tmp_path: Path) -> None:
    path = run(tmp_path, sheet(*[frame(tmp_path, n) for n in (3, 4, 5)]))
    table = read_exposures(path, [5, 3])
    assert table["exposure"].tolist() == [3, 5]
    assert table.index.tolist() == [0, 1]
    with pytest.raises(InputError, match=r"exposures\.parquet: no exposure 6"):
        read_exposures(path, [3, 6])
