"""The slow, plain reference of every kernel: ``naive.name`` for the kernel ``name`` or ``_name``.

Each computes the same numbers another way: SciPy's B-splines, Astropy's coordinates, dense
matrices and NumPy's linear algebra, masks over the whole image.
"""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from numpy.polynomial.chebyshev import chebval2d
from scipy.interpolate import BSpline, RegularGridInterpolator
from scipy.ndimage import map_coordinates

from romanprf.sky.wcs import deproject, project

CELL, FINE = 8, 4


def both(kernel):
    """Parametrize a test over a kernel, compiled and as plain Python."""
    forms = {"compiled": kernel} if hasattr(kernel, "py_func") else {}
    forms["python"] = getattr(kernel, "py_func", kernel)  # NUMBA_DISABLE_JIT leaves only this
    return pytest.mark.parametrize("kernel", forms.values(), ids=forms.keys())


# splines_nb


def uniform_cubic(t):
    """Values of the functions 0 ... 3 on the knots -3 ... 4 at ``t`` in [0, 1)."""
    return BSpline.design_matrix(np.atleast_1d(t), np.arange(-3.0, 5.0), 3).toarray()


def locate(x, lower, step, intervals):
    position = np.clip((x - lower) / step, 0.0, intervals)
    k = min(int(np.floor(position)), intervals - 1)
    return k, position - k


def locate_wrapped(x, lower, step, intervals):
    position = np.mod((x - lower) / step, intervals)
    return int(position) % intervals, position % 1.0


def uniform_basis(x, lower, step, intervals):
    """All intervals + 3 B-splines at the points ``x``, held inside their range."""
    knots = lower + step * np.arange(-3.0, intervals + 4.0)
    inside = np.clip(x, knots[3], knots[-4])
    return BSpline.design_matrix(inside, knots, 3).toarray()


def wrapped_basis(x, n):
    """The n periodic B-splines on [-pi, pi): those of an open grid, the last three added on."""
    step = 2.0 * np.pi / n
    turned = np.mod(np.asarray(x) + np.pi, 2.0 * np.pi) - np.pi
    basis = uniform_basis(turned, -np.pi, step, n)
    basis[:, :3] += basis[:, n:]
    return basis[:, :n]


# wcs_nb


def unit(number, lower, upper):
    return (number - 0.5 * (lower + upper)) / (0.5 * (upper - lower))


def sky_to_pixel(ra, dec, ra0, dec0, plane, inverse):
    xi, eta = project(ra, dec, ra0, dec0)
    u, v = unit(xi, *plane[:2]), unit(eta, *plane[2:])
    inside = (abs(u) <= 1.0) & (abs(v) <= 1.0)
    return [np.where(inside, chebval2d(u, v, c), np.nan) for c in inverse]


def jacobian(x, y, dec0, pixel, forward, step=1e-3):
    """Differences of positions on the sky."""

    def sky(x, y):
        u, v = unit(x, *pixel[:2]), unit(y, *pixel[2:])
        return deproject(*(chebval2d(u, v, c) for c in forward), 180.0, dec0)

    scale = np.stack([np.cos(np.deg2rad(sky(x, y)[1])), np.ones(len(x))])
    sides = [(step, 0.0), (0.0, step)]
    differences = [
        scale * np.subtract(sky(x + i, y + j), sky(x - i, y - j)) / (2.0 * step) for i, j in sides
    ]
    return np.transpose(differences, (2, 1, 0))


def value(u, v, coefficients):
    return chebval2d(u, v, coefficients)


chebyshev2d = value


# deltas_nb


def offset(ra, dec, ra0, dec0):
    origin, point = SkyCoord(ra0, dec0, unit="deg"), SkyCoord(ra, dec, unit="deg")
    moved = point.transform_to(origin.skyoffset_frame())
    # cos(bearing) and sin(bearing) from the unit vector of the point, east and north of the origin
    x, y, z = moved.cartesian.xyz.value
    r = np.arctan2(np.hypot(y, z), x) * u.rad.to(u.arcsec)
    return moved.lon.wrap_at(180 * u.deg).deg, moved.lat.deg, r, np.arctan2(z, y)


