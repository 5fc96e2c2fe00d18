"""Reference page of the numeric constants of the package, with the comments that explain them.

``python -m romanprf.core.constants`` prints ``docs/reference/constants.md``; a test keeps the file
equal to what is printed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_PACKAGE = Path(__file__).resolve().parents[1]
_NAME = re.compile(r"_?[A-Z][A-Z0-9_]*")
#: Functions and modules that an expression of numbers may use beside other constants.
_NUMERIC = {"float", "int", "max", "min", "np"}


class Constant(NamedTuple):
    """A numeric constant of a module."""

    module: str
    name: str
    value: str
    comment: str


def constants(package: Path = _PACKAGE) -> Iterator[Constant]:
    """Numeric constants of a package, by module and in the order of the source.

    These are names in capitals that the top level of a module binds to numbers, or to arrays and
    tuples of numbers.  The comment of a constant is the block of ``#:`` lines above it.
    """
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        yield from _constants_of(".".join(parts), path.read_text(encoding="utf-8"))


def _constants_of(module: str, source: str) -> Iterator[Constant]:
    lines = source.splitlines()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        else:
            continue
        for name, value in _pairs(targets[0], node.value):
            if _NAME.fullmatch(name) and _is_numeric(value):
                text = " ".join((ast.get_source_segment(source, value) or "").split())
                yield Constant(module, name, text, _comment(lines[: node.lineno - 1]))


def _pairs(target: ast.expr, value: ast.expr | None) -> Iterator[tuple[str, ast.expr]]:
    """Names that an assignment binds, each with its expression."""
    if isinstance(target, ast.Name) and value is not None:
        yield target.id, value
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, part in zip(target.elts, value.elts, strict=True):
            yield from _pairs(one, part)


def _is_numeric(expression: ast.expr) -> bool:
    """Whether an expression is made of numbers, other constants and functions of numbers."""
    nodes = list(ast.walk(expression))
    values = [node.value for node in nodes if isinstance(node, ast.Constant)]
    names = [node.id for node in nodes if isinstance(node, ast.Name)]
    return all(type(value) in (int, float) for value in values) and all(
        name in _NUMERIC or _NAME.fullmatch(name) for name in names
    )


def _comment(above: list[str]) -> str:
    """Text of the block of ``#:`` lines that ends the lines above a constant."""
    block: list[str] = []
    for line in reversed(above):
        if not line.startswith("#:"):
            break
        block.insert(0, line.removeprefix("#:").strip())
    return " ".join(block)


def to_markdown() -> str:
    """Reference page of all constants."""
    lines = [
        "# Constants",
        "",
        "Made by `python -m romanprf.core.constants`: the numbers that the package fixes and",
        "that no setting changes. Values are as in the source; names in them are other constants.",
    ]
    module = ""
    for constant in constants():
        if constant.module != module:
            module = constant.module
            lines += ["", f"## {module}", "", "| constant | value | meaning |", "|---|---|---|"]
        value, comment = (text.replace("|", r"\|") for text in (constant.value, constant.comment))
        lines.append(f"| `{constant.name}` | `{value}` | {comment} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(to_markdown(), end="")
