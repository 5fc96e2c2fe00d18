"""Kernels for groups of stars so close that their positions are solved together.

Letters: s = sources, g = groups, m = members of each group, k = functions: the PRF and its two
derivatives.
"""

import numpy as np

from romanprf.core.accelerate import dealt, helper, njit_exact


@njit_exact
def link(first: np.ndarray, second: np.ndarray, most: int, group: np.ndarray) -> None:
    """Join the groups of pairs of sources, in order, as long as they have ``most`` members.

    group (s,) is filled with the lowest source of the group of each.
    """
    size = np.ones(group.size, np.int64)
    for s in range(group.size):
        group[s] = s
    for p in range(first.size):
        a, b = first[p], second[p]
        while group[a] != a:
            a = group[a]
        while group[b] != b:
            b = group[b]
        if a != b and size[a] + size[b] <= most:
            low, high = min(a, b), max(a, b)
            group[high] = low
            size[low] += size[high]
    for s in range(group.size):
        group[s] = group[group[s]]  # a lower source is done already


@dealt(5, 256)
def equations(
    begin: int,
    end: int,
    x: np.ndarray,
    y: np.ndarray,
    residual: np.ndarray,
    weight: np.ndarray,
    template: np.ndarray,
    members: np.ndarray,
    cell: int,
    vector: np.ndarray,
    matrix: np.ndarray,
) -> None:
    """Normal equations of the functions of the members of each group.

    x, y (s,), residual, weight, template, cell: as in `match_nb.match`; members (g, m): sources.
    vector (g, m, k) = sum w r t and matrix (g, m, k, m, k) = sum w t t are filled, with 0 for a
    member of which more than half of the light is on rejected pixels.
    """
    nrows, ncols = weight.shape
    fine, k, side = template.shape[2] - 1, template.shape[4], template.shape[5]
    half, n = side // 2, members.shape[1]
    row, column = np.empty(n, np.int64), np.empty(n, np.int64)
    near = np.empty((n, k, side, side))
    for g in range(begin, end):
        for a in range(n):
            s = members[g, a]
            row[a] = column[a] = -2 * side
            if -0.5 < x[s] < ncols - 0.5 and -0.5 < y[s] < nrows - 0.5:
                i, j = int(np.floor(y[s] + 0.5)), int(np.floor(x[s] + 0.5))
                u = int((y[s] - i + 0.5) * fine + 0.5)
                v = int((x[s] - j + 0.5) * fine + 0.5)
                near[a] = template[i // cell, j // cell, u, v]
                if shown(weight, i - half, j - half, near[a, 0]):
                    row[a], column[a] = i - half, j - half
        for a in range(n):
            for p in range(k):
                vector[g, a, p] = weighted_sum(residual, weight, row[a], column[a], near[a, p])
            for b in range(n):
                _shared_sums(weight, row, column, near, a, b, matrix[g, a, :, b, :])


@helper
def shown(weight: np.ndarray, top: int, left: int, light: np.ndarray) -> bool:
    """Whether at least half of ``light``, from a row and column on, is where there is weight."""
    total = seen = 0.0
    for m in range(light.shape[0]):
        for n in range(light.shape[1]):
            i, j = top + m, left + n
            total += light[m, n]
            if 0 <= i < weight.shape[0] and 0 <= j < weight.shape[1] and weight[i, j] > 0.0:
                seen += light[m, n]
    return seen >= 0.5 * total


@helper
def weighted_sum(
    residual: np.ndarray, weight: np.ndarray, top: int, left: int, function: np.ndarray
) -> float:
    """Sum of weight, residual and a function from a row and column on, where there is weight."""
    total = 0.0
    for m in range(function.shape[0]):
        for n in range(function.shape[1]):
            i, j = top + m, left + n
            if 0 <= i < weight.shape[0] and 0 <= j < weight.shape[1] and weight[i, j] > 0.0:
                total += weight[i, j] * residual[i, j] * function[m, n]
    return total


@helper
def _shared_sums(
    weight: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
    near: np.ndarray,
    a: int,
    b: int,
    out: np.ndarray,
) -> None:
    """Sums of weight and the functions of two members where both are -> out (k, k)."""
    k, side = near.shape[1], near.shape[2]
    out[:] = 0.0
    for i in range(max(row[a], row[b], 0), min(min(row[a], row[b]) + side, weight.shape[0])):
        low = max(column[a], column[b], 0)
        for j in range(low, min(min(column[a], column[b]) + side, weight.shape[1])):
            for p in range(k):
                value = weight[i, j] * near[a, p, i - row[a], j - column[a]]
                for q in range(k):
                    out[p, q] += value * near[b, q, i - row[b], j - column[b]]
