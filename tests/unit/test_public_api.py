"""The names that users build on, frozen in ``public_api.txt``.

A change of them is a decision: renew the file by ``python tests/unit/test_public_api.py``, and tell
users in CHANGELOG.md.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

import romanprf
from romanprf import config, errors, flags, reduce, schemas, simulate, steps

FROZEN = Path(__file__).with_name("public_api.txt")


def public_api() -> str:
    """One line for each public name."""
    lines = [*_class("Machine", romanprf.Machine), *_callable("reduce.reduce", reduce.reduce)]
    for name in simulate.__all__:
        lines += _object(f"simulate.{name}", getattr(simulate, name))
    for module in pkgutil.iter_modules(steps.__path__):
        step = importlib.import_module(f"romanprf.steps.{module.name}")
        for name in filter(lambda name: name.startswith("run"), _own(step)):
            lines += _callable(f"steps.{module.name}.{name}", vars(step)[name])
    lines += _sections("config", config.Config)
    for module in (config, errors, flags):
        short = module.__name__.removeprefix("romanprf.")
        for name in _own(module):
            lines += _object(f"{short}.{name}", vars(module)[name])
    for table in schemas.TABLES.values():
        lines.append(f"schemas.{table.name} (version {table.version})")
        lines += [f"schemas.{table.name}.{_column(column)}" for column in table.columns]
    return "\n".join(lines) + "\n"


def _own(module: ModuleType) -> list[str]:
    """Public functions and classes that a module defines."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]


def _object(name: str, value: Any) -> Iterator[str]:
    return _class(name, value) if inspect.isclass(value) else _callable(name, value)


def _callable(name: str, function: Any) -> Iterator[str]:
    yield f"{name}{inspect.signature(function)}"


def _class(name: str, kind: type) -> Iterator[str]:
    """A class and its public members; of settings only the name: `_sections` has their keys."""
    if issubclass(kind, BaseModel):
        return
    if issubclass(kind, int):
        yield from (f"{name}.{flag.name} = {flag.value}" for flag in kind)
        return
    yield from _callable(name, kind)
    for member in dir(kind):
        value = inspect.getattr_static(kind, member)
        if not member.startswith("_") and not hasattr(Exception, member):
            if callable(getattr(kind, member)):
                yield from _callable(f"{name}.{member}", getattr(kind, member))
            elif isinstance(value, property):
                yield f"{name}.{member}: property"


def _sections(name: str, section: type[BaseModel]) -> Iterator[str]:
    for key, field in section.model_fields.items():
        kind = field.annotation
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            yield from _sections(f"{name}.{key}", kind)
        else:
            default = field.get_default(call_default_factory=True)
            yield f"{name}.{key}: {inspect.formatannotation(kind)} = {default!r}"


def _column(column: schemas.Column) -> str:
    marks = ["nullable"] * column.nullable + [column.rounding] * bool(column.rounding)
    return " ".join([f"{column.name}: {column.type} [{column.unit}]", *marks])


def test_public_names_are_as_frozen():
    assert public_api().splitlines() == FROZEN.read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    FROZEN.write_text(public_api(), encoding="utf-8")
