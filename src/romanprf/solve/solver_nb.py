"""Kernels of the tile solver.

Letters: s = sources, t = tiles, m = slots (a source in a tile), q = entries of all inverses.
A tile holds the sources inside it, its core, and those within a halo around it.  Its slots list
the halo first and the core last: eliminated in this order, the last rows of the Cholesky factor
are what the core knows after the halo has been marginalised.
"""

import numpy as np

from romanprf.core.accelerate import dealt, helper, helper_exact, njit, unsigned

#: Elements of vectors that are worked on together: they stay near the processor.
CHUNK = 2048


@helper
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


@dealt(-1, 256)
def count_halo(begin, end, x, y, size, halo, across, down, core_start, core_members, n_halo):
    """Number of halo sources of each tile -> n_halo (t,).

    core_start (t + 1,), core_members (s,): sources by the tile they are in.
    """
    nothing = np.empty(0, np.int64)
    for tile in range(begin, end):
        n_halo[tile] = _list_halo(
            tile, x, y, size, halo, across, down, core_start, core_members, nothing
        )


@dealt(-2, 128)
def list_slots(
    begin, end, x, y, size, halo, across, down, core_start, core_members, start, n_halo, members
):
    """Sources of each tile, its halo in order -> members (m,), from start (t + 1,)."""
    for tile in range(begin, end):
        middle = start[tile] + n_halo[tile]
        own = members[start[tile] : middle]
        _list_halo(tile, x, y, size, halo, across, down, core_start, core_members, own)
        for k in range(1, own.size):
            s, m = own[k], k
            while m > 0 and own[m - 1] > s:
                own[m] = own[m - 1]
                m -= 1
            own[m] = s
        for m in range(core_start[tile], core_start[tile + 1]):
            members[middle + m - core_start[tile]] = core_members[m]


@helper_exact
def _upper(a):
    """Cholesky factor of a symmetric matrix in place: its upper triangle becomes U, a = U^T U.

    Four rows at a time: each pass over the rest then does four times the work.
    """
    n, one, two, three, four = _counts(a.shape[0])
    for first in range(unsigned(0), n, four):
        last = min(first + four, n)
        for k in range(first, last):
            for m in range(first, k):
                factor = a[m, k]
                for j in range(k, n):
                    a[k, j] -= factor * a[m, j]
            scale = 1.0 / np.sqrt(a[k, k])
            for j in range(k, n):
                a[k, j] *= scale
        if last == first + four:
            b, c, d = first + one, first + two, first + three
            for i in range(last, n):
                f0, f1, f2, f3 = a[first, i], a[b, i], a[c, i], a[d, i]
                for j in range(i, n):
                    a[i, j] -= f0 * a[first, j] + f1 * a[b, j] + f2 * a[c, j] + f3 * a[d, j]


@helper
def _counts(n):
    """The numbers n, 1, 2, 3, 4 as indices."""
    return unsigned(n), unsigned(1), unsigned(2), unsigned(3), unsigned(4)


@helper_exact
def _last_columns(u, first):
    """Columns ``first`` ... of the inverse of U^T U, shape (n, n - first)."""
    x = np.zeros((u.shape[0], u.shape[0] - first))
    n, one, _, _, _ = _counts(u.shape[0])
    start = unsigned(first)
    for i in range(start, n):  # U^T y = e: nothing before ``first``
        x[i, i - start] = 1.0
        for k in range(start, i):
            factor = u[k, i]
            for c in range(k - start + one):
                x[i, c] -= factor * x[k, c]
        scale = 1.0 / u[i, i]
        for c in range(i - start + one):
            x[i, c] *= scale
    for back in range(n):  # U x = y
        _eliminate(u, x, n - one - back)
    return x


@helper_exact
def _eliminate(u, x, i):
    """Row i of the solution of U x = y from the rows below, four at a time; x holds y and x."""
    n, one, two, three, four = _counts(u.shape[0])
    width = unsigned(x.shape[1])
    rest = i + one + (n - i - one) // four * four
    for k in range(i + one, rest, four):
        f0, f1, f2, f3 = u[i, k], u[i, k + one], u[i, k + two], u[i, k + three]
        for c in range(width):
            x[i, c] -= f0 * x[k, c] + f1 * x[k + one, c] + f2 * x[k + two, c] + f3 * x[k + three, c]
    for k in range(rest, n):
        factor = u[i, k]
        for c in range(width):
            x[i, c] -= factor * x[k, c]
    scale = 1.0 / u[i, i]
    for c in range(width):
        x[i, c] *= scale


@helper
def _dense(indptr, indices, data, members, place):
    """Matrix of some sources; place (s,): -1 everywhere, before and after."""
    n = members.size
    a = np.zeros((n, n))
    for i in range(n):
        place[members[i]] = i
    for i in range(n):
        for k in range(indptr[members[i]], indptr[members[i] + 1]):
            j = place[indices[k]]
            if j >= 0:
                a[i, j] = data[k]
    for i in range(n):
        place[members[i]] = -1
    return a


