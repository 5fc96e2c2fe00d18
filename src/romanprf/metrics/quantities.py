"""Quantities that say whether the tables of a reduction are right."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from romanprf.core.statistics import robust_spread
from romanprf.flags import BAD_MEASUREMENT, ExposureFlag, SourceFlag
from romanprf.sky.motion import MAS, propagate

#: Checks of single stars look at this part of the sources, the brightest: faint ones are rightly
#: known from their priors or in sum with neighbours alone.
_BRIGHT = 0.1
#: The counts of a catalogue are extrapolated from between these fluxes (% of its sources below);
#: it ends at the first of them.
_FADING, _MIDDLE = 10.0, 50.0
#: Expected numbers of stars are good to this factor, and to this part of the catalogue (which lacks
#: some stars before its end).
_COUNTS, _MISSING = 0.5, 0.02
#: A search is complete at this multiple of its threshold.
_COMPLETE = 2.0


class UnmeasuredError(Exception):
    """A check cannot be made; the message says why."""


@dataclass(frozen=True, eq=False)
class Tables:
    """What the checks look at.

    Attributes
    ----------
    prf, search : mapping of str to str
        Metadata of the ``prf`` and ``sources`` tables.
    catalogue, sources, metrics, frame_stats : DataFrame
        Tables of these names (``catalogue_sources``; all batches), of which
        `romanprf.steps.checks` says the columns.
    flags : ndarray of int, shape (n,)
        Flags of the measurements of bright sources (see `bright`) in some exposures.
    """

    prf: Mapping[str, str]
    search: Mapping[str, str]
    catalogue: pd.DataFrame
    sources: pd.DataFrame
    metrics: pd.DataFrame
    frame_stats: pd.DataFrame
    flags: np.ndarray


def bright(flux: np.ndarray) -> np.ndarray:
    """Which sources are bright enough to be checked one by one."""
    return flux >= np.quantile(flux, 1.0 - _BRIGHT) if flux.size else np.zeros(0, bool)


def integral(tables: Tables) -> float:
    """Light of the PRF, summed over all pixels."""
    return float(_known(tables.prf, "integral", "the PRF has no integral"))


def last_scale(tables: Tables) -> float:
    """Factor by which the last round of the tensor fit changed the scale of the PRF."""
    rounds = json.loads(_known(tables.prf, "rounds", "the log-polar PRF has no rounds"))
    return rounds[-1]["scale"]


def flux_ratio(tables: Tables) -> float:
    """Median ratio of measured to catalogued flux of bright, clean stars of the catalogue."""
    rows = tables.metrics[(tables.sources["origin"] != "residual").to_numpy()]
    untrusted = SourceFlag.SATURATED | SourceFlag.BLENDED | SourceFlag.EDGE
    clean = ((rows["flags"] & int(untrusted)) == 0) & (rows["n_good"] > 0)
    rows = rows[clean & bright(rows["flux"].to_numpy())]
    rows = _some(rows, "no bright star of the catalogue has a clean flux")
    return float((rows["median_flux"] / rows["flux"]).median())


def fitted(tables: Tables) -> pd.DataFrame:
    """Rows of the frames that were fitted."""
    stats = tables.frame_stats
    return _some(stats[np.isfinite(stats["chi2"].astype(float))], "no frame was fitted")


def outliers(tables: Tables) -> float:
    """Fraction of the pixels left out as outliers, median of the frames."""
    rows = fitted(tables)
    return float((rows["n_outliers"] / (rows["n_pixels"] + rows["n_outliers"])).median())


def background_spread(tables: Tables) -> float:
    """Spread of the background between frames over the spread of the residuals of pixels."""
    rows = fitted(tables)
    return robust_spread(rows["background"].to_numpy()) / float(rows["residual_rms"].median())


def lowest_background(tables: Tables) -> float:
    """Lowest background of a frame, in the same units."""
    rows = fitted(tables)
    return float((rows["background"] / rows["residual_rms"]).min())


def flagged(tables: Tables, flag: SourceFlag) -> float:
    """Fraction of the good measurements of bright sources, inside the images, with a flag."""
    flags = tables.flags[(tables.flags & (BAD_MEASUREMENT | int(SourceFlag.EDGE))) == 0]
    if flags.size == 0:
        raise UnmeasuredError("no good measurement of a bright star")
    return float(np.mean((flags & int(flag)) != 0))


def lost(tables: Tables, flag: ExposureFlag) -> float:
    """Fraction of the frames that have a flag."""
    rows = _some(tables.frame_stats, "there are no frames")
    return float(np.mean((rows["flags"] & int(flag)) != 0))


def false_peaks(tables: Tables) -> float:
    """Peaks of the last search in the negative of the stack, per source."""
    return _search(tables)["rounds"][-1]["n_negative"] / max(len(tables.sources), 1)


def stars_found(tables: Tables) -> float:
    """Stars found minus expected, over the uncertainty of the expected number.

    The catalogue's counts, a power law of the flux, are extrapolated from its end to where the
    search is complete: a multiple of its threshold in the noise of all frames together.
    """
    threshold = _search(tables)["threshold"]
    frames = len(json.loads(_known(tables.prf, "shifts", "the PRF does not name its frames")))
    listed = (tables.sources["origin"] != "residual").to_numpy()
    flux = _some(tables.sources[listed], "the catalogue is empty")["flux"].to_numpy()
    end, middle = np.percentile(flux, [_FADING, _MIDDLE])
    faint = listed & (tables.sources["flux"] <= middle).to_numpy()
    error = float(tables.metrics["expected_scatter"][faint].median())
    if not (error > 0.0 and middle > end > 0.0):
        raise UnmeasuredError("counts of the catalogue or errors of faint stars are unknown")
    complete = _COMPLETE * threshold * error / math.sqrt(frames)
    found = int((tables.sources["flux"][~listed] > complete).sum())
    ended, half = (flux.size * (1.0 - percent / 100.0) for percent in (_FADING, _MIDDLE))
    power = math.log(ended / half) / math.log(middle / end)
    expected = ended * max((end / complete) ** power - 1.0, 0.0)
    terms = _COUNTS * expected, _MISSING * flux.size, math.sqrt(expected + 1.0)
    return (found - expected) / math.hypot(*terms)


def corrections(tables: Tables) -> np.ndarray:
    """Corrections of the positions of bright stars over their prior errors, shape (2, n)."""
    pairs = tables.catalogue.merge(tables.sources, on="source_id", suffixes=("_old", ""))
    pairs = _some(pairs[bright(pairs["flux"].to_numpy())], "the tables share no star")
    names = ("ra", "dec", "pmra", "pmdec", "epoch")
    ra, dec, pmra, pmdec, epoch = (pairs[name].to_numpy(float) for name in names)
    ra, dec = propagate(ra, dec, pmra, pmdec, epoch, pairs["epoch_old"].to_numpy(float))  # type: ignore[arg-type]
    dra = (ra - pairs["ra_old"].to_numpy() + 180.0) % 360.0 - 180.0
    east = dra * np.cos(np.deg2rad(dec)) / MAS / pairs["ra_err_old"].to_numpy()
    north = (dec - pairs["dec_old"].to_numpy()) / MAS / pairs["dec_err_old"].to_numpy()
    if not (np.abs(east) + np.abs(north)).max() > 1e-6:
        raise UnmeasuredError("no position was corrected")
    return np.stack([east, north])


def _search(tables: Tables) -> dict[str, Any]:
    """Threshold and rounds of the search."""
    search = json.loads(_known(tables.search, "search", "no search was made"))
    if not search["rounds"]:
        raise UnmeasuredError("no search was made")
    return search


def _known(metadata: Mapping[str, str], key: str, otherwise: str) -> str:
    if key not in metadata:
        raise UnmeasuredError(otherwise)
    return metadata[key]


def _some(rows: pd.DataFrame, otherwise: str) -> pd.DataFrame:
    if len(rows) == 0:
        raise UnmeasuredError(otherwise)
    return rows
