"""Export of light curves: one long table, or the objects of lightkurve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from astropy import units as u
from astropy.table import Table
from astropy.time import Time

_FLUX_UNIT = u.electron / u.s


def source_ids(sources: pd.DataFrame) -> np.ndarray:
    """Names of sources: the column ``source_id`` or ``designation``, or else the index."""
    for name in ("source_id", "designation"):
        if name in sources:
            return sources[name].to_numpy()
    return sources.index.to_numpy()


def light_curve_table(
    time: np.ndarray,
    sources: pd.DataFrame,
    columns: Mapping[str, np.ndarray],
    meta: Mapping[str, Any],
) -> Table:
    """Light curves as one table with a row per source and time, by source.

    Parameters
    ----------
    time : ndarray, shape (nt,)
        Julian date.
    sources : DataFrame
        One row per source with ``ra`` and ``dec`` (deg).
    columns : mapping of str to ndarray, shape (nt, nsources)
        psf_flux and psf_flux_err, and perturbed_flux and perturbed_flux_err where there is a
        time model; electrons per second.
    meta : mapping
        Its text and number entries are copied to the meta of the table.

    Returns
    -------
    Table
        source_id (see `source_ids`), time (d), ra, dec (deg) and ``columns``.
    """
    nt, n = len(time), len(sources)
    table = Table(meta=_header(meta))
    table["source_id"] = np.repeat(_plain(source_ids(sources)), nt)
    table["time"] = np.tile(time, n) * u.d
    for name in ("ra", "dec"):
        table[name] = np.repeat(sources[name].to_numpy(float), nt) * u.deg
    for name, values in columns.items():
        table[name] = np.ravel(_checked(name, values, (nt, n)).T) * _FLUX_UNIT
    return table


def lightkurve_collection(
    time: np.ndarray,
    sources: pd.DataFrame,
    columns: Mapping[str, np.ndarray],
    meta: Mapping[str, Any],
) -> Any:
    """Light curves as a lightkurve ``LightCurveCollection``, one light curve per source.

    Parameters are those of `light_curve_table`; the scale of the times is ``meta["time_scale"]``.
    ``flux`` and ``flux_err`` are psf_flux and psf_flux_err, the other columns keep their names.
    The meta of each light curve holds LABEL (see `source_ids`), RA, DEC and, under names in
    capitals such as MISSION, the texts and numbers of ``meta``.

    Raises
    ------
    ImportError
        If lightkurve is not installed.
    """
    try:
        import lightkurve  # noqa: PLC0415  (slow, and not always installed)
    except ImportError as error:
        raise ImportError(
            'light curves of lightkurve need lightkurve: pip install "romanprf[lightkurve]"'
        ) from error
    shape = (len(time), len(sources))
    columns = {name: _checked(name, values, shape) for name, values in columns.items()}
    jd = Time(time, format="jd", scale=meta.get("time_scale"))
    common = {key.upper(): value for key, value in _header(meta).items()}
    curves = []
    for k, (name, ra, dec) in enumerate(
        zip(source_ids(sources), sources["ra"], sources["dec"], strict=True)
    ):
        fluxes = {key: values[:, k] * _FLUX_UNIT for key, values in columns.items()}
        curve = lightkurve.LightCurve(
            time=jd,
            flux=fluxes.pop("psf_flux"),
            flux_err=fluxes.pop("psf_flux_err"),
            meta={**common, "LABEL": str(name), "RA": float(ra), "DEC": float(dec)},
        )
        for key, values in fluxes.items():
            curve[key] = values
        curves.append(curve)
    return lightkurve.LightCurveCollection(curves)


def _header(meta: Mapping[str, Any]) -> dict[str, str | int | float]:
    return {key: value for key, value in meta.items() if isinstance(value, (str, int, float))}


def _plain(ids: np.ndarray) -> np.ndarray:
    """Texts as a string array, which tables of every format can hold."""
    return np.array([str(name) for name in ids]) if ids.dtype.kind == "O" else ids


def _checked(name: str, values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape}, expected (times, sources) = {shape}")
    return values
