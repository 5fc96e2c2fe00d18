"""The table of chosen exposures, and how later steps read it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

import fields
from romanprf.errors import InputError
from romanprf.io.exposures import read_chosen
from romanprf.io.tables import read_table, write_table
from romanprf.schemas import EXPOSURES, LEARNING
from romanprf.steps import choose

PARAMS = {"shape": {"max_exposures": 2, "joint_exposures": 4}}


def exposures(n: int = 10, **columns) -> pd.DataFrame:
    same = dict.fromkeys(EXPOSURES.names, 0) | dict.fromkeys(("nrows", "ncols"), 40)
    texts = ("file", "format", "time_scale", "filter", "detector", "content_hash")
    same |= dict.fromkeys(texts, "") | {"wcs": fields.wcs(40, 40).to_json()}
    rows = {"exposure": np.arange(n), "time": np.arange(n) + 5.0}
    return pd.DataFrame({**same, **rows, **columns})


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Path]:
    """Ten exposures, four of them chosen."""
    files = {name: tmp_path / f"{name}.parquet" for name in ("exposures", "learning")}
    write_table(files["exposures"], exposures(), EXPOSURES, {})
    choose.run(files, files, PARAMS)
    return files


def numbers(tables, maximum: int) -> list[int]:
    return read_chosen(tables, maximum)["exposure"].tolist()


def test_as_many_are_chosen_as_any_fit_asks_for(tables):
    table = read_table(tables["learning"], LEARNING)
    assert_array_equal(table["order"], range(4))
    choose.run(tables, tables, {"shape": {"max_exposures": 6, "joint_exposures": 3}})
    assert len(read_table(tables["learning"], LEARNING)) == 6


def test_rows_are_those_of_the_first_of_the_order(tables):
    order = read_table(tables["learning"], LEARNING)["exposure"].tolist()
    for maximum in (0, 1, 2, 4, 9):
        assert numbers(tables, maximum) == sorted(order[:maximum])


def test_lost_exposures_are_left_out_with_a_warning(tables, caplog):
    first, second, third, last = read_table(tables["learning"], LEARNING)["exposure"]
    table = exposures()
    table.loc[table["exposure"] == second, "flags"] = 1
    write_table(tables["exposures"], table[table["exposure"] != last], EXPOSURES, {})
    with caplog.at_level(logging.WARNING):
        assert numbers(tables, 2) == sorted([first, third])
    assert f"exposures {sorted([second, last])} are gone or flagged" in caplog.text


def test_none_that_is_left_is_told(tables):
    write_table(tables["exposures"], exposures(flags=1), EXPOSURES, {})
    with pytest.raises(InputError, match=r"none of its exposures .* --forcerun choose"):
        read_chosen(tables, 2)


def test_no_good_exposure_is_told(tables):
    write_table(tables["exposures"], exposures(flags=2), EXPOSURES, {})
    with pytest.raises(InputError, match="no exposure has flags = 0"):
        choose.run(tables, tables, PARAMS)
