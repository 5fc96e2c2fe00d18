"""Cut-outs of Roman images about a fixed position on the sky."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.nddata import NoOverlapError, overlap_slices

from romanprf.errors import InputError
from romanprf.io.exposure import Exposure
from romanprf.io.images import check_one_setup, exposure_rows, read_image, with_one_zero_point
from romanprf.io.pixel_series import PixelPosition, PixelSeries

#: Slices of the image, slices of the cut-out, array row and column of the cut-out's first pixel.
Window = tuple[tuple[slice, slice], tuple[slice, slice], tuple[int, int]]
WHOLE: Window = ((slice(None), slice(None)), (slice(None), slice(None)), (0, 0))


def read_cutouts(
    files: str | Path | Iterable[str | Path],
    position: tuple[float, float] | SkyCoord | PixelPosition | None = None,
    size: int | tuple[int, int] | None = None,
    *,
    gain: float | None = None,
    zero_point: float | None = None,
) -> PixelSeries:
    """Cut the same piece of sky out of every exposure of Roman image files.

    Parameters
    ----------
    files : path or iterable of paths
        Images of the formats of `romanprf.io.images`, of one filter and detector, in any order;
        a file may hold many exposures.
    position : (ra, dec), SkyCoord or PixelPosition, optional
        Centre of the cut-outs: degrees ICRS, a coordinate of any frame, or a detector pixel of the
        first exposure in time, whose place on the sky is then followed.
    size : int or (int, int), optional
        Pixels per side, or rows and columns, about the pixel nearest to ``position``.  Give both
        or neither: without them whole images are read, which must have one shape.
    gain, zero_point : float, optional
        Electrons per DN and AB magnitude of 1 e-/s, for files that do not state them.

    Returns
    -------
    PixelSeries
        By time; pixels row by row.  Beyond the edge of an image flux is NaN and its error
        infinite, as in rejected pixels.  ``meta`` holds mission, filter, detector, time_scale,
        zero_point and pixel_area of the first exposure (see `romanprf.schemas.EXPOSURES`) and
        shape, the rows and columns of a cut-out; ``extra`` the series exposure and poisson_slope
        (see `romanprf.core.image.Image`).

    Raises
    ------
    InputError
        If a file cannot be read, does not go with the others, or has nothing of the cut-out.
    ValueError, TypeError
        If ``files`` is empty, or ``position`` or ``size`` has no valid form.
    """
    shape = _shape(position, size)
    exposures = _exposures(files, gain, zero_point)
    if shape is None:
        shape = _common_shape(exposures)
        windows = [WHOLE] * len(exposures)
    else:
        sky = _sky_position(position, exposures[0])
        windows = [_window(exposure, sky, shape) for exposure in exposures]
    images = [_cut(e, window, shape) for e, window in zip(exposures, windows, strict=True)]
    flux, flux_err, slope = (np.array(values) for values in zip(*images, strict=True))
    ra, dec, row, column = _coordinates(exposures, windows, shape)
    first = exposures[0]
    names = ("filter", "detector", "time_scale", "zero_point", "pixel_area")
    return PixelSeries(
        time=np.array([e["time"] for e in exposures]),
        flux=flux,
        flux_err=flux_err,
        ra=ra,
        dec=dec,
        row=row,
        column=column,
        meta={"mission": "Roman", **{name: first[name] for name in names}, "shape": shape},
        extra={"exposure": np.array([e["exposure"] for e in exposures]), "poisson_slope": slope},
    )


def _shape(position: Any, size: Any) -> tuple[int, int] | None:
    """Rows and columns of the cut-outs; None for whole images."""
    if position is None and size is None:
        return None
    if position is None or size is None:
        raise ValueError(
            f"position is {position!r} and size {size!r}, expected both, "
            "or neither to read whole images"
        )
    shape = (size, size) if np.ndim(size) == 0 else tuple(size)
    if len(shape) != 2 or not all(isinstance(n, (int, np.integer)) and n > 0 for n in shape):
        raise ValueError(f"size is {size!r}, expected pixels per side or (rows, columns)")
    return int(shape[0]), int(shape[1])


def _exposures(
    files: str | Path | Iterable[str | Path], gain: float | None, zero_point: float | None
) -> list[dict]:
    """All exposures of the files, by time, after checking that they go together."""
    paths = [files] if isinstance(files, (str, Path)) else list(files)
    if not paths:
        raise ValueError("files is empty, expected at least one image file")
    exposures = [row for path in paths for row in exposure_rows(path, gain, zero_point)]
    exposures.sort(key=lambda row: row["time"])
    for before, row in itertools.pairwise(exposures):
        if (row["exposure"], row["time"]) == (before["exposure"], before["time"]):
            raise InputError(
                f"exposure {row['exposure']} is both in {before['file']} and {row['file']}, "
                "expected each exposure once"
            )
    check_one_setup(exposures)
    return with_one_zero_point(exposures)


def _common_shape(exposures: list[dict]) -> tuple[int, int]:
    shape = (exposures[0]["nrows"], exposures[0]["ncols"])
    for row in exposures:
        if (row["nrows"], row["ncols"]) != shape:
            raise InputError(
                f"{row['file']}: image of shape {(row['nrows'], row['ncols'])}, expected {shape} "
                f"as in {exposures[0]['file']}; give position and size to cut out the same sky"
            )
    return shape


def _sky_position(position: Any, first: Mapping[str, Any]) -> tuple[float, float]:
    """``position`` in degrees ICRS."""
    if isinstance(position, SkyCoord) and position.isscalar:
        return float(position.icrs.ra.deg), float(position.icrs.dec.deg)
    try:
        one, two = (float(value) for value in position)
    except (TypeError, ValueError):
        given = " ".join(repr(position).split())
        raise TypeError(
            f"position is {given}, expected (ra, dec) in degrees, one SkyCoord or a PixelPosition"
        ) from None
    if isinstance(position, PixelPosition):
        wcs = Exposure.from_row(first).wcs
        ra, dec = wcs.pixel_to_sky(two - first["column0"], one - first["row0"])
        one, two = float(ra), float(dec)
    if not (np.isfinite(one) and -90.0 <= two <= 90.0):
        raise ValueError(f"position is {position!r}, expected finite ra and dec in degrees")
    return one, two


def _window(
    exposure: Mapping[str, Any], sky: tuple[float, float], shape: tuple[int, int]
) -> Window:
    """Place of a cut-out in an image."""
    x, y = Exposure.from_row(exposure).wcs.sky_to_pixel(*map(np.asarray, sky))
    size = (exposure["nrows"], exposure["ncols"])
    try:
        image, cut = overlap_slices(size, shape, (float(y), float(x)), mode="partial")
    except (NoOverlapError, ValueError):  # ValueError: NaN, far from the image
        raise InputError(
            f"{exposure['file']}: exposure {exposure['exposure']} of shape {size} has nothing of "
            f"the {shape[0]} x {shape[1]} pixels about ra {sky[0]:.6f}, dec {sky[1]:.6f}, "
            "expected images of that place"
        ) from None
    return image, cut, (image[0].start - cut[0].start, image[1].start - cut[1].start)


def _cut(
    exposure: Mapping[str, Any], window: Window, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, float]:
    """Flux and error (npix,) of a cut-out, and the slope of the photon noise."""
    inside, here, _ = window
    image = read_image(exposure)
    flux, flux_err = np.full(shape, np.nan), np.full(shape, np.inf)
    flux[here] = np.where(image.usable[inside], image.flux[inside], np.nan)
    flux_err[here] = image.flux_err[inside]
    return flux.ravel(), flux_err.ravel(), image.poisson_slope


def _coordinates(
    exposures: list[dict], windows: list[Window], shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """``ra, dec, row, column`` of the pixels: (npix,) if the same in all frames, or (nt, npix)."""
    grids: dict[tuple, tuple[np.ndarray, ...]] = {}
    keys = []
    for exposure, (_, _, (row0, column0)) in zip(exposures, windows, strict=True):
        key = (exposure["wcs"], row0, column0, exposure["row0"], exposure["column0"])
        keys.append(key)
        if key not in grids:
            y, x = (axis.ravel() for axis in np.indices(shape))
            y, x = y + row0, x + column0
            sky = Exposure.from_row(exposure).wcs.pixel_to_sky(x, y)
            grids[key] = (*sky, y + exposure["row0"], x + exposure["column0"])
    if len(grids) == 1:
        ra, dec, row, column = grids[keys[0]]
    else:
        ra, dec, row, column = (np.stack(a) for a in zip(*(grids[k] for k in keys), strict=True))
    return ra, dec, row, column
