"""PRF models: linear splines whose coefficients are learned from the images."""

from romanprf.prf.base import PRF
from romanprf.prf.logpolar import LogPolarPRF
from romanprf.prf.tensor import TensorPRF

__all__ = ["PRF", "LogPolarPRF", "TensorPRF"]
