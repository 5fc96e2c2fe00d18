"""Folders of results that cannot be."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from romanprf.config import load_config
from romanprf.errors import InputError
from romanprf.reduce import reduce
from romanprf.workflow.paths import check_writable, is_batch, usable


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file", "not a folder"),
        ("file/results", "Not a directory"),
        ("/dev/null", "not a folder"),
        ("dangling", "a link to nothing"),
        ("round", "a link to nothing"),
        ("x" * 300, "File name too long"),
        ("x/" * 3000, "File name too long"),
    ],
)
def test_what_cannot_be_a_folder(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("dangling").symlink_to("nowhere")
    Path("round").symlink_to("round")
    expected = rf"^results: '{re.escape(name[:100])}': {message}, expected a folder or the name"
    with pytest.raises(InputError, match=expected):
        usable(Path(name))
    with pytest.raises(InputError, match=expected):
        reduce(load_config({"results": name}))


@pytest.mark.parametrize("name", ["new", "new/inner", ".", "link", "a b;$(c)'&\"é"])
def test_what_can_be_a_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path("link").symlink_to(tmp_path)
    assert usable(load_config({"results": name}).results) == Path(name)
    check_writable(Path(name))
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_where_nothing_can_be_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", "/proc")
    with pytest.raises(InputError, match=r"^TMPDIR: /proc: .*, expected a folder that can be wri"):
        check_writable(Path("results"))
    with pytest.raises(InputError, match=r"^results: /proc/1/results: .*, expected a folder"):
        check_writable(Path("/proc/1/results"))


@pytest.mark.parametrize(
    ("options", "message"), [("ro", "Read-only file system"), ("size=4k", "No space left on dev")]
)
def test_file_system_that_takes_nothing(tmp_path, options, message):
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system is not permitted")
    try:
        if options != "ro":
            (tmp_path / "other").write_bytes(bytes(4096))
        with pytest.raises(InputError, match=f"results: {tmp_path}/new: {message}"):
            check_writable(tmp_path / "new")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_names_of_batches():
    assert is_batch("a/batch=00012.parquet")
    assert not is_batch("a/.batch=00012.parquet.tmp-1")
    assert not is_batch("a/batch=12.parquet")
