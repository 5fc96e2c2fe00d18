"""Columns of the sources table that describe neighbours and saturation."""

from __future__ import annotations

import numpy as np
import pandas as pd

from romanprf.config import Crossmatch
from romanprf.flags import SourceFlag
from romanprf.sky import blends


def described(sources: pd.DataFrame, settings: Crossmatch) -> pd.DataFrame:
    """Sources with the column ``nearest`` and the flags SATURATED and CONTAMINANT."""
    ra, dec, mag = (sources[name].to_numpy() for name in ("ra", "dec", "mag"))
    radius, contrast = settings.contaminant_radius, settings.contaminant_contrast
    bits = {
        SourceFlag.SATURATED: mag < settings.saturation_magnitude,
        SourceFlag.CONTAMINANT: blends.contaminated(ra, dec, mag, radius, contrast),
    }
    flags = sum(np.int32(bit) * set_ for bit, set_ in bits.items())
    return sources.assign(nearest=blends.nearest(ra, dec), flags=sources["flags"] | flags)
