"""Kernel of the WCS: many points of a polynomial in two variables.

Letters: p = points, n = coefficients along either axis.
"""

from romanprf.accelerate import njit_parallel_exact, prange


@njit_parallel_exact
def chebyshev2d(u, v, coefficients, out):
    """Sum of c_ij T_i(u) T_j(v), coefficients (n, n), at u, v (p,) -> out (p,).

    Clenshaw's recurrence along v, then along u (Clenshaw 1955, MTAC 9, 118).
    """
    n = coefficients.shape[0]
    for p in prange(out.size):
        b1 = b2 = 0.0
        for i in range(n - 1, -1, -1):
            d1 = d2 = 0.0
            for j in range(coefficients.shape[1] - 1, 0, -1):
                d1, d2 = coefficients[i, j] + 2.0 * v[p] * d1 - d2, d1
            row = coefficients[i, 0] + v[p] * d1 - d2
            if i > 0:
                b1, b2 = row + 2.0 * u[p] * b1 - b2, b1
            else:
                out[p] = row + u[p] * b1 - b2
