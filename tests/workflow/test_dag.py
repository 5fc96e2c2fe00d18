"""Jobs that run after each kind of change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from romanprf.io.tables import read_table
from romanprf.schemas import DELTAS, EXPOSURES, LEARNING
from romanprf.workflow.dependencies import batches, digest

pytestmark = pytest.mark.slow

PRODUCTS = {"astrometry", "metrics", "checks", "plots"}
MEASURE = {"fit.00000", "fit.00001"} | PRODUCTS
LEARN = {"deltas", "shape"} | MEASURE


def add_light(frame: Path) -> None:
    """Change the pixels of a simulated frame."""
    with fits.open(frame) as hdus:
        hdus[0].data = hdus[0].data + np.float32(1.0)
        hdus.writeto(frame, overwrite=True)


def frame(demo, number: int) -> Path:
    return demo.results / "simulated" / "frames" / f"exposure_{number:05d}.fits"


def chosen(demo) -> list[int]:
    return read_table(demo.results / "learning.parquet", LEARNING)["exposure"].tolist()


def not_chosen(demo) -> int:
    [number] = set(range(4)) - set(chosen(demo))
    return number


def test_all_tables_are_written(finished):
    expected = [
        "exposures",
        "learning",
        "catalogue_sources",
        "sources",
        "deltas",
        "prf",
        "astrometry",
        "frame_astrometry",
        "metrics",
        "lightcurves",
        "checks",
    ]
    expected += [f"{name}/batch=0000{n}" for name in ("photometry", "frame_stats") for n in (0, 1)]
    for name in expected:
        assert pq.read_metadata(finished.results / f"{name}.parquet").num_rows > 0, name
    assert not list(finished.results.rglob(".*"))


def test_kernels_are_compiled_by_their_rule_alone(finished):
    """Otherwise two jobs could write Numba's cache at the same time."""
    done = (finished.results / "kernels.txt").stat().st_mtime
    compiled = list(finished.kernels.rglob("*.nbc"))
    assert len(compiled) > 10
    assert [path.name for path in compiled if path.stat().st_mtime > done] == []
    logs = (finished.results / "logs").glob("*.log")
    assert [log.name for log in logs if "compiled for this job alone" in log.read_text()] == []


def test_second_run_has_nothing_to_do(finished):
    assert finished.jobs("--dry-run") == set()


def test_new_exposure_runs_its_batch_and_what_follows(demo):
    demo.configure(simulate={"exposures": 5})
    jobs = demo.jobs()
    new = {"simulate_truth", "simulate_exposure.00004", "frames", "fit.00002"}
    assert jobs == new | PRODUCTS
    curves = pd.read_parquet(demo.results / "lightcurves.parquet")
    assert all(list(numbers) == list(range(5)) for numbers in curves["exposure"])
    assert demo.jobs("--dry-run") == set()


def test_folders_of_batches_hold_what_the_run_made(demo):
    """Batches of another size are gone, so that a folder read as a whole has each row once."""
    demo.configure(exposures={"batch_size": 1})
    assert len(demo.jobs("astrometry", "checks") & {f"fit.0000{n}" for n in range(4)}) == 4
    demo.configure(exposures={"batch_size": 3})
    demo.jobs("astrometry", "checks")
    photometry = pd.read_parquet(demo.results / "photometry")
    assert set(photometry["exposure"]) == set(range(4))
    assert not photometry.duplicated(["source", "exposure"]).any()
    frames = pd.read_parquet(demo.results / "frame_stats")
    assert sorted(frames["exposure"]) == list(range(4))


def test_late_exposure_leaves_the_prf_alone_where_all_exposures_were_chosen(demo):
    """Also if there were fewer than the settings ask for."""
    demo.configure(shape={"joint_exposures": 16})
    demo.jobs("deltas", "shape")
    before = (demo.results / "learning.parquet").read_bytes()
    demo.configure(shape={"joint_exposures": 16}, simulate={"exposures": 5})
    assert demo.jobs("deltas", "shape") == {"simulate_exposure.00004", "frames"}
    assert (demo.results / "learning.parquet").read_bytes() == before


def test_choice_is_made_anew_on_request(demo):
    learning = demo.results / "learning.parquet"
    table = read_table(learning, LEARNING)
    assert demo.jobs("--forcerun", "choose", "--until", "shape") == {"choose"}  # the same one
    demo.configure(simulate={"exposures": 9})
    demo.jobs("frames")
    assert demo.jobs("--dry-run", "shape") == set()
    anew = {"choose", "crossmatch", "deltas", "shape"}
    assert demo.jobs("--forcerun", "choose", "--until", "shape") == anew
    assert read_table(learning, LEARNING)["time"].max() > table["time"].max()


