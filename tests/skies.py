"""Stars that move, and their centroids in frames that are shifted and turned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

import fields
from romanprf.astrometry.offsets import Offsets, field_places
from romanprf.astrometry.products import changed, state_prior
from romanprf.astrometry.solution import Problem
from romanprf.config import Crossmatch
from romanprf.io.exposure import Exposure
from romanprf.schemas import ASTROMETRIC_CORRELATIONS, ASTROMETRIC_ERRORS
from romanprf.sky.motion import positions_at
from romanprf.sky.states import covariance

SIDE, EPOCH, START = 256, 2027.2, 2461458.0
#: 1 sigma of the catalogue: positions (mas), parallax (mas), motions (mas/yr).
ERRORS = (10.0, 10.0, 2.0, 4.0, 4.0)
SETTINGS = Crossmatch()


@dataclass
class Sky:
    """A catalogue, the true changes of its parameters, exposures with true terms, centroids."""

    catalogue: pd.DataFrame
    truth: np.ndarray
    exposures: list[Exposure]
    terms: np.ndarray
    columns: dict[str, np.ndarray]

    def offsets(self, which: slice = slice(None)) -> Offsets:
        columns = {name: values[which] for name, values in self.columns.items()}
        return Offsets.measured(columns, self.catalogue.iloc[which], self.exposures)

    def problem(self, *groups: slice) -> Problem:
        groups = groups or (slice(0, len(self.catalogue)),)
        held = [(which, self.offsets(which)) for which in groups]
        return Problem(
            read=lambda: iter(held),
            n_frames=len(self.exposures),
            prior=state_prior(self.catalogue, self.catalogue, SETTINGS),
            field=field_places(self.catalogue),
            bright=self.columns["dx_err"][:, 0] < 0.01,
        )


def catalogue(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Stars on the frames of `fields.wcs`."""
    wcs = fields.wcs(SIDE, SIDE)
    ra, dec = wcs.pixel_to_sky(*rng.uniform(8.0, SIDE - 9.0, (2, n)))
    columns = dict(zip(ASTROMETRIC_ERRORS, ERRORS, strict=True))
    columns |= dict.fromkeys(ASTROMETRIC_CORRELATIONS, np.float32(0.0))
    states = {"ra": ra, "dec": dec, "epoch": EPOCH, "parallax": 0.0, "pmra": 0.0, "pmdec": 0.0}
    number = np.arange(n, dtype=np.int32)
    return pd.DataFrame({"source": number, "source_id": 100 + number, **states, **columns}).assign(
        flux=np.linspace(5000.0, 200.0, n), flags=np.int32(0), origin="catalogue"
    )


def make_sky(seed: int = 1, n: int = 300, nt: int = 40, years: float = 2.0) -> Sky:
    """Centroids with errors of 0.003 to 0.1 pixel in frames off by 0.02 pixel and 2e-4 rad."""
    rng = np.random.default_rng(seed)
    stars = catalogue(rng, n)
    truth = rng.normal(size=(n, 5)) * ERRORS
    times = START + 365.25 * np.sort(rng.uniform(0.0, years, nt))
    angles = np.where(rng.random(nt) < 0.5, 0.4, 0.4 + np.pi)  # seasons are rolled by half a turn
    exposures = [
        Exposure(
            wcs=fields.wcs(SIDE, SIDE, angle=angle),
            shape=(SIDE, SIDE),
            read=lambda: None,
            number=number,
            time=time,
        )
        for number, (time, angle) in enumerate(zip(times, angles, strict=True))
    ]
    shift, turn = rng.normal(0.0, 0.02, (nt, 2)), rng.normal(0.0, 2e-4, nt)
    stretch = rng.normal(0.0, 5e-5, (nt, 2))
    terms = np.stack([shift[:, 0], stretch[:, 0], turn, shift[:, 1], -turn, stretch[:, 1]], axis=1)
    terms *= [1.0, SIDE / 2, SIDE / 2, 1.0, SIDE / 2, SIDE / 2]
    sky = Sky(stars, truth, exposures, terms, {})
    sky.columns = _centroids(rng, sky)
    return sky


def _centroids(rng: np.random.Generator, sky: Sky) -> dict[str, np.ndarray]:
    n, nt = len(sky.catalogue), len(sky.exposures)
    moved = changed(sky.catalogue, sky.truth, covariance(sky.catalogue))
    offset = np.empty((n, nt, 2))
    for t, exposure in enumerate(sky.exposures):
        true, listed = (
            np.stack(exposure.wcs.sky_to_pixel(*positions_at(states, exposure.time)), axis=1)
            for states in (moved, sky.catalogue)
        )
        place = (listed - exposure.centre) / (SIDE / 2)
        basis = np.column_stack([np.ones(n), place])
        offset[:, t] = true - listed
        offset[:, t] += np.stack([basis @ sky.terms[t, :3], basis @ sky.terms[t, 3:]], axis=1)
    error = np.geomspace(0.003, 0.1, n)[:, None] * rng.uniform(0.8, 1.2, (n, nt))
    corr = rng.uniform(-0.4, 0.4, (n, nt))
    one, two = rng.normal(size=(2, n, nt))
    offset[..., 0] += error * one
    offset[..., 1] += 0.9 * error * (corr * one + np.sqrt(1.0 - corr**2) * two)
    return {
        "dx": offset[..., 0],
        "dy": offset[..., 1],
        "dx_err": error,
        "dy_err": 0.9 * error,
        "dxy_corr": corr,
        "flags": np.zeros((n, nt), np.int32),
    }
