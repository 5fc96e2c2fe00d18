"""The exposures table: one row per exposure, with what later steps need to know of the image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from romanprf.errors import InputError
from romanprf.io.tables import read_metadata, read_table
from romanprf.schemas import EXPOSURES


def read_exposures(path: str | Path, numbers: Sequence[int] | None = None) -> pd.DataFrame:
    """Read the exposures table.

    Parameters
    ----------
    path : path
        Table of the step ``frames``.
    numbers : sequence of int, optional
        Keep these exposures only.

    Returns
    -------
    DataFrame
        Columns of `romanprf.schemas.EXPOSURES`, sorted by exposure.

    Raises
    ------
    InputError
        If the file is no such table or lacks one of the exposures.
    """
    table = read_table(path, EXPOSURES)
    if numbers is None:
        return table
    missing = sorted(set(numbers) - set(table["exposure"]))
    if missing:
        raise InputError(f"{path}: no exposure {missing[0]}, expected it in the table")
    return table[table["exposure"].isin(list(numbers))].reset_index(drop=True)


def read_field(path: str | Path) -> dict[str, float]:
    """Numbers of the `romanprf.sky.field.SkyRegion` in the metadata of the exposures table."""
    return json.loads(read_metadata(path, EXPOSURES)["field"])