def test_changed_image_runs_its_batch_and_what_follows(demo):
    number = not_chosen(demo)
    add_light(frame(demo, number))
    assert demo.pending() == {"frames", f"fit.0000{number // 2}"} | PRODUCTS


def test_changed_image_of_the_prf_fit_runs_it_again(demo):
    [number, *_] = chosen(demo)
    add_light(frame(demo, number))
    assert demo.pending() == {"frames", "crossmatch"} | LEARN


def test_chosen_image_that_is_gone_is_left_out(demo):
    (demo.folder / "own.tsv").write_text("file\nresults/simulated/frames/*.fits\n")
    own = {"exposures": {"sheet": "own.tsv"}}
    own["catalogue"] = {"path": "results/simulated/catalogue.csv"}
    demo.configure(**own)
    demo.jobs("deltas")
    *left, gone = chosen(demo)
    frame(demo, gone).unlink()
    assert demo.jobs("deltas") == {"frames", "crossmatch", "deltas"}
    assert f"exposures [{gone}] are gone" in (demo.results / "logs" / "deltas.log").read_text()
    deltas = read_table(demo.results / "deltas.parquet", DELTAS, ["exposure"])
    assert set(deltas["exposure"]) == set(left)


def test_changed_image_of_a_sheet_runs_frames(demo):
    """Such images are not inputs but a parameter."""
    (demo.folder / "own.tsv").write_text("file\nresults/simulated/frames/*.fits\n")
    demo.configure(
        exposures={"sheet": "own.tsv"}, catalogue={"path": "results/simulated/catalogue.csv"}
    )
    assert demo.jobs("frames") == {"frames"}
    assert demo.jobs("frames", "--dry-run") == set()
    add_light(frame(demo, 3))
    assert demo.jobs("frames", "--dry-run") == {"frames"}


def test_touched_image_runs_nothing_behind_frames(demo):
    frame(demo, 1).touch()
    assert demo.pending() <= {"frames"}


@pytest.mark.parametrize(
    ("section", "values", "expected"),
    [
        ("shape", {"iterations": 2}, {"shape"} | MEASURE),
        ("shape", {"rmax": 1.4}, LEARN),
        ("shape", {"max_exposures": 2}, {"choose"} | LEARN),
        ("shape", {"joint_exposures": 4}, {"choose", "crossmatch"} | LEARN),
        ("fit", {"prior_width": 6.0}, MEASURE),
        ("metrics", {"subpixels": 3}, PRODUCTS - {"astrometry"}),
        ("plots", {"dpi": 120}, {"plots"}),
        ("crossmatch", {"blend_limit": 0.02}, {"crossmatch"} | LEARN),
        ("exposures", {"gain": 2.0}, {"frames"}),
    ],
)
def test_changed_setting(demo, section, values, expected):
    demo.configure(**{section: values})
    assert demo.pending() == expected


def test_edited_catalogue_row_runs_crossmatch_and_later(demo):
    path = demo.results / "simulated" / "catalogue.csv"
    header, row, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("".join([header, row.replace(row.split(",")[0], "987654321", 1), *rest]))
    assert demo.pending() == {"crossmatch"} | LEARN


def test_deleted_table_is_rebuilt_with_the_same_bytes(demo):
    names = ("sources", "deltas", "prf", "astrometry", "metrics")
    tables = [demo.results / f"{name}.parquet" for name in names]
    tables += [demo.results / "photometry" / "batch=00001.parquet"]
    before = [table.read_bytes() for table in tables]
    tables[1].unlink()
    assert demo.jobs() == LEARN
    assert [table.read_bytes() for table in tables] == before


def test_deleted_exposures_table_is_rebuilt_alone(demo):
    table = demo.results / "exposures.parquet"
    before = table.read_bytes()
    table.unlink()
    assert demo.jobs() == {"frames"}
    assert table.read_bytes() == before


def test_report_is_one_file_with_the_checks_and_every_picture(finished):
    done = finished.snakemake("--report", "results/report.html")
    assert done.returncode == 0, done.stdout
    page = (finished.results / "report.html").read_text()
    assert 'src="http' not in page
    for name in ("prf", "image", "positions", "scatter", "light_curves"):
        assert f"filename={name}.png;base64," in page
    assert "filename=checks.html;base64," in page


def test_cube_with_a_new_exposure_changes_its_batch_only(demo):
    tables = []
    for exposures in (4, 5):
        demo.configure(simulate={"exposures": exposures, "format": "cube"})
        assert demo.jobs("frames") == {"simulate_cube", "frames"}
        tables.append(read_table(demo.results / "exposures.parquet", EXPOSURES))
    digests = [[digest(rows) for rows in batches(table, 2).values()] for table in tables]
    assert digests[1][:2] == digests[0]
    assert len(digests[1]) == 3
