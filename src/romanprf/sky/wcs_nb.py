"""Kernels of the WCS: pixel positions and local scales of many points.

Letters: p = points, n = coefficients along either axis of a polynomial.  Angles are radians but
where degrees are said.  Equations: Calabretta & Greisen 2002, A&A 395, 1077, sec. 5.1.3.
"""

import numpy as np

from romanprf.core.accelerate import dealt, helper_exact

#: Points that are worth a thread.
POINTS = 1024


@helper_exact
def _value(u, v, coefficients):
    """Sum of c_ij T_i(u) T_j(v), coefficients (n, n).

    Clenshaw's recurrence along v, then along u (Clenshaw 1955, MTAC 9, 118).
    """
    total = b1 = b2 = 0.0
    for i in range(coefficients.shape[0] - 1, -1, -1):
        d1 = d2 = 0.0
        for j in range(coefficients.shape[1] - 1, 0, -1):
            d1, d2 = coefficients[i, j] + 2.0 * v * d1 - d2, d1
        row = coefficients[i, 0] + v * d1 - d2
        if i > 0:
            b1, b2 = row + 2.0 * u * b1 - b2, b1
        else:
            total = row + u * b1 - b2
    return total


@helper_exact
def _unit(value, lower, upper):
    """Place of a value between two others, -1 to 1."""
    return (2.0 * value - lower - upper) / (upper - lower)


@dealt(-1, POINTS, exact=True)
def chebyshev2d(begin, end, u, v, coefficients, out):
    """Sum of c_ij T_i(u) T_j(v), coefficients (n, n), at u, v (p,) -> out (p,)."""
    for p in range(begin, end):
        out[p] = _value(u[p], v[p], coefficients)


@dealt(0, POINTS, exact=True)
def sky_to_pixel(begin, end, ra, dec, ra0, dec0, plane, inverse, x, y):
    """Pixel positions -> x, y (p,), NaN outside the domain, of ra, dec (p,), degrees.

    ra0, dec0: tangent point, degrees; plane: its domain, degrees; inverse (2, n, n).
    """
    sin0, cos0 = np.sin(np.deg2rad(dec0)), np.cos(np.deg2rad(dec0))
    for p in range(begin, end):
        dra, angle = np.deg2rad(ra[p] - ra0), np.deg2rad(dec[p])
        sin_dec, cos_dec, cos_dra = np.sin(angle), np.cos(angle), np.cos(dra)
        depth = sin0 * sin_dec + cos0 * cos_dec * cos_dra
        x[p], y[p] = np.nan, np.nan
        if depth > 0.0:
            xi = np.rad2deg(cos_dec * np.sin(dra) / depth)
            eta = np.rad2deg((cos0 * sin_dec - sin0 * cos_dec * cos_dra) / depth)
            u, v = _unit(xi, plane[0], plane[1]), _unit(eta, plane[2], plane[3])
            if abs(u) <= 1.0 and abs(v) <= 1.0:
                x[p], y[p] = _value(u, v, inverse[0]), _value(u, v, inverse[1])


@dealt(0, POINTS, exact=True)
def jacobian(begin, end, x, y, dec0, pixel, forward, by_u, by_v, out):
    """Derivatives of (east, north) by (x, y), degrees per pixel, at x, y (p,) -> out (p, 2, 2).

    dec0: of the tangent point, degrees; pixel: the domain; forward (2, n, n), in degrees, and its
    derivatives by either argument.
    """
    sin0, cos0 = np.sin(np.deg2rad(dec0)), np.cos(np.deg2rad(dec0))
    du, dv = 2.0 / (pixel[1] - pixel[0]), 2.0 / (pixel[3] - pixel[2])
    for p in range(begin, end):
        u, v = _unit(x[p], pixel[0], pixel[1]), _unit(y[p], pixel[2], pixel[3])
        xi, eta = np.deg2rad(_value(u, v, forward[0])), np.deg2rad(_value(u, v, forward[1]))
        xi_x, eta_x = du * _value(u, v, by_u[0]), du * _value(u, v, by_u[1])
        xi_y, eta_y = dv * _value(u, v, by_v[0]), dv * _value(u, v, by_v[1])
        # ra = ra0 + atan2(xi, c), dec = atan2(s, rho): derivatives of east, north by xi, eta
        c, s = cos0 - eta * sin0, sin0 + eta * cos0
        rho2 = xi * xi + c * c
        rho, norm2 = np.sqrt(rho2), rho2 + s * s
        scale = 1.0 / (rho * np.sqrt(norm2))  # cos(dec) / rho2
        east_xi, east_eta = scale * c, scale * xi * sin0
        north_xi = -s * xi / rho / norm2
        north_eta = (rho * cos0 + s * c * sin0 / rho) / norm2
        out[p, 0, 0], out[p, 0, 1] = (
            east_xi * xi_x + east_eta * eta_x,
            east_xi * xi_y + east_eta * eta_y,
        )
        out[p, 1, 0], out[p, 1, 1] = (
            north_xi * xi_x + north_eta * eta_x,
            north_xi * xi_y + north_eta * eta_y,
        )
