"""Normal equations of the coefficients of a tensor PRF, solved without their matrix.

Each pixel couples the coefficients of all stars that reach it, and the matrix of tens of thousands
of coefficients would be dense.  Conjugate gradients need only its product with a vector: the PRF on
the pixels, times the weights, and back.  The terms of each star alone make a banded matrix, because
splines overlap only their neighbours: its Cholesky factor is the preconditioner, and the iteration
adds the coupling between stars.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.linalg import cho_solve_banded, cholesky_banded

from romanprf.frame.stamps import Stamps
from romanprf.io.scratch import kept
from romanprf.prf import tensor_nb
from romanprf.prf.tensor import SCALE, STEP, TensorPRF

logger = logging.getLogger(__name__)

#: Prior sigma of a coefficient, as a fraction of the profile at its place: speckles and spikes
#: differ from the profile by about its own size.
_PRIOR = 1.0
#: Prior sigma of the change of a coefficient between neighbouring nodes, the same.
_CHANGE = 0.05
#: The iteration ends when the sum over all coefficients of (error / sigma)^2 is below this ...
_TOLERANCE = 1e-2
#: ... or after this many steps, with a warning.
_MAX_ITERATIONS = 300
#: The scatter of solutions with the fluxes held is too small by this factor: with it, on simulated
#: fields, errors and deviations from the truth agree (docs/explanation/shape.md).
_HELD = 2.0
#: Chunks of sources that are summed separately, whatever the number of threads.
_CHUNKS = 4
#: Stars of a frame from which the preconditioner is made, which only has to be close.
_ENOUGH = 500


@dataclass(frozen=True, eq=False)
class _Data:
    """Pixels of a frame, and the stars that shape the PRF there.

    Attributes
    ----------
    stamps : Stamps
        Windows of the stars, without values.
    node, share : ndarray, shape (nstars, 1 or 4)
        Nodes of the PRF around each star, and their weights.
    left, weight : ndarray, shape (nrows, ncols)
        Image less the model, e-/s, and inverse variance.
    with_background : bool
        Whether the frame has an unknown background.
    """

    stamps: Stamps
    node: np.ndarray
    share: np.ndarray
    left: np.ndarray
    weight: np.ndarray
    with_background: bool

    @cached_property
    def total_weight(self) -> float:
        """Sum of the weights."""
        return float(self.weight.sum(dtype=float))

    @property
    def places(self) -> tuple[np.ndarray, ...]:
        """Arguments that all kernels begin with."""
        return self.stamps.x, self.stamps.y, self.stamps.radius

    def model(self, coefficients: np.ndarray, light: np.ndarray) -> np.ndarray:
        """Image of the stars with these coefficients and light (e-/s)."""
        s = self.stamps
        values = np.empty(s.offset[-1], np.float32)
        nodes = self.node, self.share, coefficients.astype(np.float32)
        window = s.window, s.offset
        tensor_nb.fill_stamps(*self.places, light, *window, *nodes, SCALE, STEP, 1, values)
        return replace(s, values=values).model(np.ones(len(s)))

    def gather(self, image: np.ndarray, light: np.ndarray, total: np.ndarray) -> None:
        """Transpose of `model`: add the weighted sum of an image over an unknown background."""
        weighted = np.multiply(self.weight, image, dtype=float)  # one type for the kernel
        if self.with_background:
            weighted -= self.weight * (weighted.sum(dtype=float) / self.total_weight)
        rest = light, self.stamps.window, self.node, self.share
        tensor_nb.gather(*self.places, *rest, weighted, SCALE, STEP, total)


class Equations:
    """Normal equations of a change of the coefficients, with the fluxes held.

    Memory does not grow with the number of frames but for the positions of the stars: pixels are
    kept in temporary files.

    Parameters
    ----------
    prf : TensorPRF
        The present model.
    prior : TensorPRF
        Centre of a Gaussian prior, but for its scale.
    with_background : bool
        Whether each frame has an unknown background, which is eliminated.
    """

    def __init__(self, prf: TensorPRF, prior: TensorPRF, with_background: bool):
        self._prf, self._with_background = prf, with_background
        self._frames: list[_Data] = []
        self._light: list[np.ndarray] = []
        nodes, n, _ = prf.coefficients.shape
        # With nodes one more: a change that all of them have in common.
        self._band = np.zeros((_CHUNKS, nodes + (nodes > 1), n, 4, 7, n))
        envelope = prior.envelope()
        self._precision = (_PRIOR * envelope) ** -2.0 / nodes
        self._smooth = (_CHANGE * envelope) ** -2.0
        weighted = self._precision * prior.coefficients
        scale = np.vdot(weighted, prf.coefficients) / np.vdot(weighted, prior.coefficients)
        self._off = scale * prior.coefficients - prf.coefficients
        self._factors: list[np.ndarray] = []
        self.iterations = 0

    def add(
        self,
        stamps: Stamps,
        light: np.ndarray,
        left: np.ndarray,
        weight: np.ndarray,
        corner: tuple[int, int] = (0, 0),
    ) -> None:
        """Add a frame, or a part of one.

        Parameters
        ----------
        stamps : Stamps
            Of the stars that shape the PRF, the same in all frames of a part.
        light : ndarray, shape (nstars,)
            e-/s that the PRF is multiplied by.
        left, weight : ndarray, shape (nrows, ncols)
            Image less the model, e-/s, and inverse variance, 0 where rejected.
        corner : tuple of int
            Row and column of the first pixel in the images that the nodes belong to.
        """
        node, share = self._prf.shares(stamps.x + corner[1], stamps.y + corner[0])
        frame = _Data(
            # The PRF on the pixels is made anew for every vector: its values only fill memory.
            stamps=replace(stamps, values=np.empty(0)),
            node=node,
            share=share,
            left=kept(left),
            weight=kept(weight),
            with_background=self._with_background,
        )
        self._add_own_terms(frame, light)
        self._frames.append(frame)
        self._light.append(light)

    def _add_own_terms(self, frame: _Data, light: np.ndarray) -> None:
        """Add the terms of each star alone; of many stars, different ones in each frame."""
        every = max(-(-len(light) // _ENOUGH), 1)
        some = slice(len(self._frames) % every, None, every)
        node, share = frame.node, frame.share
        if node.shape[1] > 1:
            node = np.insert(node, 0, self._band.shape[1] - 1, axis=1)
            share = np.insert(share, 0, 1.0, axis=1)
        known = *frame.places, np.sqrt(every) * light, frame.stamps.window, node, share
        stars = (np.ascontiguousarray(values[some]) for values in known)
        tensor_nb.add_own_terms(*stars, frame.weight, SCALE, STEP, self._band)

    def solve(self) -> np.ndarray:
        """Change of the coefficients, shape (nodes, n, n), that minimises chi2 and the prior."""
        self._factors = self._factorise()
        return self._solve(self._light, np.zeros_like(self._off))

    def jackknife(self, change: np.ndarray, groups: int) -> Iterator[np.ndarray]:
        """Errors of the coefficients, from solutions that each leave out a group of the stars.

        Residuals of neighbours, errors of fluxes and the noise of pixels all differ from star to
        star.  The mean square of these errors is the variance
        (delete-group jackknife; Shao & Wu 1989, Annals of Statistics 17, 1176), but for a factor:
        the fluxes do not follow.

        Parameters
        ----------
        change : ndarray, shape (nodes, n, n)
            From `solve`.
        groups : int
            Stars are dealt out to these.
        """
        for group in range(groups):
            light = [all_.copy() for all_ in self._light]
            for one in light:
                one[group::groups] = 0.0
            yield _HELD * np.sqrt(groups - 1.0) * (self._solve(light, change) - change)

    def _solve(self, light: list[np.ndarray], start: np.ndarray) -> np.ndarray:
        """Conjugate gradients for stars of this light on the frames."""
        x = start.copy()
        total = np.zeros((_CHUNKS, *x.shape))
        for frame, bright in zip(self._frames, light, strict=True):
            frame.gather(frame.left, bright, total)
        residual = total.sum(axis=0) + self._precision * self._off
        residual -= self._between_nodes(self._prf.coefficients)
        if x.any():
            residual -= self._multiply(x, light)
        z = self._precondition(residual)
        direction, power = z, np.vdot(residual, z)
        for _ in range(_MAX_ITERATIONS):
            if power <= _TOLERANCE:
                return x
            product = self._multiply(direction, light)
            length = power / np.vdot(direction, product)
            x += length * direction
            residual -= length * product
            z = self._precondition(residual)
            power, last = np.vdot(residual, z), power
            direction = z + (power / last) * direction
            self.iterations += 1
        logger.warning("PRF: not settled after %d iterations, %.1e left", _MAX_ITERATIONS, power)
        return x

    def _multiply(self, x: np.ndarray, light: list[np.ndarray]) -> np.ndarray:
        """Matrix times coefficients."""
        total = np.zeros((_CHUNKS, *x.shape))
        for frame, bright in zip(self._frames, light, strict=True):
            frame.gather(frame.model(x, bright), bright, total)
        return total.sum(axis=0) + self._precision * x + self._between_nodes(x)

    def _between_nodes(self, x: np.ndarray) -> np.ndarray:
        """Matrix of the prior that neighbouring nodes are alike, times coefficients."""
        out = np.zeros_like(x)
        grid, change = (a.reshape(*self._prf.grid, *x.shape[1:]) for a in (x, out))
        for axis in (0, 1):
            step = self._smooth * np.diff(grid, axis=axis)
            before, after = ([slice(None)] * axis + [s] for s in (slice(-1), slice(1, None)))
            change[tuple(before)] -= step
            change[tuple(after)] += step
        return out

    def _factorise(self) -> list[np.ndarray]:
        """Banded Cholesky factors of the terms of each star alone, of each node and in common."""
        n, nodes = self._prf.coefficients.shape[1], len(self._prf.coefficients)
        count = [*_neighbours(*self._prf.grid).ravel(), 0]
        own = [self._precision] * nodes + [nodes * self._precision]
        factors = []
        for band, known, neighbours in zip(self._band.sum(axis=0), own, count, strict=False):
            lower = np.zeros((3 * n + 4, n * n))
            for a, b in np.ndindex(4, 7):
                if a * n + b >= 3:
                    lower[a * n + b - 3] = band[:, a, b].ravel()
            lower[0] += (known + neighbours * self._smooth).ravel()
            factors.append(cholesky_banded(lower, overwrite_ab=True, lower=True))
        return factors

    def _precondition(self, residual: np.ndarray) -> np.ndarray:
        """Solve node by node, and for a change that all nodes have in common."""
        factors = self._factors
        parts = zip(factors, residual, strict=False)
        solved = np.stack([_solved(factor, part) for factor, part in parts])
        return solved + _solved(factors[-1], residual.sum(axis=0)) if len(residual) > 1 else solved


def _solved(factor: np.ndarray, right: np.ndarray) -> np.ndarray:
    return cho_solve_banded((factor, True), right.ravel(), check_finite=False).reshape(right.shape)


def _neighbours(down: int, across: int) -> np.ndarray:
    """Number of neighbours of each node of a grid."""
    count = np.zeros((down, across))
    count[1:] += 1
    count[:-1] += 1
    count[:, 1:] += 1
    count[:, :-1] += 1
    return count
