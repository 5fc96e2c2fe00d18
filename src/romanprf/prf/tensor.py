"""The tensor PRF model: tensor-product splines of the flux on the axes of the detector."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import BSpline, NdBSpline

from romanprf.prf import tensor_nb
from romanprf.prf.base import PRF
from romanprf.sky.wcs import stretch

#: Offset d (pixels) around which the spacing of the knots, uniform in asinh(d / SCALE), turns from
#: constant to proportional to d: the core of an undersampled PRF has structure of one pixel only.
SCALE = 8.0
#: Spacing of the knots in asinh(d / SCALE): 0.32 pixel in the core, on which cubic splines follow
#: a PRF of 1 pixel FWHM to 1 % of its peak, and 4 % of the distance far outside.
STEP = 0.04
#: Samples per interval of the knots when a function is projected on the splines; the splines have
#: one degree of freedom per interval.
_SAMPLES = 4
#: Samples per interval of the knots and axis in sums of light, which are exact to 2e-6.
_MIDPOINTS = 8
#: Radius (pixels) within which all nodes have the same light: most of a star's light is inside, and
#: further out the pixels around one node hardly constrain its coefficients.
_LEVEL = 6.0
#: Radii among which `TensorPRF.radius` chooses, uniform in asinh(r / SCALE): at most 0.7 % apart
#: for a reach of 60 pixels.
_RADII = 400
#: Angles of the mean profile: four for each of the 12 diffraction spikes of Roman.
_ANGLES = 48
#: Least value of `TensorPRF.envelope` relative to its peak, which keeps it positive.
_FLOOR = 1e-9

#: PRF at offsets (dx, dy) in pixels.
Pixels = Callable[[np.ndarray, np.ndarray], np.ndarray]


class _Extent(NamedTuple):
    """Radii (pixels), and the largest value of the mean profile from each outwards."""

    radius: np.ndarray
    outer_maximum: np.ndarray


@dataclass(frozen=True, eq=False)
class TensorPRF(PRF):
    """PRF(dx, dy) = sum_ij c_ij B_i(u(dy)) B_j(u(dx)), cubic B-splines uniform in u = asinh(d / 8).

    dx and dy are offsets along columns and rows.  Knots are 0.32 pixel apart in the core and 0.04
    of the distance far outside.  Where the PRF changes over the image the c_ij are those of nodes
    on a grid, bilinear between them; methods without a place on the image are those of the mean
    over the nodes.  As in Anderson & King 2000 (PASP 112, 1360) the values are those that pixels
    record, so no integral over pixels is needed.

    Attributes
    ----------
    intervals : int
        Intervals of the knots of either axis, even.
    jacobian : ndarray, shape (2, 2)
        (east, north) arcsec per (x, y) pixel where the model was learned, for `evaluate`.
    pixel_area : float
        Arcsec^2.
    coefficients : ndarray, shape (nodes, intervals + 3, intervals + 3)
        Coefficients of each node, rows of nodes first; the first axis of a node is y.
    rows, columns : ndarray, shape (down,) and (across,)
        Places of the nodes, pixels of the image; nodes = down * across.
    errors : ndarray, shape (n_errors, nodes, intervals + 3, intervals + 3)
        Likely errors of the coefficients: their mean square is the variance.
    scale_error : float
        Relative 1 sigma of a factor that all coefficients share, which ``errors`` exclude.
    """

    intervals: int
    jacobian: np.ndarray
    pixel_area: float
    coefficients: np.ndarray
    rows: np.ndarray = field(default_factory=lambda: np.zeros(1))
    columns: np.ndarray = field(default_factory=lambda: np.zeros(1))
    errors: np.ndarray = field(default_factory=lambda: np.empty((0, 1, 1, 1)))
    scale_error: float = 0.0
    _footprints: _Extent | None = field(default=None, kw_only=True, repr=False)

    kind: ClassVar[str] = "tensor"

    @classmethod
    def projected(cls, prf: Pixels, reach: float, jacobian: np.ndarray) -> TensorPRF:
        """Model closest to a function of the offset, out to ``reach`` pixels along either axis.

        Parameters
        ----------
        prf : callable
            Fraction of the flux in a pixel at offsets (dx, dy) in pixels, of any shape.
        reach : float
            Pixels.
        jacobian : ndarray, shape (2, 2)
            (east, north) arcsec per (x, y) pixel.
        """
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
        """Model with this PRF at count x count nodes over images of this shape (rows, columns)."""
        rows, columns = (np.linspace(0.0, length - 1.0, count) for length in shape)
        coefficients = np.repeat(self.mean[None], count**2, axis=0)
        none = np.empty((0, *coefficients.shape))
        return replace(self, coefficients=coefficients, rows=rows, columns=columns, errors=none)

    def at(self, x: float, y: float) -> TensorPRF:
        """See `PRF.at`."""
        node, share = self.shares(np.array([x]), np.array([y]))
        here, errors = (
            np.einsum("m,...mij->...ij", share[0], a[..., node[0], :, :])[..., None, :, :]
            for a in (self.coefficients, self.errors)
        )
        return replace(
            self,
            coefficients=here,
            rows=np.zeros(1),
            columns=np.zeros(1),
            errors=errors,
            _footprints=None,
        )

    def seen_from(self, column: int, row: int) -> TensorPRF:
        """See `PRF.seen_from`."""
        moved = replace(self, rows=self.rows - row, columns=self.columns - column)
        return moved.with_footprints_of(self)

    def with_footprints_of(self, other: TensorPRF) -> TensorPRF:
        """Model whose `radius`, also after `dataclasses.replace`, is that of another one."""
        return replace(self, _footprints=other._extent)

    def shares(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Nodes around places on the image (pixels), and the weight of each.

        Returns
        -------
        node : ndarray of int, shape (nplaces, 1 or 4)
            Index into ``coefficients``.
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
    def rmax(self) -> float:  # type: ignore[override]  # read-only in either model
        """Radius at which the model ends, arcsec."""
        return self.reach * self.pixel_scale

    def centres(self) -> np.ndarray:
        """Offsets (pixels) at which the functions of either axis peak."""
        return SCALE * np.sinh(self.knots[2:-2])

    def envelope(self) -> np.ndarray:
        """Largest mean profile outside the place of each coefficient, (n, n), positive."""
        d = self.centres()
        r, outer_maximum = self._own_extent
        floor = _FLOOR * outer_maximum[0]
        return np.interp(np.hypot(d[:, None], d[None, :]), r, np.maximum(outer_maximum, floor))

    def on_pixels(
        self, dx: ArrayLike, dy: ArrayLike, jacobian: np.ndarray | None = None
    ) -> np.ndarray:
        """See `PRF.on_pixels`; 0 beyond ``reach``.

        ``jacobian`` does not matter: the model gives what pixels of the detector record, wherever
        on the sky they are.
        """
        del jacobian
        dx, dy = np.broadcast_arrays(np.asarray(dx, float), np.asarray(dy, float))
        out = np.zeros(dx.size)
        inside = np.flatnonzero(np.hypot(dx, dy).ravel() < self.reach)
        places = np.arcsinh(np.stack([dy, dx], axis=-1).reshape(-1, 2)[inside] / SCALE)
        out[inside] = NdBSpline((self.knots, self.knots), self.mean, 3)(places)
        return out.reshape(dx.shape)

    def evaluate(self, r: ArrayLike, phi: ArrayLike) -> np.ndarray:
        """See `PRF.evaluate`; on the sky as it was where the model was learned."""
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
        """See `PRF.fill_stamps`."""
        values = np.empty(offset[-1], np.float32)
        # Values are per pixel, whatever its area: remove the area of the pixels from the scale.
        area = scale * self.pixel_area / stretch(jacobian)
        radius = np.minimum(radius, self.reach)
        nodes = *self.shares(x, y), self.coefficients.astype(np.float32)
        tensor_nb.fill_stamps(
            x, y, radius, area, window, offset, *nodes, SCALE, STEP, points, values
        )
        return values

    def radius(self, threshold: ArrayLike) -> np.ndarray:
        """See `PRF.radius`."""
        r, outer_maximum = self._extent
        threshold = np.asarray(threshold, float)
        index = np.empty(threshold.size, np.int64)
        tensor_nb.first_below(np.ascontiguousarray(outer_maximum), threshold.ravel(), index)
        return r[np.minimum(index, r.size - 1)].reshape(threshold.shape) * self.pixel_scale

    @property
    def _extent(self) -> _Extent:
        """Extent that the footprints of sources follow."""
        return self._own_extent if self._footprints is None else self._footprints

    @cached_property
    def _own_extent(self) -> _Extent:
        """Extent of this model."""
        r = SCALE * np.sinh(np.linspace(0.0, np.arcsinh(self.reach / SCALE), _RADII))
        phi = np.linspace(0.0, 2.0 * np.pi, _ANGLES, endpoint=False)
        r[-1] *= 1.0 - 1e-9
        profile = self.on_pixels(r[:, None] * np.cos(phi), r[:, None] * np.sin(phi)).mean(axis=1)
        return _Extent(r, np.maximum.accumulate(profile[::-1])[::-1])

    @property
    def _angles(self) -> np.ndarray:
        return np.linspace(-np.pi, np.pi, _ANGLES, endpoint=False)

    def integral(self) -> float:
        """See `PRF.integral`."""
        r, profile = self._own_extent  # at its very end the profile is rounded to 0
        wing = 2.0 * np.pi * max(profile[-2], 0.0) * r[-2] ** 2
        return float(self._light(self.mean, self.reach) + wing)

    def _light(self, coefficients: np.ndarray, radius: float) -> float:
        """Light inside a radius (pixels)."""
        edge = 0.5 * self.intervals * STEP
        u = np.linspace(-edge, edge, _MIDPOINTS * self.intervals + 1)
        u = 0.5 * (u[1:] + u[:-1])
        d, length = SCALE * np.sinh(u), SCALE * np.cosh(u) * (u[1] - u[0])
        basis = BSpline.design_matrix(u, self.knots, 3)
        value = basis @ (basis @ coefficients).T  # transposed, which a round region does not mind
        return float(length @ np.where(np.hypot(d, d[:, None]) < radius, value, 0.0) @ length)

    def brightened(self, factor: float) -> TensorPRF:
        """See `PRF.brightened`; errors are multiplied, too."""
        footprints = self._footprints
        if footprints is not None:
            footprints = footprints._replace(outer_maximum=factor * footprints.outer_maximum)
        return replace(
            self,
            coefficients=factor * self.coefficients,
            errors=factor * self.errors,
            _footprints=footprints,
        )

    def levelled(self) -> TensorPRF:
        """Model all nodes of which have the same light inside a few pixels.

        Otherwise the fluxes of stars would depend on their places.
        """
        light = np.array([self._light(node, _LEVEL) for node in self.coefficients])
        factor = light.mean() / light
        return replace(self, coefficients=factor[:, None, None] * self.coefficients)

    @property
    def n_errors(self) -> int:
        """Number of ``errors``."""
        return len(self.errors)

    def likely_errors(self, with_scale: bool) -> Iterator[TensorPRF]:
        """See `PRF.likely_errors`; ``with_scale`` adds one, and enlarges the others to match."""
        none, errors = np.empty((0, *self.coefficients.shape)), self.errors
        if with_scale and self.n_errors:
            n = self.n_errors + 1
            common = self.scale_error * self.coefficients
            errors = np.sqrt(n) * np.stack([*errors / np.sqrt(n - 1), common])
        for error in errors:
            yield replace(self, coefficients=error, errors=none).with_footprints_of(self)

    def to_table(self) -> tuple[dict[str, Any], dict[str, str]]:
        """See `PRF.to_table`."""
        node, i, j = np.indices(self.coefficients.shape)
        errors = self.errors.reshape(self.n_errors, self.coefficients.size)
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
        model = {"kind": self.kind, **numbers, **knots, **lists}
        return columns, {"model": json.dumps(model)}

    @classmethod
    def from_table(cls, columns: Mapping[str, Any], metadata: Mapping[str, str]) -> TensorPRF:
        """See `PRF.from_table`."""
        numbers = cls._description(metadata)
        if (numbers["scale"], numbers["step"]) != (SCALE, STEP):
            raise ValueError(
                f"a tensor model with knots of scale {numbers['scale']} and step "
                f"{numbers['step']}, expected {SCALE} and {STEP}: made by another version"
            )
        n = numbers["intervals"] + 3
        coefficients = np.asarray(columns["coefficient"], dtype=float).reshape(-1, n, n)
        return cls(
            intervals=numbers["intervals"],
            jacobian=np.array(numbers["jacobian"]),
            pixel_area=numbers["pixel_area"],
            coefficients=coefficients,
            rows=np.array(numbers["rows"]),
            columns=np.array(numbers["columns"]),
            errors=np.array(list(columns["errors"])).T.reshape(-1, *coefficients.shape),
            scale_error=numbers.get("scale_error", 0.0),  # older tables do not state it
        )


def _between(nodes: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Node before each place, and the place as a fraction, 0 ... 1, of the way to the next."""
    index = np.clip(np.searchsorted(nodes, place, side="right") - 1, 0, nodes.size - 2)
    width = nodes[index + 1] - nodes[index]
    return index, np.clip((place - nodes[index]) / width, 0.0, 1.0)
