"""Images of every format: told apart by content, listed, read.

Each format has a module with ``exposure_rows(path, gain, zero_point) -> list of dict`` (one row of
`romanprf.schemas.EXPOSURES` per exposure in the file) and ``read_image(exposure) -> Image``.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import asdf

from romanprf.core.image import Image, without_full_pixels, without_spikes
from romanprf.errors import InputError
from romanprf.io import rimtimsim, roman_cuts, roman_l2
from romanprf.io.files import first_bytes
from romanprf.io.reading import readable

__all__ = [
    "check_one_setup",
    "detect_format",
    "exposure_rows",
    "read_image",
    "with_one_zero_point",
]

logger = logging.getLogger(__name__)

_EXPECTED = "an ASDF or FITS image"
_FORMATS: dict[str, Any] = {
    "roman_l2": roman_l2,
    "rimtimsim": rimtimsim,
    "roman_cuts": roman_cuts,
}


def detect_format(path: str | Path) -> str:
    """Format of an image file, from its first bytes and, for ASDF, its tree.

    Returns
    -------
    str
        ``"roman_l2"``, ``"rimtimsim"`` or ``"roman_cuts"``.

    Raises
    ------
    InputError
        If the file has another format or cannot be read.
    """
    magic = first_bytes(path, 6, _EXPECTED)
    if magic == b"SIMPLE":
        return "rimtimsim"
    if not magic.startswith(b"#ASDF"):
        raise InputError(f"{path}: not an ASDF or FITS file")
    return _asdf_format(path)


def _asdf_format(path: str | Path) -> str:
    with readable(path, "ASDF file"):
        tree = asdf.util.load_yaml(path, tagged=True)
    roman = tree.get("roman") if isinstance(tree, Mapping) else None
    if "/roman/tags/wfi_image-" in getattr(roman, "_tag", ""):
        return "roman_l2"
    if isinstance(roman, Mapping) and isinstance(roman.get("data"), Mapping):
        return "roman_cuts"
    raise InputError(
        f"{path}: ASDF file without images, expected a Roman WFI image (roman: wfi_image) "
        "or a roman-cuts cube (roman: meta, wcs, data)"
    )


def exposure_rows(path: str | Path, gain: float | None, zero_point: float | None) -> list[dict]:
    """Describe every exposure in a file.

    Parameters
    ----------
    path : path
        Image file of any known format.
    gain : float or None
        Electrons per DN, for files in DN/s that do not state it.
    zero_point : float or None
        AB magnitude of 1 e-/s, for files that do not state it.

    Returns
    -------
    list of dict
        Rows of `romanprf.schemas.EXPOSURES`.

    Raises
    ------
    InputError
        If the file is damaged or lacks something that the reduction needs.
    """
    return _FORMATS[detect_format(path)].exposure_rows(str(path), gain, zero_point)


def check_one_setup(exposures: Sequence[Mapping[str, Any]]) -> None:
    """Refuse exposures of more than one filter, detector or time scale.

    Raises
    ------
    InputError
        That names the first two files that differ.
    """
    first = exposures[0]
    for row in exposures:
        for name in ("filter", "detector", "time_scale"):
            if row[name] != first[name]:
                raise InputError(
                    f"{name} is {first[name]} in {first['file']} but {row[name]} in "
                    f"{row['file']}, expected images of one {name}"
                )


def with_one_zero_point(exposures: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows whose fluxes all have the zero point of the first one.

    ``gain`` takes the factor on the fluxes of the others: a star has the same flux in all.
    """
    common = exposures[0]["zero_point"]
    others = [row for row in exposures if row["zero_point"] != common]
    if others:
        logger.warning(
            "the zero point is %.4f in %s but %.4f in %s; fluxes of %d exposures are converted",
            *(common, exposures[0]["file"], others[0]["zero_point"], others[0]["file"]),
            len(others),
        )
    return [_with_zero_point(row, common) for row in exposures]


def _with_zero_point(row: Mapping[str, Any], zero_point: float) -> dict[str, Any]:
    if row["zero_point"] == zero_point:
        return dict(row)
    factor = 10.0 ** (0.4 * (zero_point - row["zero_point"]))
    content = f"{row['content_hash']} {zero_point!r}".encode()
    return {
        **row,
        "gain": row["gain"] * factor,
        "zero_point": zero_point,
        "content_hash": hashlib.blake2b(content, digest_size=16).hexdigest(),
    }


def read_image(exposure: Mapping[str, Any]) -> Image:
    """Read the pixels of one row of the exposures table, without spikes and pixels at full well.

    Raises
    ------
    InputError
        If the file is missing, is damaged or differs from the exposures table.
    """
    first_bytes(exposure["file"], 1, _EXPECTED)
    image = _FORMATS[exposure["format"]].read_image(exposure)
    return without_spikes(without_full_pixels(image))
