"""Which frames may teach: those that are described as well as the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from romanprf.learn.part import Misfit

#: A frame does not teach if its chi2 is this many times the typical one: trailed, out of focus,
#: with a wrong pointing, or not of this field.
_POOR = 3.0
#: ... or if it has less than this part of the typical number of pixels that fit ...
_FEW = 0.3
#: ... or of the typical weight.
_FAINT = 1e-3


def good_frames(misfits: Sequence[Misfit]) -> np.ndarray:
    """Whether each frame may teach.

    Frames are judged against the better half of them, so that the first model of the PRF, which
    fits none of them well, does not matter.

    Parameters
    ----------
    misfits : sequence of Misfit
        Of all frames under one PRF.

    Returns
    -------
    ndarray of bool, shape (nframes,)
        At least one is True.
    """
    chi2, pixels, weight = np.array([(m.chi2, m.n_pixels, m.weight) for m in misfits]).T
    seen: np.ndarray = (pixels >= _FEW * np.median(pixels)) & (weight >= _FAINT * np.median(weight))
    if not seen.any():
        return np.ones(len(misfits), bool)
    typical = np.percentile(chi2[seen], 50, method="lower")
    return seen & (chi2 <= _POOR * max(typical, 1.0))
