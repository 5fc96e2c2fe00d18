from __future__ import annotations

import math
import typing
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from romanprf.config import Config, Shape, load_config, read_settings, to_schema, to_yaml
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
        ({"fit": {"prior_width": math.inf}}, "fit.prior_width: input should be a finite number"),
        ({"shape": {"rmax": math.inf}}, "shape.rmax: input should be a finite number, got inf"),
        ({"crossmatch": {"margin": math.nan}}, "crossmatch.margin: input should be a finite"),
        ({"fit": {"tolerance": 1e-300}}, "fit.tolerance: input should be greater than or equal"),
        ({"shape": {"flux_cut_off": 1e-300}}, "shape.flux_cut_off: input should be greater than"),
        ({"shape": {"nodes": 9}}, "shape.nodes: input should be less than or equal to 5, got 9"),
        ({"exposures": {"batch_size": 1e30}}, "exposures.batch_size: "),
        ({"exposures": {"batch_size": 10**5000}}, "got a number of thousands of digits"),
        ({"plots": {"dpi": True}}, "config: plots.dpi: expected no true or false, got True"),
        ({"simulate": {"parallaxes": [False, 1]}}, "simulate.parallaxes: expected no true or f"),
        ({"simulate": {"transits": 10**9}}, "simulate.transits: input should be less than or"),
        (
            {"simulate": {"size": 4088, "exposures": 10000}},
            "simulate.size, simulate.exposures: 1.7e+11 pixels, expected at most 2e+10",
        ),
        *[
            ({"results": value}, "config: results: expected the name of a folder")
            for value in (None, 3, ["a"], "", " ", True)
        ],
        *[
            ({section: {key: value}}, f"{section}.{key}: expected a name without {{}}<> and")
            for section, key in (("catalogue", "path"), ("reference", "path"))
            for value in ("a{batch}", "<b>", "a\nb", "a\0b")
        ],
        *[
            ({"results": value}, "config: results: expected a name without {}<> and control")
            for value in ("a{batch}", "<b>", "a\nb", "a\0b")
        ],
        ({"x" * 10**6: 1}, "unknown key 'xxx"),
    ],
)
def test_bad_settings_give_one_line(values, message):
    with pytest.raises(InputError) as caught:
        load_config(values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_numbers_have_two_ends():
    """What has none can be infinite, or larger than any memory."""
    for section, field in numbers():
        bounds = {type(bound).__name__ for bound in field.metadata}
        name = f"{section.__name__}: {field.description}"
        assert bounds & {"Gt", "Ge"}, name
        assert bounds & {"Lt", "Le"}, name


def numbers():
    """Sections and their fields that are numbers."""
    sections = [field.annotation for field in Config.model_fields.values()]
    for section in sections:
        if isinstance(section, type) and issubclass(section, BaseModel):
            for field in section.model_fields.values():
                if set(typing.get_args(field.annotation) or [field.annotation]) & {int, float}:
                    yield section, field


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: {c: 1, c: 2}", "key 'c' is given twice below line 2, expected once"),
        ("a: " + 1_000_000 * "9", "not valid YAML: "),
        ("a: " + 1_000_000 * "[", "nested too deeply"),
        ("a: 1\n- b", "not valid YAML: "),
        ("a", "expected settings as 'key: value' lines"),
        ("", "expected settings as 'key: value' lines"),
        ("a: &a [*a]", "expected at most 10000 values"),
        (
            "a: &a [1,1,1,1,1,1,1,1]\n"
            + "\n".join(f"{y}: &{y} [{', '.join(8 * ['*' + x])}]" for x, y in pairwise("abcdefgh")),
            "expected at most 10000 values",
        ),
        (b"a: \xff", "not valid YAML: "),
        (b"a: \x00", "not valid YAML: "),
    ],
)
def test_bad_files_give_one_line(tmp_path, text, message):
    path = tmp_path / "own.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        read_settings(path)
    assert f"{path}: " in str(caught.value)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_file_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"own\.yaml: no such file, expected settings in YAML"):
        read_settings(tmp_path / "own.yaml")
    with pytest.raises(InputError, match="Is a directory, expected settings in YAML"):
        read_settings(tmp_path)


def test_aliases_and_merged_keys_are_read(tmp_path):
    (tmp_path / "own.yaml").write_text("a: &a {b: 1, c: 2}\nd: {<<: *a, c: 3}\n")
    expected = {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}
    assert read_settings(tmp_path / "own.yaml") == expected


def test_all_problems_are_named_at_once():
    with pytest.raises(InputError, match=r"shape\.rmax.*; .*plots\.dpi"):
        load_config({"shape": {"rmax": -1}, "plots": {"dpi": 1}})
