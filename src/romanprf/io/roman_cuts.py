"""roman-cuts cubes: ASDF, ``roman: {meta, wcs, data}``, many exposures in one file.

``wcs`` lists the WCS of the FULL frames, in the RImTimSim convention (axis 1 counts rows);
``row`` and ``column`` are the first pixel of the cube in them, one number or one per exposure.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import asdf
import numpy as np
import psutil
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS

from romanprf.core.image import Image, masked_image
from romanprf.errors import InputError
from romanprf.io.reading import (
    check_shape,
    check_unit,
    entry,
    exposure_number,
    file_stamp,
    fitted_wcs,
    header_zero_point,
    positive,
    readable,
    same_shape,
    summarised,
    wfi_detector,
)
from romanprf.io.rimtimsim import sky_function
from romanprf.io.times import julian_dates, time_scale


def exposure_rows(path: str, gain: float | None, zero_point: float | None) -> list[dict]:
    """The exposures of a cube (see `romanprf.io.images.exposure_rows`)."""
    del gain  # cubes are in electrons
    with _quietly(path), asdf.open(path, memmap=True, lazy_tree=True) as file:
        roman = _checked(file["roman"], path)
        _check_memory(file, roman["data"], path)
        data, meta = roman["data"], roman["meta"]
        n, nrows, ncols = data["flux"].shape
        check_unit(meta, path)
        series = {
            "exposure": _series(data, "exposureno", n, path, np.integer),
            "time": julian_dates(
                _series(data, "time", n, path, np.floating), meta, "roman.data.time", path
            ),
            "row0": _series(data, "row", n, path, np.integer),
            "column0": _series(data, "column", n, path, np.integer),
            "quality": _series(data, "quality", n, path, np.integer),
        }
        common = {
            "file": path,
            "format": "roman_cuts",
            "time_scale": time_scale(meta, "utc", path),
            "exposure_time": positive(entry(meta, "EXPOSURE", path), "EXPOSURE", path),
            "filter": entry(meta, "FILTER", path, str).upper(),
            "detector": wfi_detector(entry(meta, "DETECTOR", path, str), path),
            "nrows": nrows,
            "ncols": ncols,
            "gain": 1.0,
            "zero_point": header_zero_point(meta, zero_point, path),
            "pixel_area": None,
        }
        wcs = _wcs_list(roman, n, path)
        rows = []
        for plane in range(n):
            row = {**common, "plane": plane, **{k: v[plane].item() for k, v in series.items()}}
            exposure_number(row["exposure"], "roman.data.exposureno", path)
            sky = sky_function(wcs[plane], row["row0"], row["column0"])
            row["wcs"] = fitted_wcs(sky, nrows, ncols, path)
            rows.append(summarised(row, functools.partial(_pixels, data, plane)))
        return rows


def read_image(exposure: Mapping[str, Any]) -> Image:
    """Pixels of one exposure of a cube; ``poisson_slope`` is 1 / EXPOSURE in its unit."""
    path, plane = exposure["file"], int(exposure["plane"])
    with _quietly(path):
        data = _checked(_kept_open(path, file_stamp(path))["roman"], path)["data"]
        if plane >= len(data["flux"]):
            raise InputError(f"{path}: no plane {plane}, the cube has {len(data['flux'])}")
        same_shape(exposure, data["flux"].shape[1:])
        gain = exposure["gain"]
        slope = gain / exposure["exposure_time"]
        return masked_image(*_pixels(data, plane, slice(None)), slope, gain)


@contextmanager
def _quietly(path: str) -> Iterator[None]:
    with (
        readable(path, "roman-cuts cube"),
        warnings.catch_warnings(action="ignore", category=AstropyWarning),
    ):
        yield


@functools.lru_cache(maxsize=1)
def _kept_open(path: str, stamp: tuple[int, int]) -> asdf.AsdfFile:
    """A cube, its arrays on disk; the cube that was read last stays open.

    Parsing the WCS of a season's exposures takes seconds, and would delay each frame.
    """
    del stamp  # a changed file is opened anew
    return asdf.open(path, memmap=True, lazy_tree=True, validate_checksums=True)


def _checked(roman: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """The tree below ``roman``, after checking that it holds images."""
    for name in ("meta", "wcs", "data"):
        if name not in roman:
            raise InputError(f"{path}: no entry roman.{name}, expected meta, wcs and data")
    for name in ("flux", "flux_err"):
        if len(getattr(roman["data"].get(name), "shape", ())) != 3:  # `np.ndim` would unpack it
            raise InputError(f"{path}: no images, expected a 3-D array roman.data.{name}")
    shapes = [tuple(roman["data"][name].shape) for name in ("flux", "flux_err")]
    if shapes[0] != shapes[1]:
        raise InputError(f"{path}: flux {shapes[0]} and error {shapes[1]} differ in shape")
    if not shapes[0][0]:
        raise InputError(f"{path}: a cube of no exposures, expected at least one")
    check_shape(shapes[0][1:], path)
    return roman


def _check_memory(file: asdf.AsdfFile, data: Mapping[str, Any], path: str) -> None:
    """Refuse compressed images, which are unpacked as a whole, beyond the memory that is free."""
    arrays = [data["flux"], data["flux_err"]]
    size = sum(
        a.dtype.itemsize * math.prod(a.shape) for a in arrays if file.get_array_compression(a)
    )
    free = psutil.virtual_memory().available
    if size > free:
        raise InputError(
            f"{path}: compressed images of {size / 1e9:.3g} GB, expected less than the "
            f"{free / 1e9:.3g} GB of memory that are free; store them uncompressed"
        )


def _series(data: Mapping[str, Any], name: str, n: int, path: str, kind: type) -> np.ndarray:
    """One value per exposure of an entry that may be a single number."""
    if name not in data:
        raise InputError(f"{path}: roman.data.{name} is missing, expected {n} numbers")
    values = np.array(data[name])
    expected = f"{n} {'whole ' if kind is np.integer else ''}numbers"
    if values.shape not in ((), (n,)) or not np.issubdtype(values.dtype, kind):
        raise InputError(
            f"{path}: roman.data.{name} has shape {values.shape} and type {values.dtype}, "
            f"expected {expected}"
        )
    if not np.isfinite(values).all():
        raise InputError(f"{path}: roman.data.{name} holds NaN, expected {expected}")
    return np.broadcast_to(values, (n,))


def _wcs_list(roman: Mapping[str, Any], n: int, path: str) -> list[WCS]:
    wcs = roman["wcs"]
    wcs = list(wcs) if isinstance(wcs, Sequence) else [wcs] * n
    usable = all(isinstance(w, WCS) and w.has_celestial and w.naxis == 2 for w in wcs)
    if len(wcs) != n or not usable:
        raise InputError(f"{path}: no WCS, expected {n} celestial WCS in roman.wcs")
    return wcs


def _pixels(
    data: Mapping[str, Any], plane: int, rows: slice
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    flux, flux_err = (np.asarray(data[name][plane, rows]) for name in ("flux", "flux_err"))
    return flux, flux_err, np.zeros(flux.shape, dtype=np.int32)
