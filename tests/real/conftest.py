"""Where the shared real-format data are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the shared data: ``ROMANPRF_DATA``, or ``../shared/data`` beside the checkout."""
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("ROMANPRF_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no shared data in {folder}; set ROMANPRF_DATA")
    return folder
