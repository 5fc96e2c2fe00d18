"""Step ``frames``: the exposures table, one row per exposure, from the image files."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from romanprf.config import Exposures
from romanprf.errors import InputError
from romanprf.io.exposure import Exposure
from romanprf.io.images import check_one_setup, exposure_rows, with_one_zero_point
from romanprf.io.reading import file_stamp
from romanprf.io.tables import provenance, read_metadata, read_table, write_table
from romanprf.schemas import EXPOSURES
from romanprf.sky.field import SkyRegion


def run(inputs: Mapping[str, Any], outputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Make ``exposures.parquet``.

    Files that have not changed since the last run keep their rows and are not opened.

    Parameters
    ----------
    inputs : mapping
        ``images``: the image files, in the order of ``params["files"]``.
    outputs : mapping
        ``exposures``: Parquet table of `romanprf.schemas.EXPOSURES`.
    params : mapping
        ``files``: list of ``{"file", "exposure"}`` (see `romanprf.io.sheet.read_sheet`);
        ``gain`` and ``zero_point`` of the section ``exposures`` of the configuration;
        ``cache``: path of the step's own copy of the table, which outlives its output: Snakemake
        removes that before the job runs again.

    Raises
    ------
    InputError
        If a file cannot be used, or two exposures do not go together.
    """
    del inputs  # named in params; their pixels are in content_hash, not hashed a second time
    settings = Exposures(gain=params["gain"], zero_point=params["zero_point"])
    origin = provenance(params={k: params[k] for k in ("files", "gain", "zero_point")})
    keys = {item["file"]: _key(item, settings, origin) for item in params["files"]}
    known = _known(params["cache"])
    rows: list[dict[str, Any]] = []
    for item in tqdm(params["files"], "frames", unit="file", disable=None):
        file = item["file"]
        rows += known.get(keys[file]) or _listed(file, item["exposure"], settings)
    if not rows:
        raise InputError("no images, expected at least one file in the exposure sheet")
    rows.sort(key=lambda row: row["exposure"])
    _check_together(rows)
    metadata = {"files": json.dumps(keys), "field": json.dumps(asdict(sky_region(rows)))}
    # The cache holds what the files say, whichever of them is the first.
    tables = {params["cache"]: rows, outputs["exposures"]: with_one_zero_point(rows)}
    for path, table in tables.items():
        write_table(path, pd.DataFrame(table), EXPOSURES, origin, metadata)


def sky_region(rows: Sequence[Mapping[Any, Any]]) -> SkyRegion:
    """Region of the sky that rows of the exposures table cover, sorted by exposure."""
    exposures = [Exposure.from_row(row) for row in rows]
    images = [(exposure.wcs, exposure.shape) for exposure in exposures]
    return SkyRegion.of(images, exposures[0].time, rows[0]["zero_point"])


def _known(path: str | Path) -> dict[str, list[dict]]:
    """Rows of each file in the table of the last run, by `_key`."""
    if not Path(path).exists():
        return {}
    try:
        keys = json.loads(read_metadata(path, EXPOSURES)["files"])
        table = read_table(path, EXPOSURES)
    except (ValueError, LookupError, OSError):  # damaged, or of another version
        return {}
    return {keys[file]: rows.to_dict("records") for file, rows in table.groupby("file")}


def _key(item: Mapping[str, Any], settings: Exposures, origin: Mapping[str, str]) -> str:
    """Hash of what the rows of a file depend on; its size and date stand for its content."""
    of_file = (item["file"], item["exposure"], *file_stamp(item["file"]))
    of_run = (settings.gain, settings.zero_point, origin["romanprf"], origin["git"])
    return hashlib.blake2b(json.dumps(of_file + of_run).encode(), digest_size=8).hexdigest()


def _listed(file: str, exposure: int | None, settings: Exposures) -> list[dict]:
    """Rows of a file; an exposure number of the sheet replaces that of the file."""
    rows = exposure_rows(file, settings.gain, settings.zero_point)
    if exposure is None:
        return rows
    if rows[0]["format"] == "roman_cuts":
        raise InputError(f"{file}: the sheet gives exposure {exposure}, but a cube numbers its own")
    return [{**row, "exposure": exposure} for row in rows]


def _check_together(rows: list[dict]) -> None:
    """Refuse duplicated exposures and mixtures; ``rows`` are sorted by exposure."""
    for before, row in itertools.pairwise(rows):
        if row["exposure"] == before["exposure"]:
            raise InputError(
                f"exposure {row['exposure']} is both in {before['file']} and {row['file']}, "
                "expected each number once"
            )
    check_one_setup(rows)
