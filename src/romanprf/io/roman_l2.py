"""Official Roman WFI Level 2 images: ASDF, DN/s, gwcs, flat-fielded, background included.

Peculiarities of the format: in some files the conversion to flux density and the pixel area are
negative; pixels without a ramp fit have err = 0; the frame of the WCS may be FK5; the file does not
state the gain; arrays stay on disk and close with the model.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from astropy import units as u
from astropy.time import Time

from romanprf.core.image import Image, masked_image
from romanprf.errors import InputError
from romanprf.flags import from_roman_dq
from romanprf.io.reading import (
    check_shape,
    configured,
    entry,
    fitted_wcs,
    positive,
    readable,
    same_shape,
    summarised,
    to_icrs,
    wfi_detector,
)
from romanprf.io.times import checked_dates
from romanprf.sky.wcs import SkyFunction, TangentWCS, image_centre

#: Flux density of AB magnitude 0, Jy.
_AB_ZERO = (1.0 * u.ABflux).to_value(u.Jy)
#: Value that Roman files write for an unknown number.
_NO_VALUE = -999999
#: Rows of an image from which the photon variance per flux is measured: a million pixels of a full
#: image, whose median is known well enough.
SLOPE_ROWS = 256


def exposure_rows(path: str, gain: float | None, zero_point: float | None) -> list[dict]:
    """The one exposure of a file (see `romanprf.io.images.exposure_rows`)."""
    gain = configured(gain, "gain", "the gain (electrons per DN)", path)
    with _open(path) as model:
        nrows, ncols = model.data.shape
        meta = model.meta
        time = _mid_time(meta, path)
        wcs = fitted_wcs(_sky_function(meta, path), nrows, ncols, path)
        row = {
            "exposure": _number(meta, path),
            "file": path,
            "format": "roman_l2",
            "plane": 0,
            "time": float(time.jd),
            "time_scale": time.scale,
            "exposure_time": _positive(meta, "exposure.effective_exposure_time", path),
            "filter": entry(meta, "instrument.optical_element", path, str).upper(),
            "detector": wfi_detector(entry(meta, "instrument.detector", path, str), path),
            "nrows": nrows,
            "ncols": ncols,
            "row0": 0,
            "column0": 0,
            "gain": gain,
            "zero_point": _zero_point(meta, gain, zero_point, path),
            "pixel_area": _pixel_area(meta, wcs, (nrows, ncols), path),
            "wcs": wcs,
            "quality": 0,
        }
        return [summarised(row, lambda rows: _pixels(model, rows), partial(_quality, model))]


def read_image(exposure: Mapping[str, Any]) -> Image:
    """Pixels of a file in e-/s.

    ``poisson_slope`` is the median of photon variance over flux, which differs from
    1 / exposure time because of the weights of the ramp fit.  It is 1 / exposure time if the file
    has no ``var_poisson`` or no pixel with flux.
    """
    gain = exposure["gain"]
    with _open(exposure["file"], check=True) as model:
        same_shape(exposure, model.data.shape)
        flux, flux_err, flags = _pixels(model, slice(None))
        slope = _poisson_slope(model, flux, flux_err, flags)
        slope = 1.0 / exposure["exposure_time"] if slope is None else gain * slope
        return masked_image(flux, flux_err, flags, slope, gain)


def _poisson_slope(
    model: Any, flux: np.ndarray, flux_err: np.ndarray, flags: np.ndarray
) -> float | None:
    """Median of photon variance over flux (1/s times DN per electron) of at most 256 rows."""
    if model.get("var_poisson") is None:
        return None
    rows = slice(None, None, max(1, len(flux) // SLOPE_ROWS))
    flux, variance = (np.array(a[rows], dtype=float) for a in (flux, model["var_poisson"]))
    good = (flags[rows] == 0) & (flux > 0) & (flux_err[rows] > 0)
    good &= np.isfinite(variance) & (variance > 0)
    return float(np.median(variance[good] / flux[good])) if good.any() else None


@contextmanager
def _open(path: str, check: bool = False) -> Iterator[Any]:
    """The data model, its arrays on disk, that are images; ``check``: verify sums of blocks."""
    import roman_datamodels as rdm  # noqa: PLC0415  (a slow import, L2 files only)

    with (
        readable(path, "Roman WFI image"),
        warnings.catch_warnings(action="ignore", category=UserWarning),  # of renamed files
        rdm.open(path, memmap=True, validate_checksums=check) as model,
    ):
        shapes = {}
        for name in ("data", "err", "dq"):
            array = model.get(name)
            if len(getattr(array, "shape", ())) != 2:  # `np.ndim` would decompress it
                raise InputError(f"{path}: no image, expected a 2-D array roman.{name}")
            shapes[name] = tuple(array.shape)
        if len(set(shapes.values())) > 1:
            raise InputError(f"{path}: images differ in shape: {shapes}")
        check_shape(shapes["data"], path)
        yield model


def _pixels(model: Any, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Flux, error and flags; valid while the model is open."""
    return (
        np.asarray(model.data[rows]),
        np.asarray(model.err[rows]),
        from_roman_dq(np.asarray(model.dq[rows])),
    )


