"""What the error of the PRF does to the fluxes of a frame under a constant sky."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from romanprf.photometry.background import Mesh
from romanprf.photometry.frame import pixel_weight, solve_under_sky
from romanprf.photometry.image import Image
from romanprf.photometry.normal import normal_matrix
from romanprf.photometry.solver import Solver, make_tiles
from romanprf.photometry.stamps import Stamps
from romanprf.prf import PRF, TensorPRF

#: Accuracy of the solutions in units of the errors of the fluxes.
_TOLERANCE = 1e-2


def error_images(
    prf: PRF, stamps: Callable[[TensorPRF], Stamps], flux: np.ndarray
) -> Iterator[np.ndarray]:
    """Light that each of the likely errors of a PRF adds to a frame, e-/s; none if unknown.

    Parameters
    ----------
    prf : PRF
        The model; a log-polar one does not know its errors.
    stamps : callable
        Stamps of all sources on the frame for a PRF.
    flux : ndarray, shape (nsources,)
        e-/s.
    """
    for wrong in prf.wrong() if isinstance(prf, TensorPRF) else ():
        yield stamps(wrong).model(flux)


def model_error(
    image: Image,
    stamps: Stamps,
    errors: Iterable[np.ndarray],
    flux: np.ndarray,
    prior_sigma: np.ndarray,
) -> np.ndarray:
    """1 sigma of each flux from the error of the PRF of all stars, through the joint solution.

    It is much the same in all frames: it is an error of the flux, but not of its changes.

    Parameters
    ----------
    image : Image
        Of the frame.
    stamps : Stamps
        PRF of each source on it.
    errors : iterable of ndarray
        From `error_images`.
    flux, prior_sigma : ndarray, shape (nsources,)
        e-/s.

    Returns
    -------
    ndarray, shape (nsources,)
        e-/s; NaN for sources that the frame does not show, or without ``errors``.
    """
    seen, inner = stamps.seen()
    model = stamps.model(flux)
    model += np.median((image.flux - model)[image.usable])
    weight = pixel_weight(image, model)
    normal = normal_matrix(inner, weight, prior_sigma[seen])
    solver = Solver(normal, make_tiles(inner.x, inner.y, inner.shape))
    none, mesh = np.zeros(len(seen)), Mesh(1, stamps.shape)
    response, squares, count = np.zeros((1, len(seen))), none.copy(), 0
    for error in errors:
        change, _, _, response = solve_under_sky(
            solver, inner, weight * error, weight, none, response, _TOLERANCE, mesh
        )
        squares += change**2
        count += 1
    out = np.full(len(stamps), np.nan)
    if count > 0:
        out[seen] = np.sqrt(squares / count)
    return out
