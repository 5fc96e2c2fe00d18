"""Files of shape models without the models: what is written is what is read."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from romanprf.errors import InputError
from romanprf.io.shape_files import ShapeFile, geometry, header, read_shape_file, write_shape_file

KNOTS = {"n_rknots": 10, "n_pknots": 15, "rmin": 1.0, "rmax": 16.0, "cut_r": 6.0}


@pytest.fixture
def content():
    rng, index = np.random.default_rng(3), np.arange(5, dtype=np.int32)
    columns = {"node": index, "i": index, "j": index, "coefficient": rng.normal(size=5)}
    columns["errors"] = [np.empty(0, np.float32)] * 5
    facts = header({"mission": "Roman", "field": 3}, KNOTS, 0.0121)
    return ShapeFile(facts, columns, {"model": '{"kind": "any"}'}, rng.normal(size=7))


@pytest.mark.parametrize("suffix", [".fits", ".parquet"])
def test_round_trip(content, tmp_path, suffix):
    path = tmp_path / f"shape{suffix}"
    write_shape_file(path, content)
    again = read_shape_file(path)
    assert again.facts == content.facts
    assert again.metadata["model"] == content.metadata["model"]
    for name in ("node", "i", "j", "coefficient"):
        assert_array_equal(again.columns[name], content.columns[name])
    assert_array_equal(again.weights, content.weights if suffix == ".fits" else [])


def test_geometry_is_that_of_the_header(content):
    assert geometry("any", content.facts) == KNOTS
    for change, message in (
        ({"rmax": True}, "any: rmax is True, expected float"),
        ({"spln_deg": 2}, "any: spln_deg is 2, expected 3"),
    ):
        with pytest.raises(InputError, match=f"^{message}"):
            geometry("any", content.facts | change)