@dealt(4, 4, exact=True)
def invert_tiles(
    begin,
    end,
    indptr,
    indices,
    data,
    start,
    n_halo,
    members,
    stale,
    inverse_start,
    inverse,
    variance,
):
    """Rows of the inverse of each tile's matrix that belong to its core, for ``stale`` tiles (t,).

    inverse (q,), float32: (core, slots) of tile t, row by row, from inverse_start[t];
    variance (s,): its diagonal.
    """
    place = np.empty(variance.size, np.int32)
    for s in range(place.size):
        place[s] = -1
    for t in range(begin, end):
        own = members[start[t] : start[t + 1]]
        if stale[t] and own.size > n_halo[t]:
            a = _dense(indptr, indices, data, own, place)
            _upper(a)
            columns = _last_columns(a, n_halo[t])
            q = inverse_start[t]
            for c in range(columns.shape[1]):
                variance[own[n_halo[t] + c]] = columns[n_halo[t] + c, c]
                for i in range(own.size):
                    inverse[q] = columns[i, c]
                    q += 1


@dealt(1, 32)
def solve_tiles(
    begin, end, start, n_halo, members, inverse_start, inverse, residual, response, part, out
):
    """What each tile makes of the residual for its core, and the sky for all: out (s,).

    response (k, s), part (k,): the fluxes follow each coefficient of the sky, and by how much.
    """
    for t in range(begin, end):
        own = members[start[t] : start[t + 1]]
        local = np.empty(own.size, np.float32)
        for i in range(own.size):
            local[i] = residual[own[i]]
        q = unsigned(inverse_start[t])
        for c in range(n_halo[t], own.size):
            total = np.float32(0.0)
            for i in range(unsigned(own.size)):
                total += inverse[q + i] * local[i]
            answer = np.float64(total)
            for k in range(part.size):
                answer += part[k] * response[k, own[c]]
            out[own[c]] = answer
            q += unsigned(own.size)


@dealt(-1, 1024, exact=True)
def multiply(begin, end, indptr, indices, data, vector, shared, part, scale, out):
    """Sparse matrix times vector, less what the sky takes, each element times ``scale`` (s,).

    shared (k, s), part (k,): rows that border the matrix, and their factors.  In the order that is
    written, because vector registers gather elements one by one.
    """
    for s in range(unsigned(begin), unsigned(end)):
        total = 0.0
        for k in range(unsigned(indptr[s]), unsigned(indptr[s + 1])):
            total += data[k] * vector[unsigned(indices[k])]
        for k in range(part.size):
            total -= part[k] * shared[k, s]
        out[s] = scale[s] * total


@njit
def settled(vector, scale, tolerance):
    """Whether no element is more than ``tolerance`` times ``scale`` (s,), or NaN."""
    s = 0
    while s < vector.size and abs(vector[s]) <= tolerance * scale[s]:
        s += 1
    return s == vector.size


@dealt(-1, 32, exact=True)
def orthogonalise(begin, end, part, before, its, following, step, taken, partial):
    """Take ``part`` of an earlier step from a new one, and the same of what they take (all s,).

    Products of what is left of ``taken`` with ``following``, which may be ``taken`` itself, of each
    ``CHUNK`` elements -> partial; their sum does not depend on the number of threads.
    """
    for c in range(begin, end):
        first, last = c * CHUNK, min((c + 1) * CHUNK, taken.size)
        for s in range(unsigned(first), unsigned(last)):
            step[s] -= part * before[s]
            taken[s] -= part * its[s]
        partial[c] = _dot(taken, following, first, last)


@dealt(-1, 64, exact=True)
def products(begin, end, one, two, partial):
    """Products of two vectors (s,) of each ``CHUNK`` elements -> partial."""
    for c in range(begin, end):
        first, last = c * CHUNK, min((c + 1) * CHUNK, one.size)
        partial[c] = _dot(one, two, first, last)


@helper_exact
def _dot(one, two, first, last):
    """Product of two vectors between two indices, in four sums that do not wait for each other."""
    whole = first + (last - first) // 4 * 4
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    for s in range(unsigned(first), unsigned(whole), unsigned(4)):
        a += one[s] * two[s]
        b += one[s + 1] * two[s + 1]
        c += one[s + 2] * two[s + 2]
        d += one[s + 3] * two[s + 3]
    for s in range(unsigned(whole), unsigned(last)):
        a += one[s] * two[s]
    return (a + b) + (c + d)


@dealt(-1, 32768, exact=True)
def advance(begin, end, size, step, taken, sigma, solution, residual, scaled):
    """Go ``size`` along a step that takes ``taken`` of the residual; residual / sigma -> scaled."""
    for s in range(unsigned(begin), unsigned(end)):
        solution[s] += size * step[s]
        residual[s] -= size * taken[s]
        scaled[s] = residual[s] / sigma[s]
