"""Linear solution of the time model, with the light of each source as a free parameter."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_array, diags_array

#: Range in which the prior sigma of the coefficients is sought: from no change of the PRF to a
#: tenfold one.  A fixed sigma is too loose for a steady telescope: fitted noise of 1 % would enter
#: every light curve.
_SIGMA_RANGE = (1e-6, 10.0)


def normal_equations(
    design: csr_array,
    owners: csr_array,
    vectors: np.ndarray,
    change: np.ndarray,
    weight: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Normal matrix and vector of the coefficients, the light of the sources eliminated.

    The least squares are those of change - light - perturbation, with a free ``light`` of each
    source in each bin.

    In a bin the perturbation is kron(v, design) times the coefficients, so its share of the
    normal matrix is kron(v v^T, X^T W X - share of the light), and the whole design matrix
    (nbins * npairs rows) is never formed.  Operations per bin: 256 npairs + nsources n^2 + (k n)^2.

    Parameters
    ----------
    design : csr_array, shape (npairs, n)
        B-splines at the offsets.
    owners : csr_array, shape (npairs, nsources)
        One where a pair is of a source.
    vectors : ndarray, shape (nbins, k)
        In time.
    change : ndarray, shape (nbins, npairs)
        Relative flux less 1.
    weight : ndarray, shape (nbins, npairs)
        Inverse variance.

    Returns
    -------
    matrix : ndarray, shape (k * n, k * n)
        Without the prior.
    vector : ndarray, shape (k * n,)
    """
    size = vectors.shape[1] * design.shape[1]
    matrix, vector = np.zeros((size, size)), np.zeros(size)
    for v, y, w in zip(vectors, change, weight, strict=True):
        total = owners.T @ w
        weighted = diags_array(w) @ design
        taken = (owners.T @ weighted).toarray() / np.sqrt(total)[:, None]
        light = owners @ (owners.T @ (w * y) / total)
        matrix += np.kron(np.outer(v, v), (design.T @ weighted).toarray() - taken.T @ taken)
        vector += np.kron(v, weighted.T @ (y - light))
    return matrix, vector


def posterior(matrix: np.ndarray, vector: np.ndarray) -> tuple[np.ndarray, float]:
    """Coefficients under a Gaussian prior of mean 0 whose sigma makes the data likeliest.

    The sigma maximises the marginal likelihood (MacKay 1992, Neural Computation 4, 415).  One
    eigendecomposition serves all values of sigma; it takes some 10 (k n)^3 operations.

    Parameters
    ----------
    matrix, vector : ndarray, shape (size, size) and (size,)
        From `normal_equations`.

    Returns
    -------
    coefficients : ndarray, shape (size,)
        Posterior mean.
    sigma : float
        Of the prior.
    """
    value, axes = eigh(matrix)
    value, along = np.maximum(value, 0.0), axes.T @ vector

    def surprise(log_sigma: float) -> float:
        precision = np.exp(-2.0 * log_sigma)
        fit = np.sum(along**2 / (value + precision))
        return float(np.sum(np.log1p(value / precision)) - fit)

    low, high = np.log(_SIGMA_RANGE)
    best = minimize_scalar(surprise, bounds=(low, high), method="bounded")
    sigma = float(np.exp(best.x))
    return axes @ (along / (value + sigma**-2.0)), sigma
