"""Kernels of the log-polar model: evaluation and normal equations.

log10 PRF = sum_i a_i R_i(sqrt r) + sum_(i >= core) sum_j c_ij R_i(sqrt r) P_j(phi)

R_i: cubic B-splines on n_r uniform knots in sqrt(r) from t_min,
P_j: n_phi wrapped cubic B-splines in phi.
The fit has them as one vector: first the n_r + 2 radial a_i, then c_ij by rows, from i = core;
the evaluation as a table.
Letters: p = pixels, c = coefficients.
"""

import numpy as np

from romanprf.core.accelerate import dealt, helper, njit
from romanprf.core.splines_nb import locate, locate_wrapped, uniform_cubic

#: Sources that are worth a thread.
SOURCES = 16


@helper
def ln_prf(r, phi, table, t_min, t_step):
    """Evaluate ln of the PRF at one offset; r arcsec, phi rad.

    table (n_r + 2, n_phi + 3): ln(10) (a_i + c_ij), the first three columns repeated at the end, so
    that a point needs 16 neighbours of one small array and neither remainders nor cases.
    """
    k, u = locate(np.sqrt(r), t_min, t_step, table.shape[0] - 3)
    n_phi = table.shape[1] - 3
    j, v = locate_wrapped(phi, -np.pi, 2.0 * np.pi / n_phi, n_phi)
    radial, angular = uniform_cubic(u), uniform_cubic(v)
    total = 0.0
    for a in range(4):
        total += radial[a] * (
            angular[0] * table[k + a, j]
            + angular[1] * table[k + a, j + 1]
            + angular[2] * table[k + a, j + 2]
            + angular[3] * table[k + a, j + 3]
        )
    return total


@dealt(0, 1024)
def evaluate(begin, end, r, phi, table, t_min, t_step, r_max, out):
    """PRF at offsets: r (p,) arcsec, phi (p,) rad -> out (p,); 0 beyond ``r_max``."""
    for p in range(begin, end):
        if r[p] < r_max:
            out[p] = np.exp(ln_prf(r[p], phi[p], table, t_min, t_step))
        else:
            out[p] = 0.0


@njit
def accumulate(r, phi, value, weight, t_min, t_step, n_r, n_phi, core, matrix, vector):
    """Add pixels to the normal equations of the coefficients.

    r, phi, value (log10 of flux fraction), weight: (p,); matrix (c, c), lower triangle, and
    vector (c,) are added to.
    """
    index = np.empty(20, np.int64)
    basis = np.empty(20)
    for p in range(r.size):
        k, u = locate(np.sqrt(r[p]), t_min, t_step, n_r - 1)
        radial = uniform_cubic(u)
        j, v = locate_wrapped(phi[p], -np.pi, 2.0 * np.pi / n_phi, n_phi)
        angular = uniform_cubic(v)
        count = 0
        for a in range(4):
            index[count] = k + a
            basis[count] = radial[a]
            count += 1
        for a in range(4):
            i = k + a
            if i >= core:
                for b in range(4):
                    index[count] = n_r + 2 + (i - core) * n_phi + (j + b) % n_phi
                    basis[count] = radial[a] * angular[b]
                    count += 1
        for a in range(count):
            wa = weight[p] * basis[a]
            vector[index[a]] += wa * value[p]
            for b in range(count):
                if index[b] <= index[a]:
                    matrix[index[a], index[b]] += wa * basis[b]


@helper
def prf_at(dx, dy, jacobian, table, t_min, t_step, r_max):
    """PRF at an offset in pixels; jacobian (2, 2): (east, north) arcsec per (x, y) pixel."""
    east = jacobian[0, 0] * dx + jacobian[0, 1] * dy
    north = jacobian[1, 0] * dx + jacobian[1, 1] * dy
    r = np.sqrt(east * east + north * north)
    if r >= r_max:
        return 0.0
    return np.exp(ln_prf(r, np.arctan2(north, east), table, t_min, t_step))


@dealt(0, SOURCES)
def fill_stamps(
    begin, end, x, y, radius, jacobian, scale, window, offset, table, t_min, t_step, r_max, values
):
    """PRF of every source on the pixels of its window.

    x, y (s,): pixel position; radius (s,): pixels; jacobian (s, 2, 2): (east, north) arcsec per
    (x, y) pixel; scale (s,): pixel area over the model's; window (s, 4): row0, row1, column0,
    column1; offset (s + 1,): start of each stamp in ``values``, which is filled, rows first.
    """
    for s in range(begin, end):
        n = offset[s]
        limit = radius[s] * radius[s]
        for row in range(window[s, 0], window[s, 1]):
            dy = row - y[s]
            for column in range(window[s, 2], window[s, 3]):
                dx = column - x[s]
                value = 0.0
                if dx * dx + dy * dy <= limit:
                    value = scale[s] * prf_at(dx, dy, jacobian[s], table, t_min, t_step, r_max)
                values[n] = value
                n += 1


@dealt(0, SOURCES)
def integrate_stamps(
    begin,
    end,
    x,
    y,
    radius,
    jacobian,
    scale,
    window,
    offset,
    table,
    t_min,
    t_step,
    r_max,
    points,
    values,
):
    """As `fill_stamps`, with the mean over ``points`` x ``points`` places in each pixel.

    ``radius`` still goes by the centres of the pixels.
    """
    for s in range(begin, end):
        n = offset[s]
        limit = radius[s] * radius[s]
        for row in range(window[s, 0], window[s, 1]):
            dy = row - y[s]
            for column in range(window[s, 2], window[s, 3]):
                dx = column - x[s]
                total = 0.0
                if dx * dx + dy * dy <= limit:
                    for i in range(points):
                        v = dy + (i + 0.5) / points - 0.5
                        for j in range(points):
                            u = dx + (j + 0.5) / points - 0.5
                            total += prf_at(u, v, jacobian[s], table, t_min, t_step, r_max)
                values[n] = scale[s] * total / (points * points)
                n += 1
