"""Depths of injected events, and members of close pairs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from table import Curves, pulls, statistics

from romanprf.core.statistics import robust_spread

#: Events count whose depth the photons tell to this fraction: fainter ones tell no bias.
DEPTH_ERROR = 0.2


def event_rows(curves: Curves) -> Iterator[str]:
    """Kind, number, median bias of the depth with its error, pull width.

    What the exposures share, the error of the model, is no noise of a change.
    """
    depth, error = amplitudes(curves, curves.noise)
    _, expected = amplitudes(curves, curves.limit)
    for kind in sorted(set(curves.kind) - {"constant"}):
        chosen = (curves.kind == kind) & (expected < DEPTH_ERROR) & np.isfinite(depth)
        if not chosen.any():
            continue
        bias = depth[chosen] - 1.0
        middle = 1.2533 * robust_spread(bias) / np.sqrt(bias.size)  # error of a median
        width = robust_spread(bias / error[chosen])
        numbers = f"{100 * np.median(bias):+.2f} ± {100 * middle:.2f} % | {width:.2f}"
        yield f"{kind} | {bias.size} | {numbers}"


def amplitudes(curves: Curves, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth of each event over the true one, and its error; NaN for a constant star.

    Weighted least squares of flux / true = baseline + depth (factor - 1).
    """
    weight = np.where(np.isfinite(curves.flux), (curves.true[:, None] / error) ** 2, 0.0)
    value = np.nan_to_num(curves.flux / curves.true[:, None])
    total = weight.sum(axis=1)
    shape = curves.factor - ((weight * curves.factor).sum(axis=1) / total)[:, None]
    information = (weight * shape**2).sum(axis=1)
    known = information > 1e-6
    information = np.where(known, information, np.nan)
    return (weight * shape * value).sum(axis=1) / information, 1.0 / np.sqrt(information)


def pair_rows(curves: Curves) -> Iterator[str]:
    """Difference, separation, number, bias of the sum with its error, pull width of members."""
    median, _ = statistics(curves)
    pull = pulls(curves)
    members = pd.DataFrame(
        {name: getattr(curves, name) for name in ("pair", "difference", "separation", "true")}
    ).assign(median=median, row=np.arange(median.size))
    members = members[members["pair"] >= 0]
    members = members[members.groupby("pair")["pair"].transform("size") == 2]
    for (difference, separation), group in members.groupby(["difference", "separation"]):
        sums = group.groupby("pair")[["median", "true"]].sum()
        bias = (sums["median"] / sums["true"] - 1.0).to_numpy()
        middle = 1.2533 * robust_spread(bias) / np.sqrt(bias.size)
        values = pull[group["row"].to_numpy()]
        width = robust_spread(values[np.isfinite(values)])
        numbers = f"{100 * np.median(bias):+.2f} ± {100 * middle:.2f} % | {width:.2f}"
        yield f"{difference:.0f} mag | {separation} | {bias.size} | {numbers}"
