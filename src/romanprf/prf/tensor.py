"""The PRF model of the workflow: flux-domain tensor-product splines on the detector's axes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import BSpline, NdBSpline

from romanprf.prf import tensor_nb
from romanprf.sky.wcs import stretch

#: Samples per interval of the knots when a function is projected on the splines.
_SAMPLES = 4
#: Knots in the core are closest: scale * step pixels apart.
SCALE, STEP = 8.0, 0.04
#: Radius (pixels) of the light that all nodes have in common.
_LEVEL = 6.0

#: PRF at offsets (dx, dy) in pixels.
Pixels = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class TensorPRF:
    """PRF(dx, dy) = sum_ij c_ij B_i(u(dy)) B_j(u(dx)), cubic B-splines uniform in u = asinh(d / 8).

    The value at an offset is the fraction of a source's flux in a pixel of ``pixel_area`` whose
    centre is at that offset from the source, along columns and rows.  Knots are 0.32 pixel apart
    in the core and 0.04 of the distance far outside.  Where the PRF changes over the image the
    c_ij are those of nodes on a grid, bilinear between them; methods that know no place on the
    image mean the average over the nodes.  As in Anderson & King 2000 (PASP 112, 1360)
    the model is that of what pixels record, so no integral over pixels is ever needed.

    Attributes
    ----------
    intervals : int
        Of the knots of either axis, even.
    jacobian : ndarray, shape (2, 2)
        (east, north) arcsec per (x, y) pixel where the model was learned, for `evaluate`.
    pixel_area : float
        Arcsec^2.
    coefficients : ndarray, shape (nodes, intervals + 3, intervals + 3)
        Of each node, along rows of nodes; rows along y.
    rows, columns : ndarray, shape (down,) and (across,)
        Pixels of the image where the nodes are; nodes = down * across.
    errors : ndarray, shape (nerrors, nodes, intervals + 3, intervals + 3)
        Likely errors of the coefficients: their mean square is the variance; may be none.
    scale_error : float
        Relative 1 sigma of a factor that all coefficients share, which is in none of ``errors``.
    """

    intervals: int
    jacobian: np.ndarray
    pixel_area: float
    coefficients: np.ndarray
    rows: np.ndarray = field(default_factory=lambda: np.zeros(1))
    columns: np.ndarray = field(default_factory=lambda: np.zeros(1))
    errors: np.ndarray = field(default_factory=lambda: np.empty((0, 1, 1, 1)))
    scale_error: float = 0.0

    @classmethod
    def projected(cls, prf: Pixels, reach: float, jacobian: np.ndarray) -> TensorPRF:
        """Closest model to a function of the offset, out to ``reach`` pixels along either axis."""
        intervals = 2 * int(np.ceil(np.arcsinh(reach / SCALE) / STEP))
        area = float(stretch(jacobian))
        model = cls(intervals, np.asarray(jacobian), area, np.empty((0, 0, 0)))
        edge = 0.5 * intervals * STEP
        u = np.linspace(-edge, edge, _SAMPLES * intervals + 1)
        u = 0.5 * (u[1:] + u[:-1])
        d = SCALE * np.sinh(u)
        basis = np.linalg.pinv(BSpline.design_matrix(u, model.knots, 3).toarray())
        values = prf(d[None, :], d[:, None])
        return replace(model, coefficients=(basis @ values @ basis.T)[None])

    def with_nodes(self, count: int, shape: tuple[int, int]) -> TensorPRF:
        """Put this PRF at count x count nodes over images of a shape."""
        rows, columns = (np.linspace(0.0, length - 1.0, count) for length in shape)
        coefficients = np.repeat(self.mean[None], count**2, axis=0)
        none = np.empty((0, *coefficients.shape))
        return replace(self, coefficients=coefficients, rows=rows, columns=columns, errors=none)

    def at(self, x: float, y: float) -> TensorPRF:
        """PRF of a place on the image (pixels) everywhere."""
        node, share = self.shares(np.array([x]), np.array([y]))
        here, errors = (
            np.einsum("m,...mij->...ij", share[0], a[..., node[0], :, :])[..., None, :, :]
            for a in (self.coefficients, self.errors)
        )
        return replace(
            self, coefficients=here, rows=np.zeros(1), columns=np.zeros(1), errors=errors
        )

    def seen_from(self, column: int, row: int) -> TensorPRF:
        """The same for a cut-out whose first pixel is this one of the image."""
        moved = replace(self, rows=self.rows - row, columns=self.columns - column)
        vars(moved)["_outer_maximum"] = self._outer_maximum
        return moved

    def shares(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Nodes around places on the image (pixels), and what these take of each.

        Returns
        -------
        node : ndarray of int, shape (nplaces, 1 or 4)
            Row of ``coefficients``.
        share : ndarray, the same shape
            Sums to 1.
        """
        if len(self.coefficients) == 1:
            return np.zeros((len(x), 1), np.int64), np.ones((len(x), 1))
        i, v = _between(self.rows, y)
        j, u = _between(self.columns, x)
        across = self.columns.size
        node = np.stack([i * across + j, i * across + j + 1], axis=1)
        share = np.stack([1.0 - u, u], axis=1)
        below, above = share * (1.0 - v)[:, None], share * v[:, None]
        return np.hstack([node, node + across]), np.hstack([below, above])

    @property
    def grid(self) -> tuple[int, int]:
        """Nodes down and across."""
        return self.rows.size, self.columns.size

    @cached_property
    def mean(self) -> np.ndarray:
        """Coefficients averaged over the nodes."""
        return self.coefficients.mean(axis=0)

    @property
    def knots(self) -> np.ndarray:
        """Knots of either axis in u, three beyond each end."""
        return STEP * (np.arange(self.intervals + 7.0) - 3.0 - 0.5 * self.intervals)

    @property
    def reach(self) -> float:
        """Offset along either axis (pixels) at which the model ends."""
        return float(SCALE * np.sinh(0.5 * self.intervals * STEP))

    @property
    def pixel_scale(self) -> float:
        """Arcsec per pixel."""
        return float(np.sqrt(self.pixel_area))

    @property
    def rmax(self) -> float:
        """Radius at which the model ends, arcsec."""
        return self.reach * self.pixel_scale

    def centres(self) -> np.ndarray:
        """Offsets (pixels) at which the functions of either axis peak."""
        return SCALE * np.sinh(self.knots[2:-2])

    def envelope(self) -> np.ndarray:
        """Typical size of the PRF around the place of each coefficient, positive."""
        d = self.centres()
        r, outer_maximum = self._outer_maximum
        floor = 1e-9 * outer_maximum[0]
        return np.interp(np.hypot(d[:, None], d[None, :]), r, np.maximum(outer_maximum, floor))

    def on_pixels(self, dx: ArrayLike, dy: ArrayLike) -> np.ndarray:
        """PRF at offsets in pixels, of any shape; 0 beyond ``reach``."""
        dx, dy = np.broadcast_arrays(np.asarray(dx, float), np.asarray(dy, float))
        out = np.zeros(dx.size)
        inside = np.flatnonzero(np.hypot(dx, dy).ravel() < self.reach)
        places = np.arcsinh(np.stack([dy, dx], axis=-1).reshape(-1, 2)[inside] / SCALE)
        out[inside] = NdBSpline((self.knots, self.knots), self.mean, 3)(places)
        return out.reshape(dx.shape)

    def evaluate(self, r: ArrayLike, phi: ArrayLike) -> np.ndarray:
        """PRF at offsets on the sky; r in arcsec, phi = arctan2(north, east) in rad."""
        inverse = np.linalg.inv(self.jacobian)
        east, north = np.multiply(r, np.cos(phi)), np.multiply(r, np.sin(phi))
        return self.on_pixels(*np.einsum("ij,j...->i...", inverse, np.stack([east, north])))

    def fill_stamps(
        self,
        x: np.ndarray,
        y: np.ndarray,
        radius: np.ndarray,
        jacobian: np.ndarray,
        scale: np.ndarray,
        window: np.ndarray,
        offset: np.ndarray,
        points: int = 1,
    ) -> np.ndarray:
        """PRF values of all sources on their windows (see `romanprf.frame.stamps`)."""
        values = np.empty(offset[-1], np.float32)
        # The model counts in pixels, whatever their area: light already is in proportion to it.
        area = scale * self.pixel_area / stretch(jacobian)
        radius = np.minimum(radius, self.reach)
        nodes = *self.shares(x, y), self.coefficients.astype(np.float32)
        tensor_nb.fill_stamps(
            x, y, radius, area, window, offset, *nodes, SCALE, STEP, points, values
        )
        return values

    def radius(self, threshold: ArrayLike) -> np.ndarray:
        """Radius (arcsec) beyond which the PRF stays below ``threshold``."""
        r, outer_maximum = self._outer_maximum
        threshold = np.asarray(threshold, float)
        index = np.empty(threshold.size, np.int64)
        tensor_nb.first_below(np.ascontiguousarray(outer_maximum), threshold.ravel(), index)
        return r[np.minimum(index, r.size - 1)].reshape(threshold.shape) * self.pixel_scale

    @cached_property
    def _outer_maximum(self) -> tuple[np.ndarray, np.ndarray]:
        """Radii (pixels), and the highest value of the mean profile beyond each."""
        r = SCALE * np.sinh(np.linspace(0.0, np.arcsinh(self.reach / SCALE), 400))
        phi = np.linspace(0.0, 2.0 * np.pi, 48, endpoint=False)
        r[-1] *= 1.0 - 1e-9
        profile = self.on_pixels(r[:, None] * np.cos(phi), r[:, None] * np.sin(phi)).mean(axis=1)
        return r, np.maximum.accumulate(profile[::-1])[::-1]

    def integral(self) -> float:
        """Sum over the pixel grid averaged over sub-pixel phase, inside ``reach``."""
        return self._integral(self.mean, self.reach)

    def _integral(self, coefficients: np.ndarray, radius: float) -> float:
        """Light inside a radius (pixels)."""
        edge = 0.5 * self.intervals * STEP
        u = np.linspace(-edge, edge, 8 * self.intervals + 1)
        u = 0.5 * (u[1:] + u[:-1])
        d, length = SCALE * np.sinh(u), SCALE * np.cosh(u) * (u[1] - u[0])
        basis = BSpline.design_matrix(u, self.knots, 3)
        value = basis @ (basis @ coefficients).T  # symmetric disc: x and y may swap
        return float(length @ np.where(np.hypot(d, d[:, None]) < radius, value, 0.0) @ length)

    def brightened(self, factor: float) -> TensorPRF:
        """Multiply the PRF."""
        errors = factor * self.errors
        return replace(self, coefficients=factor * self.coefficients, errors=errors)

    def levelled(self) -> TensorPRF:
        """Give all nodes the same light inside a few pixels: what differs is in no star's flux."""
        light = np.array([self._integral(node, _LEVEL) for node in self.coefficients])
        factor = light.mean() / light
        return replace(self, coefficients=factor[:, None, None] * self.coefficients)

    def wrong(self, with_scale: bool) -> Iterator[TensorPRF]:
        """Each of the likely errors as a model of its own, with the footprints of this one.

        ``with_scale``: that of the scale, too; the mean square is the variance in either case.
        """
        none, errors = np.empty((0, *self.coefficients.shape)), self.errors
        if with_scale and len(errors):
            n = len(errors) + 1
            common = self.scale_error * self.coefficients
            errors = np.sqrt(n) * np.stack([*errors / np.sqrt(n - 1), common])
        for coefficients in errors:
            error = replace(self, coefficients=coefficients, errors=none)
            vars(error)["_outer_maximum"] = self._outer_maximum
            yield error

    def normalised(self) -> TensorPRF:
        """Make the light inside ``reach`` and in an r^-3 wing beyond it add up to 1."""
        r, profile = self._outer_maximum
        beyond = 2.0 * np.pi * max(profile[-2], 0.0) * r[-2] ** 2
        return self.brightened(1.0 / (self.integral() + beyond))

    def mean_profile(self, r: ArrayLike) -> np.ndarray:
        """log10 of the mean over the angles at radii (arcsec, 1-D); NaN where not positive."""
        phi = np.linspace(-np.pi, np.pi, 48, endpoint=False)
        mean = self.evaluate(np.asarray(r)[:, None], phi[None, :]).mean(axis=1)
        return np.log10(np.where(mean > 0.0, mean, np.nan))

    def to_table(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Columns and metadata of the ``prf`` table."""
        node, i, j = np.indices(self.coefficients.shape)
        errors = self.errors.reshape(len(self.errors), self.coefficients.size)
        columns = {
            "node": node.ravel().astype(np.int32),
            "i": i.ravel().astype(np.int32),
            "j": j.ravel().astype(np.int32),
            "coefficient": self.coefficients.ravel(),
            "errors": list(errors.T.astype(np.float32)),
        }
        names = ("intervals", "pixel_area", "scale_error")
        numbers = {name: getattr(self, name) for name in names}
        knots = {"scale": SCALE, "step": STEP}
        lists = {name: getattr(self, name).tolist() for name in ("jacobian", "rows", "columns")}
        model = {"kind": "tensor", **numbers, **knots, **lists}
        return columns, {"model": json.dumps(model)}

    @classmethod
    def from_table(
        cls, columns: Mapping[str, np.ndarray], metadata: Mapping[str, str]
    ) -> TensorPRF:
        """Read what `to_table` gave."""
        numbers = json.loads(metadata["model"])
        if numbers["kind"] != "tensor":
            raise ValueError(f"expected a tensor model, got {metadata['model']}")
        if (numbers["scale"], numbers["step"]) != (SCALE, STEP):
            raise ValueError(
                f"a tensor model with knots of scale {numbers['scale']} and step "
                f"{numbers['step']}, expected {SCALE} and {STEP}: made by another version"
            )
        n = numbers["intervals"] + 3
        coefficients = np.asarray(columns["coefficient"], dtype=float).reshape(-1, n, n)
        jacobian, rows, across = (
            np.array(numbers[name]) for name in ("jacobian", "rows", "columns")
        )
        errors = np.array(columns["errors"].tolist()).T.reshape(-1, *coefficients.shape)
        intervals, area = numbers["intervals"], numbers["pixel_area"]
        scale_error = numbers.get("scale_error", 0.0)  # tables of before know of none
        return cls(intervals, jacobian, area, coefficients, rows, across, errors, scale_error)


def _between(nodes: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Node before each place, and how far it is towards the next one, 0 ... 1."""
    index = np.clip(np.searchsorted(nodes, place, side="right") - 1, 0, nodes.size - 2)
    width = nodes[index + 1] - nodes[index]
    return index, np.clip((place - nodes[index]) / width, 0.0, 1.0)
