"""Bad input: one clear line, a non-zero exit code, no traceback, no half-written table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def own(finished, tmp_path: Path):
    """A folder with the simulated images and catalogue as files of a user."""
    folder = tmp_path / "own"
    (folder / "data").mkdir(parents=True)
    for path in (finished.results / "simulated" / "frames").glob("*.fits"):
        (folder / "data" / path.name).write_bytes(path.read_bytes())
    catalogue = (finished.results / "simulated" / "catalogue.csv").read_text()
    (folder / "data" / "catalogue.csv").write_text(catalogue)
    (folder / "sheet.tsv").write_text("file\ndata/*.fits\n")
    reduction = replace(finished, folder=folder)
    reduction.configure(exposures={"sheet": "sheet.tsv"}, catalogue={"path": "data/catalogue.csv"})
    return reduction


def complaint(reduction, *options: str) -> str:
    """Run snakemake; the one line that starts with ``romanprf``."""
    done = reduction.snakemake(*options)
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("romanprf")]
    assert len(lines) == 1, done.stdout
    assert not list(reduction.folder.rglob("*.tmp-*"))
    return lines[0]


def test_good_data_of_a_user(own):
    jobs = {
        "kernels",
        "frames",
        "choose",
        "crossmatch",
        "deltas",
        "shape",
        "fit.00000",
        "fit.00001",
    }
    assert own.jobs() == jobs | {"astrometry", "metrics", "checks", "plots"}
    assert own.jobs("--dry-run") == set()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shape: {rmx: 2}", "unknown key 'shape.rmx', did you mean 'rmax'?"),
        ("shape: {rmax: -1}", "shape.rmax: input should be greater than 0, got -1"),
        ("plots: 3", "plots: "),
        ("exposures: {sheet: none.tsv}\ncatalogue: {path: a.csv}", "none.tsv: no such file"),
        ("catalogue: {path: a.csv}", "catalogue.path: expected none without exposures.sheet"),
    ],
)
def test_settings(finished, tmp_path, text, expected):
    reduction = replace(finished, folder=tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text(text)
    assert expected in complaint(reduction)
    assert not reduction.results.exists()


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        (None, "config: results: expected the name of a folder, got None"),
        ("a{b}", "config: results: expected a name without {}<> and control characters"),
        ("config/config.yaml", "results: 'config/config.yaml': not a folder, expected a folder"),
        ("x" * 300, "File name too long, expected a folder or the name of a new one"),
    ],
)
def test_results_that_are_no_folder(finished, tmp_path, results, expected):
    reduction = replace(finished, folder=tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text(json.dumps({"results": results}))
    assert expected in complaint(reduction)


def test_keys_given_twice(finished, tmp_path):
    reduction = replace(finished, folder=tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text("plots:\n  dpi: 100\n  dpi: 200\n")
    line = complaint(reduction)
    assert "config.yaml: key 'dpi' is given twice below line 2, expected once" in line


@pytest.mark.parametrize("name", ["exposures", "learning", "catalogue_sources"])
def test_damaged_tables(demo, name):
    """Before planning, or in the job that reads the table."""
    path = demo.results / f"{name}.parquet"
    path.write_bytes(path.read_bytes()[:1000])
    line = complaint(demo, "deltas")
    assert f"results/{name}.parquet: not a readable Parquet file (" in line
    assert line.endswith("; remove it and run again")


def test_names_with_signs_of_a_shell(own):
    """They are names, never words of a command."""
    strange = "d;$(touch pwned)`touch pwned`'\"&é"
    (own.folder / "data").rename(own.folder / strange)
    (own.folder / "a <b>.tsv").write_text("file\nd*/*.fits\n")
    own.configure(exposures={"sheet": "a <b>.tsv"}, catalogue={"path": f"{strange}/catalogue.csv"})
    assert "crossmatch" in own.jobs("crossmatch")
    assert not list(own.folder.rglob("pwned"))


def test_missing_catalogue(own):
    (own.folder / "data" / "catalogue.csv").unlink()
    line = complaint(own)
    assert "data/catalogue.csv: no such file" in line
    assert not own.results.exists()


def test_missing_image(own):
    (own.folder / "sheet.tsv").write_text("file\ndata/nothing.fits\n")
    assert "sheet.tsv line 2: no such file: data/nothing.fits" in complaint(own)


def test_truncated_image(own):
    path = own.folder / "data" / "exposure_00003.fits"
    path.write_bytes(path.read_bytes()[:5000])
    line = complaint(own, "frames")
    assert line.startswith("romanprf frames: ")
    assert "exposure_00003.fits" in line
    assert not (own.results / "exposures.parquet").exists()


def test_catalogue_elsewhere_on_the_sky(own):
    path = own.folder / "data" / "catalogue.csv"
    path.write_text("source_id,ra,dec,mag\n1,10.0,20.0,18.0\n")
    line = complaint(own, "crossmatch")
    assert line.startswith("romanprf crossmatch: ")
    assert "data/catalogue.csv" in line
    assert not (own.results / "sources.parquet").exists()
