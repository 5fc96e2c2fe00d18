"""Cut-outs of files that other programmes wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from romanprf.io.catalogues import read_catalogue
from romanprf.io.cutouts import read_cutouts
from romanprf.io.images import exposure_rows, read_image

ZERO_POINT = 27.5777
FORMATS = {
    "roman_l2": ("roman_l2/*_cal.asdf", "roman_l2/catalog.ecsv", "icrs"),
    "rimtimsim": ("rimtimsim/field/*.fits", "rimtimsim/field/catalog.csv", "fk5"),
    "static": ("rimtimsim/roman_cuts/static.asdf", "rimtimsim/roman_cuts/catalog.csv", "fk5"),
    "dithered": ("rimtimsim/roman_cuts/dithered.asdf", "rimtimsim/roman_cuts/catalog.csv", "fk5"),
}
HALF = 5


@pytest.mark.parametrize("name", FORMATS)
def test_a_star_stays_in_the_middle(data_dir: Path, name: str) -> None:
    """A bright star, followed through the dithers, is always in the central pixels."""
    pattern, catalogue, frame = FORMATS[name]
    paths = sorted(data_dir.glob(pattern))
    whole = read_cutouts(paths[:1], gain=2.0, zero_point=ZERO_POINT)
    ra, dec = np.atleast_2d(whole.ra)[0], np.atleast_2d(whole.dec)[0]  # one frame, or the planes
    stars = read_catalogue(data_dir / catalogue, {}, frame)
    shape = whole.meta["shape"]
    middle = np.ravel_multi_index((shape[0] // 2, shape[1] // 2), shape)
    sky = SkyCoord(stars["ra"], stars["dec"], unit="deg")
    near = sky.separation(SkyCoord(ra[middle], dec[middle], unit="deg")).arcsec < 1.5
    star = stars[near & (stars["mag"] > 16.5)].sort_values("mag").iloc[0]

    size = 2 * HALF + 1
    series = read_cutouts(paths, (star["ra"], star["dec"]), size, gain=2.0, zero_point=ZERO_POINT)
    flux = np.nan_to_num(series.flux).reshape(-1, size, size)
    brightest = flux[:, HALF - 1 : HALF + 2, HALF - 1 : HALF + 2].max(axis=(1, 2))
    ring = np.median(flux, axis=(1, 2))
    assert (brightest > 5 * ring).all()
    place = SkyCoord(series.ra, series.dec, unit="deg")
    distance = place.separation(SkyCoord(star["ra"], star["dec"], unit="deg")).arcsec
    nearest = np.atleast_2d(distance).argmin(axis=1)
    assert (nearest == size * HALF + HALF).all()
    assert (np.ptp(series.row, axis=0) > 0).all()  # all are dithered


def test_dithered_frames_are_cut_where_their_wcs_says(data_dir: Path) -> None:
    paths = sorted(data_dir.glob(FORMATS["roman_l2"][0]))[:4]
    exposures = [row for path in paths for row in exposure_rows(path, 2.0, None)]
    whole = read_cutouts(paths[:1], gain=2.0)
    position = float(np.median(whole.ra)), float(np.median(whole.dec))
    series = read_cutouts(paths, position, 21, gain=2.0)
    assert len({tuple(row) for row in series.row.tolist()}) > 1
    for k, row in enumerate(exposures):
        image = read_image(row)
        expected = image.flux[series.row[k], series.column[k]]
        expected[np.isinf(image.flux_err[series.row[k], series.column[k]])] = np.nan
        np.testing.assert_array_equal(series.flux[k], expected)
