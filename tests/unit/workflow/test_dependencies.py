from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from romanprf.config import Simulate, load_config
from romanprf.errors import InputError
from romanprf.workflow import dependencies
from romanprf.workflow.paths import Paths, batch_name


@pytest.fixture
def exposures() -> pd.DataFrame:
    columns = {"exposure": [3, 4, 64, 70, 200], "flags": [0, 1, 0, 2, 0]}
    return pd.DataFrame({**columns, "content_hash": list("abcde")})


def test_batches_are_fixed_ranges(exposures):
    found = dependencies.batches(exposures, 64)
    assert list(found) == ["00000", "00001", "00003"]
    assert batch_name(200, 64) == "00003"
    assert found["00001"]["exposure"].tolist() == [64, 70]


def test_batches_of_other_sizes_and_of_dropped_exposures_are_removed(tmp_path):
    paths = Paths(tmp_path)
    kept = [paths.photometry.format(batch=batch) for batch in ("00000", "00003")]
    stays = [*kept, tmp_path / "photometry" / "mine.parquet", tmp_path / "photometry" / "batch=a"]
    stays += [tmp_path / "photometry" / ".batch=00003.parquet.tmp-12"]  # another job writes it
    goes = [paths.photometry.format(batch=batch) for batch in ("00001", "123456")]
    goes += [tmp_path / "photometry" / ".batch=00001.parquet.tmp-34"]
    (tmp_path / "photometry").mkdir()
    for path in [*stays, *goes]:
        Path(path).touch()
    files = {"sources": paths.sources, "photometry": kept, "images": [], "others": ["a.fits"]}
    dependencies.remove_other_batches(files)
    assert set((tmp_path / "photometry").iterdir()) == set(map(Path, stays))


def test_a_new_exposure_leaves_other_batches_alone(exposures):
    more = pd.concat([exposures, exposures.tail(1).assign(exposure=201)])
    before, after = dependencies.batches(exposures, 64), dependencies.batches(more, 64)
    same = [dependencies.digest(before[b]) == dependencies.digest(after[b]) for b in before]
    assert same == [True, True, False]
    assert dependencies.digest(more) != dependencies.digest(exposures)


def test_digest_sees_the_content(exposures):
    changed = exposures.assign(content_hash=list("abxde"))
    assert dependencies.digest(changed) != dependencies.digest(exposures)
    renumbered = exposures.assign(exposure=[3, 4, 64, 70, 201])
    assert dependencies.digest(renumbered) != dependencies.digest(exposures)


def test_file_dates_see_size_and_date(tmp_path):
    image = tmp_path / "image"
    image.write_bytes(b"1")
    entries = [{"file": str(image), "exposure": None}]
    before = dependencies.file_dates(entries)
    assert dependencies.file_dates(entries) == before
    os.utime(image, (0, 0))
    assert dependencies.file_dates(entries) != before


def test_simulated_files():
    paths = Paths("r")
    entries = dependencies.simulated_files(Simulate(exposures=2), paths)
    assert entries == [
        {"file": "r/simulated/frames/exposure_00000.fits", "exposure": 0},
        {"file": "r/simulated/frames/exposure_00001.fits", "exposure": 1},
    ]
    cube = dependencies.simulated_files(Simulate(format="cube"), paths)
    assert cube == [{"file": "r/simulated/cube.asdf", "exposure": None}]


def test_catalogue_files(tmp_path):
    catalogue = tmp_path / "c.csv"
    values = {"exposures": {"sheet": "s"}, "catalogue": {"path": str(catalogue)}}
    with pytest.raises(InputError, match=r"c\.csv: no such file, .*catalogue\.path"):
        dependencies.catalogue_files(load_config(values), Paths("r"))
    catalogue.write_text("")
    files = dependencies.catalogue_files(load_config(values), Paths("r"))
    assert files == {"catalogue": str(catalogue)}
    images = load_config({"exposures": {"sheet": "s"}})
    assert dependencies.catalogue_files(images, Paths("r")) == {}
    assert not images.calibrates
    assert dependencies.catalogue_files(load_config({}), Paths("r")) == {
        "catalogue": Paths("r").catalogue
    }
