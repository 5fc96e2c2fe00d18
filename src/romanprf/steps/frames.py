"""Step ``frames``: one row per exposure, with all that later steps need to know of it."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from romanprf.errors import InputError
from romanprf.io.images import check_one_setup, exposure_rows
from romanprf.io.reading import file_stamp
from romanprf.io.tables import provenance, read_metadata, read_table, write_table
from romanprf.schemas import EXPOSURES
from romanprf.sky.field import field_plane
from romanprf.sky.motion import julian_year
from romanprf.sky.wcs import ARCSEC, TangentWCS, image_centre, stretch

#: Step by which the sky region grows, arcsec: a new dither rarely changes it.
SNAP = 4.0


def run(inputs: Mapping[str, Any], outputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Register all images.

    Rows that this step wrote before are kept for files that are as they were.

    Parameters
    ----------
    inputs : mapping
        ``images``: the image files, in the order of ``params["files"]``.
    outputs : mapping
        ``exposures``: Parquet table of `romanprf.schemas.EXPOSURES`.
    params : mapping
        ``files``: list of ``{"file", "exposure"}`` (see `romanprf.io.sheet.read_sheet`);
        ``gain`` and ``zero_point`` of the section ``exposures`` of the configuration;
        ``cache``: where the step keeps a copy of its table, since Snakemake removes the
        output of a job before it runs again.

    Raises
    ------
    InputError
        If a file cannot be used, or two exposures do not go together.
    """
    del inputs  # named in params; their pixels are in content_hash, not hashed a second time
    rows: list[dict[str, Any]] = []
    origin = provenance(params={k: params[k] for k in ("files", "gain", "zero_point")})
    known = _known(params["cache"])
    keys: dict[str, str] = {}
    for item in tqdm(params["files"], "frames", unit="file", disable=None):
        file = item["file"]
        keys[file] = _key(item, params, origin)
        if keys[file] in known:
            rows += known[keys[file]]
        else:
            found = exposure_rows(file, params["gain"], params["zero_point"])
            rows += _numbered(found, file, item["exposure"])
    if not rows:
        raise InputError("no images, expected at least one file in the exposure sheet")
    rows.sort(key=lambda row: row["exposure"])
    _check_together(rows)
    table = pd.DataFrame(rows)
    metadata = {"files": json.dumps(keys), "field": json.dumps(field(table))}
    for path in (outputs["exposures"], params["cache"]):
        write_table(path, table, EXPOSURES, origin, metadata)


def _known(path: str | Path) -> dict[str, list[dict]]:
    """Rows of each file of the last table, by `_key`."""
    if not Path(path).exists():
        return {}
    try:
        keys = json.loads(read_metadata(path, EXPOSURES)["files"])
        table = read_table(path, EXPOSURES)
    except (InputError, LookupError):  # a table of another version
        return {}
    return {keys[file]: rows.to_dict("records") for file, rows in table.groupby("file")}


def _key(item: Mapping[str, Any], params: Mapping[str, Any], origin: Mapping[str, str]) -> str:
    """Hash of all that the rows of a file depend on but its content, for which its date stands."""
    of_file = (item["file"], item["exposure"], *file_stamp(item["file"]))
    of_run = (params["gain"], params["zero_point"], origin["romanprf"], origin["git"])
    return hashlib.blake2b(json.dumps(of_file + of_run).encode(), digest_size=8).hexdigest()


def _numbered(rows: list[dict], file: str, exposure: int | None) -> list[dict]:
    """Replace the exposure number of a file by that of the sheet, when there is one."""
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


def field(exposures: pd.DataFrame) -> dict[str, float]:
    """Sky region and scales of a reduction, as plain numbers that change rarely.

    Parameters
    ----------
    exposures : DataFrame
        Rows of `romanprf.schemas.EXPOSURES`, sorted by exposure.

    Returns
    -------
    dict
        ``ra0``, ``dec0``: tangent point (deg ICRS), that of the first exposure to 1e-4 deg;
        ``angle`` of its columns to 0.1 deg.  ``u_min``, ``u_max``, ``v_min``, ``v_max``: the image
        outlines in `romanprf.sky.field.field_plane` (deg), snapped outward to multiples
        of 4 arcsec.
        ``pixel_scale`` (arcsec), ``epoch`` (Julian year) and ``zero_point`` of the first exposure.
    """
    first = exposures.iloc[0]
    wcs = TangentWCS.from_json(first["wcs"])
    ra0, dec0 = round(wcs.ra0, 4) % 360.0, round(wcs.dec0, 4)
    jacobian = wcs.jacobian(*image_centre((first["nrows"], first["ncols"])))
    angle = round(float(np.rad2deg(np.arctan2(jacobian[1, 0], jacobian[0, 0]))), 1)
    outlines = [
        field_plane(*_outline(text, nrows, ncols), ra0, dec0, angle)
        for text, nrows, ncols in zip(
            exposures["wcs"], exposures["nrows"], exposures["ncols"], strict=True
        )
    ]
    u, v = (np.concatenate(values) for values in zip(*outlines, strict=True))
    return {
        "ra0": ra0,
        "dec0": dec0,
        "angle": angle,
        **_snapped("u", u),
        **_snapped("v", v),
        "pixel_scale": round(float(np.sqrt(stretch(jacobian))), 4),
        "epoch": round(julian_year(float(first["time"])), 3),
        "zero_point": float(first["zero_point"]),
    }


def _outline(text: str, nrows: int, ncols: int) -> tuple[np.ndarray, np.ndarray]:
    """Sky positions along the outer edges of an image."""
    x, y = np.linspace(-0.5, ncols - 0.5, 17), np.linspace(-0.5, nrows - 0.5, 17)
    xs = np.concatenate([x, x, np.full(17, x[0]), np.full(17, x[-1])])
    ys = np.concatenate([np.full(17, y[0]), np.full(17, y[-1]), y, y])
    return TangentWCS.from_json(text).pixel_to_sky(xs, ys)


def _snapped(axis: str, values: np.ndarray) -> dict[str, float]:
    """Range of ``values`` (degrees), outward to multiples of `SNAP`."""
    if not np.isfinite(values).all():
        raise InputError("the images lie more than 90 degrees apart, expected one field")
    steps = values * ARCSEC / SNAP
    return {
        f"{axis}_min": float(np.floor(steps.min()) * SNAP / ARCSEC),
        f"{axis}_max": float(np.ceil(steps.max()) * SNAP / ARCSEC),
    }
