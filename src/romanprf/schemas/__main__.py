"""Print ``docs/reference/tables.md``: ``python -m romanprf.schemas``."""

from romanprf.schemas import to_markdown

print(to_markdown(), end="")
