"""Images that a step needs again, out of its memory."""

from __future__ import annotations

import tempfile

import numpy as np


def kept(image: np.ndarray) -> np.ndarray:
    """Copy of an image, float32, in a temporary file that is gone with the array."""
    with tempfile.TemporaryFile() as file:
        copy = np.memmap(file, np.float32, "w+", shape=image.shape)
    copy[:] = image
    return copy