def _disc(x, y, radius, shape):
    row, column = np.indices(shape)
    return (row - y) ** 2 + (column - x) ** 2 <= radius**2 if radius >= 0 else row < 0


def count_pairs(x, y, radius, nrows, ncols):
    discs = (_disc(*star, (nrows, ncols)) for star in zip(x, y, radius, strict=True))
    return np.array([disc.sum() for disc in discs])


def fill_pairs(x, y, radius, ra, dec, pixel_ra, pixel_dec):
    """Columns source, row, column, dra, ddec, r, phi of the pairs."""
    parts = []
    for s in range(len(x)):
        near = _disc(x[s], y[s], radius[s], pixel_ra.shape)
        if near.any():
            offsets = offset(pixel_ra[near], pixel_dec[near], ra[s], dec[s])
            parts.append(np.stack([np.full(near.sum(), s), *np.nonzero(near), *offsets]))
    return np.concatenate(parts, axis=1)


def all_offsets(ra, dec, pixel_ra, pixel_dec):
    """Arrays dra, ddec, r, phi of shape (nsources, npixels)."""
    return np.stack([offset(pixel_ra, pixel_dec, *star) for star in zip(ra, dec, strict=True)], 1)


# logpolar_nb


def design(r, phi, t_min, t_step, n_r, n_phi, core):
    """Dense design matrix of log10 of the PRF, shape (npixels, ncoefficients)."""
    radial = uniform_basis(np.sqrt(r), t_min, t_step, n_r - 1)
    angular = wrapped_basis(phi, n_phi)
    mixed = radial[:, core:, None] * angular[:, None, :]
    return np.hstack([radial, mixed.reshape(len(r), -1)])


def ln_prf(r, phi, coefficients, *basis):
    return np.log(10.0) * (design(np.atleast_1d(r), np.atleast_1d(phi), *basis) @ coefficients)


def evaluate(r, phi, coefficients, t_min, t_step, n_r, n_phi, core, r_max):
    values = np.exp(ln_prf(r, phi, coefficients, t_min, t_step, n_r, n_phi, core))
    return np.where(r < r_max, values, 0.0)


def accumulate(r, phi, value, weight, *basis):
    matrix = design(r, phi, *basis)
    return matrix.T @ (weight[:, None] * matrix), matrix.T @ (weight * value)


def prf_at(dx, dy, jacobian, *model):
    """PRF at offsets in pixels, of any shape."""
    east, north = np.einsum("ij,j...->i...", jacobian, np.stack([dx, dy]))
    r, phi = np.ravel(np.hypot(east, north)), np.ravel(np.arctan2(north, east))
    return evaluate(r, phi, *model).reshape(np.shape(dx)) if r.size else np.zeros(np.shape(dx))


def fill_stamps(x, y, radius, jacobian, scale, window, *model):
    """One array per source, shaped like its window."""
    return integrate_stamps(x, y, radius, jacobian, scale, window, *model, 1)


def integrate_stamps(x, y, radius, jacobian, scale, window, *model_and_points):
    """One array per source, shaped like its window, the mean over points in each pixel."""
    *model, points = model_and_points
    places = (np.arange(points) + 0.5) / points - 0.5
    stamps = []
    for s, (row0, row1, column0, column1) in enumerate(window):
        dy, dx = np.mgrid[row0:row1, column0:column1] - np.array([y[s], x[s]])[:, None, None]
        fine = [prf_at(dx + u, dy + v, jacobian[s], *model) for u in places for v in places]
        inside = dx**2 + dy**2 <= radius[s] ** 2
        stamps.append(scale[s] * np.where(inside, np.mean(fine, axis=0), 0.0))
    return stamps


# stamps_nb


def images(window, offset, values, shape):
    """Each stamp as a whole image, shape (nsources, nrows, ncols)."""
    out = np.zeros((len(window), *shape))
    for s, (row0, row1, column0, column1) in enumerate(window):
        block = values[offset[s] : offset[s + 1]]
        out[s, row0:row1, column0:column1] = block.reshape(row1 - row0, column1 - column0)
    return out


def add(window, offset, values, flux, shape):
    return np.tensordot(flux, images(window, offset, values, shape), 1)


def dot(window, offset, values, image):
    return np.tensordot(images(window, offset, values, image.shape), image, 2)


