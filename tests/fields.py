"""Small fields of stars for the tests of the photometry."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from romanprf.core.image import Image, masked_image
from romanprf.frame.frame import Frame
from romanprf.frame.stamps import Stamps, make_stamps
from romanprf.io.exposure import Exposure
from romanprf.prf import LogPolarPRF
from romanprf.sky.wcs import ARCSEC, TangentWCS, deproject

SCALE = 0.11
#: Inside a quarter of this (arcsec) the PRF is round.
CUT_R = 0.2
READ_VARIANCE, SLOPE = 4.0, 1.0 / 66.0


@cache
def wcs(nrows, ncols, ra0=268.0, dec0=-29.2, angle=0.4) -> TangentWCS:
    """Square pixels of 0.11 arcsec, turned by ``angle`` (rad), east to the left."""

    def sky(x, y):
        dx, dy = x - 0.5 * (ncols - 1), y - 0.5 * (nrows - 1)
        xi = -(np.cos(angle) * dx + np.sin(angle) * dy) * SCALE / ARCSEC
        eta = (np.cos(angle) * dy - np.sin(angle) * dx) * SCALE / ARCSEC
        return deproject(xi, eta, ra0, dec0)

    return TangentWCS.fit(sky, nrows, ncols)


@cache
def prf(n_r=12, n_phi=6, rmax=1.1, structure=0.1) -> LogPolarPRF:
    """A PRF with random angular structure (dex)."""
    round_ = LogPolarPRF.first_guess(n_r, n_phi, 0.01, CUT_R, rmax, SCALE**2, scale=0.05)
    noise = np.random.default_rng(1).normal(0.0, structure, round_.size)
    noise[: round_.n_radial] = 0.0
    numbers = (n_r, n_phi, 0.01, CUT_R, rmax, SCALE**2)
    return LogPolarPRF(*numbers, round_.coefficients + noise).normalised()


def frame(ra, dec, wcs, shape, pixel_area=None, image=None) -> Frame:
    """Stars at these positions (degrees) on a frame, whose pixels may be left out."""
    exposure = Exposure(wcs=wcs, shape=shape, read=lambda: image, area=pixel_area)
    return Frame(exposure=exposure, ra=ra, dec=dec)


def with_image(frame, image) -> Frame:
    """The frame with pixels."""
    return replace(frame, exposure=replace(frame.exposure, read=lambda: image))


@dataclass
class Scene:
    """Stars on a frame; ``model`` is the noise-free image with its background."""

    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    background: float
    stamps: Stamps

    @property
    def model(self) -> np.ndarray:
        return self.stamps.model(self.flux) + self.background

    def image(self, rng=None, flags=None) -> Image:
        """The model as an image, with noise if ``rng`` is given."""
        model = self.model
        error = np.sqrt(READ_VARIANCE + SLOPE * model)
        data = model if rng is None else model + error * rng.normal(size=model.shape)
        if rng is not None:  # as a pipeline does: photon noise of what was measured
            error = np.sqrt(READ_VARIANCE + SLOPE * np.maximum(data, 0.0))
        flags = np.zeros(model.shape, np.int32) if flags is None else flags
        return masked_image(data, error, flags, SLOPE)


def scene(x, y, flux, shape, background=1.5, flux_cut_off=0.1) -> Scene:
    """Stars at these pixel positions."""
    x, y, flux = (np.atleast_1d(np.asarray(a, float)) for a in (x, y, flux))
    w = wcs(*shape)
    ra, dec = w.pixel_to_sky(x, y)
    stamps = make_stamps(prf(), frame(ra, dec, w, shape), flux, flux_cut_off)
    return Scene(x, y, flux, background, stamps)


def random_scene(rng, n, shape, margin=6.0) -> Scene:
    """Stars of 21 to 25 mag with bulge-like counts, some of them outside the image."""
    x = rng.uniform(-margin, shape[1] - 1 + margin, n)
    y = rng.uniform(-margin, shape[0] - 1 + margin, n)
    return scene(x, y, 11.0 * 40.0 ** rng.power(0.6, n)[::-1], shape)
