"""Arrays of the caller as plain ones of the machine's own: units converted, masks honoured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

#: Units of the arguments of `romanprf.Machine`, as astropy spells them.
FLUX, DEGREES, PIXELS = "electron / s", "deg", "pix"
#: The unit of fluxes in target pixel files, which astropy cannot parse.
_AS_IN_FILES = {"e-/s": FLUX}


def numbers(values: Any, name: str, unit: str) -> np.ndarray:
    """A new float64 array of the caller's numbers in ``unit``; NaN where they are masked.

    Parameters
    ----------
    values : array_like, Quantity, Column, masked array, Series or Time
        Numbers without a unit are taken to be in ``unit``.
    name : str
        For messages.
    unit : str
        What is expected, as astropy spells it.  The times of a `astropy.time.Time` are its Julian
        dates.

    Raises
    ------
    ValueError
        If the values are no numbers, or in a unit that cannot be converted.
    """
    if hasattr(values, "jd1"):
        values = values.jd
    masked = _mask(values)
    given = getattr(values, "unit", None)
    plain = _plain(getattr(values, "unmasked", values), name, unit)
    if given is not None:
        plain *= _factor(given, name, unit)
    if masked.any():
        plain[np.broadcast_to(masked, plain.shape)] = np.nan
    return plain


def _mask(values: Any) -> np.ndarray:
    """Where a masked array of NumPy or astropy hides its values."""
    mask = getattr(values, "mask", False)
    return np.asarray(False if callable(mask) else mask, bool)  # `mask` of pandas is a method


def _plain(values: Any, name: str, unit: str) -> np.ndarray:
    """A copy as float64."""
    if isinstance(values, (pd.Series, pd.DataFrame, pd.Index, pd.api.extensions.ExtensionArray)):
        values = _of_pandas(values)
    try:
        array = np.asarray(getattr(values, "value", values))
        if array.dtype.kind in "biufO":
            return np.array(array, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} is no array of numbers, expected numbers in {unit} or one Quantity"
        ) from None
    raise ValueError(f"{name} has the type {array.dtype}, expected numbers ({unit})")


def _of_pandas(values: Any) -> Any:
    """Array of a column of pandas; what is missing in one of nullable numbers is NaN."""
    numeric = hasattr(values, "dtype") and pd.api.types.is_numeric_dtype(values.dtype)
    return values.to_numpy(float, na_value=np.nan) if numeric else values.to_numpy()


def _factor(given: Any, name: str, unit: str) -> float:
    from astropy import units as u  # noqa: PLC0415  (slow to import)

    try:
        return float(u.Unit(_AS_IN_FILES.get(str(given), given)).to(unit))
    except (u.UnitConversionError, u.UnitTypeError, ValueError, TypeError, AttributeError):
        raise ValueError(f"{name} has the unit {str(given)!r}, expected {unit}") from None
