"""Sky of a frame: a coarse mesh of tensor-product B-splines, linear in its coefficients."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.interpolate import BSpline

from romanprf.frame import image_nb


class Mesh:
    """Functions that add up to 1 everywhere: a constant, a tilted plane ... a bicubic spline.

    Parameters
    ----------
    nodes : int
        Functions per axis: 0 for no sky at all, 1 for a constant, n for splines of degree n - 1,
        at most 3, on uniform clamped knots (de Boor 2001, A Practical Guide to Splines, ch. IX).
    shape : tuple of int
        Rows and columns of the frame.

    Attributes
    ----------
    rows, columns : ndarray, shapes (nrows, nodes), (ncols, nodes)
        Values along each axis; function (i, j) is their product.
    """

    def __init__(self, nodes: int, shape: tuple[int, int]):
        self.nodes = nodes
        self.rows, self.columns = (_along(nodes, length) for length in shape)

    def image(self, coefficients: np.ndarray, rest: np.ndarray | None = None) -> np.ndarray:
        """Sum of the functions times coefficients (nodes, nodes), on top of ``rest``.

        Both are images of shape (nrows, ncols).
        """
        out = np.empty((len(self.rows), len(self.columns)))
        rest = np.zeros(out.shape) if rest is None else rest
        columns = np.ascontiguousarray(self.columns.T)
        image_nb.add_mesh(self.rows @ coefficients, columns, rest, out)
        return out

    def dot(self, image: np.ndarray) -> np.ndarray:
        """Sum over the pixels of each function times an image, shape (nodes**2,)."""
        return (self.rows.T @ image @ self.columns).ravel()

    def gram(self, weight: np.ndarray) -> np.ndarray:
        """Weighted sum over the pixels of each two functions, shape (nodes**2, nodes**2)."""
        n = self.nodes
        rows, columns = (np.einsum("pi,pj->pij", a, a) for a in (self.rows, self.columns))
        rows, columns = (a.reshape(len(a), n * n) for a in (rows, columns))
        products = rows.T @ weight @ columns
        return products.reshape(n, n, n, n).transpose(0, 2, 1, 3).reshape(n * n, n * n)

    def weighted(self, weight: np.ndarray) -> Iterator[np.ndarray]:
        """Each function times an image, in the order of `dot`."""
        if self.nodes == 1:
            yield weight
            return
        for i, j in np.ndindex(self.nodes, self.nodes):
            yield weight * np.outer(self.rows[:, i], self.columns[:, j])


def _along(nodes: int, length: int) -> np.ndarray:
    """Values of the functions at the pixels of one axis, shape (length, nodes)."""
    if nodes == 0:
        return np.empty((length, 0))
    degree = min(nodes - 1, 3)
    inner = np.linspace(-0.5, length - 0.5, nodes - degree + 1)
    knots = np.pad(inner, degree, mode="edge")
    return BSpline.design_matrix(np.arange(float(length)), knots, degree).toarray()
