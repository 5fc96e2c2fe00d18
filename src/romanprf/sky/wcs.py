"""A fast, self-contained world coordinate system: tangent plane plus Chebyshev polynomials.

Every input format brings its own WCS (gwcs, FITS keywords, FK5 or ICRS).  It is sampled once,
when the exposures are listed, and from then on each exposure carries this representation:
a gnomonic projection about the image centre (Calabretta & Greisen 2002, A&A 395, 1077, sec. 5.1.3)
and two Chebyshev polynomials, pixel to plane and plane to pixel.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike

from romanprf.sky import wcs_nb

#: Arcseconds in a degree.
ARCSEC = 3600.0
#: Square arcseconds in a steradian.
STERADIAN = np.rad2deg(ARCSEC) ** 2
#: Total degree of the polynomial from pixels to the plane: 1e-6 pixel on Roman's distortion.
FORWARD_DEGREE = 5
#: Total degree of the polynomial from the plane to pixels: 2e-5 pixel on Roman's distortion.
INVERSE_DEGREE = 7
#: Pixels beyond the edges of an image over which the polynomials hold: the widest footprint.
MARGIN = 128

SkyFunction = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def image_centre(shape: tuple[int, int]) -> tuple[float, float]:
    """Column and row of the centre of an image of ``shape`` (rows, columns): (n - 1) / 2."""
    nrows, ncols = shape
    return (ncols - 1) / 2.0, (nrows - 1) / 2.0


def project(
    ra: np.ndarray, dec: np.ndarray, ra0: float | np.ndarray, dec0: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gnomonic projection about (ra0, dec0); all in degrees; NaN beyond 90 degrees."""
    dra = np.deg2rad(np.asarray(ra) - ra0)
    sin_dec, cos_dec = np.sin(np.deg2rad(dec)), np.cos(np.deg2rad(dec))
    sin0, cos0 = np.sin(np.deg2rad(dec0)), np.cos(np.deg2rad(dec0))
    denominator = sin0 * sin_dec + cos0 * cos_dec * np.cos(dra)
    denominator = np.where(denominator > 0, denominator, np.nan)
    xi = cos_dec * np.sin(dra) / denominator
    eta = (cos0 * sin_dec - sin0 * cos_dec * np.cos(dra)) / denominator
    return np.rad2deg(xi), np.rad2deg(eta)


def deproject(
    xi: np.ndarray, eta: np.ndarray, ra0: float, dec0: float
) -> tuple[np.ndarray, np.ndarray]:
    """Inverse of `project`; right ascension in [0, 360)."""
    x, y = np.deg2rad(xi), np.deg2rad(eta)
    sin0, cos0 = np.sin(np.deg2rad(dec0)), np.cos(np.deg2rad(dec0))
    ra = ra0 + np.rad2deg(np.arctan2(x, cos0 - y * sin0))
    dec = np.rad2deg(np.arctan2(sin0 + y * cos0, np.hypot(x, cos0 - y * sin0)))
    return np.mod(ra, 360.0), dec


def stretch(jacobian: np.ndarray) -> np.ndarray:
    """Area of a pixel, |determinant| of Jacobians of shape (..., 2, 2)."""
    j = jacobian
    return np.abs(j[..., 0, 0] * j[..., 1, 1] - j[..., 0, 1] * j[..., 1, 0])


def _unit(values: np.ndarray, lower: float, upper: float) -> np.ndarray:
    return (2.0 * np.asarray(values, dtype=float) - lower - upper) / (upper - lower)


def _fit(u: np.ndarray, v: np.ndarray, values: np.ndarray, degree: int) -> np.ndarray:
    """Least-squares Chebyshev coefficients of total degree ``degree``.

    ``values`` has shape (npoints, 2), the coefficients (2, degree + 1, degree + 1).
    """
    keep = np.add.outer(np.arange(degree + 1), np.arange(degree + 1)) <= degree
    design = chebyshev.chebvander2d(u, v, [degree, degree])[:, keep.ravel()]
    coefficients = np.zeros((2, degree + 1, degree + 1))
    coefficients[:, keep] = np.linalg.lstsq(design, values, rcond=None)[0].T
    return coefficients


