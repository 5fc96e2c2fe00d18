from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from numpy.testing import assert_allclose

from imagefiles import distorted_gwcs
from romanprf.sky.wcs import TangentWCS, deproject, project

SCALE = 0.11 / 3600
SHAPE = (300, 400)
CENTRES = [
    (268.0, -29.2),
    (0.0, 10.0),
    (359.999, -60.0),
    (77.0, 89.95),
    (12.0, -89.999),
    (5.0, 0.0),
]


def tan(ra: float, dec: float, angle: float = 0.7) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [150.0, 20.0]
    c, s = np.cos(angle), np.sin(angle)
    wcs.wcs.cd = SCALE * np.array([[-c, s], [s, c]])
    return wcs


def fitted(wcs: WCS) -> TangentWCS:
    return TangentWCS.fit(lambda x, y: wcs.all_pix2world(x, y, 0), *SHAPE)


def positions(n: int = 500, beyond: float = 100.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    return (
        rng.uniform(-beyond, SHAPE[1] + beyond, n),
        rng.uniform(-beyond, SHAPE[0] + beyond, n),
    )


@pytest.mark.parametrize("centre", CENTRES)
def test_agrees_with_astropy(centre: tuple[float, float]) -> None:
    wcs = tan(*centre)
    ours = fitted(wcs)
    x, y = positions()
    truth = SkyCoord(*wcs.all_pix2world(x, y, 0), unit="deg")
    ra, dec = ours.pixel_to_sky(x, y)
    assert np.all((ra >= 0) & (ra < 360))
    assert np.max(SkyCoord(ra, dec, unit="deg").separation(truth).arcsec) < 1e-6 * 0.11
    back = ours.sky_to_pixel(truth.ra.deg, truth.dec.deg)
    assert np.max(np.hypot(back[0] - x, back[1] - y)) < 2e-5


@pytest.mark.parametrize("centre", CENTRES)
def test_projection_round_trip(centre: tuple[float, float]) -> None:
    rng = np.random.default_rng(1)
    xi, eta = rng.uniform(-0.3, 0.3, (2, 200))
    ra, dec = deproject(xi, eta, *centre)
    np.testing.assert_allclose(project(ra, dec, *centre), (xi, eta), atol=1e-12)
    np.testing.assert_allclose(project(ra + 360.0, dec, *centre), (xi, eta), atol=1e-12)


def test_other_side_of_the_sky_is_nan() -> None:
    assert np.isnan(project(np.array([180.0]), np.array([0.0]), 0.0, 0.0)).all()
    x, y = fitted(tan(0.0, 10.0)).sky_to_pixel(np.array([180.0, 0.5]), np.array([10.0, 10.0]))
    assert np.isnan(x).all()
    assert np.isnan(y).all()


def test_strong_distortion() -> None:
    """Roman-like distortion, 2 percent over a full detector, both ways."""
    size = 4088

    def sky(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u, v = (x - 2043.5) / 2044, (y - 2043.5) / 2044
        xi = 0.0625 * (u + 0.01 * u * v + 0.005 * u**2 - 0.001 * v**3)
        eta = 0.0625 * (0.97 * v + 0.008 * u**2 - 0.004 * u * v + 0.001 * u**2 * v)
        return deproject(xi, eta, 268.0, -29.2)

    wcs = TangentWCS.fit(sky, size, size)
    x, y = np.random.default_rng(2).uniform(-100, size + 100, (2, 1000))
    found = wcs.sky_to_pixel(*sky(x, y))
    assert np.max(np.hypot(found[0] - x, found[1] - y)) < 1e-4
    truth, ours = (SkyCoord(*f(x, y), unit="deg") for f in (sky, wcs.pixel_to_sky))
    assert np.max(ours.separation(truth).arcsec) < 1e-6 * 0.11


def test_gwcs_of_a_whole_detector_on_a_grid() -> None:
    """1e-4 pixel both ways at any pixel, from 577 evaluations of the gwcs."""
    size, evaluated = 4088, []
    gwcs = distorted_gwcs(size)

    def sky(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        evaluated.append(np.size(x))
        return gwcs(x, y)

    wcs = TangentWCS.fit(sky, size, size)
    assert sum(evaluated) == 577
    grid = np.linspace(-100.0, size + 99.0, 101)
    x, y = (a.ravel() for a in np.meshgrid(grid, grid))
    truth = SkyCoord(*gwcs(x, y), unit="deg")
    found = SkyCoord(*wcs.pixel_to_sky(x, y), unit="deg")
    assert found.separation(truth).arcsec.max() < 1e-4 * 0.11
    back = wcs.sky_to_pixel(truth.ra.deg, truth.dec.deg)
    assert np.hypot(back[0] - x, back[1] - y).max() < 1e-4
    linear = np.linalg.lstsq(np.stack([np.ones_like(x), x, y], 1), np.stack(wcs.plane(x, y), 1))
    assert np.sqrt(linear[1].max() / x.size) * 3600 / 0.11 > 3  # there is a distortion to follow


def test_nan_wcs_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        TangentWCS.fit(lambda x, y: (np.where(x > 0, x, np.nan) * SCALE, y * SCALE), *SHAPE)


def test_json_round_trip_is_exact() -> None:
    first = fitted(tan(359.999, -60.0))
    second = TangentWCS.from_json(first.to_json())
    assert second.to_json() == first.to_json()
    assert json.loads(first.to_json())["ra0"] == first.ra0
    x, y = positions()
    assert np.array_equal(first.pixel_to_sky(x, y), second.pixel_to_sky(x, y))
    sky = first.pixel_to_sky(x, y)
    assert np.array_equal(first.sky_to_pixel(*sky), second.sky_to_pixel(*sky))


def test_seen_from_a_pixel() -> None:
    """A cut-out counts pixels from its own corner and sees the same sky."""
    whole = fitted(tan(268.0, -29.2))
    part = whole.seen_from(7, 30)
    x, y = positions()
    assert_allclose(part.pixel_to_sky(x - 7, y - 30), whole.pixel_to_sky(x, y), rtol=1e-14)
    assert_allclose(part.jacobian(x - 7, y - 30), whole.jacobian(x, y), rtol=1e-10)
    sky = whole.pixel_to_sky(x, y)
    column, row = whole.sky_to_pixel(*sky)
    assert_allclose(part.sky_to_pixel(*sky), [column - 7, row - 30], atol=1e-9)


@pytest.mark.parametrize("centre", CENTRES)
def test_jacobian_by_finite_differences(centre: tuple[float, float]) -> None:
    wcs = fitted(tan(*centre))
    x, y = positions(40)
    h = 0.5
    numeric = np.empty((len(x), 2, 2))
    here = SkyCoord(*wcs.pixel_to_sky(x, y), unit="deg")
    for j, (dx, dy) in enumerate(((h, 0), (0, h))):
        ends = [SkyCoord(*wcs.pixel_to_sky(x + k * dx, y + k * dy), unit="deg") for k in (-1, 1)]
        offsets = [here.spherical_offsets_to(end) for end in ends]
        for i in range(2):
            numeric[:, i, j] = (offsets[1][i] - offsets[0][i]).arcsec / (2 * h)
    np.testing.assert_allclose(wcs.jacobian(x, y), numeric, atol=1e-6)


def test_pixel_area() -> None:
    wcs = fitted(tan(268.0, -29.2))
    expected = np.deg2rad(SCALE) ** 2
    np.testing.assert_allclose(wcs.pixel_area(*positions()), expected, rtol=1e-6)
