from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from romanprf.errors import InputError
from romanprf.sky.field import SNAP, SkyRegion
from romanprf.sky.wcs import TangentWCS, deproject


def region(ra0: float, dec0: float, angle: float = 0.0) -> SkyRegion:
    limits = {"u_min": -0.01, "u_max": 0.02, "v_min": -0.03, "v_max": 0.04}
    numbers = {"pixel_scale": 0.11, "epoch": 2027.0, "zero_point": 27.5}
    return SkyRegion(ra0=ra0, dec0=dec0, angle=angle, **limits, **numbers)


@pytest.mark.parametrize(
    ("ra0", "dec0"), [(268.0, -29.0), (0.0, 0.0), (359.99, 60.0), (5.0, -90.0)]
)
def test_rectangle_with_margin(ra0, dec0):
    field = region(ra0, dec0)
    xi = np.array([0.0, -0.0101, 0.0201, 0.0, 0.0, -0.0103, 0.0203, 0.0, 0.0])
    eta = np.array([0.0, 0.0, 0.0, -0.0301, 0.0401, 0.0, 0.0, -0.0303, 0.0403])
    ra, dec = deproject(xi, eta, ra0, dec0)
    margin = 0.0002 * 3600
    assert field.contains(ra, dec, margin).tolist() == [True] * 5 + [False] * 4
    assert field.contains(ra, dec).tolist() == [True] + [False] * 8


def test_other_side_of_the_sky():
    far = np.array([88.0]), np.array([29.0])
    assert not region(268.0, -29.0).contains(*far, 1.0).any()


@pytest.mark.parametrize("angle", [0.0, 30.0, 119.4, -150.0])
def test_rectangle_follows_the_angle_of_the_images(angle):
    """The corner of the rectangle, from the centre: u along the columns, v 90 degrees on."""
    field = region(100.0, 0.0, angle)
    along, across = np.deg2rad([angle, angle + 90.0])
    for u, v, expected in [(0.0199, 0.0399, True), (0.0201, 0.0399, False), (-0.0099, 0.0, True)]:
        xi = u * np.cos(along) + v * np.cos(across)
        eta = u * np.sin(along) + v * np.sin(across)
        ra, dec = deproject(np.array([xi]), np.array([eta]), 100.0, 0.0)
        assert field.contains(ra, dec).tolist() == [expected]


def image_at(ra: float, dec: float, angle: float = 0.3, size: int = 100) -> str:
    """TangentWCS of a square image with 0.11 arcsec pixels about a point."""
    scale, middle = 0.11 / 3600, (size - 1) / 2
    c, s = np.cos(angle), np.sin(angle)

    def sky(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u, v = (x - middle) * scale, (y - middle) * scale
        return deproject(c * u - s * v, s * u + c * v, ra, dec)

    return TangentWCS.fit(sky, size, size).to_json()


def region_of(*centres: tuple[float, float], size: int = 100) -> tuple[SkyRegion, list]:
    """Region of images at these places, and their WCS."""
    wcs = [TangentWCS.from_json(image_at(ra, dec, size=size)) for ra, dec in centres]
    images = [(one, (size, size)) for one in wcs]
    return SkyRegion.of(images, 2451545.0 + 365.25 * 27.1234, 27.5), wcs


@pytest.mark.parametrize("centre", [(268.0, -29.2), (0.0, 10.0), (359.99998, 0.0), (120.0, 89.9)])
def test_region_encloses_every_image(centre: tuple[float, float]) -> None:
    shift = 5e-4
    ra = (centre[0] + shift / np.cos(np.deg2rad(centre[1]))) % 360
    found, images = region_of(centre, (ra, centre[1]))
    assert SkyRegion(**json.loads(json.dumps(asdict(found)))) == found
    assert 0 <= found.ra0 < 360
    assert (found.pixel_scale, found.epoch, found.zero_point) == (0.11, 2027.123, 27.5)
    for wcs in images:
        x, y = (a.ravel() for a in np.meshgrid([-0.5, 99.5], [-0.5, 99.5]))
        sky = wcs.pixel_to_sky(x, y)
        assert found.contains(*sky).all()
    for limits in ((found.u_min, found.u_max), (found.v_min, found.v_max)):
        steps = np.array(limits) * 3600 / SNAP
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)
        assert 3 <= steps[1] - steps[0] <= 6


def test_region_ignores_an_ordinary_dither() -> None:
    first, _ = region_of((268.0, -29.2), size=256)
    dithers = [
        (268.0 + dx / 3600, -29.2 + dy / 3600) for dx, dy in ((0, 0), (0.3, -0.5), (-0.6, 0))
    ]
    assert region_of(*dithers, size=256)[0] == first


def test_region_refuses_opposite_skies() -> None:
    with pytest.raises(InputError, match="more than 90 degrees apart"):
        region_of((0.0, 0.0), (180.0, 0.0))
