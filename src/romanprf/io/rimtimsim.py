"""RImTimSim frames: FITS, primary image in e-/s, its error in extension 1.

The files come from an IDL-like convention in which WCS axis 1 is the FIRST array axis, that is
FITS axis 2.  That is undone here, so that everywhere else x is the column.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame

from romanprf.core.image import Image, masked_image
from romanprf.errors import InputError
from romanprf.io.reading import (
    check_shape,
    check_sums,
    check_unit,
    entry,
    exposure_number,
    fitted_wcs,
    header_zero_point,
    positive,
    readable,
    same_shape,
    summarised,
    to_icrs,
    wfi_detector,
)
from romanprf.io.times import middle, time_scale
from romanprf.sky.wcs import SkyFunction

#: Highest order of a SIP polynomial (Shupe et al. 2005); astropy makes room for any.
_HIGHEST_ORDER = 9


def exposure_rows(path: str, gain: float | None, zero_point: float | None) -> list[dict]:
    """The one exposure of a frame (see `romanprf.io.images.exposure_rows`)."""
    del gain  # the files are in electrons
    with _open(path) as (header, flux, flux_err):
        nrows, ncols = flux.shape
        row = {
            "exposure": exposure_number(entry(header, "EXP_NO", path, int), "EXP_NO", path),
            "file": path,
            "format": "rimtimsim",
            "plane": 0,
            "time": middle(header, path),
            "time_scale": time_scale(header, "utc", path),
            "exposure_time": positive(entry(header, "EXPOSURE", path), "EXPOSURE", path),
            "filter": entry(header, "FILTER", path, str).upper(),
            "detector": wfi_detector(entry(header, "DETECTOR", path, str), path),
            "nrows": nrows,
            "ncols": ncols,
            "row0": 0,
            "column0": 0,
            "gain": 1.0,
            "zero_point": header_zero_point(header, zero_point, path),
            "pixel_area": None,
            "wcs": fitted_wcs(sky_function(_wcs(header, path), 0, 0), nrows, ncols, path),
            "quality": 0,
        }
        return [summarised(row, lambda rows: _pixels(flux, flux_err, rows))]


def read_image(exposure: Mapping[str, Any]) -> Image:
    """Pixels of a frame.

    ``poisson_slope`` is 1 / EXPOSURE, in the unit of the file: these files' photon variance is flux
    over exposure time.
    """
    gain = exposure["gain"]
    with _open(exposure["file"], check=True) as (_, flux, flux_err):
        same_shape(exposure, flux.shape)
        slope = gain / exposure["exposure_time"]
        return masked_image(*_pixels(flux, flux_err, slice(None)), slope, gain)


def sky_function(wcs: WCS, row0: int, column0: int) -> SkyFunction:
    """``sky(x, y)`` in degrees ICRS of an array whose first pixel is (row0, column0) of ``wcs``.

    WCS axis 1 counts rows, axis 2 columns.
    """
    frame = wcs_to_celestial_frame(wcs)

    def sky(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lon, lat = wcs.all_pix2world(y + row0, x + column0, 0)
        return to_icrs(lon, lat, frame)

    return sky


@contextmanager
def _open(path: str, check: bool = False) -> Iterator[tuple[fits.Header, np.ndarray, np.ndarray]]:
    """Header, flux and error of a frame; ``check``: verify their sums."""
    with (
        readable(path, "FITS file"),
        warnings.catch_warnings(action="ignore", category=AstropyWarning),
        _images(path) as hdus,
    ):
        if check:
            check_sums(hdus[:2], path)
        yield hdus[0].header, hdus[0].data, hdus[1].data


@contextmanager
def _images(path: str) -> Iterator[fits.HDUList]:
    """The HDUs, their data on disk unless a scale or zero point forbids that."""
    with fits.open(path, memmap=True) as hdus:
        _check_layout(path, hdus)
        if not any(key in hdu.header for hdu in hdus[:2] for key in ("BZERO", "BSCALE", "BLANK")):
            yield hdus
            return
    with fits.open(path, memmap=False) as hdus:
        yield hdus


def _check_layout(path: str, hdus: fits.HDUList) -> None:
    """Refuse files without two images of one shape in e-/s."""
    if not isinstance(hdus[0], fits.PrimaryHDU):
        raise InputError(f"{path}: no image, expected a standard FITS file (SIMPLE = T) of images")
    _check_size(path, hdus)
    if len(hdus) < 2 or not hdus[1].is_image or not hdus[1].shape:
        raise InputError(f"{path}: no error image, expected it in extension 1")
    if len(hdus[0].shape) != 2:
        raise InputError(f"{path}: no image, expected a 2-D flux image in the primary HDU")
    if hdus[0].shape != hdus[1].shape:
        raise InputError(f"{path}: flux {hdus[0].shape} and error {hdus[1].shape} differ in shape")
    check_shape(hdus[0].shape, path)
    for hdu in hdus[:2]:
        check_unit(hdu.header, path)


def _check_size(path: str, hdus: fits.HDUList) -> None:
    """Refuse a truncated file: astropy maps the rest of it, or drops a header cut in two."""
    end = max(info["datLoc"] + info["datSpan"] for hdu in hdus if (info := hdu.fileinfo()))
    size = Path(path).stat().st_size
    if size < end or (size > end and len(hdus) < 2):
        raise InputError(f"{path}: damaged or truncated, expected a complete FITS file")


def _pixels(
    flux: np.ndarray, flux_err: np.ndarray, rows: slice
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return flux[rows], flux_err[rows], np.zeros(flux[rows].shape, dtype=np.int32)


def _wcs(header: fits.Header, path: str) -> WCS:
    for key in ("A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER"):
        if key in header and not 0 <= entry(header, key, path, int) <= _HIGHEST_ORDER:
            raise InputError(
                f"{path}: {key} is {header[key]}, expected an order up to {_HIGHEST_ORDER}"
            )
    with readable(path, "FITS WCS"):
        wcs = WCS(header)
    if not wcs.has_celestial or wcs.naxis != 2:
        raise InputError(f"{path}: no WCS, expected celestial CTYPE1 and CTYPE2 in the header")
    return wcs
