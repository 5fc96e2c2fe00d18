"""Links and names in the documentation."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")])
#: Link targets outside code: (page.md#anchor), not addresses of other sites.
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")
#: Dotted names of the package; `romanprf.sif` is a file.
NAME = re.compile(r"`(romanprf(?!\.sif)(?:\.[A-Za-z_]\w*)+)")


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page, as they are made from their words."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        target, _, anchor = link.partition("#")
        other = (page.parent / target).resolve() if target else page
        assert other.exists(), link
        assert not anchor or anchor in anchors(other), link


def resolved(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one, or of a class in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[count:]:
            if not hasattr(found, attribute) and attribute not in vars(found).get(
                "__dataclass_fields__", {}
            ):
                return False
            found = getattr(found, attribute, None)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_names_of_the_package_exist(page):
    names = NAME.findall(page.read_text(encoding="utf-8"))
    assert [name for name in names if not resolved(name)] == []
