"""Rows, sizes, memory and time limits of the jobs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from snakemake.exceptions import IncompleteCheckpointException

from romanprf.config import load_config
from romanprf.core.large import LOGPOLAR_SIDE, PATCH_PIXELS
from romanprf.errors import InputError
from romanprf.workflow import dependencies, plan
from romanprf.workflow.paths import Paths
from romanprf.workflow.plan import Plan
from romanprf.workflow.resources import DETECTOR, Size, memory_mb, minutes

RULES = Path(__file__).resolve().parents[3] / "workflow" / "rules"
NAMES = sorted(
    name
    for path in RULES.glob("*.smk")
    for name in re.findall(r"^(?:rule|checkpoint) (\w+):", path.read_text(), re.MULTILINE)
)
LEARNING = pd.DataFrame({"order": [0, 1, 2, 3], "exposure": [4, 7, 0, 2]})
READ_EXPOSURES = {"deltas", "shape", "fit", "astrometry", "metrics", "checks", "plots"}
FIRST = SimpleNamespace(batch="00000")
TABLE = pd.DataFrame(
    {
        "exposure": [0, 1, 2, 3, 4],
        "nrows": 2000,
        "ncols": [1000, 1000, 1000, 1000, 1500],
        "flags": [0, 1, 0, 0, 0],
        "content_hash": list("abcde"),
    }
)
SETTINGS = {
    "exposures": {"batch_size": 4},
    "shape": {"max_exposures": 2, "joint_exposures": 3},
    "simulate": {"size": 64, "exposures": 5},
}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tables that planning has read or counted; they are `TABLE` and `LEARNING`."""
    done: list[str] = []

    def read_table(path: str, *columns: object) -> pd.DataFrame:
        done.append(path)
        return LEARNING if "learning" in path else TABLE

    def count_rows(path: str, *schema: object) -> int:
        done.append(path)
        return 7000

    monkeypatch.setattr(plan, "read_table", read_table)
    monkeypatch.setattr(plan, "count_rows", count_rows)
    return done


def planned(folder: Path, **sections: dict) -> Plan:
    """The plan of the demo, whose exposures table is written."""
    paths = Paths(folder)
    Path(paths.exposures).touch()
    Path(paths.learning).touch()
    settings = load_config({**SETTINGS, **sections})
    return Plan(settings, paths, lambda: paths.exposures, lambda: paths.learning)


def unfinished() -> str:
    """The exposures table of a run that has not written it."""
    raise IncompleteCheckpointException(SimpleNamespace(name="frames"), "exposures.parquet")


def test_rows_of_each_rule(tmp_path, reads):
    demo = planned(tmp_path)
    expected = {
        "deltas": [0, 4],
        "shape": [0, 2, 4],
        "fit": [0, 1, 2, 3],
        "astrometry": [0, 1, 2, 3, 4],
        "metrics": [0, 1, 2, 3, 4],
        "checks": [0, 1, 2, 3, 4],
        "plots": [0, 1, 2, 3, 4],
    }
    assert {rule: demo.numbers(rule)(FIRST) for rule in READ_EXPOSURES} == expected
    assert list(demo.batches()) == ["00000", "00001"]
    assert demo.numbers("fit")(SimpleNamespace(batch="00007")) == []
    assert demo.content("fit")(FIRST) == dependencies.digest(TABLE.iloc[:4])


def test_shape_of_the_log_polar_prf_reads_no_exposures(tmp_path, reads):
    demo = planned(tmp_path, shape={"model": "log-polar", "max_exposures": 2})
    assert demo.numbers("shape")(FIRST) == []
    assert demo.numbers("deltas")(FIRST) == [0, 4]


def test_chosen_exposures_that_are_gone_or_bad_are_left_out(tmp_path, reads, monkeypatch):
    monkeypatch.setattr(f"{__name__}.LEARNING", LEARNING.assign(exposure=[9, 1, 3, 0]))
    demo = planned(tmp_path)
    assert demo.numbers("deltas")(FIRST) == [0, 3]


def test_tables_are_read_once_until_they_change(tmp_path, reads):
    demo = planned(tmp_path)
    Path(demo.paths.sources).touch()
    tables = sorted([demo.paths.exposures, demo.paths.learning, demo.paths.sources])
    for rule in sorted(READ_EXPOSURES):
        demo.memory(rule)(FIRST, 1)
        demo.content(rule)(FIRST)
    assert sorted(reads) == tables
    os.utime(demo.paths.exposures, (0, 0))
    demo.batches()
    assert sorted(reads) == sorted([*tables, demo.paths.exposures])


def test_sizes_of_jobs_that_read_exposures(tmp_path, reads):
    demo, pixels = planned(tmp_path), 2000 * 1500
    assert demo.size("fit", FIRST) == Size(pixels, frames=4)
    assert demo.size("plots", FIRST) == Size(pixels, frames=5)
    Path(demo.paths.catalogue_sources).touch()
    assert demo.size("shape", FIRST) == Size(pixels, frames=3, stars=7000)


