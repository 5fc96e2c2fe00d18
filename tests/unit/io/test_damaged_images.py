"""Image files whose bytes, cards or numbers cannot be meant, and rare ones that can."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import asdf
import numpy as np
import psutil
import pytest
from astropy.io import fits

import imagefiles as files
from romanprf.errors import InputError
from romanprf.io.images import exposure_rows, read_image

LEVEL_2 = Path(__file__).parents[2] / "data" / "roman_l2"
WRITERS = {
    "rimtimsim": files.write_frame,
    "roman_cuts": files.write_cube,
    "roman_l2": files.write_l2,
}


def rows(path: Path) -> list[dict]:
    return exposure_rows(path, 2.0, 27.5)


def complaint(path: Path, read: bool = False) -> str:
    with pytest.raises(InputError) as caught:
        read_image(rows(path)[0]) if read else rows(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", ["rimtimsim", "roman_cuts"])
def test_a_flipped_bit_of_the_flux_shows(tmp_path: Path, name: str) -> None:
    path = WRITERS[name](tmp_path / "a")
    if name == "rimtimsim":
        with fits.open(path) as hdus:
            hdus.writeto(path, overwrite=True, checksum=True)
    flux = read_image(rows(path)[0]).flux.ravel()[10:14]
    _flip(path, flux.astype(">f4" if name == "rimtimsim" else "<f4").tobytes())
    assert "damaged" in complaint(path, read=True)


@pytest.mark.parametrize("number", [1, 2])  # as it is, and compressed
def test_a_flipped_bit_of_an_official_file_shows(tmp_path: Path, number: int) -> None:
    (path,) = LEVEL_2.glob(f"*_000{number}_*.asdf")
    path = Path(shutil.copy(path, tmp_path))
    read_image(rows(path)[0])
    with asdf.open(path) as file:
        block = file._blocks.blocks[file["roman"]["data"]._source]
        middle = block.offset + block.header["used_size"] // 2
    _flip(path, path.read_bytes()[middle : middle + 16])
    assert "does not match given checksum" in complaint(path, read=True)


def _flip(path: Path, some: bytes) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(some)] ^= 1
    path.write_bytes(data)


def test_unsigned_integers_are_read(tmp_path: Path) -> None:
    flux, flux_err = files.pixels()
    counts = np.round(1e4 * flux).astype(np.uint16)
    (row,) = rows(files.write_frame(tmp_path / "a", counts, flux_err))
    assert np.array_equal(read_image(row).flux, counts)
    blank = fits.ImageHDU(counts.astype(np.int16))
    blank.header["BLANK"] = int(blank.data[2, 3])
    error = fits.ImageHDU(flux_err)
    head = fits.PrimaryHDU(blank.data, files.frame_header(BLANK=blank.header["BLANK"]))
    fits.HDUList([head, error]).writeto(tmp_path / "b")
    assert read_image(rows(tmp_path / "b")[0]).flags[2, 3]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"EXPOSURE=                 54.0", b"EXPOSURE=  '54.0              "),
        (b"FILTER  = 'F146    '", b"FILTER  = \x00F146    '"),
        (b"DETECTOR= 'SCA02   '", b"DETECTOR= 'SCA02    "),
        (b"EXP_NO  =  ", b"EXP_NO  = ("),
        (b"CTYPE1  = 'RA---TAN'", b"CTYPE1  = 'RA---TAN "),
        (b"BITPIX  =                  -32", b"BITPIX  =                    7"),
        (b"SIMPLE  =                    T", b"SIMPLE  =                    F"),
        (b"NAXIS2  =                    6", b"NAXIS2  =                    0"),
        (b"NAXIS1  =                    9", b"NAXIS1  =                   -9"),
        (b"NAXIS1  =                    9", b"NAXIS1  =         999999999999"),
    ],
)
def test_damaged_cards(tmp_path: Path, before: bytes, after: bytes) -> None:
    path = files.write_frame(tmp_path / "a")
    data = path.read_bytes()
    assert before in data
    path.write_bytes(data.replace(before, after, 1))
    assert "expected" in complaint(path)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"EXP_NO": 10**25}, "EXP_NO is 10000000000000000000000000, expected a number from 0 to"),
        ({"EXP_NO": -5}, "EXP_NO is -5, expected a number from 0 to 2**63 - 1"),
        ({"EXPOSURE": True}, "EXPOSURE is True, expected a number"),
        ({"A_ORDER": 10**6, "B_ORDER": 10**6}, "A_ORDER is 1000000, expected an order up to 9"),
        ({"PC1_1": 1.0, "PC1_2": 1.0, "PC2_1": 1.0, "PC2_2": 1.0}, "WCS cannot be used"),
        ({"CDELT1": 1e-30}, "the WCS cannot be used (pixels of"),
        ({"CRPIX1": 1e30}, "the WCS cannot be used (pixels of"),
        ({"UNIT": "MJy/sr"}, "UNIT is 'MJy/sr', expected electrons per second"),
        ({"UNIT": "DN/s"}, "UNIT is 'DN/s', expected electrons per second"),
        ({"BUNIT": "electron"}, "BUNIT is 'electron', expected electrons per second"),
    ],
)
def test_numbers_that_cannot_be_meant(tmp_path: Path, changes: dict, expected: str) -> None:
    assert expected in complaint(files.write_frame(tmp_path / "a", **changes))


@pytest.mark.parametrize(
    "unit", ["electrons per second", "electron/s", "ELECTRONS/S", "e-/s", "e/sec", "electron s-1"]
)
def test_electrons_per_second(tmp_path: Path, unit: str) -> None:
    assert rows(files.write_frame(tmp_path / "a", UNIT=unit, BUNIT=unit))


def test_units_of_errors_and_cubes(tmp_path: Path) -> None:
    path = files.write_frame(tmp_path / "a")
    fits.setval(path, "BUNIT", value="DN/s", ext=1)
    assert "BUNIT is 'DN/s'" in complaint(path)
    tree = files.cube_tree()
    tree["meta"]["UNIT"] = "DN/s"
    assert "UNIT is 'DN/s'" in complaint(files.write_cube(tmp_path / "b", tree))


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (files.cube_tree(n=0), "a cube of no exposures"),
        (files.cube_with("meta", "FILTER", 5), "FILTER is 5, expected a text"),
        (files.cube_with("meta", "EXPOSURE", "long"), "EXPOSURE is 'long', expected a number"),
        (files.cube_with("meta", "ABMAGZP", [27.5]), "ABMAGZP is [27.5], expected a number"),
        ({**files.cube_tree(), "meta": None}, "expected"),
        ({**files.cube_tree(), "meta": [1, 2]}, "expected"),
        (
            files.cube_with("data", "exposureno", np.full(3, 2**63, np.uint64)),
            "exposureno is 92233720368",
        ),
        (files.cube_with("data", "flux", "none"), "expected a 3-D array roman.data.flux"),
    ],
)
def test_wrong_types_in_a_cube(tmp_path: Path, tree: dict, expected: str) -> None:
    assert expected in complaint(files.write_cube(tmp_path / "a", tree))


def test_packed_zeros_beyond_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = files.cube_tree()
    shape = (3, 300, 300)
    tree["data"].update(flux=np.zeros(shape, "f4"), flux_err=np.zeros(shape, "f4"))
    file = asdf.AsdfFile({"roman": tree})
    file.write_to(tmp_path / "a", all_array_compression="zlib")
    assert len(rows(tmp_path / "a")) == 3
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2e6))
    assert "compressed images of 0.00216 GB, expected less than" in complaint(tmp_path / "a")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_named_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    assert "is not a regular file, expected an ASDF or FITS image" in complaint(tmp_path / "a")
