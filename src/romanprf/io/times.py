"""Times of image files, as Julian dates, and their scales."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.time import TIME_SCALES
from numpy.typing import ArrayLike

from romanprf.errors import InputError
from romanprf.io.reading import entry

#: Julian dates of the beginnings of 1900 and 2200: other counts of days lie outside.
_FIRST, _LAST = 2415020.5, 2524593.5
#: Julian date of the modified Julian date 0.
_MJD_ZERO = 2400000.5
#: Keyword of a zero point of times (or, with I and F, its parts) -> Julian date of its 0.
_ZERO_POINTS = {"MJDREF": _MJD_ZERO, "JDREF": 0.0, "BJDREF": 0.0}
#: Names of time scales in older files (Rots et al. 2015, A&A 574, A36, table 2).
_OLD_SCALES = {"et": "tt", "tdt": "tt", "iat": "tai", "ut": "utc", "gmt": "utc"}
_EXPECTED = "a Julian date from 1900 to 2200, or a time since the header's MJDREF or JDREF"


def julian_dates(values: ArrayLike, header: Any, name: str, path: str | Path) -> np.ndarray:
    """Julian dates of times in a header or in an entry beside one.

    They are Julian dates where that gives a year from 1900 to 2200.  Otherwise they count from the
    header's MJDREF or JDREF.  TIMEUNIT is their unit, days if absent.

    Parameters
    ----------
    values : array_like
        Times.
    header : mapping
        Keywords of the file.
    name, path : str
        Of the times and the file, for the message.

    Returns
    -------
    ndarray, shape of ``values``
        Days.

    Raises
    ------
    InputError
        If that gives no date from 1900 to 2200.
    """
    days = np.asarray(values, dtype=float) * _unit(header, path)
    trials = np.stack([days + zero for zero in (0.0, *_zero_points(header, path))])
    plausible = _plausible(trials)
    for trial, good in zip(trials, plausible, strict=True):
        if good.all():
            return trial
    raise _implausible(values, np.logical_or.reduce(plausible), name, path)


def checked_dates(dates: ArrayLike, name: str, path: str | Path) -> np.ndarray:
    """Julian dates, after checking that all lie between the years 1900 and 2200."""
    dates = np.asarray(dates, dtype=float)
    if not _plausible(dates).all():
        raise _implausible(dates, _plausible(dates), name, path)
    return dates


def middle(header: Mapping[str, Any], path: str | Path) -> float:
    """Julian date of the middle between TSTART and TEND."""
    start, end = (entry(header, name, path) for name in ("TSTART", "TEND"))
    if end < start:
        raise InputError(
            f"{path}: TEND is {end!r}, expected a time that is not before TSTART = {start!r}"
        )
    return float(julian_dates([start, end], header, "TSTART", path).mean())


def time_scale(header: Mapping[str, Any], default: str, path: str | Path) -> str:
    """Scale of a header's times: TIMESYS in lower case, by its name in astropy."""
    found = str(header.get("TIMESYS", default)).strip()
    scale = _OLD_SCALES.get(found.lower(), found.lower())
    if scale not in TIME_SCALES:
        raise InputError(f"{path}: TIMESYS is {found!r}, expected one of {', '.join(TIME_SCALES)}")
    return scale


def _unit(header: Mapping[str, Any], path: str | Path) -> float:
    """Days in the unit of a header's times."""
    if "TIMEUNIT" not in header:
        return 1.0
    text = entry(header, "TIMEUNIT", path, str)
    try:
        return float(u.Unit(text).to(u.day))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: TIMEUNIT is {text!r}, expected a unit of time") from error


def _zero_points(header: Mapping[str, Any], path: str | Path) -> Iterator[float]:
    for key, zero in _ZERO_POINTS.items():
        parts = [name for name in (key, f"{key}I", f"{key}F") if name in header]
        if parts:
            yield zero + sum(entry(header, name, path) for name in parts)


def _plausible(dates: np.ndarray) -> np.ndarray:
    return (dates >= _FIRST) & (dates <= _LAST)


def _implausible(values: ArrayLike, good: np.ndarray, name: str, path: str | Path) -> InputError:
    first = float(np.ravel(values)[np.argmin(good)])
    return InputError(f"{path}: {name} is {first!r}, expected {_EXPECTED}")
