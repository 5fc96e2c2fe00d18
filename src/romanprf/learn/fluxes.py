"""Fluxes of the stars before and after the PRF is learned."""

from __future__ import annotations

import numpy as np
import pandas as pd

from romanprf.solve.fluxes import Prior

#: Prior sigma of the fluxes while the PRF is learned, in sqrt(e-/s).
_PRIOR_WIDTH = 5.0
#: Relative error of the fluxes of a catalogue in another filter: a factor of several.
APPROXIMATE = 3.0
#: Least flux that a star is given, e-/s: F146 30.
_FAINTEST = 0.1


def learning_prior(flux: np.ndarray, relative: np.ndarray | float) -> Prior:
    """Prior of each flux (e-/s) while the PRF is learned.

    ``relative``: relative error of a flux that is a first guess; 0 if it is that of a catalogue in
    the filter of the images.
    """
    sigma = _PRIOR_WIDTH * np.sqrt(np.maximum(flux, 1.0))
    return Prior(flux, np.maximum(sigma, relative * flux))


def measured(sources: pd.DataFrame, flux: np.ndarray) -> pd.DataFrame:
    """Sources with these fluxes, e-/s, and without a magnitude, which follows from them."""
    return sources.assign(flux=np.maximum(flux, _FAINTEST), mag=np.nan)
