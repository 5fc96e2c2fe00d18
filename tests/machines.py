"""Simulated fields as the arrays that `romanprf.Machine` takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import issparse

import fields
from romanprf import Machine
from romanprf.core.image import Image
from romanprf.frame.stamps import make_stamps
from romanprf.machine.beyond import beyond_rmax
from romanprf.machine.grid import PixelGrid
from romanprf.prf import LogPolarPRF
from romanprf.sky.wcs import TangentWCS

EPOCH = 2461000.0


def prf(scale: float | None = None) -> LogPolarPRF:
    """The PRF of all simulated fields: that of `fields`, out to 1.9 arcsec; a wing continues it.

    With a ``scale`` (arcsec) it is a round one that pixels sample well.
    """
    if scale is not None:
        return LogPolarPRF.first_guess(10, 15, 0.01, 0.2, 1.9, fields.SCALE**2, scale=scale)
    return fields.prf(10, 15, 1.9, 0.05)


@dataclass
class Sky:
    """Truth and data: ``arrays`` are the arguments of Machine; x, y are places in frame 0."""

    arrays: dict[str, Any]
    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    model: np.ndarray

    def machine(self, **changes: Any) -> Machine:
        machine = Machine(**{**self.arrays, **changes})
        machine.quiet = True
        return machine

    def known(self, **changes: Any) -> Machine:
        """A machine that knows the PRF, the positions and the fluxes."""
        machine = self.machine(**changes)
        machine.build_shape_model()
        sources = machine.sources
        ra, dec = (sources[name].to_numpy(float) for name in ("ra", "dec"))
        truth = {"prf": prf(), "ra": ra, "dec": dec, "shift": (0.0, 0.0), "flux_cut_off": 1e-3}
        truth["scale_error"] = 0.0
        machine._adopt(replace(machine.scene, **truth, flux=self.flux), 0)
        return machine

    def inside(self, margin: float = 3.0, faintest: float = 0.0) -> np.ndarray:
        """Stars well inside frame 0 and brighter than a flux."""
        last = self.arrays["flux"].shape[-1] - 1 - margin
        place = (self.x > margin) & (self.x < last) & (self.y > margin) & (self.y < last)
        return place & (self.flux > faintest)


def no_image() -> Image:
    raise AssertionError("this frame has stars and no pixels")


def sky_of(wcs: TangentWCS, side: int, dx: float = 0.0, dy: float = 0.0) -> tuple[np.ndarray, ...]:
    """Sky of the pixels of a frame that is moved by (dx, dy) pixels, each (side, side)."""
    row, column = np.mgrid[:side, :side].astype(float)
    return wcs.pixel_to_sky(column + dx, row + dy)


def simulated(
    nt: int = 3,
    side: int = 40,
    n: int = 40,
    seed: int = 1,
    *,
    dither: float = 0.0,
    drift: np.ndarray | None = None,
    background: float = 0.0,
    noise: float = 1.0,
    place: tuple[float, float] = (268.0, -29.2),
    brightest: float = 4.5,
    scale: float | None = None,
) -> Sky:
    """Stars of 10^1.8 to 10^brightest e-/s.

    Parameters
    ----------
    dither : float
        Frames have grids of their own, moved by up to this (pixels).
    drift : ndarray, shape (nt, 2)
        The stars move by this (pixels) on one grid, unknown to the arrays.
    noise : float
        Errors are those of the model (read noise and photons), times this in the data.
    scale : float
        See `prf`.
    """
    rng = np.random.default_rng(seed)
    wcs = fields.wcs(side, side, *place)
    x, y = rng.uniform(-3.0, side + 3.0, (2, n))
    flux = 10.0 ** rng.uniform(1.8, brightest, n)
    ra, dec = wcs.pixel_to_sky(x, y)
    models, skies = [], []
    row, column = np.mgrid[:side, :side]
    for t in range(nt):
        dx, dy = rng.uniform(-dither, dither, 2) if dither else (0.0, 0.0)
        skies.append(sky_of(wcs, side, dx, dy))
        image_wcs = TangentWCS.from_pixels(
            column.ravel(), row.ravel(), *(a.ravel() for a in skies[-1])
        )
        step = (0.0, 0.0) if drift is None else drift[t]
        star_x, star_y = image_wcs.sky_to_pixel(ra, dec)
        star = image_wcs.pixel_to_sky(star_x + step[0], star_y + step[1])
        frame = fields.frame(*star, image_wcs, (side, side))
        stamps = make_stamps(prf(scale), frame, flux * 1e6, 1e-9)
        pixels = (row, column, *skies[-1])
        grid = PixelGrid.from_arrays(*(a.ravel() for a in pixels))
        models.append(stamps.model(flux, beyond_rmax(prf(scale), grid, *star, flux)) + background)
    model = np.stack(models)
    error = np.sqrt(fields.READ_VARIANCE + fields.SLOPE * model)
    data = model + noise * error * rng.normal(size=model.shape)
    sky = np.stack(skies, axis=1) if dither else skies[0]
    pixels = {"ra": sky[0], "dec": sky[1], "row": row, "column": column}
    estimate = 0.8 * flux * np.exp(0.05 * rng.normal(size=n))
    sources = pd.DataFrame({"ra": ra, "dec": dec, "flux": estimate}, index=rng.permutation(n) + 7)
    time = EPOCH + np.arange(nt) / 120.0
    arrays = {"time": time, "flux": data, "flux_err": error, "sources": sources, **pixels}
    return Sky(arrays, x, y, flux, model)


def dense(matrix: Any) -> np.ndarray:
    """A matrix of Machine as an array."""
    return matrix.toarray() if issparse(matrix) else matrix