def _quality(model: Any, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels that are usable where the data quality allows: only that array is read."""
    flags = from_roman_dq(np.asarray(model.dq[rows]))
    one = np.broadcast_to(np.float32(1.0), flags.shape)
    return one, one, flags


def _number(meta: Any, path: str) -> int:
    """Exposure number that is unique over the visits of a programme."""
    names = ("pass", "segment", "observation", "visit", "exposure")
    numbers = [entry(meta, f"observation.{name}", path, int) for name in names]
    limits = (1000, 1000, 1000, 1000, 10000)
    for name, number, limit in zip(names, numbers, limits, strict=True):
        if not 0 <= number < limit:
            raise InputError(
                f"{path}: observation.{name} is {number}, expected a number below {limit}"
            )
    number = 0
    for part, limit in zip(numbers, limits, strict=True):
        number = number * limit + part
    return number


def _mid_time(meta: Any, path: str) -> Time:
    """Middle of the exposure, after checking that the exposure does not end before it starts."""
    start, mid, end = (
        entry(meta, f"exposure.{name}_time", path, Time) for name in ("start", "mid", "end")
    )
    if end < start:
        raise InputError(
            f"{path}: exposure.end_time is {end.isot}, expected a time that is not before "
            f"start_time = {start.isot}"
        )
    checked_dates(mid.jd, "exposure.mid_time", path)
    return mid


def _positive(meta: Any, name: str, path: str) -> float:
    return positive(entry(meta, name, path), name, path)


def _photometry(meta: Any, name: str, path: str) -> float:
    """A photometric constant, which is not zero."""
    value = entry(meta, f"photometry.{name}", path)
    if value in (0.0, _NO_VALUE):
        raise InputError(f"{path}: photometry.{name} is {value}, expected its value")
    return value


def _zero_point(meta: Any, gain: float, zero_point: float | None, path: str) -> float:
    """AB magnitude of 1 e-/s: the file's, or else the configured one."""
    if not _stated(meta, "conversion_megajanskys"):
        return configured(zero_point, "zero_point", "the AB magnitude of 1 e-/s", path)
    conversion = _photometry(meta, "conversion_megajanskys", path)
    jansky = abs(conversion * _photometry(meta, "pixel_area", path)) * 1e6  # of 1 DN/s
    return float(-2.5 * np.log10(jansky / gain / _AB_ZERO))


def _pixel_area(meta: Any, wcs: str, shape: tuple[int, int], path: str) -> float:
    """Area (sr) to which the calibration refers; of the middle pixel if there is no calibration."""
    if _stated(meta, "pixel_area") or _stated(meta, "conversion_megajanskys"):
        return abs(_photometry(meta, "pixel_area", path))
    return float(TangentWCS.from_json(wcs).pixel_area(*image_centre(shape)))


def _stated(meta: Any, name: str) -> bool:
    return meta["photometry"].get(name) not in (None, _NO_VALUE)


def _sky_function(meta: Any, path: str) -> SkyFunction:
    wcs = meta.get("wcs")
    frame = getattr(getattr(wcs, "output_frame", None), "reference_frame", None)
    if frame is None:
        raise InputError(f"{path}: no WCS, expected a gwcs with a celestial frame in meta.wcs")

    def sky(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lon, lat = wcs(x, y, with_bounding_box=False)
        return to_icrs(lon, lat, frame)

    return sky
