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
from romanprf.schemas.table import Column, TableSchema

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

_HEAD = """# The tables

Made by `python -m romanprf.schemas`. All are Parquet files; units
and meanings are also in the metadata of each field, and the metadata of a file say
what made it: package version, commit, hashes of the settings and of the inputs.
Some float32 columns are rounded to the nearest multiple of a power of two, as further digits would
be noise that does not compress. 9 significant bits are a relative error of at most 0.2 %. The
rounding within 1/64 of an error has an rms of 1/110 of it at most, and no bias."""


def to_markdown() -> str:
    """Reference page of all tables, kept in ``docs/reference/tables.md``."""
    lines = [_HEAD]
    for table in TABLES.values():
        lines += ["", f"## {table.name}", "", table.meaning, ""]
        lines += ["| column | type | unit | meaning |", "|---|---|---|---|"]
        for c in table.columns:
            empty = "; may be empty" if c.nullable else ""
            empty += f"; {c.rounding}" if c.rounding else ""
            lines.append(f"| `{c.name}` | {c.type} | {c.unit} | {c.meaning}{empty} |")
    return "\n".join(lines) + "\n"
