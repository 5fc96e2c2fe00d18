"""PRF models: linear splines whose coefficients are learned from the images."""

from romanprf.prf.logpolar import LogPolarPRF
from romanprf.prf.tensor import TensorPRF

__all__ = ["PRF", "LogPolarPRF", "TensorPRF"]

#: Any of the models: they have the methods that stamps, metrics and pictures need in common.
PRF = LogPolarPRF | TensorPRF
