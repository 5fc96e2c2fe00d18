"""What a file is, before it is read."""

from __future__ import annotations

from pathlib import Path

from romanprf.errors import InputError


def first_bytes(path: str | Path, n: int, expected: str) -> bytes:
    """First ``n`` bytes of a file, which identify its format.

    Raises
    ------
    InputError
        If there is no file or it is empty; ``expected`` says what it should be.
    """
    path = Path(path)
    check_regular(path, expected)
    try:
        with path.open("rb") as file:
            head = file.read(n)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if not head:
        raise InputError(f"{path}: empty file, expected {expected}")
    return head


def check_regular(path: str | Path, expected: str) -> None:
    """Refuse what is no file: a directory, a device, or a named pipe, whose reading may not end."""
    path = Path(path)
    try:
        if path.is_file():
            return
        kind = "is a directory" if path.is_dir() else "is not a regular file"
        found = kind if path.exists() else "no such file"
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    raise InputError(f"{path}: {found}, expected {expected}")
