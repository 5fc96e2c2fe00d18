"""Offsets, footprints and the light in them, as Machine sees them."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix

import fields
from machines import dense, prf, simulated
from romanprf import Machine


def assert_offsets(machine: Machine, sources: np.ndarray, dither: int | None = None) -> None:
    """Against the frame of astropy whose origin is the source, 1e-9 degrees."""
    ra, dec = (a if a.ndim == 1 else a[dither] for a in (machine.ra, machine.dec))
    pixels = SkyCoord(ra, dec, unit="deg")
    table = machine.sources
    for s in sources:
        origin = SkyCoord(table["ra"].iloc[s], table["dec"].iloc[s], unit="deg")
        offset = pixels.transform_to(origin.skyoffset_frame())
        expected = {"dra": offset.lon.wrap_at("180d").deg, "ddec": offset.lat.deg}
        r = pixels.separation(origin).arcsec
        near = np.ones(r.size, bool) if machine._dense else r <= machine.sparse_dist_lim
        for name, values in expected.items():
            row = dense(getattr(machine, name)[[s]]).ravel()
            assert_allclose(row[near], values[near], atol=1e-9, err_msg=name)
            assert not row[~near].any()
        own_r = dense(machine.r[[s]]).ravel()
        assert_allclose(own_r[near], r[near], atol=3.6e-6)
        angle = np.arctan2(expected["ddec"], expected["dra"])[near]
        turn = dense(machine.phi[[s]]).ravel()[near] - angle
        assert_allclose(own_r[near] * np.sin(turn), 0.0, atol=3.6e-6)


@pytest.mark.parametrize("place", [(268.0, -29.2), (0.0, 12.0), (120.0, -89.0)])
def test_offsets_are_those_on_the_sky(place):
    sky = simulated(nt=1, side=24, n=5, seed=2, place=place)
    if place[0] == 0.0:
        assert np.ptp(sky.arrays["ra"]) > 300.0
    machine = sky.machine()
    assert isinstance(machine.dra, np.ndarray)
    assert machine.dra.shape == (5, 576)
    assert_offsets(machine, np.arange(5))


@pytest.mark.parametrize("place", [(0.0, 12.0), (120.0, -89.0)])
def test_fluxes_do_not_depend_on_the_place(place):
    fits = []
    for where in ((268.0, -29.2), place):
        sky = simulated(nt=1, side=24, n=12, seed=2, place=where)
        machine = sky.known()
        machine.fit_model()
        fits.append(machine.ws)
    assert_allclose(fits[1], fits[0], rtol=1e-3, atol=1e-2)


def test_offsets_of_many_pairs_are_sparse():
    side, n = 64, 49  # 200 704 pairs
    sky = simulated(nt=1, side=side, n=n, seed=3)
    machine = sky.machine(sparse_dist_lim=1.5)
    for name in ("dra", "ddec", "r", "phi"):
        assert isinstance(getattr(machine, name), csr_matrix)
    assert_offsets(machine, np.arange(0, n, 12))
    fewer = sky.machine(sources=machine.sources.iloc[:48])
    assert isinstance(fewer.r, np.ndarray)


def test_offsets_are_those_of_the_reference_frame():
    sky = simulated(nt=3, side=32, n=20, seed=4, dither=2.0)
    machine = sky.machine()
    machine.build_shape_model(frame_index="all", reference_frame=np.int64(2))
    assert machine.reference_frame == 2
    assert_offsets(machine, np.arange(3), dither=2)


def test_mean_model_is_the_prf_at_the_corrected_offsets(built):
    model = built.mean_model.tocoo()
    r, phi = (offset[model.row, model.col] for offset in (built.r, built.phi))
    east, north = built.position_offset
    east, north = r * np.cos(phi) - east, r * np.sin(phi) - north
    expected = built.prf.evaluate(np.hypot(east, north), np.arctan2(north, east))
    assert_allclose(model.data, expected, rtol=1e-5)
    assert 0.0 < np.hypot(*built.position_offset) < 0.01


def test_footprints(sky, built):
    assert_array_equal(dense(built.source_mask), dense(built.mean_model) > 0.0)
    # the light of a star in its footprint, summed over pixels that sample it at few phases
    light = np.asarray(built.mean_model.sum(axis=1)).ravel()[sky.inside(6.0, 1000.0)]
    assert ((light > 0.7) & (light < 1.2)).all()
    assert light.mean() == pytest.approx(0.95, abs=0.08)
    r = built.r[built.source_mask.nonzero()]
    radius = built.radius[built.source_mask.nonzero()[0]]
    assert (r <= radius + np.hypot(*built.position_offset)).all()
    edge = built.prf.round().evaluate(built.radius[0] * 0.999, 0.0) * built.scene.flux[0]
    assert edge == pytest.approx(1.0, rel=0.5) or built.radius[0] < 3.1 * fields.SCALE


def test_footprints_end_at_the_flux_cut_off(sky):
    wide, narrow = (sky.machine() for _ in range(2))
    wide.build_shape_model(flux_cut_off=0.1)
    narrow.build_shape_model(flux_cut_off=100.0)
    assert (narrow.radius <= wide.radius).all()
    assert narrow.source_mask.nnz < 0.5 * wide.source_mask.nnz
    assert (narrow.source_mask > wide.source_mask).nnz == 0


def test_uncontaminated_pixels_belong_to_one_source(built):
    clean = dense(built.uncontaminated_source_mask)
    assert clean.sum() > 100
    assert clean.sum(axis=0).max() == 1
    assert not (clean & ~dense(built.source_mask)).any()
    light = dense(built.mean_model) * built.scene.flux[:, None]
    source, pixel = np.nonzero(clean)
    own = light[source, pixel]
    assert (light.sum(axis=0)[pixel] - own <= 0.1 * own * (1 + 1e-9)).all()


# ---- metrics ----


def brute_fraction(machine: Machine, source: int, n: int = 12) -> float:
    """Light in the pixels, each cut into n x n, PRF evaluated at every one of them."""
    wcs, prf_ = machine._series.grids[0].wcs, machine.prf
    x, y = wcs.sky_to_pixel(machine.scene.ra[[source]], machine.scene.dec[[source]])
    part = (np.arange(n) + 0.5) / n - 0.5
    row, column = (machine.row[:, None, None], machine.column[:, None, None])
    dy, dx = np.broadcast_arrays(row + part[:, None] - y, column + part - x)
    jacobian = wcs.jacobian(x, y)[0]
    east, north = np.einsum("ij,jpab->ipab", jacobian, np.stack([dx, dy]))
    light = prf_.evaluate(np.hypot(east, north), np.arctan2(north, east))
    return float(light.sum() / n**2 * np.abs(np.linalg.det(jacobian)) / prf_.pixel_area)


def test_fraction_of_the_light_that_is_seen():
    sky = simulated(nt=2, side=32, n=25, seed=6)
    machine = sky.known()
    machine._adopt(machine.scene, 0)
    machine.get_psf_metrics()
    fraction = machine.source_psf_fraction
    assert fraction.shape == (25,)
    assert ((fraction >= 0.0) & (fraction <= 1.0)).all()
    bright = np.argsort(-sky.flux)[:8]  # whose footprints end where the PRF does
    expected = [brute_fraction(machine, s) for s in bright]
    assert_allclose(fraction[bright], expected, atol=0.01)
    for points in (0, 1):
        machine.get_psf_metrics(points)
        light = np.asarray(machine.mean_model.sum(axis=1)).ravel()
        assert_allclose(machine.source_psf_fraction, np.clip(light, 0.0, 1.0), rtol=1e-12)
    with pytest.raises(AttributeError, match="call build_time_model"):
        _ = machine.perturbed_std


def test_half_of_the_light_of_a_source_on_the_border(sky):
    """Half of the pixels are missing as an irregular list shows them, not an image."""
    machine = sky.known()
    star = int(np.argmax(sky.flux * sky.inside(8.0)))
    machine.get_psf_metrics(10)
    whole = machine.source_psf_fraction[star]
    column = sky.x[star]
    part = sky.arrays["column"] <= np.floor(column)
    share = np.floor(column) + 0.5 - column  # pixels of the half that is seen beyond the star
    names = ("ra", "dec", "row", "column")
    half = simulated(nt=3, side=40, n=40, seed=1)
    half.arrays |= {n: half.arrays[n][part] for n in names}
    half.arrays |= {n: half.arrays[n][:, part] for n in ("flux", "flux_err")}
    cut = half.known()
    cut.get_psf_metrics(10)
    assert cut.source_psf_fraction[star] == pytest.approx(brute_fraction(cut, star), abs=0.01)
    assert cut.source_psf_fraction[star] == pytest.approx(0.5 * whole, abs=0.05 + 0.4 * abs(share))
    beyond = sky.x > np.floor(column) + 25.0
    assert (cut.source_psf_fraction[beyond] == 0.0).all()


def test_fraction_is_the_mean_over_dithers():
    sky = simulated(nt=3, side=32, n=25, seed=6, dither=4.0)
    machine = sky.known()
    machine.get_psf_metrics(4)
    single = []
    for t in range(3):
        arrays = {n: sky.arrays[n][[t]] for n in ("time", "flux", "flux_err", "ra", "dec")}
        one = sky.machine(**arrays)
        one._adopt(machine.scene, 0)
        one.get_psf_metrics(4)
        single.append(one.source_psf_fraction)
    assert np.ptp(single, axis=0).max() > 0.1
    assert_allclose(machine.source_psf_fraction, np.mean(single, axis=0), atol=1e-6)


def test_prf_of_the_simulation_is_normalised():
    assert prf().integral() == pytest.approx(1.0, abs=1e-9)
