from __future__ import annotations

import os
from pathlib import Path

import pytest

from romanprf.errors import InputError
from romanprf.io.sheet import read_sheet


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working directory with three image files."""
    for name in ("b2.fits", "a1.fits", "b1.fits"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "exposures.tsv"
    path.write_text(text)
    return path


def test_files_globs_numbers_and_comments(folder: Path) -> None:
    text = "# images\n\nfile\texposure\n# first\nb*.fits\t\n\na1.fits\t7\n"
    assert read_sheet(write(folder, text)) == [
        {"file": "b1.fits", "exposure": None},
        {"file": "b2.fits", "exposure": None},
        {"file": "a1.fits", "exposure": 7},
    ]


def test_one_column_and_order_of_columns(folder: Path) -> None:
    assert read_sheet(write(folder, "file\na1.fits\n")) == [{"file": "a1.fits", "exposure": None}]
    rows = read_sheet(write(folder, "exposure\tfile\n7\ta1.fits\n"))
    assert rows == [{"file": "a1.fits", "exposure": 7}]


def test_existing_file_with_brackets_is_not_a_glob(folder: Path) -> None:
    (folder / "c[1].fits").touch()
    rows = read_sheet(write(folder, "file\texposure\nc[1].fits\t3\n"))
    assert rows == [{"file": "c[1].fits", "exposure": 3}]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty sheet"),
        ("# nothing\n\n", "empty sheet"),
        ("file\texposure\n", "no rows, expected at least one image file"),
        ("image\na1.fits\n", "expected tab-separated columns 'file'"),
        ("file,exposure\na1.fits,1\n", "expected tab-separated columns 'file'"),
        ("file\tnumber\na1.fits\t1\n", "found ['file', 'number']"),
        ("file\tfile\na1.fits\ta1.fits\n", "expected tab-separated columns"),
        ("file\texposure\na1.fits\n", "line 2: expected 2 columns, found 1"),
        ("file\n\na1.fits\t1\n", "line 3: expected 1 columns, found 2"),
        ("file\texposure\n\t3\n", "line 2: column file is empty"),
        ("file\na1\0.fits\n", "line 2: control characters in the name of a file"),
        ("file\n#\nx*.fits\n", "line 3: no file matches x*.fits"),
        ("file\nabsent.fits\n", "line 2: no such file: absent.fits"),
        ("file\texposure\nb*.fits\t3\n", "line 2: an exposure number needs a plain file"),
        ("file\texposure\na1.fits\tseven\n", "line 2: exposure is 'seven', expected a whole"),
        ("file\texposure\na1.fits\t-1\n", "line 2: exposure is '-1'"),
        ("file\texposure\na1.fits\t1234567890123456789\n", "of up to 18 digits"),
        ('file\n"a1.fits\n', "line 2: cannot be read as cells"),
        ('file\n"a1.fits\nb1.fits"\n', "line 2: cannot be read as cells"),
        (f"file\n{'x' * 200_000}\n", "line 2: cannot be read as cells"),
        (f"file\n{'x' * 20_000}\n", "line 2: no such file"),
        ("file\nb1.fits\n\nb*.fits\n", "line 4: b1.fits is already named on line 2"),
        ("file\na1.fits\n./a1.fits\n", "line 3: ./a1.fits is already named on line 2"),
    ],
)
def test_bad_sheets(folder: Path, text: str, expected: str) -> None:
    path = write(folder, text)
    with pytest.raises(InputError) as error:
        read_sheet(path)
    assert expected in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_byte_order_mark_is_no_part_of_the_header(folder: Path) -> None:
    path = write(folder, "\ufefffile\na1.fits\n")
    assert read_sheet(path) == [{"file": "a1.fits", "exposure": None}]


def test_unreadable_sheets(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(InputError, match="is not a regular file, expected the exposure sheet"):
        read_sheet(folder / "pipe")
    with pytest.raises(InputError, match=r"none\.tsv: no such file, expected the exposure sheet"):
        read_sheet(folder / "none.tsv")
    (folder / "exposures.tsv").write_bytes(b"file\n\xff\xfe\n")
    with pytest.raises(InputError, match="cannot be read as text"):
        read_sheet(folder / "exposures.tsv")
    with pytest.raises(InputError, match="is a directory, expected the exposure sheet"):
        read_sheet(folder)
