"""Pages of the reference that are made from the sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from romanprf import flags
from romanprf.core import constants
from romanprf.flags import ExposureFlag, PixelFlag, SourceFlag

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"


@pytest.mark.parametrize(("name", "module"), [("constants", constants), ("flags", flags)])
def test_page_is_up_to_date(name, module):
    """If not: ``python -m romanprf.core.constants > docs/reference/constants.md``, or flags."""
    assert (REFERENCE / f"{name}.md").read_text(encoding="utf-8") == module.to_markdown()


def test_every_constant_has_a_comment():
    assert [constant for constant in constants.constants() if not constant.comment] == []


def test_constants_are_found_with_value_and_comment(tmp_path):
    package = tmp_path / "package"
    (package / "inner").mkdir(parents=True)
    (package / "one.py").write_text(
        "import numpy as np\n"
        "#: Not the comment of A.\n"
        "\n"
        "#: First line,\n"
        "#: second line.\n"
        "A = 1_000\n"
        "B, _C = -1e-3, 2 * A\n"
        "#: A table.\n"
        "_TABLE: np.ndarray = np.array(\n"
        "    [1.0,\n"
        "     2.0])\n"
        "lower, NAME, MADE, FLAG = 1, 'text', made(2), True\n"
        "WORDS = {'a': 1}\n"
    )
    (package / "inner" / "two.py").write_text("from package.one import A\n#: Twice.\nD = 2 | A\n")
    found = {c.name: c for c in constants.constants(package)}
    assert list(found) == ["D", "A", "B", "_C", "_TABLE"]
    assert found["D"] == ("package.inner.two", "D", "2 | A", "Twice.")
    assert found["A"] == ("package.one", "A", "1_000", "First line, second line.")
    assert [found[name].value for name in ("B", "_C")] == ["-1e-3", "2 * A"]
    assert found["B"].comment == ""
    assert found["_TABLE"] == ("package.one", "_TABLE", "np.array( [1.0, 2.0])", "A table.")


@pytest.mark.parametrize("kind", [PixelFlag, SourceFlag, ExposureFlag])
def test_flags_are_single_bits_with_a_meaning(kind):
    values = [flag.value for flag in kind]
    assert values == [1 << bit for bit in range(len(values))]
    assert all(flag.meaning for flag in kind)
    both = kind(1) | kind(2)
    assert (both.value, int(both)) == (3, 3)
    assert (np.array([3, 4], np.int32) & kind(2)).tolist() == [2, 0]