def _plane_polynomial(
    x: np.ndarray, y: np.ndarray, plane: np.ndarray
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Polynomial in pixels that follows ``plane``, shape (npixels, 2), degrees.

    Its degree rises, up to 3, as long as that halves the residual: each target pixel file has a
    local linear solution, and a cubic that follows their mismatch diverges outside the pixels.
    """
    centre_x, centre_y = x.mean(), y.mean()
    spread = max(float(np.ptp(x)), float(np.ptp(y)), 1.0)
    best, left = None, np.inf
    for degree in (1, 2, 3):
        powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]

        def design(
            column: np.ndarray, row: np.ndarray, powers: list[tuple[int, int]] = powers
        ) -> np.ndarray:
            u, v = (column - centre_x) / spread, (row - centre_y) / spread
            return np.stack([u**i * v**j for i, j in powers], axis=-1)

        matrix = design(x, y)
        coefficients, _, rank, _ = np.linalg.lstsq(matrix, plane, rcond=1e-6)
        rms = float(np.sqrt(np.mean((plane - matrix @ coefficients) ** 2)))
        if rank < len(powers) or rms > 0.5 * left or (degree > 1 and len(x) < 4 * len(powers)):
            break
        best, left = (design, coefficients), max(rms, 1e-13)
    if best is None:
        raise ValueError(
            f"{len(x)} pixels on one line do not tell the scale and rotation of the image, "
            "expected pixels in at least two rows and two columns"
        )
    chosen, weights = best
    return lambda column, row: chosen(column, row) @ weights


@dataclass(frozen=True, eq=False)
class TangentWCS:
    """Pixel <-> ICRS sky for one image.

    Pixels are those of the stored array: 0-based, the centre of the first pixel is (0, 0),
    ``x`` runs along columns (second array axis) and ``y`` along rows (first array axis).

    Attributes
    ----------
    ra0, dec0 : float
        Tangent point, degrees ICRS.
    pixel_domain : tuple of float
        (x_min, x_max, y_min, y_max) over which the polynomials hold.
    plane_domain : tuple of float
        (xi_min, xi_max, eta_min, eta_max), degrees, over which the inverse was fitted.
    forward, inverse : ndarray, shape (2, degree + 1, degree + 1)
        Chebyshev coefficients of (xi, eta) in (x, y) and of (x, y) in (xi, eta).
    """

    ra0: float
    dec0: float
    pixel_domain: tuple[float, float, float, float]
    plane_domain: tuple[float, float, float, float]
    forward: np.ndarray
    inverse: np.ndarray

    @classmethod
    def fit(cls, sky: SkyFunction, nrows: int, ncols: int, margin: int = MARGIN) -> TangentWCS:
        """Sample ``sky(x, y) -> ra, dec`` (degrees ICRS) and fit the polynomials.

        Raises
        ------
        ValueError
            If the function gives NaN somewhere within ``margin`` pixels of the image.
        """
        domain = (-0.5 - margin, ncols - 0.5 + margin, -0.5 - margin, nrows - 0.5 + margin)
        nodes = np.cos(np.pi * (np.arange(24) + 0.5) / 24)
        u, v = (a.ravel() for a in np.meshgrid(nodes, nodes))
        x = 0.5 * ((domain[1] - domain[0]) * u + domain[0] + domain[1])
        y = 0.5 * ((domain[3] - domain[2]) * v + domain[2] + domain[3])
        centre = image_centre((nrows, ncols))
        ra, dec = sky(np.append(x, centre[0]), np.append(y, centre[1]))
        ra0, dec0 = float(ra[-1]), float(dec[-1])
        xi, eta = project(ra[:-1], dec[:-1], ra0, dec0)
        if not (np.isfinite(xi).all() and np.isfinite(eta).all()):
            raise ValueError("the WCS gives NaN within the image or close to its edges")
        plane = (float(xi.min()), float(xi.max()), float(eta.min()), float(eta.max()))
        p, q = _unit(xi, *plane[:2]), _unit(eta, *plane[2:])
        return cls(
            ra0=ra0,
            dec0=dec0,
            pixel_domain=domain,
            plane_domain=plane,
            forward=_fit(u, v, np.stack([xi, eta], axis=1), FORWARD_DEGREE),
            inverse=_fit(p, q, np.stack([x, y], axis=1), INVERSE_DEGREE),
        )

    @classmethod
    def from_pixels(
        cls, x: np.ndarray, y: np.ndarray, ra: np.ndarray, dec: np.ndarray, margin: int = MARGIN
    ) -> TangentWCS:
        """Least-squares solution through pixels of known sky positions.

        Parameters
        ----------
        x, y : ndarray, shape (npixels,)
            Columns and rows, not negative.
        ra, dec : ndarray, shape (npixels,)
            Degrees ICRS.
        margin : int
            Pixels beyond the outermost ones over which the solution has to hold.

        Raises
        ------
        ValueError
            If the pixels lie on one line, which leaves the other direction undetermined.
        """
        x, y = np.asarray(x, float), np.asarray(y, float)
        start = float(ra[0]), float(dec[0])
        xi, eta = project(ra, dec, *start)
        ra0, dec0 = (float(angle) for angle in deproject(xi.mean(), eta.mean(), *start))
        polynomial = _plane_polynomial(x, y, np.stack(project(ra, dec, ra0, dec0), axis=1))

        def sky(column: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            plane = polynomial(column, row)
            return deproject(plane[..., 0], plane[..., 1], ra0, dec0)

        return cls.fit(sky, int(y.max()) + 1, int(x.max()) + 1, margin)

    def seen_from(self, column: int, row: int) -> TangentWCS:
        """WCS of a cut-out whose first pixel is (row, column) of this image."""
        x0, x1, y0, y1 = self.pixel_domain
        domain = (x0 - column, x1 - column, y0 - row, y1 - row)
        inverse = self.inverse.copy()
        inverse[:, 0, 0] -= column, row
        return replace(self, pixel_domain=domain, inverse=inverse)

    def plane(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tangent-plane coordinates (degrees) of pixels."""
        u, v = _unit(x, *self.pixel_domain[:2]), _unit(y, *self.pixel_domain[2:])
        xi, eta = (_series(u, v, c) for c in self.forward)
        return xi, eta

    def pixel_to_sky(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Right ascension and declination (degrees ICRS) of pixels."""
        return deproject(*self.plane(x, y), self.ra0, self.dec0)

    def sky_to_pixel(self, ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixel positions (x, y) of sky positions; NaN outside the fitted domain."""
        ra, dec = points(ra, dec)
        x, y = np.empty(ra.shape), np.empty(ra.shape)
        tangent = self.ra0, self.dec0, self.plane_domain, self.inverse
        wcs_nb.sky_to_pixel(ra.ravel(), dec.ravel(), *tangent, x.ravel(), y.ravel())
        return x, y

    def jacobian(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Local on-sky scale, shape (..., 2, 2), arcsec per pixel.

        Element ``[..., i, j]`` is the derivative of (east, north)[i] by (x, y)[j].  The tangent
        plane is rotated and stretched to the local axes, which matters near a pole.
        """
        x, y = points(x, y)
        out = np.empty((x.size, 2, 2))
        tangent = self.dec0, self.pixel_domain, self.forward, *self._derivatives
        wcs_nb.jacobian(x.ravel(), y.ravel(), *tangent, out)
        return ARCSEC * out.reshape(*x.shape, 2, 2)

    @cached_property
    def _derivatives(self) -> tuple[np.ndarray, ...]:
        """Coefficients of the derivatives of ``forward`` by either argument, of its shape."""
        out = np.zeros((2, *self.forward.shape))
        out[0, :, :-1] = chebyshev.chebder(self.forward, axis=1)
        out[1, :, :, :-1] = chebyshev.chebder(self.forward, axis=2)
        return tuple(out)

    def pixel_area(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Solid angle of pixels, steradian."""
        return stretch(self.jacobian(x, y)) / STERADIAN

    def to_json(self) -> str:
        """JSON text, from which `from_json` makes exactly this object."""
        fields = {
            "ra0": self.ra0,
            "dec0": self.dec0,
            "pixel_domain": self.pixel_domain,
            "plane_domain": self.plane_domain,
            "forward": self.forward.tolist(),
            "inverse": self.inverse.tolist(),
        }
        return json.dumps(fields)

    @classmethod
    def from_json(cls, text: str) -> TangentWCS:
        """Read what `to_json` wrote."""
        fields = json.loads(text)
        return cls(
            ra0=fields["ra0"],
            dec0=fields["dec0"],
            pixel_domain=tuple(fields["pixel_domain"]),
            plane_domain=tuple(fields["plane_domain"]),
            forward=np.array(fields["forward"]),
            inverse=np.array(fields["inverse"]),
        )


def points(u: ArrayLike, v: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates broadcast to one shape, as contiguous arrays: what the kernels take."""
    u, v = np.broadcast_arrays(np.asarray(u, float), np.asarray(v, float))
    one, two = (np.require(a, requirements=["C", "W"]).reshape(u.shape) for a in (u, v))
    return one, two


def _series(u: np.ndarray, v: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Sum of c_ij T_i(u) T_j(v), of the shape of u and v."""
    u, v = points(u, v)
    out = np.empty(u.size)
    wcs_nb.chebyshev2d(u.ravel(), v.ravel(), np.ascontiguousarray(coefficients), out)
    return out.reshape(u.shape)
