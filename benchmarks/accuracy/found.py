"""Completeness and falseness of the stars that the search finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from table import inside
from truth import Truth

from romanprf import schemas
from romanprf.io.exposures import read_exposures
from romanprf.io.tables import read_table
from romanprf.workflow.paths import Paths

#: F146, AB.
FOUND_BINS = ((14, 19), (19, 21), (21, 22), (22, 23), (23, 24), (24, 26))


@dataclass(frozen=True, eq=False)
class Search:
    """Stars well inside the images: magnitudes, and whether they were found or are true.

    ``unlisted``, ``was_found``: of the true stars that the catalogue lacks; ``found``, ``is_true``:
    of the stars that were found (their measured magnitudes).
    """

    unlisted: np.ndarray
    was_found: np.ndarray
    found: np.ndarray
    is_true: np.ndarray

    @staticmethod
    def pooled(parts: Sequence[Search]) -> Search:
        """Stars of many fields together."""
        names = ("unlisted", "was_found", "found", "is_true")
        return Search(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def search(paths: Paths, truth: Truth) -> Search:
    """Compare what was found with the stars that the catalogue lacks (see `Truth.rows`)."""
    exposures = read_exposures(paths.exposures)
    sources = read_table(paths.sources, schemas.SOURCES)
    rows = truth.rows(sources)
    found = (sources["source_id"] < 0).to_numpy() & inside(exposures, sources)
    stars = truth.stars
    unlisted = ~stars["listed"].to_numpy() & inside(exposures, stars)
    return Search(
        unlisted=stars["mag"].to_numpy()[unlisted],
        was_found=np.isin(np.flatnonzero(unlisted), rows),
        found=sources["mag"].to_numpy(float)[found],
        is_true=rows[found] >= 0,
    )


def found_rows(search: Search) -> Iterator[str]:
    """Bin, stars that the catalogue lacks, their completeness, stars found, false ones."""
    for low, high in FOUND_BINS:
        missing = (search.unlisted >= low) & (search.unlisted < high)
        found = (search.found >= low) & (search.found < high)
        if not (missing.any() or found.any()):
            continue
        complete = f"{100 * search.was_found[missing].mean():.0f} %" if missing.any() else "-"
        false = int((~search.is_true[found]).sum())
        yield f"{low}-{high} | {missing.sum()} | {complete} | {found.sum()} | {false}"
    false = int((~search.is_true).sum())
    yield f"all | {search.unlisted.size} | - | {search.found.size} | {false}"
