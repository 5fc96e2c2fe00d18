"""Vectors in time along which the PRF may change, and the segments between gaps."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import ArrayLike

#: A gap longer than this, in median cadences, starts a new segment: the telescope may point and
#: focus a little differently after it.
_GAP = 5.0
#: A vector that varies by less than this fraction of its largest value counts as constant: the
#: variation is rounding error.
_CONSTANT = 1e-12


def segment_starts(time: np.ndarray) -> np.ndarray:
    """Index of the first frame of each segment; a new one starts after a gap.

    Parameters
    ----------
    time : ndarray, shape (nt,)
        Days, not decreasing.

    Returns
    -------
    ndarray of int, shape (nsegments,)
        The first entry is 0.
    """
    time = np.asarray(time, float)
    cadence = np.diff(time)
    wrong = np.flatnonzero(~(cadence >= 0.0))
    if wrong.size:
        i = wrong[0]
        raise ValueError(
            f"time[{i + 1}]={time[i + 1]} does not follow time[{i}]={time[i]}; "
            "sort the frames by time"
        )
    gaps = np.flatnonzero(cadence > _GAP * np.median(cadence)) if cadence.size else cadence
    return np.concatenate([[0], gaps + 1]).astype(np.int64)


def polynomials(time: np.ndarray, order: int, segments: bool) -> np.ndarray:
    """Legendre polynomials of time, of degree 1 to ``order``.

    Parameters
    ----------
    time : ndarray, shape (nt,)
        Days, not decreasing.
    order : int
        Highest degree; in a segment of n frames at most n - 1.
    segments : bool
        Whether each segment between gaps has polynomials and a level of its own.

    Returns
    -------
    ndarray, shape (nt, nsegments * order + nsegments - 1)
        See `split`.
    """
    if order < 1:
        raise ValueError(f"polynomial order {order} describes no change; use 1 or more")
    time = np.asarray(time, float)
    starts = segment_starts(time) if segments else np.zeros(1, np.int64)
    vectors = np.zeros((time.size, order))
    for frames in np.split(np.arange(time.size), starts[1:]):
        first, last = time[frames[0]], time[frames[-1]]
        degree = min(order, frames.size - 1)
        if last > first:
            u = (2.0 * time[frames] - first - last) / (last - first)
            vectors[frames, :degree] = legendre.legvander(u, degree)[:, 1:]
    return split(vectors, starts)


def split(vectors: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Vectors of each segment, and the level of each segment but the first.

    Parameters
    ----------
    vectors : ndarray, shape (nt, k)
        Any vectors in time.
    starts : ndarray of int, shape (nsegments,)
        From `segment_starts`.

    Returns
    -------
    ndarray, shape (nt, nsegments * k + nsegments - 1)
        Of each segment: 1 inside it (not for the first, whose level the time mean fixes), then
        ``vectors`` less their mean in the segment; zero outside it.
    """
    segment = np.searchsorted(starts, np.arange(len(vectors)), side="right") - 1
    columns = []
    for number in range(len(starts)):
        inside = (segment == number)[:, None]
        if number:
            columns.append(inside.astype(float))
        mean = vectors[inside[:, 0]].mean(axis=0)
        columns.append(np.where(inside, vectors - mean, 0.0))
    return np.hstack(columns)


def checked(vectors: ArrayLike, nt: int) -> np.ndarray:
    """Vectors as an array of shape (nt, k).

    Raises
    ------
    ValueError
        If they have another shape or are not finite.
    """
    array = np.asarray(vectors, float)
    if array.ndim != 2 or len(array) != nt or not array.size:
        raise ValueError(f"vectors of shape {array.shape}; expected ({nt}, 1 or more)")
    if not np.isfinite(array).all():
        frame, column = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(
            f"vectors[{frame}, {column}]={array[frame, column]}; expected finite numbers, "
            "interpolate over frames without one"
        )
    return array


def standardised(vectors: np.ndarray) -> np.ndarray:
    """Vectors less their mean over time, scaled to a largest value of 1; constant ones dropped.

    A perturbation made of them has a time average of zero whatever its coefficients.

    Parameters
    ----------
    vectors : ndarray, shape (nt, k)
        Finite.
    """
    size = np.abs(vectors).max(axis=0)
    centred = vectors - vectors.mean(axis=0)
    change = np.abs(centred).max(axis=0)
    keep = change > _CONSTANT * size
    if not keep.any():
        raise ValueError(
            f"all {vectors.shape[1]} vectors are constant in time; give some that change"
        )
    scaled = centred[:, keep] / change[keep]
    return scaled - scaled.mean(axis=0)
