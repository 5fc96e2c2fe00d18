"""Checks of the arguments of `romanprf.Machine`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
import psutil
from numpy.typing import ArrayLike

from romanprf.machine import arrays
from romanprf.solve.fluxes import Prior

#: Square matrices of all coefficients that a fit of the log-polar PRF holds at once, and the part
#: of the available memory that they may take.
_MATRICES, _PART = 4, 0.5
#: More knots than this are too many anyway.
_ENDLESS = 10**9


def pixel_series(flux: ArrayLike, flux_err: ArrayLike, nt: int) -> tuple[np.ndarray, np.ndarray]:
    """Flux and its error as new float64 arrays of shape (nt, npixels), e-/s; NaN where masked.

    Raises
    ------
    ValueError
        If they have other shapes or units, or an error is not positive.
    """
    flux = arrays.numbers(flux, "flux", arrays.FLUX)
    flux_err = arrays.numbers(flux_err, "flux_err", arrays.FLUX)
    if flux.ndim not in (2, 3) or flux.shape[0] != nt:
        raise ValueError(
            f"flux has shape {flux.shape}, expected (nt, npixels) or (nt, nrows, ncolumns) with "
            f"nt = {nt} as time has; one image is flux[None]"
        )
    if flux_err.shape != flux.shape:
        raise ValueError(f"flux_err has shape {flux_err.shape}, expected {flux.shape} as flux has")
    if flux.size == 0:
        raise ValueError(f"flux has shape {flux.shape}, expected one pixel at least")
    flux, flux_err = flux.reshape(nt, -1), flux_err.reshape(nt, -1)
    wrong = np.argwhere(flux_err <= 0.0)
    if wrong.size:
        t, p = wrong[0]
        raise ValueError(
            f"flux_err of frame {t}, pixel {p} is {flux_err[t, p]}, expected positive errors; "
            "to leave a pixel out, make its error infinite"
        )
    return flux, flux_err


def require_usable(flux: np.ndarray, flux_err: np.ndarray) -> None:
    """Check that some frame has a pixel whose flux and error are finite."""
    usable = (np.isfinite(flux) & np.isfinite(flux_err)).any(axis=1)
    if not usable.any():
        raise ValueError(
            f"no pixel of the {len(usable)} frames has a finite flux and error, expected usable "
            "pixels: look for NaN, or raise saturation_limit"
        )


def pixel_coordinate(values: ArrayLike, name: str, given: tuple[int, ...], unit: str) -> np.ndarray:
    """A coordinate of pixels with shape (npixels,) or (nt, npixels).

    Parameters
    ----------
    values : array_like
        (npixels,), (nt, npixels), (nrows, ncolumns) or (nt, nrows, ncolumns).
    name : str
        For messages.
    given : tuple of int
        Shape of the flux as the user gave it.
    unit : str
        Of the coordinate.
    """
    array = arrays.numbers(values, name, unit)
    npixels = int(np.prod(given[1:]))
    if array.shape in ((npixels,), given[1:]):
        array = array.reshape(npixels)
    elif array.shape in (given, (given[0], npixels)):
        array = array.reshape(given[0], npixels)
    else:
        raise ValueError(
            f"{name} has shape {array.shape}, expected ({npixels},) or {given}: one value for each "
            "pixel, or one for each pixel and frame"
        )
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name}{list(where)} is {array[where]}, expected finite coordinates")
    return array


def coordinates(
    ra: ArrayLike, dec: ArrayLike, row: ArrayLike, column: ArrayLike, given: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """``ra``, ``dec``, ``row`` and ``column`` of the pixels (see `pixel_coordinate`)."""
    return (
        pixel_coordinate(ra, "ra", given, arrays.DEGREES),
        pixel_coordinate(dec, "dec", given, arrays.DEGREES),
        whole_numbers(pixel_coordinate(row, "row", given, arrays.PIXELS), "row"),
        whole_numbers(pixel_coordinate(column, "column", given, arrays.PIXELS), "column"),
    )


def whole_numbers(array: np.ndarray, name: str) -> np.ndarray:
    """Rows or columns as int64."""
    rounded = np.rint(array)
    if np.max(np.abs(array - rounded)) > 1e-6:
        worst = array.flat[int(np.argmax(np.abs(array - rounded)))]
        raise ValueError(f"{name} has the value {worst}, expected whole numbers of detector pixels")
    return rounded.astype(np.int64)


def times(time: ArrayLike) -> np.ndarray:
    """Times as float64, shape (nt,)."""
    array = arrays.numbers(time, "time", "d")
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"time has shape {array.shape}, expected (nt,) times in JD, at least one")
    if not np.isfinite(array).all():
        frame = int(np.argmin(np.isfinite(array)))
        raise ValueError(
            f"time of frame {frame} is {array[frame]}, expected finite times in JD: leave frames "
            "without one out"
        )
    return array


def frame_mask(mask: ArrayLike | None, nt: int) -> np.ndarray:
    """Boolean mask of frames, all of them if not given."""
    if mask is None:
        return np.ones(nt, bool)
    array = np.ma.filled(mask, False) if np.ma.isMaskedArray(mask) else np.asarray(mask)
    if array.dtype != bool or array.shape != (nt,):
        raise ValueError(
            f"time_mask has shape {array.shape} and type {array.dtype}, expected ({nt},) booleans"
        )
    if not array.any():
        raise ValueError(f"time_mask leaves none of the {nt} frames, expected one True at least")
    return array.copy()


def source_table(sources: Any, flux_column: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``ra``, ``dec`` (degrees) and flux estimate (e-/s) of the sources, each (nsources,).

    Raises
    ------
    TypeError
        If it is not a DataFrame.
    ValueError
        If it has no rows, lacks a column, or has values that are not finite.
    """
    if not isinstance(sources, pd.DataFrame):
        raise TypeError(
            f"sources is a {type(sources).__name__}, expected a pandas DataFrame with columns "
            f"'ra', 'dec' and {flux_column!r}"
        )
    if len(sources) == 0:
        raise ValueError("sources has no rows, expected one source at least")
    columns = []
    for name in ("ra", "dec", flux_column):
        if name not in sources:
            raise ValueError(
                f"sources has no column {name!r}, expected 'ra', 'dec' (degrees) and the flux "
                f"estimate (e-/s) that sources_flux_column={flux_column!r} names; it has "
                f"{', '.join(map(str, sources.columns))}"
            )
        values = _numbers(sources[name], f"sources: {name}")
        if not np.isfinite(values).all():
            row = sources.index[~np.isfinite(values)][0]
            raise ValueError(f"sources: {name} of row {row} is not finite, expected a number")
        columns.append(values)
    ra, dec, flux = columns
    if np.abs(dec).max() > 90.0:
        row = sources.index[np.abs(dec) > 90.0][0]
        raise ValueError(f"sources: dec of row {row} is outside -90 ... 90 degrees")
    return ra, dec, flux


