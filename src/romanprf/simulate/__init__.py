"""Simulated crowded fields, and injection of stars into images.

Stars are drawn with GalSim's own Roman PSF, integrated over pixels.

>>> from romanprf.config import Simulate
>>> from romanprf.simulate import inject, make_exposure, make_field
>>> settings = Simulate(size=64, seed=1)
>>> field = make_field(settings)
>>> exposure = make_exposure(field, settings, number=0)
>>> x, y = exposure.wcs.world_to_pixel_values([268.0], [-29.2])
>>> with_star = inject(exposure.flux, x, y, flux=[5000.0], sca=settings.sca)
"""

from romanprf.simulate.exposure import SimulatedExposure, make_exposure
from romanprf.simulate.field import Field, make_field
from romanprf.simulate.render import inject, true_prf

__all__ = ["Field", "SimulatedExposure", "inject", "make_exposure", "make_field", "true_prf"]
