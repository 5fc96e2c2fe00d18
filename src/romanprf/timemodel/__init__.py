"""Model of the change of the PRF during a series of frames that are not dithered."""

from romanprf.timemodel.perturbation import Pairs, TimeModel, fit_time_model
from romanprf.timemodel.vectors import polynomials, segment_starts, split

__all__ = ["Pairs", "TimeModel", "fit_time_model", "polynomials", "segment_starts", "split"]