def test_sizes_of_jobs_before_the_exposures_table(tmp_path):
    config = load_config(SETTINGS)
    demo = Plan(config, Paths(tmp_path), unfinished, unfinished)
    for rule in ("simulate_field", "simulate_exposure", "kernels"):
        assert demo.size(rule, FIRST) == Size(64**2)
    for rule in ("simulate_truth", "simulate_cube"):
        assert demo.size(rule, FIRST) == Size(64**2, frames=5)
    assert demo.size("frames", FIRST) == Size(64**2)
    assert demo.size("crossmatch", FIRST) == Size(64**2)


def test_sizes_of_files_of_a_user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("image.asdf").write_bytes(bytes(3_000_000))
    Path("stars.csv").write_bytes(bytes(2_000_000))
    Path("sheet.tsv").write_text("file\nimage.asdf\n")
    settings = {"exposures": {"sheet": "sheet.tsv"}, "catalogue": {"path": "stars.csv"}}
    own = Plan(load_config(settings), Paths("results"), unfinished, unfinished)
    assert own.files == [{"file": "image.asdf", "exposure": None}]
    assert own.size("frames", FIRST) == Size(DETECTOR, file_mb=3.0)
    assert own.size("crossmatch", FIRST) == Size(DETECTOR, file_mb=2.0)
    Path("stars.csv").unlink()
    with pytest.raises(InputError, match="no such file"):
        Plan(load_config(settings), Paths("results"), unfinished, unfinished)


@pytest.mark.parametrize("rule", NAMES)
def test_each_rule_asks_for_memory_and_time(tmp_path, reads, rule):
    demo = planned(tmp_path)
    once, again = (demo.memory(rule)(FIRST, attempt) for attempt in (1, 2))
    assert again == pytest.approx(2 * once, abs=1)
    assert demo.minutes(rule)(FIRST, 2, 1) == 2 * demo.minutes(rule)(FIRST, 1, 1) >= 10


def test_deltas_and_shape_look_at_parts_of_a_frame(tmp_path, reads):
    demo = planned(tmp_path)
    middle = Size(2000 * 1500, frames=2).part(LOGPOLAR_SIDE**2)
    assert demo.memory("deltas")(FIRST, 1) == memory_mb("deltas", middle)
    whole = Size(2000 * 1500, frames=3)
    patches = whole.part(PATCH_PIXELS)
    assert demo.memory("shape")(FIRST, 1) == max(
        memory_mb("shape", patches), memory_mb("search", whole)
    )
    assert demo.minutes("shape")(FIRST, 1, 4) == (
        minutes("shape", patches, threads=4) + minutes("search", whole, threads=4)
    )


@pytest.mark.parametrize("rule", sorted(READ_EXPOSURES))
def test_before_the_exposures_table_resources_miss_that_file(tmp_path, rule):
    """Snakemake plans them as ``<TBD>``; inputs and parameters wait for the checkpoint."""
    demo = Plan(load_config(SETTINGS), Paths(tmp_path), unfinished, unfinished)
    for ask in (lambda: demo.memory(rule)(FIRST, 1), lambda: demo.minutes(rule)(FIRST, 1, 1)):
        with pytest.raises(FileNotFoundError) as caught:
            ask()
        assert caught.value.filename == "exposures.parquet"
    with pytest.raises(IncompleteCheckpointException):
        demo.numbers(rule)(FIRST)


@pytest.mark.parametrize("rule", ["deltas", "shape"])
def test_before_the_choice_resources_miss_that_file(tmp_path, reads, rule):
    paths = Paths(tmp_path)
    Path(paths.exposures).touch()

    def unchosen() -> str:
        raise IncompleteCheckpointException(SimpleNamespace(name="choose"), paths.learning)

    demo = Plan(load_config(SETTINGS), paths, lambda: paths.exposures, unchosen)
    with pytest.raises(FileNotFoundError) as caught:
        demo.memory(rule)(FIRST, 1)
    assert caught.value.filename == paths.learning


def test_planning_imports_no_numerical_module():
    """They would be most of the time of a run with nothing to do."""
    code = "import sys, romanprf.workflow.plan; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"numba", "scipy", "astropy", "asdf", "matplotlib", "galsim"}
    assert heavy & set(done.stdout.split()) == set()


@pytest.mark.parametrize("name", ["exposures", "learning"])
def test_damaged_tables_are_refused_before_planning(tmp_path, name):
    paths = Paths(tmp_path)
    Path(getattr(paths, name)).write_bytes(b"PAR1")
    with pytest.raises(InputError, match=rf"{name}\.parquet: not a readable .* and run again"):
        Plan(load_config(SETTINGS), paths, unfinished, unfinished)


def test_sources_that_cannot_be_counted_are_estimated(tmp_path):
    paths = Paths(tmp_path)
    Path(paths.sources).write_bytes(b"PAR1")
    assert Plan(load_config(SETTINGS), paths, unfinished, unfinished)._stars() is None
