"""The polynomials against the gwcs of official files, over the whole detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import roman_datamodels as rdm
from astropy.coordinates import SkyCoord

from romanprf.sky.wcs import TangentWCS

SIZE = 4088
FIRST_X, FIRST_Y = 160, 208  # column and row of the detector where the cut-outs begin


def test_polynomials_follow_the_gwcs_to_1e_4_pixel(small_dir: Path) -> None:
    path = min(small_dir.glob("roman_l2/*_cal.asdf"))
    with rdm.open(path) as model:
        gwcs = model.meta.wcs

        def sky(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return gwcs(x - FIRST_X, y - FIRST_Y, with_bounding_box=False)

        wcs = TangentWCS.fit(sky, SIZE, SIZE)
        x, y = (a.ravel() for a in np.mgrid[-100 : SIZE + 100 : 53.0, -100 : SIZE + 100 : 53.0])
        truth = SkyCoord(*sky(x, y), unit="deg")
    found = SkyCoord(*wcs.pixel_to_sky(x, y), unit="deg")
    assert found.separation(truth).arcsec.max() < 1e-5 * 0.11
    back = wcs.sky_to_pixel(truth.ra.deg, truth.dec.deg)
    assert np.hypot(back[0] - x, back[1] - y).max() < 5e-5
