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
    entry,
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


def exposure_rows(path: str, gain: float | None, zero_point: float | None) -> list[dict]:
    """The one exposure of a frame (see `romanprf.io.images.exposure_rows`)."""
    del gain  # the files are in electrons
    with _open(path) as (header, flux, flux_err):
        nrows, ncols = flux.shape
        row = {
            "exposure": entry(header, "EXP_NO", path, int),
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

    ``poisson_slope`` is 1 / EXPOSURE: these files' photon variance is flux over exposure time.
    """
    with _open(exposure["file"]) as (_, flux, flux_err):
        same_shape(exposure, flux.shape)
        return masked_image(
            *_pixels(flux, flux_err, slice(None)), poisson_slope=1.0 / exposure["exposure_time"]
        )


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
def _open(path: str) -> Iterator[tuple[fits.Header, np.ndarray, np.ndarray]]:
    """Header, flux and error (memory-mapped) of a frame."""
    with (
        readable(path, "FITS file"),
        warnings.catch_warnings(action="ignore", category=AstropyWarning),
        fits.open(path, memmap=True) as hdus,
    ):
        _check_size(path, hdus)
        if len(hdus) < 2 or not hdus[1].is_image or hdus[1].data is None:
            raise InputError(f"{path}: no error image, expected it in extension 1")
        flux, flux_err = hdus[0].data, hdus[1].data
        if flux is None or flux.ndim != 2:
            raise InputError(f"{path}: no image, expected a 2-D flux image in the primary HDU")
        if flux.shape != flux_err.shape:
            raise InputError(
                f"{path}: flux {flux.shape} and error {flux_err.shape} differ in shape"
            )
        yield hdus[0].header, flux, flux_err


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
    with readable(path, "FITS WCS"):
        wcs = WCS(header)
    if not wcs.has_celestial or wcs.naxis != 2:
        raise InputError(f"{path}: no WCS, expected celestial CTYPE1 and CTYPE2 in the header")
    return wcs
