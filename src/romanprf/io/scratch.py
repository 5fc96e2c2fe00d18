"""Images that are kept on disk, not in memory, until a step needs them again."""

from __future__ import annotations

import errno
import os
import tempfile

import numpy as np

from romanprf.io.atomic import disk_full


def kept(image: np.ndarray) -> np.ndarray:
    """Copy of an image, float32, in a temporary file that is deleted with the array.

    Raises
    ------
    OSError
        If the disk of the temporary files is full.
    """
    try:
        with tempfile.TemporaryFile() as file:
            # Written, not assigned to the map, where a full disk would kill the process (SIGBUS).
            file.write(np.asarray(image, np.float32, order="C").data)
            file.flush()
            return np.memmap(file, np.float32, "r+", shape=image.shape)
    except OSError as error:
        if not disk_full(error):
            raise
        folder = tempfile.gettempdir()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder) from error
