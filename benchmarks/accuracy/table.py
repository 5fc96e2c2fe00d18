"""Light curves with their truth and limit, and what the tables say of them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd
from scipy.stats import theilslopes
from truth import Truth, limits

from romanprf import schemas
from romanprf.core.statistics import MAD_SCALE, robust_spread, small_sample_scatter
from romanprf.flags import BAD_MEASUREMENT
from romanprf.io.exposures import read_exposures
from romanprf.io.tables import read_metadata, read_table
from romanprf.sky.motion import positions_at
from romanprf.sky.wcs import TangentWCS
from romanprf.workflow.paths import Paths

#: F146, AB.
BINS = ((15, 17), (17, 18), (18, 20), (20, 21), (21, 22), (22, 23))
#: Samples of the stars that tell the error of a width.
_BOOTSTRAPS = 200
#: Pixels from the edge of every frame.
INSIDE = 4.0
#: Stars that tell the slope with magnitude, and the repeatability (F146).
SLOPE_STARS, BRIGHT_STARS = (15.0, 21.0), (15.0, 18.0)


@dataclass(frozen=True, eq=False)
class Curves:
    """Light curves of stars well inside the images, n stars and nt exposures.

    Attributes
    ----------
    source : ndarray, shape (n,)
        Source numbers.
    mag, true : ndarray, shape (n,)
        F146 and flux out of events (e-/s).
    kind : ndarray of str, shape (n,)
        constant or that of an event.
    pair, separation, difference : ndarray, shape (n,)
        Of a member of a close pair; see `Truth`.
    factor : ndarray, shape (n, nt)
        True flux in units of ``true``.
    flux, error, noise, limit : ndarray, shape (n, nt)
        e-/s; NaN where there is no good measurement.  ``noise`` is the part of the error that the
        exposures do not share.
    """

    source: np.ndarray
    mag: np.ndarray
    true: np.ndarray
    kind: np.ndarray
    pair: np.ndarray
    separation: np.ndarray
    difference: np.ndarray
    factor: np.ndarray
    flux: np.ndarray
    error: np.ndarray
    noise: np.ndarray
    limit: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> Curves:
        return Curves(*(getattr(self, f.name)[chosen] for f in fields(self)))

    @staticmethod
    def pooled(parts: Sequence[Curves]) -> Curves:
        """Stars of many fields together."""
        names = [f.name for f in fields(Curves)]
        return Curves(*(np.concatenate([getattr(c, name) for c in parts]) for name in names))

    def constant(self) -> Curves:
        """Those of stars that neither vary nor belong to a pair that was added."""
        return self[(self.kind == "constant") & (self.pair < 0)]

    def measured(self, flux: np.ndarray, error: np.ndarray) -> Curves:
        """Fluxes and errors of another program, shape (sources, nt) as in the sources table."""
        error = error[self.source]
        return replace(self, flux=flux[self.source], error=error, noise=error)


def curves(paths: Paths, truth: Truth) -> Curves:
    """Light curves of a reduction, with truth and limit."""
    exposures = read_exposures(paths.exposures).sort_values(["time", "exposure"])
    sources = read_table(paths.sources, schemas.SOURCES)
    rows = truth.rows(sources)
    sources, rows = sources[rows >= 0].reset_index(drop=True), rows[rows >= 0]
    flux, error, noise = measurements(paths, sources)
    known = truth.stars.iloc[rows]
    known = known.reindex(columns=["source_id", "flux", "kind", "pair", "separation", "difference"])
    # The brightest of merged stars lends its name; the truth of their sum is not looked up.
    keep = (sources["n_merged"] == 1).to_numpy() & (np.isfinite(flux).sum(axis=1) > 2)
    keep &= inside(exposures, truth.stars.iloc[rows])
    limit = np.stack([limits(row, truth, rows) for _, row in exposures.iterrows()], axis=1)
    true, factor = known["flux"].to_numpy(), np.ones(flux.shape)
    for row, name in enumerate(known["source_id"]):
        factor[row] = truth.factors.get(name, 1.0)
    return Curves(
        sources["source"].to_numpy(),
        exposures["zero_point"].iloc[0] - 2.5 * np.log10(true),
        true,
        known["kind"].to_numpy(str),
        known["pair"].fillna(-1).to_numpy(np.int64),
        known["separation"].to_numpy(float),
        known["difference"].to_numpy(float),
        *(factor, flux, error, noise, limit),
    )[keep]


def measurements(paths: Paths, sources: pd.DataFrame) -> tuple[np.ndarray, ...]:
    """Good fluxes, their errors and noise, e-/s, shape (nsources, nt); NaN elsewhere."""
    table = read_table(paths.lightcurves, schemas.LIGHTCURVES).set_index("source")
    table = table.loc[sources["source"]]
    names = ("psf_flux", "psf_flux_err", "flags")
    flux, noise, flags = (np.stack(table[name].tolist()) for name in names)
    # The log-polar model does not know its errors.
    error = np.hypot(noise, table["model_err"].fillna(0.0).to_numpy()[:, None])
    good = ((flags & BAD_MEASUREMENT) == 0) & np.isfinite(flux) & (error > 0.0)
    return tuple(np.where(good, values.astype(float), np.nan) for values in (flux, error, noise))


def inside(exposures: pd.DataFrame, stars: pd.DataFrame) -> np.ndarray:
    """Whether each star (or source) is `INSIDE` every frame."""
    keep = np.ones(len(stars), bool)
    for _, exposure in exposures.iterrows():
        wcs = TangentWCS.from_json(exposure["wcs"])
        x, y = wcs.sky_to_pixel(*positions_at(stars, exposure["time"]))
        right, top = exposure["ncols"] - 0.5 - x, exposure["nrows"] - 0.5 - y
        keep &= np.minimum.reduce([x + 0.5, right, y + 0.5, top]) >= INSIDE
    return keep


@dataclass(frozen=True)
class Row:
    """One bin: stars, scatter over limit (NaN: one frame), bias, width of pulls, their median."""

    low: int
    high: int
    stars: int
    scatter: float
    bias: float
    width: float
    width_error: float
    pull: float

    def __str__(self) -> str:
        scatter = f"{self.scatter:.2f}" if np.isfinite(self.scatter) else "-"
        width = f"{self.width:.2f} ± {self.width_error:.2f}"
        numbers = f"{scatter} | {100 * self.bias:+.2f} % | {width} | {self.pull:+.2f}"
        return f"{self.low}-{self.high} | {self.stars} | {numbers}"


def rows(curves: Curves) -> Iterator[Row]:
    """The bins of constant stars."""
    curves = curves.constant()
    median, scatter = statistics(curves)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of medians without a measurement
        ratio = scatter / np.nanmedian(curves.limit, axis=1)
    bias = median / curves.true - 1.0
    pull = pulls(curves)
    for low, high in BINS:
        chosen = (curves.mag >= low) & (curves.mag < high) & np.isfinite(median)
        if not chosen.any():
            continue
        good = finite(pull[chosen])
        typical = float(np.median(ratio[chosen])), float(np.median(bias[chosen]))
        width = robust_spread(good), width_error(pull[chosen])
        yield Row(low, high, int(chosen.sum()), *typical, *width, float(np.median(good)))


def finite(values: np.ndarray) -> np.ndarray:
    """Those that are numbers, in one list."""
    return values[np.isfinite(values)]


def width_error(pull: np.ndarray) -> float:
    """Error of the width of pulls (n, nt): bootstrap over stars, whose exposures err together."""
    rng = np.random.default_rng(0)
    again = rng.integers(len(pull), size=(_BOOTSTRAPS, len(pull)))
    return float(np.std([robust_spread(finite(pull[stars])) for stars in again]))


def statistics(curves: Curves) -> tuple[np.ndarray, np.ndarray]:
    """Median and scatter of each light curve, e-/s; the scatter of one exposure is NaN."""
    nt = curves.flux.shape[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        median = np.nanmedian(curves.flux, axis=1)
        scatter = MAD_SCALE * np.nanmedian(np.abs(curves.flux - median[:, None]), axis=1)
    return median, scatter / small_sample_scatter(nt) if nt > 1 else np.full(len(median), np.nan)


def pulls(curves: Curves) -> np.ndarray:
    """(flux - truth) / error of every measurement, shape (n, nt)."""
    return (curves.flux - curves.true[:, None] * curves.factor) / curves.error


def linearity(curves: Curves) -> str:
    """Slope s_NL of magnitude errors (mag per dex of flux) and repeatability of bright stars."""
    curves = curves.constant()
    median, scatter = statistics(curves)
    good = (median > 0.0) & (curves.mag >= SLOPE_STARS[0]) & (curves.mag < SLOPE_STARS[1])
    residual = -2.5 * np.log10(median[good] / curves.true[good])
    slope, _, low, high = theilslopes(residual, np.log10(curves.true[good]), 0.68)
    bright = (curves.mag >= BRIGHT_STARS[0]) & (curves.mag < BRIGHT_STARS[1])
    light = curves.true[bright]
    repeat = 100 * np.nanmedian(scatter[bright] / light)
    limit = 100 * np.nanmedian(curves.limit[bright] / light[:, None])
    error = 0.5e3 * (high - low)
    return f"{good.sum()} | {1e3 * slope:+.2f} ± {error:.2f} | {repeat:.3f} % | {limit:.3f} %"


def convergence(paths: Paths) -> list[dict[str, float]]:
    """Rounds of the fit of the PRF."""
    return json.loads(read_metadata(paths.prf, schemas.PRF).get("rounds", "[]"))
