"""Where the real-format data are: small ones in the repository, full-size ones where they exist."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def small_dir() -> Path:
    """Folder of the small data."""
    return TESTS / "data"


@pytest.fixture(
    scope="session", params=["small", pytest.param("full", marks=pytest.mark.real_data)]
)
def data_dir(request: pytest.FixtureRequest, small_dir: Path) -> Path:
    """Folder of the small data, then of the full-size ones.

    Those are in ``ROMANPRF_DATA``, or in ``../shared/data`` beside the checkout.
    """
    if request.param == "small":
        return small_dir
    default = TESTS.parents[1] / "shared" / "data"
    folder = Path(os.environ.get("ROMANPRF_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no full-size data in {folder}; set ROMANPRF_DATA")
    return folder