def add_listed(window, offset, values, flux, place, out):
    light = add(window, offset, values, flux, place.shape)
    for pixel in np.argwhere(place >= 0):
        out[place[*pixel]] += light[*pixel]


def dot_two(window, offset, values, first, second):
    return [dot(window, offset, values, image) for image in (first, second)]


def list_bands(window, nrows, size):
    bands = range(-(-nrows // size))
    rows = [set(range(row0, row1)) for row0, row1, _, _ in window]
    return [
        [s for s, own in enumerate(rows) if own & set(range(b * size, (b + 1) * size))]
        for b in bands
    ]


def count_near(x, y, radius, marked):
    stars = zip(x, y, strict=True)
    return [(marked & _disc(*star, radius, marked.shape)).sum() for star in stars]


def add_rings(x, y, inner, outer, flux, table, shape):
    """Pixel by pixel of the table."""
    phases, side, image = len(table), table.shape[-1], np.zeros(shape)
    for s in range(len(x)):
        middle = np.floor([y[s] + 0.5, x[s] + 0.5]).astype(int)
        v, u = ((np.array([y[s], x[s]]) - middle + 0.5) * phases).astype(int)
        for i, j in np.ndindex(side, side):
            row, column = middle[0] + i - side // 2, middle[1] + j - side // 2
            r = np.hypot(row - y[s], column - x[s])
            if 0 <= row < shape[0] and 0 <= column < shape[1] and inner[s] < r <= outer[s]:
                image[row, column] += flux[s] * table[v, u, i, j]
    return image


def add_part(line, factor, prf, start, first, last):
    added = [factor * prf[j - start] if first <= j < last else 0.0 for j in range(len(line))]
    return line + added


def chord(x, room, start, side, ncols):
    """The columns themselves."""
    return [j for j in range(start, start + side) if 0 <= j < ncols and (j - x) ** 2 <= room]


# image_nb


def swapped(variance, flux, model, slope, floor):
    return np.maximum(variance + (model - np.maximum(flux, 0.0)) * slope, floor * variance)


def weights(flux, flux_err, model, outlier, slope, floor):
    return np.where(outlier, 0.0, 1.0 / swapped(flux_err**2, flux, model, slope, floor))


def weighted_residual(flux, model, weight):
    return (flux - model) * weight


def significance(flux, flux_err, model, rest, leverage, slope, floor, least, prf_error):
    left = np.maximum(1.0 - leverage, least)
    noise = np.sqrt(swapped(flux_err**2, flux, model, slope, floor) * left)
    return abs(flux - model) / np.hypot(noise, prf_error * (model - rest) * left)


def brighter(light, flux_err, sigmas):
    return light / flux_err > sigmas


def residuals(flux, model, weight):
    left = flux - model
    return np.where(weight > 0.0, left, np.nan), weight * left**2


def add_mesh(rows, columns, rest):
    return rest + rows @ columns.T


def first_below(profile, threshold):
    return [int((profile > one).sum()) for one in threshold]


# register_nb


def shift_equations(flux, flux_err, stars, rest, slopes, slope, floor, prf_error, clip):
    left = flux - stars - rest
    noise = np.sqrt(swapped(flux_err**2, flux, stars + rest, slope, floor))
    error = np.hypot(noise, prf_error * stars)
    good = abs(left) < clip * error
    design = slopes[:, good] / error[good]
    return design @ design.T, design @ (left[good] / error[good])


# normal_nb


def covered(window, shape):
    """Which pixels each window covers, shape (nsources, nrows * ncols)."""
    row, column = np.indices(shape).reshape(2, -1, 1)
    row0, row1, column0, column1 = window.T
    return ((row >= row0) & (row < row1) & (column >= column0) & (column < column1)).T


def cell(place, cells):
    return int(np.clip(place // CELL, 0, cells - 1))


def bin_sources(x, y, nrows, ncols):
    """Sources of each cell."""
    down, across = -(-nrows // CELL), -(-ncols // CELL)
    at = [(cell(v, down), cell(u, across)) for u, v in zip(x, y, strict=True)]
    return [[s for s in range(len(x)) if at[s] == c] for c in np.ndindex(down, across)]


def owns(radius, s, o):
    return max((radius[s], s), (radius[o], o)) == (radius[s], s)


def shared(window, s, o, shape):
    """Pixels that two windows have in common, shape ``shape``."""
    return covered(window[[s, o]], shape).all(axis=0).reshape(shape)


def overlap(window, s, o, shape):
    return shared(window, s, o, shape).any()


def own_neighbours(s, x, y, radius, window, shape):
    """Sources within reach whose entry with source s is its own, itself the first of them."""
    near = np.hypot(x - x[s], y - y[s]) <= radius + radius[s]
    others = np.flatnonzero(near & (np.arange(len(x)) != s))
    return [s, *(o for o in others if owns(radius, s, o) and overlap(window, s, o, shape))]


def list_own(*stars_and_shape):
    return [own_neighbours(s, *stars_and_shape) for s in range(len(stars_and_shape[0]))]


def cells_around(x, y, far, across, down):
    columns, rows = ([cell(p - far, n), cell(p + far, n)] for p, n in ((x, across), (y, down)))
    return (*columns, *rows)


def count_candidates(x, y, radius, nrows, ncols):
    """Sources in the cells within twice the radius of each."""
    down, across = -(-nrows // CELL), -(-ncols // CELL)
    out = []
    for s in range(len(x)):
        around = cells_around(x[s], y[s], 2.0 * radius[s], across, down)
        columns, rows = (np.arange(a, b + 1) for a, b in (around[:2], around[2:]))
        at = [
            (cell(v, down) in rows, cell(u, across) in columns) for u, v in zip(x, y, strict=True)
        ]
        out.append(sum(both_in == (True, True) for both_in in at))
    return out


def pack(lists):
    return [o for row in lists for o in row]


def mirrored(rows):
    """Columns of each row, in any order: those of the row, and the rows that name it."""
    n = len(rows)
    return [[o for o in range(n) if o in rows[s] or s in rows[o]] for s in range(n)]


def sort_rows(rows, places):
    """Rows sorted, and places in the order of their rows."""
    pairs = [sorted(zip(*row, strict=True)) for row in zip(rows, places, strict=True)]
    return [[o for o, _ in row] for row in pairs], [[p for _, p in row] for row in pairs]


def changes(old, new, share):
    """The weights that are kept, and the number of changed pixels in each cell."""
    changed = np.abs(new - old) > share * old
    rows, columns = (range(0, length, FINE) for length in old.shape)
    count = [[changed[i : i + FINE, j : j + FINE].sum() for j in columns] for i in rows]
    return np.where(changed, new, old), np.array(count)


def touched(count, row0, row1, column0, column1):
    cells = count[row0 // FINE : -(-row1 // FINE), column0 // FINE : -(-column1 // FINE)]
    return cells.any()


def pair_touched(count, window, s, o):
    pixels = np.argwhere(shared(window, s, o, np.multiply(count.shape, FINE)))
    return any(touched(count, i, i + 1, j, j + 1) for i, j in pixels)


def weighted(window, offset, values, weight, s):
    row0, row1, column0, column1 = window[s]
    return values[offset[s] : offset[s + 1]] * weight[row0:row1, column0:column1].ravel()


def common(own, window, offset, values, s, o):
    shape = window[:, 1].max(), window[:, 3].max()
    mine = images(window[[s]], [0, own.size], own, shape)[0]
    return (mine * images(window, offset, values, shape)[o]).sum()


def take(own, place):
    return own[place]


def fill_own(window, offset, values, weight):
    """The whole matrix, dense; of which each entry is owned by one of its sources."""
    prf = images(window, offset, values, weight.shape).reshape(len(window), -1)
    return prf @ (weight.ravel()[:, None] * prf.T)


def leverage(x, y, window, offset, values, weight, precision, core):
    """Largest w p^2 / A_ss in each pixel, of the stars within ``core`` pixels."""
    part = weight * images(window, offset, values, weight.shape) ** 2 / precision[:, None, None]
    rows, columns = np.indices(weight.shape)
    for s in range(len(x)):
        far = np.maximum(abs(rows - int(y[s] + 0.5)), abs(columns - int(x[s] + 0.5))) > core
        part[s, far] = 0.0
    return part.max(axis=0)


# solver_nb


def list_halo(tile, x, y, size, halo, across, tile_of):
    """Sources of the eight tiles around that lie within ``halo`` of a tile."""
    i, j = divmod(tile, across)
    adjacent = (abs(tile_of // across - i) <= 1) & (abs(tile_of % across - j) <= 1)
    near_x = (x >= j * size - halo) & (x < (j + 1) * size + halo)
    near_y = (y >= i * size - halo) & (y < (i + 1) * size + halo)
    return np.flatnonzero(adjacent & near_x & near_y & (tile_of != tile))


def list_slots(x, y, size, halo, across, down, tile_of):
    """Halo and core of each tile."""
    return [
        (list_halo(t, x, y, size, halo, across, tile_of), np.flatnonzero(tile_of == t))
        for t in range(across * down)
    ]


def count_halo(x, y, size, halo, across, down, tile_of):
    slots = list_slots(x, y, size, halo, across, down, tile_of)
    return [len(around) for around, _ in slots]


def upper(a):
    return np.linalg.cholesky(a).T


def last_columns(u, first):
    return np.linalg.inv(u.T @ u)[:, first:]


def counts(n):
    return n, 1, 2, 3, 4


def eliminate(u, x, i):
    """New row i of x."""
    return (x[i] - u[i, i + 1 :] @ x[i + 1 :]) / u[i, i]


def dense(matrix, members):
    return matrix.toarray()[np.ix_(members, members)]


def invert_tiles(matrix, tiles):
    """Rows of each tile's inverse that belong to its core, and the variance of each source."""
    blocks, variance = [], np.full(matrix.shape[0], np.nan)
    for halo, core in tiles:
        inverse = np.linalg.inv(dense(matrix, np.concatenate([halo, core])))
        blocks.append(inverse[len(halo) :])
        variance[core] = np.diag(inverse)[len(halo) :]
    return blocks, variance


def solve_tiles(matrix, tiles, residual, response, part):
    """What each tile makes of the residual of all its members for its core, and the sky of all."""
    out = np.full(len(residual), np.nan)
    for (halo, core), inverse in zip(tiles, invert_tiles(matrix, tiles)[0], strict=True):
        out[core] = inverse @ residual[np.concatenate([halo, core])]
    return out + part @ response


def multiply(matrix, vector, shared, part, scale):
    return scale * (matrix.toarray() @ vector - part @ shared)


def settled(vector, scale, tolerance):
    return np.nanmax(abs(vector) / scale) <= tolerance


def products(one, two, chunk):
    return [one[s : s + chunk] @ two[s : s + chunk] for s in range(0, one.size, chunk)]


def orthogonalise(part, before, its, following, step, taken, chunk):
    left = taken - part * its
    return step - part * before, left, products(left, following, chunk)


def advance(size, step, taken, sigma, solution, residual):
    residual = residual - size * taken
    return solution + size * step, residual, residual / sigma


# render_nb


def add_stars(image, x, y, flux, radius, coefficients, oversampling):
    """Star by star, with SciPy's spline."""
    middle = len(coefficients) // 2
    for star in np.flatnonzero(np.isfinite(x + y + flux)):
        row, column = np.indices(image.shape)
        far = np.maximum(abs(row - np.floor(y[star] + 0.5)), abs(column - np.floor(x[star] + 0.5)))
        inside = far <= radius[star]
        offsets = np.stack([row[inside] - y[star], column[inside] - x[star]])
        samples = offsets * oversampling + middle
        image[inside] += flux[star] * map_coordinates(
            coefficients, samples, order=3, prefilter=False, mode="mirror"
        )


# tensor_nb: fill_stamps is called so elsewhere too, hence another name here


def axis(offset, scale, step, intervals):
    """Values of all functions at offsets (p,) in pixels, shape (p, intervals + 3)."""
    if len(offset) == 0:  # which SciPy refuses
        return np.zeros((0, intervals + 3))
    return uniform_basis(np.arcsinh(offset / scale), -0.5 * step * intervals, step, intervals)


def pixel_basis(offset, scale, step, n, points):
    """Means of all functions over the pixels centred at offsets (p,), shape (p, n)."""
    places = (np.arange(points) + 0.5) / points - 0.5
    return np.mean([axis(offset + place, scale, step, n - 3) for place in places], axis=0)


def local(coefficients, node, share, s, area, below, left, reach):
    own = area * np.tensordot(share[s], coefficients[node[s]], 1)
    return own[below[0] : below[-1] + reach, left[0] : left[-1] + reach]


def contract(own, first, weight, row):
    return weight[row] @ own[first : first + weight.shape[1]]


def mean(line, left, weight, first, last, width):
    reach, start = weight.shape[1], left - left[0]
    row = [weight[p] @ line[start[p] : start[p] + reach] for p in range(width)]
    return np.where((np.arange(width) >= first) & (np.arange(width) < last), row, 0.0)


def fill_tensor_stamps(x, y, radius, area, window, node, share, coefficients, scale, step, points):
    """One array per source, shaped like its window: the mean over points in each pixel."""
    n, stamps = coefficients.shape[1], []
    for s, (row0, row1, column0, column1) in enumerate(window):
        dy, dx = np.arange(row0, row1) - y[s], np.arange(column0, column1) - x[s]
        along_y, along_x = (pixel_basis(d, scale, step, n, points) for d in (dy, dx))
        value = along_y @ np.tensordot(share[s], coefficients[node[s]], 1) @ along_x.T
        inside = dx**2 + dy[:, None] ** 2 <= radius[s] ** 2
        stamps.append(area[s] * np.where(inside, value, 0.0))
    return stamps


def tensor_design(x, y, radius, light, window, node, share, shape, scale, step, k, n):
    """What each coefficient adds to each source, shape (s, rows, columns, k, n, n)."""
    rows, columns = np.arange(shape[0]), np.arange(shape[1])
    inside = covered(window, shape).reshape(-1, *shape)
    design = np.zeros((len(x), *shape, k, n, n))
    for s in range(len(x)):
        near = light[s] * (inside[s] & _disc(x[s], y[s], radius[s], shape))
        along_y, along_x = (
            axis(rows - y[s], scale, step, n - 3),
            axis(columns - x[s], scale, step, n - 3),
        )
        for i, of_node in zip(node[s], share[s], strict=True):
            design[s, :, :, i] += of_node * np.einsum("rc,ri,cj->rcij", near, along_y, along_x)
    return design


def gather(design, image):
    return np.einsum("srckij,rc->kij", design, image)


def sum_row(pixels, offset, room, left, along_x, line):
    """What is added to ``line``."""
    value = np.where((offset + np.arange(len(pixels))) ** 2 <= room, pixels, 0.0)
    index = left[:, None] + np.arange(4)
    return np.bincount(index.ravel(), (along_x * value[:, None]).ravel(), len(line))


def add_own_terms(design, weight):
    """The band of the normal matrix, from its whole blocks of one source and one node."""
    matrix = np.einsum("srckij,rc,srckab->kijab", design, weight, design, optimize=True)
    k, n = matrix.shape[:2]
    band = np.zeros((k, n, 4, 7, n))
    for i, j, a, b in np.ndindex(n, n, 4, 7):
        if i + a < n and 0 <= j + b - 3 < n and (a > 0 or b >= 3):
            band[:, i, a, b, j] = matrix[:, i, j, i + a, j + b - 3]
    return band


def spread(line, along_y, factor):
    """Terms (4, 4, 7, n) of the functions of one row, whose products along x are ``line``."""
    n = line.shape[1]
    matrix = sum(np.diag(line[d, : n - d], d) + np.diag(line[d, : n - d], -d) for d in (1, 2, 3))
    padded = np.pad(matrix + np.diag(line[0]), ((0, 0), (3, 3)))
    along_x = np.stack([padded[j, j : j + 7] for j in range(n)], axis=1)
    terms = np.zeros((4, 4, 7, n))
    for a, c in np.ndindex(4, 4):
        if a + c < 4:
            terms[a, c] = factor * along_y[a] * along_y[a + c] * along_x
    terms[:, 0, :3] = 0.0  # the other half of a symmetric matrix
    return terms


def add_scaled(line, factor, low, high):
    """What is added to the sums."""
    inside = (np.arange(len(line)) >= low) & (np.arange(len(line)) < high)
    return factor * np.where(inside, line, 0.0)


# frame/groups_nb


def link(first, second, most, n):
    """Lowest member of the group of each of n sources, with sets."""
    groups = [{s} for s in range(n)]
    for a, b in zip(first, second, strict=True):
        one, other = (next(g for g in groups if s in g) for s in (a, b))
        if one is not other and len(one) + len(other) <= most:
            groups.remove(other)
            one |= other
    return np.array([min(next(g for g in groups if s in g)) for s in range(n)])


def equations(x, y, residual, weight, template, members, cell):
    """vector (g, m, k) and matrix (g, m, k, m, k) from functions laid on whole images."""
    side, k = template.shape[-1], template.shape[4]
    padded = [np.pad(image, side) for image in (residual, weight)]
    image, trust = padded
    fine, laid = template.shape[2] - 1, np.zeros((len(x), k, *image.shape))
    inside = (np.abs(x - weight.shape[1] / 2 + 0.5) < weight.shape[1] / 2) & (
        np.abs(y - weight.shape[0] / 2 + 0.5) < weight.shape[0] / 2
    )
    for s in np.flatnonzero(inside):
        row, column = int(np.round(y[s])), int(np.round(x[s]))
        v, u = (int(np.round((d + 0.5) * fine)) for d in (y[s] - row, x[s] - column))
        near = template[row // cell, column // cell, v, u]
        i, j = row + side - side // 2, column + side - side // 2
        if (near[0] * (trust[i : i + side, j : j + side] > 0.0)).sum() >= 0.5 * near[0].sum():
            laid[s, :, i : i + side, j : j + side] = near
    functions = laid[members]
    vector = np.einsum("gmkij,ij,ij->gmk", functions, image, trust)
    return vector, np.einsum("gmkij,ij,gnlij->gmknl", functions, trust, functions)


def shown(weight, top, left, light):
    """Whether half of the light is on weighted pixels of a padded image."""
    side = len(light)
    corner = np.pad(weight, side)[top + side :, left + side :][:side, :side]
    return light[corner > 0.0].sum() >= 0.5 * light.sum()


def weighted_sum(residual, weight, top, left, function):
    """On a padded image."""
    side = len(function)
    corner = np.pad(weight * residual, side)[top + side :, left + side :][:side, :side]
    return np.vdot(corner, function)


def shared_sums(weight, row, column, near, a, b):
    """Sums (k, k) of the functions of two members, on padded images."""
    k, side = near.shape[1:3]
    padded = np.pad(weight, side)
    laid = np.zeros((2, k, *padded.shape))
    for one, member in zip(laid, (a, b), strict=True):
        i, j = row[member] + side, column[member] + side
        if min(i, j) >= 0:
            one[:, i : i + side, j : j + side] = near[member]
    return np.einsum("pij,ij,qij->pq", laid[0], padded, laid[1])


# frame/centroids_nb


def chain(x, y, shape):
    """Sources on each pixel, ascending, as a dict."""
    on = {}
    for s, place in enumerate(zip(np.round(y), np.round(x), strict=True)):
        if 0 <= place[0] < shape[0] and 0 <= place[1] < shape[1]:
            on.setdefault((int(place[0]), int(place[1])), []).append(s)
    return on


def information(x, y, reach, residual, weight, template, cell, precision):
    """vector (s, 2) and matrix (s, 3, 3) by elimination with dense matrices."""
    nrows, ncols = weight.shape
    on = np.flatnonzero((np.round(x) >= 0) & (np.round(x) < ncols) & (np.round(y) >= 0))
    on = on[np.round(y[on]) < nrows]
    side, vector, matrix = template.shape[-1], np.full((len(x), 2), np.nan), {}
    trust = np.pad(weight, side)
    pull = np.pad(np.where(weight > 0.0, weight * np.nan_to_num(residual), 0.0), side)
    laid = {}
    for s in on:
        i, j, functions = interpolated(x[s], y[s], template, cell)
        laid[s] = np.zeros((3, *trust.shape))
        laid[s][:, i + side : i + 2 * side, j + side : j + 2 * side] = functions
    for s in on:
        if laid[s][0][trust > 0.0].sum() < 0.5 * laid[s][0].sum():
            continue
        near = [o for o in on if o != s and np.hypot(x[o] - x[s], y[o] - y[s]) < reach]
        functions = np.array([laid[o][0] for o in near] + list(laid[s]))
        gram = np.einsum("aij,ij,bij->ab", functions, trust, functions)
        gram[np.arange(len(near) + 1), np.arange(len(near) + 1)] += precision[[*near, s]]
        matrix[s] = np.linalg.inv(np.linalg.inv(gram)[len(near) :, len(near) :])
        vector[s] = np.einsum("aij,ij->a", laid[s][1:], pull)
    nothing = np.full((3, 3), np.nan)
    return vector, np.array([matrix.get(s, nothing) for s in range(len(x))])


def neighbours(s, x, y, reach):
    """Ascending."""
    return [o for o in range(len(x)) if o != s and np.hypot(x[o] - x[s], y[o] - y[s]) < reach]


def interpolated(x, y, template, cell):
    """First row and column and all functions, by SciPy."""
    row, column = int(np.round(y)), int(np.round(x))
    phases = np.linspace(-0.5, 0.5, template.shape[2])
    near = RegularGridInterpolator((phases, phases), template[row // cell, column // cell])
    half = template.shape[-1] // 2
    return row - half, column - half, near([y - row, x - column])[0]


def fill_row(weight, row, column, light, a):
    """On padded images."""
    return [shared_sums(weight, row, column, light[:, None], a, b)[0, 0] for b in range(a + 1)]


def marginalise(matrix, n):
    """Schur complement of the rest."""
    rest = matrix[n:, :n] @ np.linalg.solve(matrix[:n, :n], matrix[:n, n:])
    return matrix[n:, n:] - rest


# search/stack_nb


def match(x, y, residual, weight, template, cell):
    """vector (p, k) and matrix (p, k, k) from a template laid on a padded image."""
    side = template.shape[-1]
    padded = [np.pad(image, side) for image in (residual, weight)]
    k, fine = template.shape[4], template.shape[2] - 1
    vector, matrix = np.zeros((len(x), k)), np.zeros((len(x), k, k))
    inside = (np.abs(x - weight.shape[1] / 2 + 0.5) < weight.shape[1] / 2) & (
        np.abs(y - weight.shape[0] / 2 + 0.5) < weight.shape[0] / 2
    )
    for i in np.flatnonzero(inside):
        row, column = int(np.round(y[i])), int(np.round(x[i]))
        v, u = (int(np.round((d + 0.5) * fine)) for d in (y[i] - row, x[i] - column))
        near = template[row // cell, column // cell, v, u]
        corner = slice(row - side // 2 + side, None), slice(column - side // 2 + side, None)
        r, w = (image[corner][:side, :side] for image in padded)
        if near[0][w > 0.0].sum() >= 0.5 * near[0].sum():
            vector[i] = (near * w * r).sum(axis=(1, 2))
            matrix[i] = np.einsum("amn,bmn,mn->ab", near, near, w)
    return vector, matrix


def cut(image, weight, top, left, size):
    """Images with a margin of zeros, shifted."""
    padded = (np.pad(pixels, size) for pixels in (image * weight, weight))
    return [np.roll(a, (-top - size, -left - size), (0, 1))[:size, :size] for a in padded]


def lit(weight, light):
    return light[weight > 0.0].sum() >= light[weight <= 0.0].sum()


def product(a, b):
    return np.vdot(a, b)


def triple(a, b, c):
    return np.einsum("mn,mn,mn", a, b, c)


def median(values, count):
    return np.median(values[:count])


def combine(vector, matrix, clip, spread):
    """Sums over the frames that agree with the median flux."""
    known = matrix > 0.0
    flux = np.divide(vector, matrix, out=np.full(matrix.shape, np.nan), where=known)
    median = np.array(
        [np.median(f[k]) if k.any() else 0.0 for f, k in zip(flux.T, known.T, strict=True)]
    )
    error = np.hypot(np.where(known, matrix, np.inf) ** -0.5, spread * median)
    kept = known & (np.abs(flux - median) <= clip * error) & (known.sum(axis=0) > 2)
    return np.where(kept, vector, 0.0).sum(axis=0), np.where(kept, matrix, 0.0).sum(axis=0)
