"""Lists of pixels as parts of an image."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fields
from machines import no_image, prf, sky_of
from romanprf.frame.stamps import make_stamps
from romanprf.machine.grid import PixelGrid, perturbed
from romanprf.machine.series import make_grids

SIDE = 24
WCS = fields.wcs(SIDE, SIDE)
RA, DEC = (a.ravel() for a in sky_of(WCS, SIDE))
ROW, COLUMN = (a.ravel() for a in np.mgrid[:SIDE, :SIDE])
STARS = np.array([[12.2, 5.0, 30.0], [11.7, 20.4, 3.0]])
STAR_RA, STAR_DEC = WCS.pixel_to_sky(*STARS)
FLUX = np.array([5000.0, 300.0, 2000.0])


def some_pixels(seed=1, n=200) -> np.ndarray:
    return np.random.default_rng(seed).choice(SIDE * SIDE, n, replace=False)


def grid_of(chosen=slice(None), row=0, column=0) -> PixelGrid:
    return PixelGrid.from_arrays(
        ROW[chosen] + row, COLUMN[chosen] + column, RA[chosen], DEC[chosen]
    )


def stamps_of(grid, points=1):
    return make_stamps(prf(), grid.frame(STAR_RA, STAR_DEC, no_image), FLUX, 0.1, points=points)


def test_places_and_scale():
    chosen = some_pixels()
    grid = grid_of(chosen, row=-7, column=4000)
    assert grid.shape == (np.ptp(ROW[chosen]) + 1, np.ptp(COLUMN[chosen]) + 1)
    assert_array_equal(grid.index[grid.row, grid.column], np.arange(200))
    assert (grid.index >= 0).sum() == 200
    assert grid.pixel_scale == pytest.approx(fields.SCALE, rel=1e-6)
    values = np.arange(200.0)
    image = grid.image(values, np.ones(200))
    assert_array_equal(grid.pixels(image.flux), values)
    assert image.usable.sum() == 200
    assert not image.flux[grid.index < 0].any()


def test_bad_pixels_of_an_image_are_rejected():
    flux, error = np.ones((2, SIDE * SIDE))
    flux[3], error[4], error[5] = np.nan, np.inf, np.nan
    image = grid_of().image(flux, error)
    assert np.flatnonzero(~image.usable.ravel()).tolist() == [3, 4, 5]


def test_stamps_are_those_of_the_image():
    grid = grid_of()
    image = fields.frame(STAR_RA, STAR_DEC, WCS, (SIDE, SIDE))
    expected = make_stamps(prf(), image, FLUX, 0.1)
    stamps = stamps_of(grid)
    assert_array_equal(stamps.window, expected.window)
    assert_allclose(stamps.values, expected.values, rtol=1e-6, atol=1e-12)
    image = (FLUX @ grid.matrix(stamps)).reshape(SIDE, SIDE)
    assert_allclose(image, expected.model(FLUX), rtol=1e-6, atol=1e-9)


def test_matrix_of_a_list_of_pixels_is_a_choice_of_columns():
    chosen = some_pixels()
    whole = grid_of().matrix(stamps_of(grid_of())).toarray()
    part = grid_of(chosen).matrix(stamps_of(grid_of(chosen)))
    assert part.has_sorted_indices
    assert_allclose(part.toarray(), whole[:, chosen], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("points", [2, 5])
def test_stamps_of_cut_pixels_are_means(points):
    stamps = stamps_of(grid_of(), points)
    source, row, column = stamps.entries()
    part = (np.arange(points) + 0.5) / points - 0.5
    dy, dx = np.meshgrid(part, part, indexing="ij")
    jacobian = grid_of().wcs.jacobian(stamps.x, stamps.y)[source]
    x = (column - stamps.x[source])[:, None, None] + dx
    y = (row - stamps.y[source])[:, None, None] + dy
    east = jacobian[:, 0, 0, None, None] * x + jacobian[:, 0, 1, None, None] * y
    north = jacobian[:, 1, 0, None, None] * x + jacobian[:, 1, 1, None, None] * y
    expected = prf().evaluate(np.hypot(east, north), np.arctan2(north, east)).mean(axis=(1, 2))
    inside = np.hypot(x, y).max(axis=(1, 2)) < stamps.radius[source] - 1.0
    assert inside.sum() > 100
    assert_allclose(stamps.values[inside], expected[inside], rtol=1e-5)


def test_offsets_are_those_of_the_deltas():
    grid = grid_of(some_pixels())
    stamps = stamps_of(grid)
    source, pixel = grid.entries(stamps)
    east, north = grid.offsets(stamps)
    dense = grid.dense_offsets(STAR_RA, STAR_DEC)
    there = pixel >= 0
    assert 0 < there.sum() < there.size
    where = source[there], pixel[there]
    assert_allclose(east[there], 3600.0 * dense.dra[where], atol=1e-6)
    assert_allclose(north[there], 3600.0 * dense.ddec[where], atol=1e-6)


def test_sparse_offsets_are_the_near_ones_of_the_dense():
    grid, radius = grid_of(some_pixels()), 0.9
    dense, sparse = (
        grid.dense_offsets(STAR_RA, STAR_DEC),
        grid.sparse_offsets(STAR_RA, STAR_DEC, 0.9),
    )
    near = dense.r <= radius
    assert 50 < near.sum() < near.size
    for name, matrix in sparse._asdict().items():
        assert matrix.nnz == near.sum()
        assert_allclose(
            matrix.toarray(), np.where(near, getattr(dense, name), 0.0), rtol=0, atol=1e-13
        )
    pairs = grid.deltas(STAR_RA, STAR_DEC, radius)
    assert_array_equal(grid.row[pairs["pixel"]], pairs["row"])
    assert_array_equal(grid.column[pairs["pixel"]], pairs["column"])


def test_touching_pixels():
    grid = grid_of()
    marked = np.zeros(SIDE * SIDE, bool)
    marked[[0, 10 * SIDE + 12]] = True
    out = grid.touching(marked).reshape(SIDE, SIDE)
    assert out.sum() == 4 + 9
    assert out[:2, :2].all()
    assert out[9:12, 11:14].all()


def test_perturbed_stamps():
    stamps = stamps_of(grid_of())
    factor = np.linspace(0.5, 1.5, stamps.values.size)
    changed = perturbed(stamps, factor)
    assert_array_equal(changed.values, stamps.values * factor)
    assert changed.window is stamps.window


def test_duplicates_and_nonsense_are_refused():
    row = ROW.copy()
    row[SIDE] = 0  # pixel (1, 0) again at (0, 0)
    with pytest.raises(ValueError, match="pixel 0 has the row and column of another one"):
        PixelGrid.from_arrays(row, COLUMN, RA, DEC)
    with pytest.raises(ValueError, match=r"pixels from where row and column put.*check the"):
        PixelGrid.from_arrays(ROW, COLUMN, np.random.default_rng(1).permutation(RA), DEC)


@pytest.mark.parametrize("shape", [(2000, 700), (1000, 1000), (40, 3)])
def test_a_choice_of_pixels_tells_the_solution(shape):
    """Whatever the shape, the pixels that the fit uses spread in both directions."""
    wcs = fields.wcs(*shape)
    row, column = (a.ravel() for a in np.mgrid[: shape[0], : shape[1]])
    grid = PixelGrid.from_arrays(row, column, *wcs.pixel_to_sky(column * 1.0, row * 1.0))
    x, y = np.array([[0.0, 0.0, shape[1] - 1.0], [0.0, shape[0] - 1.0, 0.0]])
    assert_allclose(grid.wcs.sky_to_pixel(*wcs.pixel_to_sky(x, y)), (x, y), atol=1e-6)


def test_frames_share_a_grid_if_they_can():
    every = [np.broadcast_to(a, (3, a.size)) for a in (ROW, COLUMN, RA, DEC)]
    assert len(make_grids(ROW, COLUMN, RA, DEC)) == 1
    assert len(make_grids(*every)) == 1
    moved = every[2] + 1e-5 * np.arange(3)[:, None]
    grids = make_grids(ROW, COLUMN, moved, DEC)
    assert len(grids) == 3
    assert_array_equal(grids[2].ra, moved[2])
    assert_array_equal(grids[2].dec, DEC)
