"""Any values as settings: a frozen model with finite numbers or one line."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from romanprf.config import Config, load_config, read_settings
from romanprf.errors import InputError

SECTIONS = {
    name: list(field.annotation.model_fields)
    for name, field in Config.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
NUMBERS = st.one_of(
    st.integers(), st.floats(), st.sampled_from([10**4000, -(10**4000), 2**63, 1e-300, 1e300])
)
TEXTS = st.one_of(st.text(), st.sampled_from(["nan", ".inf", "1e-10", "true", "a{b}", "x" * 10**5]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS, st.binary(), st.dates()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=5,
)


@st.composite
def chosen(draw):
    """Some keys with any values, or any value in place of a section."""
    name = draw(st.sampled_from([*SECTIONS, "results"]))
    if name == "results" or draw(st.integers(0, 9)) == 0:
        return {name: draw(VALUES)}
    keys = draw(st.lists(st.sampled_from(SECTIONS[name]), min_size=1, max_size=3))
    return {name: {key: draw(st.one_of(NUMBERS, VALUES)) for key in keys}}


def numbers(values):
    if isinstance(values, dict):
        for value in values.values():
            yield from numbers(value)
    elif isinstance(values, float):
        yield values


def message(read: Callable[[], Config]) -> str:
    """The line that refuses settings; empty if they are good."""
    try:
        config = read()
    except InputError as error:
        return str(error)
    assert all(map(math.isfinite, numbers(config.model_dump())))
    return ""


@settings(deadline=None, max_examples=400)
@given(chosen())
def test_values(values):
    said = message(lambda: load_config(values))
    assert len(said) < 1100
    assert said == "" or said.startswith("config: ")


@settings(deadline=None, max_examples=100)
@given(chosen())
def test_values_in_a_file(values):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        assert len(message(lambda: load_config(read_settings(path)))) < 1100
