import numpy as np
import pytest

from romanprf.sky.field import inside
from romanprf.sky.wcs import deproject

LIMITS = {"u_min": -0.01, "u_max": 0.02, "v_min": -0.03, "v_max": 0.04, "angle": 0.0}


@pytest.mark.parametrize(
    ("ra0", "dec0"), [(268.0, -29.0), (0.0, 0.0), (359.99, 60.0), (5.0, -90.0)]
)
def test_rectangle_with_margin(ra0, dec0):
    field = {"ra0": ra0, "dec0": dec0, **LIMITS}
    xi = np.array([0.0, -0.0101, 0.0201, 0.0, 0.0, -0.0103, 0.0203, 0.0, 0.0])
    eta = np.array([0.0, 0.0, 0.0, -0.0301, 0.0401, 0.0, 0.0, -0.0303, 0.0403])
    ra, dec = deproject(xi, eta, ra0, dec0)
    margin = 0.0002 * 3600
    assert inside(ra, dec, field, margin).tolist() == [True] * 5 + [False] * 4
    assert inside(ra, dec, field, 0.0).tolist() == [True] + [False] * 8


def test_other_side_of_the_sky():
    field = {"ra0": 268.0, "dec0": -29.0, **LIMITS}
    assert not inside(np.array([88.0]), np.array([29.0]), field, 1.0).any()


@pytest.mark.parametrize("angle", [0.0, 30.0, 119.4, -150.0])
def test_rectangle_follows_the_angle_of_the_images(angle):
    """The corner of the rectangle, from the centre: u along the columns, v 90 degrees on."""
    field = {"ra0": 100.0, "dec0": 0.0, **LIMITS, "angle": angle}
    along, across = np.deg2rad([angle, angle + 90.0])
    for u, v, expected in [(0.0199, 0.0399, True), (0.0201, 0.0399, False), (-0.0099, 0.0, True)]:
        xi = u * np.cos(along) + v * np.cos(across)
        eta = u * np.sin(along) + v * np.sin(across)
        ra, dec = deproject(np.array([xi]), np.array([eta]), 100.0, 0.0)
        assert inside(ra, dec, field, 0.0).tolist() == [expected]
