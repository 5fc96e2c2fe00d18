"""Kernels of the log-polar model: evaluation and normal equations.

log10 PRF = sum_i a_i R_i(sqrt r) + sum_(i >= core) sum_j c_ij R_i(sqrt r) P_j(phi)

R_i: cubic B-splines on n_r uniform knots in sqrt(r) from t_min,
P_j: n_phi wrapped cubic B-splines in phi.
Coefficients are stored as one vector: first the n_r + 2 radial a_i, then c_ij by rows,
for those i whose support lies outside ``cut_r``.
Letters: p = pixels, c = coefficients.
"""

import numpy as np

from romanprf.accelerate import njit, njit_parallel, prange
from romanprf.prf.splines_nb import locate, locate_wrapped, uniform_cubic

LN10 = np.log(10.0)


@njit
def log_prf(r, phi, coefficients, t_min, t_step, n_r, n_phi, core):
    """Evaluate log10 of the PRF at one offset; r arcsec, phi rad."""
    k, u = locate(np.sqrt(r), t_min, t_step, n_r - 1)
    radial = uniform_cubic(u)
    j, v = locate_wrapped(phi, -np.pi, 2.0 * np.pi / n_phi, n_phi)
    angular = uniform_cubic(v)
    # One wrap per function instead of one per term: the remainder is what costs most here.
    j0, j1, j2, j3 = j, j + 1, j + 2, j + 3
    j1 -= n_phi * (j1 >= n_phi)
    j2 -= n_phi * (j2 >= n_phi)
    j3 -= n_phi * (j3 >= n_phi)
    total = 0.0
    for a in range(4):
        i = k + a
        term = coefficients[i]
        if i >= core:
            start = n_r + 2 + (i - core) * n_phi
            term += angular[0] * coefficients[start + j0]
            term += angular[1] * coefficients[start + j1]
            term += angular[2] * coefficients[start + j2]
            term += angular[3] * coefficients[start + j3]
        total += radial[a] * term
    return total


@njit
def evaluate(r, phi, coefficients, t_min, t_step, n_r, n_phi, core, r_max, out):
    """PRF at offsets: r (p,) arcsec, phi (p,) rad -> out (p,); 0 beyond ``r_max``."""
    for p in range(r.size):
        if r[p] < r_max:
            out[p] = np.exp(
                LN10 * log_prf(r[p], phi[p], coefficients, t_min, t_step, n_r, n_phi, core)
            )
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


@njit
def prf_at(dx, dy, jacobian, coefficients, t_min, t_step, n_r, n_phi, core, r_max):
    """PRF at an offset in pixels; jacobian (2, 2): (east, north) arcsec per (x, y) pixel."""
    east = jacobian[0, 0] * dx + jacobian[0, 1] * dy
    north = jacobian[1, 0] * dx + jacobian[1, 1] * dy
    r = np.sqrt(east * east + north * north)
    if r >= r_max:
        return 0.0
    phi = np.arctan2(north, east)
    return np.exp(LN10 * log_prf(r, phi, coefficients, t_min, t_step, n_r, n_phi, core))


@njit_parallel
def fill_stamps(
    x,
    y,
    radius,
    jacobian,
    scale,
    window,
    offset,
    coefficients,
    t_min,
    t_step,
    n_r,
    n_phi,
    core,
    r_max,
    values,
):
    """PRF of every source on the pixels of its window.

    x, y (s,): pixel position; radius (s,): pixels; jacobian (s, 2, 2): (east, north) arcsec per
    (x, y) pixel; scale (s,): pixel area over the model's; window (s, 4): row0, row1, column0,
    column1; offset (s + 1,): start of each stamp in ``values``, which is filled, rows first.
    """
    model = (coefficients, t_min, t_step, n_r, n_phi, core, r_max)
    for s in prange(x.size):
        n = offset[s]
        limit = radius[s] * radius[s]
        for row in range(window[s, 0], window[s, 1]):
            dy = row - y[s]
            for column in range(window[s, 2], window[s, 3]):
                dx = column - x[s]
                values[n] = 0.0
                if dx * dx + dy * dy <= limit:
                    values[n] = scale[s] * prf_at(dx, dy, jacobian[s], *model)
                n += 1


@njit_parallel
def integrate_stamps(
    x,
    y,
    radius,
    jacobian,
    scale,
    window,
    offset,
    coefficients,
    t_min,
    t_step,
    n_r,
    n_phi,
    core,
    r_max,
    points,
    values,
):
    """As `fill_stamps`, with the mean over ``points`` x ``points`` places in each pixel.

    ``radius`` still goes by the centres of the pixels.
    """
    model = (coefficients, t_min, t_step, n_r, n_phi, core, r_max)
    for s in prange(x.size):
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
                            total += prf_at(u, v, jacobian[s], *model)
                values[n] = scale[s] * total / (points * points)
                n += 1
