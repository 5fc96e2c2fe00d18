"""Magnitudes of the stars of a catalogue as the images show them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from romanprf.config import Shape
from romanprf.frame.frame import Frame
from romanprf.prf import LogPolarPRF
from romanprf.solve.first import FirstFluxes, first_fluxes

logger = logging.getLogger(__name__)

#: Error (mag) of a magnitude that is not known.
UNKNOWN_ERROR = 50.0


def measured(
    sources: pd.DataFrame, rows: Sequence[Mapping[Any, Any]], zero_point: float
) -> pd.DataFrame:
    """Sources with magnitudes of fluxes that are measured on the images."""
    mag, unknown = sources["mag"].to_numpy(), sources["mag_err"].to_numpy() == UNKNOWN_ERROR
    catalogued = np.where(unknown, np.nan, 10.0 ** (-0.4 * (mag - zero_point)))
    flux = _first_fluxes(sources, rows, catalogued).flux
    return sources.assign(mag=zero_point - 2.5 * np.log10(flux))


def believed(
    sources: pd.DataFrame, rows: Sequence[Mapping[Any, Any]], zero_point: float, path: str | Path
) -> pd.DataFrame:
    """Sources with their own magnitudes, but for those that the images contradict by far.

    These have that of the images, and a flag: a wrong one would spoil all stars around it.
    """
    catalogued = 10.0 ** (-0.4 * (sources["mag"].to_numpy() - zero_point))
    found = _first_fluxes(sources, rows, catalogued)
    wrong = found.contradict(catalogued)
    if not wrong.any():
        return sources.assign(contradicted=wrong)
    off = 2.5 * np.log10(found.typical(catalogued) * catalogued / found.flux)
    worst = int(np.argmax(np.where(wrong, np.abs(off), 0.0)))
    logger.warning(
        "%s: %d of %d magnitudes are not those of the images, which replace them; the worst: "
        "source_id %d, %.2f for %.2f mag",
        *(path, wrong.sum(), wrong.size, sources["source_id"].iloc[worst]),
        *(sources["mag"].iloc[worst], sources["mag"].iloc[worst] + off[worst]),
    )
    return sources.assign(mag=sources["mag"] + np.where(wrong, off, 0.0), contradicted=wrong)


def _first_fluxes(
    sources: pd.DataFrame, rows: Sequence[Mapping[Any, Any]], catalogued: np.ndarray
) -> FirstFluxes:
    """Fluxes on the images of some exposures with a guess of the PRF."""
    frames = [Frame.from_row(row, sources) for row in rows]
    shape, area = Shape(), frames[0].exposure.pixel_area
    guess = LogPolarPRF.first_guess(10, 4, shape.rmin, shape.cut_r, shape.rmax, area)
    return first_fluxes(frames, catalogued, guess, shape.flux_cut_off)
