"""Kernels of the tile solver.

Letters: s = sources, t = tiles, m = slots (a source in a tile), q = entries of all factors.
A tile holds the sources inside it, its core, and those within a halo around it.  Its slots list
the halo first and the core last: eliminated in this order, the last rows of the Cholesky factor
are what the core knows after the halo has been marginalised.
"""

import numpy as np

from romanprf.accelerate import njit, njit_parallel, prange


@njit
def _list_halo(tile, x, y, size, halo, across, down, core_start, core_members, out):
    """Write the halo sources of a tile to ``out`` as far as it reaches; return how many."""
    i, j = tile // across, tile % across
    left, right = j * size - halo, (j + 1) * size + halo
    lower, upper = i * size - halo, (i + 1) * size + halo
    count = 0
    for ii in range(max(i - 1, 0), min(i + 2, down)):
        for jj in range(max(j - 1, 0), min(j + 2, across)):
            other = ii * across + jj
            if other != tile:
                for m in range(core_start[other], core_start[other + 1]):
                    s = core_members[m]
                    if lower <= y[s] < upper and left <= x[s] < right:
                        if count < out.size:
                            out[count] = s
                        count += 1
    return count


@njit
def list_slots(x, y, size, halo, across, down, core_start, core_members):
    """Sources of each tile: start (t + 1,), halo count (t,), members (m,).

    core_start (t + 1,), core_members (s,): sources by the tile they are in.
    """
    tiles = across * down
    grid = (x, y, size, halo, across, down, core_start, core_members)
    n_halo = np.zeros(tiles, np.int64)
    start = np.zeros(tiles + 1, np.int64)
    nothing = np.empty(0, np.int64)
    for tile in range(tiles):
        n_halo[tile] = _list_halo(tile, *grid, nothing)
        core = core_start[tile + 1] - core_start[tile]
        start[tile + 1] = start[tile] + n_halo[tile] + core
    members = np.empty(start[-1], np.int64)
    for tile in range(tiles):
        low, middle = start[tile], start[tile] + n_halo[tile]
        _list_halo(tile, *grid, members[low:middle])
        members[low:middle] = np.sort(members[low:middle])
        members[middle : start[tile + 1]] = core_members[core_start[tile] : core_start[tile + 1]]
    return start, n_halo, members


@njit
def _cholesky(a):
    """Factor a symmetric matrix in place; the lower triangle becomes L."""
    n = a.shape[0]
    for i in range(n):
        for j in range(i + 1):
            total = 0.0
            for k in range(j):
                total += a[i, k] * a[j, k]
            if i == j:
                a[i, i] = np.sqrt(a[i, i] - total)
            else:
                a[i, j] = (a[i, j] - total) / a[j, j]


@njit
def _find(members, low, high, s):
    k = low + np.searchsorted(members[low:high], s)
    if k < high and members[k] == s:
        return k
    return -1


@njit_parallel
def factor_tiles(indptr, indices, data, start, n_halo, members, factor_start, factors, variance):
    """Cholesky factor of each tile, and the marginal variance of its core sources.

    factors (q,): dense L of tile t, row by row, from factor_start[t]; variance (s,).
    """
    for t in prange(start.size - 1):
        low, high = start[t], start[t + 1]
        n = high - low
        middle = low + n_halo[t]
        a = factors[factor_start[t] : factor_start[t + 1]].reshape((n, n))
        a[:, :] = 0.0
        for m in range(low, high):
            s = members[m]
            for k in range(indptr[s], indptr[s + 1]):
                o = _find(members, low, middle, indices[k])
                if o < 0:
                    o = _find(members, middle, high, indices[k])
                if o >= 0:
                    a[m - low, o - low] = data[k]
        _cholesky(a)
        column = np.empty(n)
        for c in range(n_halo[t], n):
            total = 0.0
            for i in range(c, n):  # column c of the inverse of L
                value = 1.0 if i == c else 0.0
                for k in range(c, i):
                    value -= a[i, k] * column[k]
                column[i] = value / a[i, i]
                total += column[i] * column[i]
            variance[members[low + c]] = total


@njit_parallel
def solve_tiles(start, members, factor_start, factors, share, residual, local):
    """Solve every tile for its part of the residual: local (m,).

    share (s,): 1 / sqrt(number of tiles that hold a source).
    """
    for t in prange(start.size - 1):
        low, n = start[t], start[t + 1] - start[t]
        a = factors[factor_start[t] : factor_start[t + 1]].reshape((n, n))
        v = local[low : low + n]
        for i in range(n):
            s = members[low + i]
            value = share[s] * residual[s]
            for k in range(i):
                value -= a[i, k] * v[k]
            v[i] = value / a[i, i]
        for i in range(n - 1, -1, -1):
            v[i] /= a[i, i]
            for k in range(i):
                v[k] -= a[i, k] * v[i]


@njit_parallel
def gather(slot_start, slots, share, local, out):
    """Sum of what the tiles say of each source, in a fixed order: out (s,)."""
    for s in prange(out.size):
        total = 0.0
        for k in range(slot_start[s], slot_start[s + 1]):
            total += local[slots[k]]
        out[s] = share[s] * total


@njit_parallel
def multiply(indptr, indices, data, vector, out):
    """Sparse matrix times vector."""
    for s in prange(out.size):
        total = 0.0
        for k in range(indptr[s], indptr[s + 1]):
            total += data[k] * vector[indices[k]]
        out[s] = total
