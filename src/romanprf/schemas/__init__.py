"""All tables: columns, types, units, meaning, nullability.

A change of columns raises the version of the table; readers refuse another version.
"""

from __future__ import annotations

from romanprf.schemas.astrometry import ASTROMETRY, FRAME_ASTROMETRY, FRAME_TERMS
from romanprf.schemas.exposures import EXPOSURES, FRAME_STATS, LEARNING
from romanprf.schemas.measurements import CHECKS, LIGHTCURVES, METRICS, PHOTOMETRY
from romanprf.schemas.prf import DELTAS, PRF
from romanprf.schemas.sources import (
    ASTROMETRIC,
    ASTROMETRIC_CORRELATIONS,
    ASTROMETRIC_ERRORS,
    SOURCES,
    TRUTH,
)
from romanprf.schemas.table import KEPT_BITS, Column, TableSchema

__all__ = [
    "ASTROMETRIC",
    "ASTROMETRIC_CORRELATIONS",
    "ASTROMETRIC_ERRORS",
    "ASTROMETRY",
    "CHECKS",
    "DELTAS",
    "EXPOSURES",
    "FRAME_ASTROMETRY",
    "FRAME_STATS",
    "FRAME_TERMS",
    "KEPT_BITS",
    "LEARNING",
    "LIGHTCURVES",
    "METRICS",
    "PHOTOMETRY",
    "PRF",
    "SOURCES",
    "TABLES",
    "TRUTH",
    "Column",
    "TableSchema",
    "to_markdown",
]

#: Every table by its name, in the order of the page.
TABLES = {
    table.name: table
    for table in (
        EXPOSURES,
        LEARNING,
        SOURCES,
        DELTAS,
        PRF,
        PHOTOMETRY,
        FRAME_STATS,
        ASTROMETRY,
        FRAME_ASTROMETRY,
        METRICS,
        LIGHTCURVES,
        CHECKS,
        TRUTH,
    )
}


def to_markdown() -> str:
    """Reference page of all tables, kept in ``docs/reference/tables.md``."""
    lines = [
        "# The tables",
        "",
        "Made by `python -m romanprf.schemas`. All are Parquet files; units",
    ]
    lines += ["and meanings are also in the metadata of each field, and the metadata of a file say"]
    lines += ["what made it: package version, commit, hashes of the settings and of the inputs."]
    lines += ["Columns that are rounded hold 12 significant bits (relative error at most 2.4e-4)."]
    for table in TABLES.values():
        lines += ["", f"## {table.name}", "", table.meaning, ""]
        lines += ["| column | type | unit | meaning |", "|---|---|---|---|"]
        for c in table.columns:
            empty = "; may be empty" if c.nullable else ""
            empty += "; rounded" if c.rounded else ""
            lines.append(f"| `{c.name}` | {c.type} | {c.unit} | {c.meaning}{empty} |")
    return "\n".join(lines) + "\n"
