from __future__ import annotations

import pandas as pd
import pytest

from romanprf import dependencies
from romanprf.config import Simulate, load_config
from romanprf.errors import InputError
from romanprf.paths import Paths, batch_name


@pytest.fixture
def exposures() -> pd.DataFrame:
    columns = {"exposure": [3, 4, 64, 70, 200], "flags": [0, 1, 0, 2, 0]}
    return pd.DataFrame({**columns, "content_hash": list("abcde")})


def test_batches_are_fixed_ranges(exposures):
    assert dependencies.batches(exposures, 64) == ["00000", "00001", "00003"]
    assert batch_name(200, 64) == "00003"
    rows = dependencies.batch_exposures(exposures, "00001", 64)
    assert rows["exposure"].tolist() == [64, 70]


def test_a_new_exposure_leaves_other_batches_alone(exposures):
    more = pd.concat([exposures, exposures.tail(1).assign(exposure=201)])
    for batch in ("00000", "00001"):
        before = dependencies.digest(dependencies.batch_exposures(exposures, batch, 64))
        assert dependencies.digest(dependencies.batch_exposures(more, batch, 64)) == before
    assert dependencies.digest(more) != dependencies.digest(exposures)


def test_digest_sees_the_content(exposures):
    changed = exposures.assign(content_hash=list("abxde"))
    assert dependencies.digest(changed) != dependencies.digest(exposures)


def test_shape_uses_the_lowest_good_numbers(exposures):
    mixed = exposures.sample(frac=1.0, random_state=1)
    assert dependencies.shape_exposures(mixed, 2)["exposure"].tolist() == [3, 64]
    assert dependencies.shape_exposures(mixed, 9)["exposure"].tolist() == [3, 64, 200]


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
    assert dependencies.catalogue_files(load_config({}), Paths("r")) == {
        "catalogue": Paths("r").catalogue
    }
