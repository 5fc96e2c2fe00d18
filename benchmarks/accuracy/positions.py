"""Positions, motions, parallaxes and centroids against their truth and limit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.dataset
from limit import Limit, joint_limit, mean_epoch
from table import BINS, finite, inside, width_error
from truth import Truth

from romanprf import schemas
from romanprf.core.statistics import MAD_SCALE, robust_spread
from romanprf.flags import BAD_MEASUREMENT
from romanprf.io.exposures import read_exposures
from romanprf.io.tables import read_table
from romanprf.sky.motion import MAS, parallax_factors, positions_at
from romanprf.sky.states import at_epoch, covariance
from romanprf.sky.wcs import TangentWCS, project
from romanprf.workflow.paths import Paths

#: Errors below this (mas, mas/yr) do not weigh more in what all stars share: it would rest on a
#: handful of bright ones.
FLOOR = 0.05
#: The same for centroids, pixels.
CENTROID_FLOOR = 0.005
#: Stars further off than so many sigmas do not count in what all stars share.
CLIP = 5.0
#: Stars may not be further off than so many of their errors.
OUTLIER = 5.0
#: Motions and parallaxes are compared if the exposures span so many days.
LONG = 60.0
_CENTROID = ["dx", "dy", "dx_err", "dy_err"]


@dataclass(frozen=True, eq=False)
class Offsets:
    """One quantity of n stars, k values each: measured minus true, without what all stars share.

    ``mag``: F146, shape (n,); ``offset``, ``error``, ``limit``: shape (n, k), of one unit.
    """

    mag: np.ndarray
    offset: np.ndarray
    error: np.ndarray
    limit: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> Offsets:
        arrays = (self.mag, self.offset, self.error, self.limit)
        return Offsets(*(array[chosen] for array in arrays))

    @staticmethod
    def pooled(parts: Sequence[Offsets]) -> Offsets:
        """Stars of many fields together."""
        names = ("mag", "offset", "error", "limit")
        return Offsets(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def offset_rows(offsets: Offsets) -> Iterator[str]:
    """Bin, stars, median limit, scatter and rms over limit, pull width, stars beyond 5 errors."""
    for low, high in BINS:
        some = offsets[(offsets.mag >= low) & (offsets.mag < high)]
        if not len(some.mag):
            continue
        ratio, pull = finite(some.offset / some.limit), some.offset / some.error
        if not ratio.size:
            continue
        scatter, rms = MAD_SCALE * np.median(np.abs(ratio)), np.sqrt(np.mean(ratio**2))
        width = f"{robust_spread(finite(pull)):.2f} ± {width_error(pull):.2f}"
        far = int((np.abs(pull) > OUTLIER).any(axis=1).sum())
        numbers = f"{np.nanmedian(some.limit):.3g} | {scatter:.2f} | {rms:.2f} | {width} | {far}"
        yield f"{low}-{high} | {len(some.mag)} | {numbers}"


def astrometry(paths: Paths, truth: Truth) -> dict[str, Offsets]:
    """All quantities that a reduction has, by name."""
    exposures = read_exposures(paths.exposures).sort_values(["time", "exposure"])
    sources = read_table(paths.sources, schemas.SOURCES)
    rows = truth.rows(sources)
    sources, rows = sources[rows >= 0].reset_index(drop=True), rows[rows >= 0]
    chosen = np.flatnonzero(comparable(exposures, sources, truth, rows))
    limit = joint_limit(exposures, truth, rows, chosen)
    some, stars = sources.iloc[chosen], truth.stars.iloc[rows[chosen]]
    found = states(exposures, some, stars, limit)
    centroids = centroid_offsets(paths, exposures, some, truth, limit)
    return found if centroids is None else {**found, "centroid (pixels)": centroids}


def comparable(
    exposures: pd.DataFrame, sources: pd.DataFrame, truth: Truth, rows: np.ndarray
) -> np.ndarray:
    """Whether sources are single stars of the magnitudes of the table, inside every frame."""
    stars = truth.stars.iloc[rows]
    keep = inside(exposures, stars) & (sources["n_merged"] == 1).to_numpy()
    mag = magnitudes(exposures, stars)
    keep &= (mag >= BINS[0][0]) & (mag < BINS[-1][1])
    return keep & (stars["pair"] < 0).to_numpy() if "pair" in stars else keep


def magnitudes(exposures: pd.DataFrame, stars: pd.DataFrame) -> np.ndarray:
    """True F146."""
    return exposures["zero_point"].iloc[0] - 2.5 * np.log10(stars["flux"].to_numpy())


def states(
    exposures: pd.DataFrame, sources: pd.DataFrame, stars: pd.DataFrame, limit: Limit
) -> dict[str, Offsets]:
    """Positions at the mean epoch of the exposures, motions and parallaxes.

    The position is the mean apparent one, which the frames tell however short they are.
    """
    epoch, mag = mean_epoch(exposures), magnitudes(exposures, stars)
    measured = at_epoch(sources, epoch)
    true = at_epoch(stars.assign(**dict.fromkeys(schemas.ASTROMETRIC_ERRORS, 1.0)), epoch)
    place = [true[name].to_numpy() for name in ("ra", "dec")]
    names = ["parallax", "pmra", "pmdec"]
    change = np.empty((len(sources), 5))
    east, north = project(measured["ra"].to_numpy(), measured["dec"].to_numpy(), *place)
    change[:, 0], change[:, 1] = east / MAS, north / MAS
    change[:, 2:] = measured[names].to_numpy() - true[names].to_numpy()
    factors = [parallax_factors(*place, time) for time in exposures["time"]]
    apparent = np.tile(np.eye(5), (len(sources), 1, 1))
    apparent[:, :2, 2] = np.mean(factors, axis=0).T
    spread = (apparent @ covariance(measured) @ np.swapaxes(apparent, 1, 2)).diagonal(0, 1, 2)
    best = (apparent @ limit.covariance @ np.swapaxes(apparent, 1, 2)).diagonal(0, 1, 2)
    offset = np.einsum("nij,nj->ni", apparent, change)
    plane = np.stack(project(*place, *(values.mean() for values in place)), axis=1)
    affine = np.column_stack([np.ones(len(plane)), plane / np.abs(plane).max()])
    quantities = {"position (mas)": (slice(0, 2), affine)}
    if np.ptp(exposures["time"]) > LONG:
        quantities["proper motion (mas/yr)"] = slice(3, 5), affine
        quantities["parallax (mas)"] = slice(2, 3), affine[:, :1]
    found = {}
    for name, (k, design) in quantities.items():
        values, error, lowest = offset[:, k], np.sqrt(spread[:, k]), np.sqrt(best[:, k])
        found[name] = Offsets(mag, without_common(values, design, lowest, FLOOR), error, lowest)
    if "parallax (mas)" in found and (stars["parallax"] > 0.0).any():
        nearby = (stars["parallax"] > 0.0).to_numpy()
        found["parallax of nearby stars (mas)"] = found["parallax (mas)"][nearby]
    return found


def without_common(
    values: np.ndarray, design: np.ndarray, sigma: np.ndarray, floor: float
) -> np.ndarray:
    """Values (n, k) minus a robust weighted fit of ``design`` (n, c) to each column."""
    rest = values.copy()
    for k, column in enumerate(values.T):
        weight = 1.0 / np.hypot(sigma[:, k], floor)
        good = np.isfinite(column) & np.isfinite(weight)
        for _ in range(4):
            scaled = design[good] * weight[good, None], column[good] * weight[good]
            rest[:, k] = column - design @ np.linalg.lstsq(*scaled, rcond=None)[0]
            size = np.abs(rest[:, k] * weight)
            good = size < CLIP * MAD_SCALE * np.nanmedian(size)
    return rest


def centroid_offsets(
    paths: Paths, exposures: pd.DataFrame, sources: pd.DataFrame, truth: Truth, limit: Limit
) -> Offsets | None:
    """Places on each frame, x and y of all frames side by side; None if nobody measured them."""
    data = pyarrow.dataset.dataset(Path(paths.photometry).parent, format="parquet")
    if not set(_CENTROID) <= set(data.schema.names):
        return None
    table = data.to_table(columns=["source", "exposure", *_CENTROID, "flags"]).to_pandas()
    table.loc[(table["flags"] & BAD_MEASUREMENT) != 0, _CENTROID] = np.nan
    table = table.set_index(["exposure", "source"])[_CENTROID].astype(float)
    rows = truth.rows(sources)
    offsets, errors = [], []
    for k, (_, exposure) in enumerate(exposures.iterrows()):
        measured = table.loc[exposure["exposure"]].reindex(sources["source"]).to_numpy()
        wcs = TangentWCS.from_json(exposure["wcs"])
        state = np.stack(wcs.sky_to_pixel(*positions_at(sources, exposure["time"])), axis=1)
        true = np.stack(truth.places(exposure), axis=1)[rows]
        affine = np.column_stack([np.ones(len(true)), true / np.abs(true).max()])
        offset = state + measured[:, :2] - true
        offsets.append(without_common(offset, affine, limit.centroid[:, k], CENTROID_FLOOR))
        errors.append(measured[:, 2:])
    mag = magnitudes(exposures, truth.stars.iloc[rows])
    lowest = limit.centroid.reshape(len(mag), -1)
    return Offsets(mag, np.concatenate(offsets, axis=1), np.concatenate(errors, axis=1), lowest)
