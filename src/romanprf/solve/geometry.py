"""Geometry of a frame: how far it is shifted, turned and stretched against its WCS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from romanprf.core.image import Image
from romanprf.frame.model import FrameModel
from romanprf.frame.state import FrameState, Linear, Shift
from romanprf.solve.register import register

#: Cells per axis in which the shift is measured, and the fewest stars in each: the shift of fewer
#: is that of one star with a wrong position or a companion.
_CELLS, _FEWEST = 3, 5
#: Cells that tell a turn from errors of single ones.
_ENOUGH = 6
#: The linear terms count if they lower the chi2 of the shifts by this much: four terms of noise
#: lower it by 4, once in 10 000 frames by 23.5.
_SIGNIFICANT = 25.0
#: Within a cell a turn blurs the stars, so that the first pass finds nine tenths of it.
_PASSES = 4
#: Least error of the shift of a cell, pixels: of the positions and the PRF, not of the photons.
_FLOOR = 1e-3


class Seen(NamedTuple):
    """Shift of some stars of a frame, and their mean place (column, row); pixels."""

    x: float
    y: float
    shift: Shift


def register_geometry(
    image: Image, model: FrameModel, flux: np.ndarray, stars: np.ndarray, nearby: float = np.inf
) -> FrameState:
    """State of a frame in which its stars are where they are seen.

    Parameters
    ----------
    image, model, flux, stars, nearby
        As of `romanprf.solve.register.register`.
    """
    shift = register(image, model, flux, stars, nearby)
    state = FrameState(shift=shift, origin=model.frame.exposure.centre)
    for _ in range(_PASSES):
        before = state
        cells = list(shifts_of_cells(image, replace(model, state=before), flux, stars, nearby))
        state = turned(before, plane(cells, before.origin), np.zeros((2, 2)))
        if state is before:
            break
    return state


def shifts_of_cells(
    image: Image, model: FrameModel, flux: np.ndarray, stars: np.ndarray, nearby: float = np.inf
) -> Iterator[Seen]:
    """Shift in each part of an image, on a grid of cells with equal numbers of stars.

    The parameters are those of `register_geometry`; the state of the model is the first guess.
    """
    x, y = (np.nan_to_num(place) for place in model.places())
    number = np.flatnonzero(stars)
    if number.size < _FEWEST * _ENOUGH:
        return
    for column in np.array_split(number[np.argsort(x[number], kind="stable")], _CELLS):
        for cell in np.array_split(column[np.argsort(y[column], kind="stable")], _CELLS):
            if cell.size >= _FEWEST:
                chosen = np.zeros(len(stars), bool)
                chosen[cell] = True
                shift = register(image, model, flux, chosen, nearby)
                yield Seen(float(x[cell].mean()), float(y[cell].mean()), shift)


@dataclass(frozen=True, eq=False)
class Plane:
    """A shift that changes linearly with the place, by least squares.

    ``terms`` of x and y, shape (2, 3): pixels at the origin, pixels per pixel along columns and
    rows.  ``precision``: inverse covariance of the latter two, shape (2, 2, 2).
    """

    terms: np.ndarray
    precision: np.ndarray

    def significance(self, common: np.ndarray) -> float:
        """Chi2 of the linear terms less some that are expected, shape (2, 2)."""
        slope = self.terms[:, 1:] - common
        return float(np.einsum("ai,aij,aj->", slope, self.precision, slope))


def plane(seen: Sequence[Seen], origin: tuple[float, float]) -> Plane | None:
    """The plane through shifts in cells; None if there are too few of them."""
    known = [cell for cell in seen if np.isfinite(cell.shift.x_err)]
    if len(known) < _ENOUGH:
        return None
    place = np.array([(cell.x, cell.y) for cell in known]) - origin
    design = np.column_stack([np.ones(len(known)), place])
    shift = np.array([cell.shift for cell in known])
    terms, precision = np.empty((2, 3)), np.empty((2, 2, 2))
    for axis in range(2):
        weight = 1.0 / (shift[:, axis + 2] ** 2 + _FLOOR**2)
        normal = design.T @ (weight[:, None] * design)
        terms[axis] = np.linalg.solve(normal, design.T @ (weight * shift[:, axis]))
        precision[axis] = np.linalg.inv(np.linalg.inv(normal)[1:, 1:])
    return Plane(terms, precision)


def turned(start: FrameState, found: Plane | None, common: np.ndarray) -> FrameState:
    """State with the linear terms of a plane, or ``start`` where they are not significant.

    Parameters
    ----------
    start : FrameState
        With the mean shift of the frame, and the linear terms under which the plane was measured.
    found : Plane or None
        Of the shifts of the frame.
    common : ndarray, shape (2, 2)
        Terms that belong to the positions of the stars, not to the frame: those of all frames.
    """
    if found is None or found.significance(common) < _SIGNIFICANT:
        return start
    x, y = (float(shift) for shift in found.terms[:, 0])
    terms = np.ravel(found.terms[:, 1:] - common) + start.linear
    return replace(start, shift=start.shift._replace(x=x, y=y), linear=Linear(*terms.tolist()))


def turned_apart(starts: Sequence[FrameState], cells: Sequence[Sequence[Seen]]) -> list[FrameState]:
    """States of frames that are registered to stars whose positions are still to be solved.

    What all of them have in common belongs to the positions (see `turned`).
    """
    planes = [plane(seen, start.origin) for seen, start in zip(cells, starts, strict=True)]
    slopes = [found.terms[:, 1:] for found in planes if found]
    common = np.median(slopes, axis=0) if slopes else np.zeros((2, 2))
    return [turned(start, found, common) for start, found in zip(starts, planes, strict=True)]
