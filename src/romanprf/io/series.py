"""Measurements of each source in all exposures, read from the batches of ``photometry``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from romanprf.errors import InputError
from romanprf.io.tables import read_table
from romanprf.schemas import PHOTOMETRY


class Series(NamedTuple):
    """Measurements of a range of sources.

    ``sources``: their numbers; ``columns``: arrays of shape (nsources, nt) by name of the column.
    """

    sources: slice
    columns: dict[str, np.ndarray]


def in_time(exposures: pd.DataFrame) -> pd.DataFrame:
    """Rows of the exposures table in order of time, which is the order of every series."""
    return exposures.sort_values(["time", "exposure"]).reset_index(drop=True)


def read_series(
    batches: Sequence[str],
    exposures: pd.DataFrame,
    n_sources: int,
    columns: Sequence[str],
    measurements: int,
    step: str,
) -> Iterator[Series]:
    """Read the series of ranges of sources, in order of time, from all batches.

    Parameters
    ----------
    batches : sequence of str
        Tables ``photometry``, in any order.
    exposures : DataFrame
        All rows of the exposures table.
    n_sources : int
        Rows of the ``sources`` table.
    columns : sequence of str
        Columns of ``photometry`` to read.
    measurements : int
        Measurements read at once, at most (but one source): bounds the memory.
    step : str
        Name of the step, for the progress.

    Raises
    ------
    InputError
        If not each source has one measurement in each exposure.
    """
    order, nt = in_time(exposures)["exposure"].to_numpy(), len(exposures)
    place = pd.Series(np.arange(nt), index=order)
    size = max(1, measurements // max(nt, 1))
    wanted = ["source", "exposure", *columns]
    for low in tqdm(range(0, n_sources, size), step, disable=None):
        high = min(low + size, n_sources)
        inside = [("source", ">=", low), ("source", "<", high)]
        tables = [read_table(path, PHOTOMETRY, wanted, inside) for path in batches]
        table = pd.concat(tables, ignore_index=True)
        table["place"] = table["exposure"].map(place)
        table = table.sort_values(["source", "place"], kind="stable")
        if not np.array_equal(table["exposure"], np.tile(order, high - low)):
            raise InputError(
                f"{batches[0]} and its siblings: {len(table)} measurements of sources {low} to "
                f"{high - 1}, expected one for each of {nt} exposures"
            )
        grid = {name: table[name].to_numpy().reshape(high - low, nt) for name in columns}
        yield Series(slice(low, high), grid)
