"""Checks of a reduction: all thresholds, each with its reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import pandas as pd

from romanprf.flags import ExposureFlag, SourceFlag
from romanprf.metrics import quantities
from romanprf.metrics.quantities import Tables, UnmeasuredError

#: Checks are compared by their excess over what their limits allow, at least this much.
_LEAST_ALLOWED = 1e-3


@dataclass(frozen=True)
class Check:
    """One quantity, its limits, and what it means when it is outside.

    ``low`` and ``high`` are inclusive, NaN for no limit; ``measure`` raises `UnmeasuredError`.
    """

    name: str
    quantity: str
    low: float
    high: float
    suspect: str
    measure: Callable[[Tables], float]
    unit: str = ""

    @property
    def limits(self) -> str:
        """The limits in words."""
        if math.isnan(self.low):
            return f"at most {self.high:g}"
        if math.isnan(self.high):
            return f"at least {self.low:g}"
        return f"{self.low:g} to {self.high:g}"

    def row(self, tables: Tables) -> dict[str, object]:
        """Row of the ``checks`` table."""
        value = math.nan
        try:
            value = float(self.measure(tables))
            reason = "no value" if math.isnan(value) else ""
        except UnmeasuredError as error:
            reason = str(error)
        passed = not (reason or value < self.low or value > self.high)
        return {
            "check": self.name,
            "value": value,
            "low": self.low,
            "high": self.high,
            "unit": self.unit,
            "passed": passed,
            "message": self._message(value, passed, reason),
        }

    def _message(self, value: float, passed: bool, reason: str) -> str:
        if reason:
            return f"{self.quantity}: not measured ({reason})"
        found = f"{self.quantity}: {value:.4g}{' ' if self.unit else ''}{self.unit}"
        return found if passed else f"{found}, expected {self.limits}; {self.suspect}"


_MODEL = "the PRF, the positions or the errors of the pixels are wrong"
_POSITIONS = "positions of the catalogue or their errors are wrong (crossmatch.position_error)"
_CATALOGUE = "catalogue, zero point and images do not belong together"

#: All checks, each with the reason of its limits.
CHECKS = (
    # 0.1 mag: zero points, and catalogues in the band of the images, are better.
    Check("prf_integral", "integral of the PRF", 0.9, 1.1, _CATALOGUE, quantities.integral),
    # Each round is calibrated by the catalogue; the last one changes less than the errors of
    # fluxes of bright stars if the rounds converged.
    Check(
        "last_scale",
        "factor on the PRF's scale in the last round",
        0.995,
        1.005,
        "the fit of the PRF has not converged (shape.rounds)",
        quantities.last_scale,
    ),
    # As for the integral; the median of many stars is not affected by variables.
    Check(
        "flux_ratio",
        "median of measured over catalogued flux of bright stars",
        0.9,
        1.1,
        _CATALOGUE,
        quantities.flux_ratio,
    ),
    # Free fluxes follow the noise of many pixels, which lowers chi2 by up to the number of stars
    # per pixel.  A hit of a cosmic ray that the model follows, and so leaves in, raises the mean of
    # a small image: the demo has 1.5 (96 x 96 pixels and an exact catalogue: 1.3).
    Check(
        "chi2_median",
        "chi2 of the pixels, median of the frames",
        0.4,
        2.0,
        _MODEL,
        lambda tables: float(quantities.fitted(tables)["chi2"].median()),
    ),
    # One frame that is jittered, out of focus or badly registered stands out.  The demo has 3.6.
    Check(
        "chi2_worst",
        "chi2 of the pixels of the worst frame",
        nan,
        5.0,
        "a frame differs from the others: see chi2 in frame_stats",
        lambda tables: float(quantities.fitted(tables)["chi2"].max()),
    ),
    # Cosmic rays that the ramp fit leaves hit a few pixels in 10 000.
    Check(
        "outliers",
        "fraction of pixels left out as outliers, median of the frames",
        nan,
        0.005,
        f"more than cosmic rays: {_MODEL}",
        quantities.outliers,
    ),
    # A core has ten pixels: cosmic rays hit less than one in a hundred.
    Check(
        "outliers_in_cores",
        "fraction of bright stars with an outlier in the core",
        nan,
        0.05,
        f"cores are left out as cosmic rays: {_MODEL}",
        lambda tables: quantities.flagged(tables, SourceFlag.OUTLIER),
    ),
    # Zodiacal light and dark current change by less than their own noise.
    Check(
        "background_spread",
        "spread of the background between frames over the noise of a pixel",
        nan,
        0.5,
        "scattered light, or stars whose light goes into the background",
        quantities.background_spread,
    ),
    # Images from which a background was subtracted scatter around 0 by much less.
    Check(
        "background_lowest",
        "lowest background of a frame over the noise of a pixel",
        -0.5,
        nan,
        "the images were over-subtracted, or the PRF has too much light in its wings",
        quantities.lowest_background,
    ),
    # Peaks of the last search in the negative of the stack have no star: noise gives fewer.
    Check(
        "false_peaks",
        "peaks in the negative of the searched stack, per source",
        nan,
        0.05,
        f"the search finds errors of the model: {_MODEL}",
        quantities.false_peaks,
    ),
    # The expected number is good to a factor of two.  Fewer are no fault: counts may end.
    Check(
        "stars_found",
        "stars found by the search minus expected, over the uncertainty of that",
        nan,
        2.0,
        f"false stars (shape.search_threshold): {_MODEL}",
        quantities.stars_found,
    ),
    # 1 if the prior errors are right and the images show the stars much better, less otherwise.
    Check(
        "positions_rms",
        "rms of the corrections of bright stars' positions over their prior errors",
        nan,
        1.3,
        _POSITIONS,
        lambda tables: float(np.sqrt(np.mean(quantities.corrections(tables) ** 2))),
    ),
    # Normal errors of 100 000 stars stay below 5; a wrong match is further off.
    Check(
        "positions_largest",
        "largest correction of a bright star's position over its prior error",
        nan,
        7.0,
        _POSITIONS,
        lambda tables: float(np.abs(quantities.corrections(tables)).max()),
    ),
    # A few exposures of a season are lost.
    Check(
        "frames_unusable",
        "fraction of frames without usable pixels",
        nan,
        0.05,
        "see flags in exposures",
        lambda tables: quantities.lost(tables, ExposureFlag.UNUSABLE),
    ),
    # The solver converges in all frames that resemble the model.
    Check(
        "frames_not_converged",
        "fraction of frames whose fit did not converge",
        nan,
        0.0,
        "see flags in frame_stats",
        lambda tables: quantities.lost(tables, ExposureFlag.NOT_CONVERGED),
    ),
    # Few of the brightest tenth have a neighbour within half a pixel that is as bright.
    Check(
        "degenerate",
        "fraction of bright stars known only in sum with neighbours (DEGENERATE)",
        nan,
        0.1,
        "the catalogue lists stars twice, or blends (crossmatch.blend_limit)",
        lambda tables: quantities.flagged(tables, SourceFlag.DEGENERATE),
    ),
    # The images know the flux of a bright star far better than its prior.
    Check(
        "prior",
        "fraction of bright stars whose prior outweighs the pixels (PRIOR)",
        nan,
        0.1,
        "images are too noisy or the prior is too narrow (fit.prior_width)",
        lambda tables: quantities.flagged(tables, SourceFlag.PRIOR),
    ),
)


def check(tables: Tables) -> pd.DataFrame:
    """Rows of the ``checks`` table, in the order of `CHECKS`."""
    return pd.DataFrame([each.row(tables) for each in CHECKS])


def failures(checks: pd.DataFrame) -> pd.DataFrame:
    """Rows of the ``checks`` table that failed, the worst first; unmeasured ones last."""
    failed = checks[~checks["passed"].astype(bool)]
    excess = [_excess(row) for row in failed.to_dict("records")]
    return failed.iloc[np.argsort(-np.array(excess), kind="stable")]


def _excess(row: Mapping[Any, Any]) -> float:
    """How far a value is outside its limits, in units of what they allow; 0 if unmeasured."""
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    allowed = 0.5 * (high - low) if low < high else np.nanmax(np.abs([low, high]))
    beyond = np.fmax(value - high, low - value)
    return float(np.nan_to_num(beyond)) / max(allowed, _LEAST_ALLOWED)
