"""Changes of the input that must not change the results: order, names, a turn of the sky."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits

import small
from romanprf.config import load_config
from romanprf.core.accelerate import get_threads, set_threads
from romanprf.io.tables import read_table
from romanprf.reduce import reduce
from romanprf.schemas import SOURCES
from romanprf.steps import simulate
from romanprf.workflow.paths import Paths

pytestmark = pytest.mark.slow

#: Knots and rounds enough that the fit of the PRF has no memory of its start.
SETTINGS = {
    "simulate": {**small.SMALL["simulate"], "exposures": 3},
    "shape": {
        **small.SMALL["shape"],
        "n_r_knots": 14,
        "n_phi_knots": 8,
        "rounds": 8,
        "reach": 10.0,
        "search_rounds": 0,
    },
    "metrics": {"subpixels": 1},
}
#: Right ascensions are multiples of this (degrees), so that a turn more is no other number.
GRAIN = 2.0**-36


#: Fraction of an error to which a run repeats where all numbers are rounded in another way; a table
#: stores fluxes to 1/64 of it.
ROUNDING = 0.1
#: ... and the median and nine of ten fluxes of turned images.
TURNED = 0.3, 1.0


class Data:
    """Images and catalogue of a user, and what comes out of them."""

    def __init__(self, folder: Path) -> None:
        self.paths = Paths(folder / "drawn")
        sections = load_config(SETTINGS).model_dump(mode="json")
        simulate.run_field({}, {"catalogue": self.paths.catalogue}, sections)
        self.images = [Path(self.paths.frames.format(exposure=f"{n:05d}")) for n in range(3)]
        for number, image in enumerate(self.images):
            simulate.run_exposure({}, {"frame": str(image)}, {**sections, "exposure": number})
        stars = pd.read_csv(self.paths.catalogue)
        self.stars = stars.assign(RA_DEG=np.round(stars["RA_DEG"] / GRAIN) * GRAIN)
        self.reference = self.measured(folder / "reference", self.stars, self.images)

    def measured(
        self, folder: Path, stars: pd.DataFrame, images: list[Path], **sections: dict
    ) -> pd.DataFrame:
        """Fluxes and their errors by source and exposure."""
        folder.mkdir(exist_ok=True)
        stars.to_csv(folder / "stars.csv", index=False)
        (folder / "sheet.tsv").write_text("\n".join(["file", *map(str, images)]) + "\n")
        own = {"results": folder / "results", "catalogue": {"path": folder / "stars.csv"}}
        own["exposures"] = {"sheet": folder / "sheet.tsv", "batch_size": 2}
        paths = reduce(load_config({**SETTINGS, **own, **sections}))
        table = pd.read_parquet(Path(paths.photometry).parent)
        assert len(table) == len(table.drop_duplicates(["source", "exposure"]))
        sources = read_table(paths.sources, SOURCES)
        table["source_id"] = sources["source_id"].to_numpy()[table["source"]]
        return table.set_index(["source_id", "exposure"]).sort_index()


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Data:
    return Data(tmp_path_factory.mktemp("metamorphic"))


def assert_same(found: pd.DataFrame, expected: pd.DataFrame, tolerance: float = 1e-9) -> None:
    """Assert that fluxes are the same but for this fraction of their errors."""
    assert found.index.equals(expected.index)
    good = expected["psf_flux"].notna()
    assert good.sum() > 20
    assert found["psf_flux"].notna().equals(good)
    change = (found["psf_flux"] - expected["psf_flux"]) / expected["psf_flux_err"]
    assert change.abs().max() <= tolerance, change.abs().describe()
    assert found["flags"].equals(expected["flags"])


def test_order_of_the_catalogue(data, tmp_path):
    stars = data.stars.sample(frac=1.0, random_state=1)
    assert_same(data.measured(tmp_path, stars, data.images), data.reference)


def test_order_of_the_sheet(data, tmp_path):
    images = [data.images[n] for n in (2, 0, 1)]
    assert_same(data.measured(tmp_path, data.stars, images), data.reference)


def test_names_of_the_images(data, tmp_path):
    images = []
    for number, image in enumerate(data.images):
        images.append(tmp_path / f"z{9 - number} <b>{{x}}.img")
        images[-1].write_bytes(image.read_bytes())
    assert_same(data.measured(tmp_path, data.stars, images), data.reference)


def test_field_around_the_zero_of_right_ascension(data, tmp_path):
    """The sky turned by 92 degrees, so that half of the stars are just below 360."""
    turned = (data.stars["RA_DEG"] + 92.0) % 360.0
    assert turned.max() - turned.min() > 359.0
    images = []
    for image in data.images:
        images.append(tmp_path / image.name)
        with fits.open(image) as hdus:
            hdus[0].header["CRVAL1"] = (hdus[0].header["CRVAL1"] + 92.0) % 360.0
            hdus.writeto(images[-1])
    found = data.measured(tmp_path, data.stars.assign(RA_DEG=turned), images)
    assert_same(found, data.reference, ROUNDING)


def test_size_of_batches(data, tmp_path):
    """Of the model's errors only, which are those of an exposure of each batch."""
    own = {"sheet": tmp_path / "sheet.tsv", "batch_size": 1}
    found = data.measured(tmp_path, data.stars, data.images, exposures=own)
    assert_same(found, data.reference)


def test_threads(data, tmp_path, monkeypatch):
    before = get_threads()
    monkeypatch.setattr("romanprf.core.accelerate._CORES", 3)
    set_threads(3)
    try:
        assert_same(data.measured(tmp_path, data.stars, data.images), data.reference)
    finally:
        set_threads(before)


def test_images_turned_by_half_a_turn(data, tmp_path):
    """All pixels in the opposite order, with a WCS that says so."""
    images = []
    for image in data.images:
        with fits.open(image) as hdus:
            for hdu in hdus:
                if hdu.data is not None and hdu.data.ndim == 2:
                    hdu.data = hdu.data[::-1, ::-1].copy()
            header = hdus[0].header
            for key in ("CRPIX1", "CRPIX2"):
                header[key] = hdus[0].data.shape[0] + 1 - header[key]
            for key in ("PC1_1", "PC1_2", "PC2_1", "PC2_2"):
                header[key] = -header[key]
            images.append(tmp_path / image.name)
            hdus.writeto(images[-1])
    found, expected = data.measured(tmp_path, data.stars, images), data.reference
    change = ((found["psf_flux"] - expected["psf_flux"]) / expected["psf_flux_err"]).abs()
    # Rounding decides which pixels are left out where the PRF of three frames is hardly known.
    assert change.median() < TURNED[0]
    assert change.quantile(0.9) < TURNED[1]
