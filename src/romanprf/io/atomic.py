"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import glob
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; rename it to ``path`` if the block succeeds.

    The temporary file is removed if the block raises.  That of a killed process stays until the
    same path is written again; nothing reads it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}.tmp-"
    for leftover in path.parent.glob(f"{glob.escape(prefix)}*"):
        leftover.unlink(missing_ok=True)
    # Not the process number: a process on another node may have the same one.
    temporary = path.with_name(prefix + uuid.uuid4().hex[:12])
    try:
        yield temporary
        _to_disk(temporary)
        os.replace(temporary, path)
    except OSError as error:
        if not disk_full(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def disk_full(error: BaseException | None) -> bool:
    """Whether an exception, or one that it replaced, says that a disk or a quota is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def _to_disk(path: Path) -> None:
    """Wait until the content of a file is on the disk.

    The name could otherwise reach the disk first, and a power failure would leave an empty table.
    Network file systems also report an exceeded quota only here.
    """
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
