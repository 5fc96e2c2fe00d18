"""The time model of a machine: its vectors in time, and the pixels that it is fitted to."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from romanprf.machine.results import ShapeResult, TimeModelResult
from romanprf.machine.scene import Scene, centroid_shift
from romanprf.machine.series import Series
from romanprf.timemodel import Pairs, fit_time_model, polynomials, segment_starts, split
from romanprf.timemodel.vectors import checked

#: Default reach of the model, pixels: beyond it the light changes little when stars move.
_RADIUS = 3.0


def learn_time_model(
    series: Series,
    shape: ShapeResult,
    vectors: np.ndarray,
    *,
    segments: bool,
    nknots: int,
    radius: float | None,
    spacing: str,
    resolution: int,
) -> TimeModelResult:
    """Fit a time model to the pixels that belong to one source each.

    Parameters
    ----------
    series : Series
        Frames on one grid.
    shape : ShapeResult
        The mean model.
    vectors : ndarray, shape (nt, k)
        In time.
    segments : bool
        Whether each stretch between gaps has vectors of its own.
    nknots, spacing, resolution
        See `romanprf.timemodel.fit_time_model`.
    radius : float, optional
        Half the side of the box that the splines cover, arcsec.
    """
    grid, pairs = series.grid(0), clean_pairs(series, shape)
    starts = segment_starts(series.time) if segments else np.zeros(1, int)
    time_model, used = fit_time_model(
        split(vectors, starts),
        pairs,
        shape.prf,
        starts=starts,
        nknots=nknots,
        radius=_RADIUS * grid.pixel_scale if radius is None else float(radius),
        spacing=spacing,
        resolution=resolution,
    )
    return TimeModelResult(time_model=time_model, grid=grid, pairs=pairs.only(used))


def clean_pairs(series: Series, shape: ShapeResult) -> Pairs:
    """Pixels that belong to one source each."""
    grid = series.grid(0)
    source, pixel = grid.entries(shape.stamps)
    keep = shape.clean & (pixel >= 0)
    pixel = pixel[keep]
    east, north = grid.offsets(shape.stamps)
    return Pairs(
        source=source[keep],
        dx=east[keep],
        dy=north[keep],
        flux=series.flux[:, pixel],
        flux_err=series.flux_err[:, pixel],
    )


def time_vectors(
    series: Series, scene: Scene, vectors: str | ArrayLike, poly_order: int
) -> np.ndarray:
    """What the change of the PRF follows in time, shape (nt, k).

    Parameters
    ----------
    series : Series
        Frames on one grid.
    scene : Scene
        Its centroid is measured for "centroid".
    vectors : "polynomial", "centroid" or array_like, shape (nt, k)
        See `romanprf.Machine.build_time_model`.
    poly_order : int
        Highest power of "polynomial".

    Raises
    ------
    ValueError
        If ``vectors`` cannot be used.
    """
    if not isinstance(vectors, str):
        return checked(vectors, len(series))
    if vectors == "polynomial":
        return polynomials(series.time, poly_order, segments=False)
    if vectors == "centroid":
        return _centroids(series, scene)
    raise ValueError(
        f'vectors={vectors!r}, expected "polynomial", "centroid" or an array of shape '
        f"({len(series)}, k)"
    )


def _centroids(series: Series, scene: Scene) -> np.ndarray:
    """Centroid (x, y) of the scene less its mean over time, pixels, and the products of both."""
    shifts = [centroid_shift(scene, series.frame(t))[:2] for t in range(len(series))]
    x, y = np.transpose(shifts - np.mean(shifts, axis=0))
    return np.stack([x, y, x * x, x * y, y * y], axis=1)
