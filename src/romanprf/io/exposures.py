"""The exposures table: one row per exposure, with what later steps need to know of the image."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from romanprf.errors import InputError
from romanprf.io.tables import read_metadata, read_table
from romanprf.schemas import EXPOSURES, LEARNING

logger = logging.getLogger(__name__)

#: Of the chosen exposures the catalogue is compared with so many, at most.
COMPARED = 3
#: Without a catalogue stars are detected in so many of them, at most.
DETECTED = 16


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


def chosen_rows(exposures: pd.DataFrame, learning: pd.DataFrame, maximum: int) -> pd.DataFrame:
    """Rows of the first exposures of the choice that are good, at most ``maximum``, by number.

    Parameters
    ----------
    exposures : DataFrame
        Columns ``exposure`` and ``flags`` of the exposures table, and any others.
    learning : DataFrame
        Columns ``order`` and ``exposure`` of the ``learning`` table.
    maximum : int
        Number of rows, if there are as many.
    """
    good = exposures["exposure"][exposures["flags"] == 0]
    chosen = learning[learning["exposure"].isin(good)].nsmallest(maximum, "order")
    return exposures[exposures["exposure"].isin(chosen["exposure"])].reset_index(drop=True)


def read_chosen(inputs: Mapping[str, str | Path], maximum: int) -> pd.DataFrame:
    """Read the rows of the exposures table that the PRF is learned from (see `chosen_rows`).

    Warns of chosen exposures that are gone or have become bad.

    Parameters
    ----------
    inputs : mapping
        ``exposures`` and ``learning``: paths.
    maximum : int
        Number of exposures, at most.

    Raises
    ------
    InputError
        If none of the chosen exposures is left.
    """
    exposures = read_exposures(inputs["exposures"])
    learning = read_table(inputs["learning"], LEARNING)
    left = set(chosen_rows(exposures, learning, len(learning))["exposure"])
    lost = sorted(set(learning["exposure"]) - left)
    anew = "`snakemake --forcerun choose` chooses anew"
    if not left:
        raise InputError(
            f"{inputs['learning']}: none of its exposures is in {inputs['exposures']} with "
            f"flags = 0, expected one to fit the PRF to; {anew}"
        )
    if lost:
        logger.warning(
            "%s: exposures %s are gone or flagged and not used; %s", inputs["learning"], lost, anew
        )
    return chosen_rows(exposures, learning, maximum)


def read_field(path: str | Path) -> dict[str, float]:
    """Numbers of the `romanprf.sky.field.SkyRegion` in the metadata of the exposures table."""
    return json.loads(read_metadata(path, EXPOSURES)["field"])
