"""Lock of a results folder: one run at a time."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

from romanprf.errors import InputError


def hold(path: str | Path) -> None:
    """Hold a lock file until this process ends, however it ends.

    Raises
    ------
    InputError
        If another process holds it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # never closed, not inherited by jobs
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = path.read_text(encoding="utf-8").strip()
        raise InputError(f"{path}: another run writes this folder: {holder}") from None
    except OSError:  # this file system has no locks
        return
    os.ftruncate(file, 0)
    os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
