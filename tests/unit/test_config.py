from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from romanprf.config import Config, Shape, load_config, to_schema, to_yaml
from romanprf.errors import InputError

CONFIG = Path(__file__).resolve().parents[2] / "config"


def test_files_equal_what_is_generated():
    assert (CONFIG / "config.yaml").read_text() == to_yaml()
    assert (CONFIG / "schema.json").read_text() == to_schema()


def test_yaml_gives_the_defaults_back():
    assert load_config(yaml.safe_load(to_yaml())) == Config()


def test_yaml_gives_other_settings_back():
    values = {"exposures": {"sheet": "a b.tsv"}, "catalogue": {"path": "c.csv"}}
    values["catalogue"]["columns"] = {"ra": "RA: deg", "dec": "yes"}
    config = load_config(values)
    assert load_config(yaml.safe_load(to_yaml(config))) == config


def test_every_key_is_described():
    for section in Config.model_fields.values():
        kind = section.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            assert all(field.description for field in kind.model_fields.values()), kind


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Shape().rmax = 2.0


@pytest.mark.parametrize("path", sorted((CONFIG / "examples").glob("*.yaml")), ids=lambda p: p.stem)
def test_examples_are_valid(path):
    config = load_config(yaml.safe_load(path.read_text()))
    sheet = CONFIG.parent / config.exposures.sheet
    assert sheet.read_text().startswith("file\n")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shpae": {}}, "config: unknown key 'shpae', did you mean 'shape'?"),
        ({"shape": {"rmx": 1}}, "config: unknown key 'shape.rmx', did you mean 'rmax'?"),
        ({"plots": {"zzzz": 1}}, "config: unknown key 'plots.zzzz', expected one of "),
        ({"shape": {"rmax": 0}}, "config: shape.rmax: input should be greater than 0, got 0"),
        ({"shape": {"rmax": "wide"}}, "config: shape.rmax: input should be a valid number"),
        ({"shape": {"rmax": 0.05}}, "expected rmin < cut_r < rmax"),
        ({"fit": None}, "config: fit: "),
        ({"simulate": {"format": "fits"}}, "config: simulate.format: input should be 'frames'"),
        ({"catalogue": {"path": "a"}}, "catalogue.path: expected none without exposures.sheet"),
        (
            {"exposures": {"sheet": "a"}, "catalogue": {"epoch": 2016.0}},
            "catalogue.epoch: expected none without catalogue.path, got 2016.0",
        ),
        (
            {"exposures": {"sheet": "a"}, "catalogue": {"columns": {"ra": "x"}}},
            "catalogue.columns: expected none without catalogue.path",
        ),
        ({"catalogue": {"columns": {"ra": 3}}}, "config: catalogue.columns.ra: "),
    ],
)
def test_bad_settings_give_one_line(values, message):
    with pytest.raises(InputError) as caught:
        load_config(values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_problems_are_named_at_once():
    with pytest.raises(InputError, match=r"shape\.rmax.*; .*plots\.dpi"):
        load_config({"shape": {"rmax": -1}, "plots": {"dpi": 1}})
