"""Step ``checks``: what the tables of a reduction show when something is wrong."""

from __future__ import annotations

import html
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from romanprf import schemas
from romanprf.io.atomic import replacing
from romanprf.io.tables import provenance, read_metadata, read_table, write_table
from romanprf.metrics.checks import check, failures
from romanprf.metrics.quantities import Tables, bright

logger = logging.getLogger(__name__)

#: Columns of the tables of sources that the checks use.
_STATE = ("source_id", "ra", "dec", "epoch", "pmra", "pmdec", "ra_err", "dec_err", "flux", "origin")
#: Columns of the page, as headings.
_HEADINGS = ("check", "result", "value", "low", "high", "message")
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Checks</title><style>
body {{ font-family: sans-serif; margin: 1em }}
td, th {{ padding: 0.3em 0.8em; text-align: left; vertical-align: top }}
.failed {{ background: #fdd }}
</style></head><body><p>{title}</p><table><tr>{head}</tr>
{rows}
</table></body></html>
"""


def run(inputs: Mapping[str, Any], outputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Make ``checks.parquet`` and the page of the report, and log each failed check in a line.

    Parameters
    ----------
    inputs : mapping
        ``catalogue_sources``, ``sources``, ``prf`` and ``metrics``: paths; ``photometry`` and
        ``frame_stats``: paths of all batches.
    outputs : mapping
        ``checks``: path of the table; ``page``: path of the same as HTML.
    params : mapping
        Part of the origin of the table only.
    """
    checks = check(read(inputs))
    files = {name: inputs[name] for name in ("catalogue_sources", "sources", "prf", "metrics")}
    write_table(outputs["checks"], checks, schemas.CHECKS, provenance(files, params))
    with replacing(outputs["page"]) as temporary:
        temporary.write_text(page(checks), encoding="utf-8")
    for message in failures(checks)["message"]:
        logger.warning("warning: %s", message)


def read(inputs: Mapping[str, Any]) -> Tables:
    """Read what the checks look at; of the measurements those of one batch in the middle."""
    metrics = read_table(inputs["metrics"], schemas.METRICS)
    batches = [str(path) for path in inputs["photometry"]]
    shown = bright(metrics["flux"].to_numpy())
    return Tables(
        prf=read_metadata(inputs["prf"], schemas.PRF),
        search=read_metadata(inputs["sources"], schemas.SOURCES),
        catalogue=read_table(inputs["catalogue_sources"], schemas.SOURCES, _STATE),
        sources=read_table(inputs["sources"], schemas.SOURCES, _STATE),
        metrics=metrics,
        frame_stats=_frame_stats(inputs["frame_stats"]),
        flags=_flags(batches[len(batches) // 2], shown) if batches else np.zeros(0, int),
    )


def _frame_stats(paths: list[str]) -> pd.DataFrame:
    """Rows of all batches, without the meshes of the background."""
    columns = [name for name in schemas.FRAME_STATS.names if name != "background_mesh"]
    tables = [read_table(path, schemas.FRAME_STATS, columns) for path in paths]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def _flags(path: str, shown: np.ndarray) -> np.ndarray:
    """Flags of the measurements of some sources in a batch."""
    table = read_table(path, schemas.PHOTOMETRY, ["source", "flags"])
    return table["flags"].to_numpy()[shown[table["source"]]]


def page(checks: pd.DataFrame) -> str:
    """The checks as a page of HTML, those that failed first."""
    failed = failures(checks)
    rows = pd.concat([failed, checks.drop(failed.index)]).to_dict("records")
    return _PAGE.format(
        title=f"{len(failed)} of {len(checks)} checks failed.",
        head="".join(f"<th>{name}</th>" for name in _HEADINGS),
        rows="\n".join(map(_row, rows)),
    )


def _row(row: Mapping[Any, Any]) -> str:
    numbers = ["" if pd.isna(row[name]) else f"{row[name]:.4g}" for name in _HEADINGS[2:5]]
    result = "passed" if row["passed"] else "failed"
    cells = [row["check"], result, *numbers, row["message"]]
    body = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
    return f'<tr class="{result}">{body}</tr>'
