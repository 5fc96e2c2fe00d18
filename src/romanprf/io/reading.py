"""Functions that the readers of the image formats share."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import ICRS, BaseCoordinateFrame, SkyCoord
from astropy.io import fits

from romanprf.core.image import checked_flags
from romanprf.errors import InputError
from romanprf.flags import REJECTED_PIXEL, ExposureFlag
from romanprf.sky.wcs import ARCSEC, SkyFunction, TangentWCS, image_centre, project

#: Largest image, pixels, that is read whole when it is listed; a larger one is read once only, when
#: it is fitted.
WHOLE_PIXELS = 512 * 512
#: Rows of a larger image that are read when it is listed: they show whether it has usable pixels.
GLANCE_ROWS = 32

#: Largest image, pixels: 4 detectors.
MOST_PIXELS = 2**26
#: Sides of pixels, arcsec, and least sine of the angle between them, of images that can be meant.
_SIDES, _LEAST_SINE = (1e-3, 1e3), 0.1
#: Words for electrons per second -> units of astropy.
_ELECTRONS_PER_SECOND = (
    (r"\belectrons\b|\be-|\be\b", "electron"),
    (r"\bper\b", "/"),
    (r"\bseconds?\b|\bsec\b", "s"),
)

#: ``pixels(rows) -> flux, flux_err, flags`` of the chosen rows, in the file's units.
Pixels = Callable[[slice], tuple[np.ndarray, np.ndarray, np.ndarray]]


def summarised(row: dict[str, Any], pixels: Pixels, glance: Pixels | None = None) -> dict[str, Any]:
    """Complete a row of `romanprf.schemas.EXPOSURES`: usable fraction, flags and content hash.

    A small image is read whole.  Of a large one a few rows are read, with ``glance`` if the format
    has a cheaper way than ``pixels``; all of it only if these hold no usable pixel.  The hash
    covers the other columns, without the name of the file, and the pixels; for those of a large
    image the size and date of the file stand.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps({k: v for k, v in row.items() if k != "file"}).encode())
    if row["nrows"] * row["ncols"] <= WHOLE_PIXELS:
        image = pixels(slice(None))
        usable = _usable(image)
        for array in image:
            digest.update(np.ascontiguousarray(array).tobytes())
    else:
        digest.update(json.dumps(file_stamp(row["file"])).encode())
        usable = _usable((glance or pixels)(slice(None, None, max(1, row["nrows"] // GLANCE_ROWS))))
        if not usable.any():
            usable = _usable(pixels(slice(None)))
    flags = int(ExposureFlag.QUALITY) if row["quality"] else 0
    flags |= 0 if usable.any() else int(ExposureFlag.UNUSABLE)
    return {
        **row,
        "usable_fraction": float(usable.mean()),
        "flags": flags,
        "content_hash": digest.hexdigest(),
    }


def _usable(image: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    return (checked_flags(*image) & REJECTED_PIXEL) == 0


def file_stamp(path: str | Path) -> tuple[int, int]:
    """Size and date (ns) of a file: while they stay the same, its content is taken to be the same.

    Raises
    ------
    InputError
        If there is no such file.
    """
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, expected an ASDF or FITS image") from None
    return status.st_size, status.st_mtime_ns


@contextmanager
def readable(path: str | Path, kind: str) -> Iterator[None]:
    """Turn exceptions of the libraries on a damaged file into one line that names it."""
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(
            f"{path}: does not fit into memory, expected a {kind} that does"
        ) from error
    except Exception as error:  # which kinds the libraries raise, they do not say
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{path}: damaged or truncated, expected a complete {kind} ({reason})"
        ) from error


def check_sums(hdus: fits.HDUList, path: str | Path) -> None:
    """Check the DATASUM and CHECKSUM of HDUs that state them.

    Raises
    ------
    InputError
        If one differs from the content.
    """
    for number, hdu in enumerate(hdus):
        # Both return 0 for a sum that is wrong, 1 for a right one, 2 for none.
        for key, verify in (("DATASUM", hdu.verify_datasum), ("CHECKSUM", hdu.verify_checksum)):
            if verify() == 0:
                raise InputError(
                    f"{path}: damaged, {key} of HDU {number} is not that of its content, "
                    "expected a complete FITS file"
                )


_KINDS = {float: "a number", int: "a whole number", str: "a text"}


def entry(tree: Any, name: str, path: str | Path, kind: type = float) -> Any:
    """Entry ``a.b.c`` of a header or nested mapping, as ``kind``.

    Raises
    ------
    InputError
        If it is missing or of another kind.
    """
    expected = _KINDS.get(kind, f"a {kind.__name__}")
    value = tree
    for key in name.split("."):
        if not hasattr(value, "keys") or key not in value:
            raise InputError(f"{path}: {name} is missing, expected {expected}")
        value = value[key]
    truth = isinstance(value, bool)  # which Python counts among the whole numbers
    if (
        kind is float
        and isinstance(value, int | float | np.integer | np.floating)
        and not truth
        and np.isfinite(value)
    ):
        return float(value)
    if kind is int and isinstance(value, (int, np.integer)) and not truth:
        return int(value)
    if kind is str and isinstance(value, str) and value.strip():
        return value.strip()
    if kind not in _KINDS and isinstance(value, kind):
        return value
    raise InputError(f"{path}: {name} is {value!r}, expected {expected}")


def exposure_number(value: int, name: str, path: str | Path) -> int:
    """Check that an exposure number fits into the tables."""
    if not 0 <= value < 2**63:
        raise InputError(f"{path}: {name} is {value}, expected a number from 0 to 2**63 - 1")
    return value


def check_unit(header: Mapping[str, Any], path: str | Path) -> None:
    """Refuse images in another unit than e-/s, if UNIT or BUNIT states one."""
    for key in ("UNIT", "BUNIT"):
        if key not in header:
            continue
        text = str(header[key]).lower()
        for words, unit in _ELECTRONS_PER_SECOND:
            text = re.sub(words, unit, text)
        try:
            known = u.Unit(text) == u.electron / u.s
        except (ValueError, TypeError):
            known = False
        if not known:
            raise InputError(f"{path}: {key} is {header[key]!r}, expected electrons per second")


def check_shape(shape: tuple[int, ...], path: str | Path) -> None:
    """Refuse an image without pixels and one that is far larger than a detector."""
    if not 0 < math.prod(shape) <= MOST_PIXELS:
        raise InputError(
            f"{path}: image of shape {tuple(shape)}, expected 1 to {MOST_PIXELS:,} pixels"
        )


def positive(value: float, name: str, path: str | Path) -> float:
    """Check that a number is positive."""
    if not value > 0:
        raise InputError(f"{path}: {name} is {value!r}, expected a positive number")
    return value


def header_zero_point(header: Any, zero_point: float | None, path: str | Path) -> float:
    """AB magnitude of 1 e-/s: the file's ABMAGZP, or else the configured one."""
    if "ABMAGZP" in header:
        return entry(header, "ABMAGZP", path)
    return configured(zero_point, "zero_point", "the AB magnitude of 1 e-/s", path)


def configured(value: float | None, key: str, meaning: str, path: str | Path) -> float:
    """Setting of the section ``exposures`` that replaces what the file does not state."""
    if value is None:
        raise InputError(f"{path}: does not state {meaning}, set exposures.{key} in the config")
    return float(value)


def wfi_detector(name: str, path: str | Path) -> str:
    """Detector as ``WFI01`` ... ``WFI18``, also from ``SCA01`` or ``wfi1``."""
    match = re.fullmatch(r"(?:WFI|SCA)_?(\d{1,2})", name.strip().upper())
    if not match or not 1 <= int(match[1]) <= 18:
        raise InputError(f"{path}: detector is {name!r}, expected WFI01 ... WFI18 or SCA01 ...")
    return f"WFI{int(match[1]):02d}"


def to_icrs(
    lon: np.ndarray, lat: np.ndarray, frame: BaseCoordinateFrame
) -> tuple[np.ndarray, np.ndarray]:
    """Degrees in ``frame`` to degrees ICRS (FK5 is off by tens of milliarcseconds)."""
    lon, lat = np.asarray(lon, dtype=float), np.asarray(lat, dtype=float)
    if isinstance(frame, ICRS):
        return lon, lat
    sky = SkyCoord(lon, lat, unit="deg", frame=frame).icrs
    return sky.ra.deg, sky.dec.deg


def fitted_wcs(sky: SkyFunction, nrows: int, ncols: int, path: str | Path) -> str:
    """JSON of the `TangentWCS` of an image."""
    try:
        _check_pixels(sky, nrows, ncols)
        return TangentWCS.fit(sky, nrows, ncols).to_json()
    except ValueError as error:  # also wcslib's own errors
        raise InputError(f"{path}: the WCS cannot be used ({error})") from error


def _check_pixels(sky: SkyFunction, nrows: int, ncols: int) -> None:
    """Refuse a WCS whose pixels have no area, or absurd ones, in the middle of the image."""
    x, y = image_centre((nrows, ncols))
    ra, dec = sky(x + np.array([0.0, 1.0, 0.0]), y + np.array([0.0, 0.0, 1.0]))
    plane = ARCSEC * np.stack(project(ra, dec, ra[0], dec[0]))
    along, across = (plane[:, 1:] - plane[:, :1]).T
    sides = np.hypot(*along), np.hypot(*across)
    area = abs(along[0] * across[1] - along[1] * across[0])
    if not (
        _SIDES[0] < min(sides) <= max(sides) < _SIDES[1]
        and area > _LEAST_SINE * sides[0] * sides[1]
    ):
        raise ValueError(
            f"pixels of {sides[0]:.3g} x {sides[1]:.3g} arcsec and {area:.3g} arcsec^2, expected "
            f"sides from {_SIDES[0]:g} to {_SIDES[1]:g} arcsec that are not parallel"
        )


def same_shape(row: Mapping[str, Any], shape: tuple[int, ...]) -> None:
    """Check that an image has the shape that the exposures table gives."""
    if shape != (row["nrows"], row["ncols"]):
        raise InputError(
            f"{row['file']}: image of shape {shape}, expected ({row['nrows']}, {row['ncols']}) "
            "as in the exposures table; run the frames step again"
        )
