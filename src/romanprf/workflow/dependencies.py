"""What the jobs of the workflow depend on, as plain values.

The exposures table changes whenever an image is added.  Rules therefore ignore its modification
time and take what their jobs need of it as parameters: exposure numbers, the outline of the field
and digests of rows.  A digest covers the content hash of each image, so a changed image reruns the
jobs that read it and no others.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from romanprf.config import Config, Simulate
from romanprf.errors import InputError
from romanprf.workflow.paths import Paths, batch_name, is_batch


def simulated_files(simulate: Simulate, paths: Paths) -> list[dict[str, str | int | None]]:
    """Image files of the demo, in the form of `romanprf.io.sheet.read_sheet`."""
    if simulate.format == "cube":
        return [{"file": paths.cube, "exposure": None}]
    return [
        {"file": paths.frames.format(exposure=f"{number:05d}"), "exposure": number}
        for number in range(simulate.exposures)
    ]


def catalogue_files(settings: Config, paths: Paths) -> dict[str, str]:
    """Files of the ``catalogue`` and of the ``reference``, if there are any.

    Raises
    ------
    InputError
        If a file that the settings name does not exist.
    """
    given = {"catalogue": settings.catalogue.path, "reference": settings.reference.path}
    files = {name: str(path) for name, path in given.items() if path is not None}
    for name, path in files.items():
        if not os.path.isfile(path):
            raise InputError(f"{path[:200]}: no such file, expected the table of {name}.path")
    return {"catalogue": paths.catalogue, **files} if settings.demo else files


def batches(exposures: pd.DataFrame, batch_size: int) -> dict[str, pd.DataFrame]:
    """Rows of the exposures by name of their batch, in order."""
    groups = exposures.groupby(exposures["exposure"] // batch_size)
    return {batch_name(number * batch_size, batch_size): rows for number, rows in groups}


def remove_other_batches(files: Mapping[str, Any]) -> None:
    """Remove the batches that lie beside those of a reduction, as after a change of their size.

    Whoever reads a folder of batches as a whole then gets each row once.  Jobs that know all
    batches do this before they work; none of the run still writes a batch then, and all remove the
    same files.

    Parameters
    ----------
    files : mapping
        Inputs of a step; each that is a list of batches is all that its folder is to hold.
    """
    for paths in files.values():
        if not isinstance(paths, list) or not all(map(is_batch, paths)):
            continue
        kept = {Path(path).name for path in paths}
        for folder in {Path(path).parent for path in paths}:
            for file in folder.iterdir():
                # Also hidden: what a killed job left, or one of a killed run still writes.
                name = file.name.removeprefix(".").partition(".tmp-")[0]
                if is_batch(name) and name not in kept:
                    file.unlink(missing_ok=True)


def digest(rows: pd.DataFrame) -> str:
    """Hash of rows of the exposures table; ``content_hash`` covers all but their numbers."""
    values = rows[["exposure", "content_hash"]].to_numpy().tolist()
    return hashlib.blake2b(repr(values).encode(), digest_size=16).hexdigest()


def file_dates(files: list[dict[str, str | int | None]]) -> str:
    """Hash of the sizes and dates of image files, in the form of `romanprf.io.sheet.read_sheet`."""
    found = [_file_date(str(entry["file"])) for entry in files]
    return hashlib.blake2b(repr(found).encode(), digest_size=16).hexdigest()


def _file_date(name: str) -> tuple[str, int, int]:
    """Name, size and date (ns) of a file; `romanprf.io.reading` takes a second to import."""
    status = os.stat(name)
    return name, status.st_size, status.st_mtime_ns


def versions() -> list[str]:
    """Versions of the packages that a compiled kernel depends on."""
    return [f"{package} {version(package)}" for package in ("romanprf", "numba")]