def spline_settings(
    n_r_knots: int, n_phi_knots: int, rmin: float, rmax: float, cut_r: float
) -> None:
    """Check the knots of the log-polar model, and that its equations fit into memory."""
    for name, value in (("rmin", rmin), ("rmax", rmax), ("cut_r", cut_r)):
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
            raise ValueError(f"{name}={value!r}, expected a number (arcsec)")
    if not 0.0 <= rmin < cut_r < rmax < np.inf:
        raise ValueError(
            f"rmin={rmin}, cut_r={cut_r}, rmax={rmax}, expected 0 <= rmin < cut_r < rmax "
            "and finite (arcsec)"
        )
    for name, value, least in (("n_r_knots", n_r_knots, 5), ("n_phi_knots", n_phi_knots, 4)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise ValueError(
                f"{name}={value}, expected a whole number of {least} or more to span the radii "
                f"{rmin} to {rmax} arcsec and all angles"
            )
    radial, angular = (min(int(n), _ENDLESS) for n in (n_r_knots, n_phi_knots))
    needed = _MATRICES * 8.0 * (radial * angular) ** 2
    available = psutil.virtual_memory().available
    if needed > _PART * available:
        raise ValueError(
            f"n_r_knots={radial} and n_phi_knots={angular}: the equations of the PRF need "
            f"{needed / 1e9:.3g} GB of memory, expected fewer knots: {available / 1e9:.3g} GB are "
            "available"
        )


def vector_of_sources(values: ArrayLike | None, name: str, default: np.ndarray) -> np.ndarray:
    """A prior given for each source or for all, or its default, shape (nsources,)."""
    if values is None:
        return default
    array = arrays.numbers(values, name, arrays.FLUX)
    if array.shape not in ((), default.shape):
        raise ValueError(f"{name} has shape {array.shape}, expected {default.shape}: one a source")
    array = np.broadcast_to(array, default.shape).astype(float)
    if not np.isfinite(array).all():
        source = int(np.argmin(np.isfinite(array)))
        raise ValueError(
            f"{name} of source {source} is {array[source]}, expected finite numbers (e-/s); a "
            "large prior_sigma leaves a flux to the data"
        )
    return array


def flux_prior(mu: ArrayLike | None, sigma: ArrayLike | None, expected: np.ndarray) -> Prior:
    """Prior of the fluxes.

    Parameters
    ----------
    mu, sigma : array_like, shape (nsources,), optional
        As the user gave them, e-/s.
    expected : ndarray, shape (nsources,)
        Default of ``mu``, e-/s; that of ``sigma`` is five square roots of the size of ``mu``, at
        least 5.
    """
    mu = vector_of_sources(mu, "prior_mu", expected)
    typical = 5.0 * np.sqrt(np.maximum(np.abs(mu), 1.0))
    sigma = vector_of_sources(sigma, "prior_sigma", typical)
    if not (sigma > 0.0).all():
        raise ValueError(f"prior_sigma has the value {sigma.min()}, expected positive ones")
    return Prior(mu, sigma)


class MaskSettings(NamedTuple):
    """Further keyword arguments of `romanprf.Machine.build_shape_model`."""

    source_flux_limit: float = 1.0
    iterations: int = 4
    reference_frame: int = 0

    @classmethod
    def checked(cls, given: Mapping[str, Any], nt: int) -> Self:
        """Parse the arguments that a user gave, for ``nt`` frames.

        Raises
        ------
        TypeError
            If there is no such argument.
        ValueError
            If a value cannot be used.
        """
        for name in given:
            if name not in cls._fields:
                raise TypeError(
                    f"there is no argument {name!r}, expected one of {', '.join(cls._fields)}"
                )
        limit, iterations, frame = cls(**given)
        if not limit >= 0.0:
            raise ValueError(f"source_flux_limit={limit}, expected a flux of 0 or more (e-/s)")
        if count(iterations, "iterations") == 0:
            raise ValueError("iterations=0, expected 1 or more")
        return cls(
            source_flux_limit=float(limit),
            iterations=int(iterations),
            reference_frame=frame_number(frame, "reference_frame", nt),
        )


def count(value: Any, name: str) -> int:
    """A whole number that is not negative."""
    if not isinstance(value, (int, np.integer)) or value < 0:
        raise ValueError(f"{name}={value!r}, expected a whole number of 0 or more")
    return int(value)


def positive(value: Any, name: str, unit: str = "e-/s") -> float:
    """A positive number."""
    if not isinstance(value, (int, float, np.number)) or not value > 0.0:
        raise ValueError(f"{name}={value!r}, expected a positive number ({unit})")
    return float(value)


def frame_number(value: Any, name: str, nt: int) -> int:
    """Number of a frame, those from the end made positive.

    Raises
    ------
    TypeError
        If it is not a whole number.
    IndexError
        If there is no such frame.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}={value!r}, expected the whole number of a frame")
    if not -nt <= value < nt:
        raise IndexError(f"{name}={value}, expected 0 ... {nt - 1}")
    return int(value) % nt


def _numbers(values: Any, name: str) -> np.ndarray:
    """A column as float64."""
    if pd.api.types.is_datetime64_any_dtype(values) or pd.api.types.is_timedelta64_dtype(values):
        raise ValueError(f"{name} has the type {values.dtype}, expected numbers")
    if values.dtype == object and any(hasattr(value, "unit") for value in values):
        raise ValueError(f"{name} holds quantities one by one, expected numbers")
    numbers = pd.to_numeric(values, errors="coerce")
    wrong = values[numbers.isna() & values.notna()]
    if len(wrong):
        raise ValueError(f"{name} has the value {wrong.iloc[0]!r}, expected numbers")
    return numbers.to_numpy(dtype=float, na_value=np.nan)
