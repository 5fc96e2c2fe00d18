"""PRF models: linear splines whose coefficients are learned from the images."""

from romanprf.prf.logpolar import LogPolarPRF

__all__ = ["LogPolarPRF"]
