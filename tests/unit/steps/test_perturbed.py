"""One thing is wrong in a field: all others keep their values."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits

from romanprf import schemas
from romanprf.config import load_config
from romanprf.flags import BAD_MEASUREMENT, ExposureFlag, SourceFlag
from romanprf.io.tables import read_table
from romanprf.reduce import reduce
from romanprf.workflow.paths import Paths

pytestmark = pytest.mark.slow

SIMULATE = {
    "seed": 5,
    "size": 64,
    "density": 0.5,
    "exposures": 6,
    "draw_limit": 22.5,
    "catalogue_limit": 22.5,
    "position_error": 0.0,
    "cosmic_rays": 0.0,
    "microlensing": 0,
    "transits": 0,
    "eclipses": 0,
}
SHAPE = {"search_rounds": 0}
#: Exposure that is perturbed, and place of the pixel (row, column).
BAD, PIXEL = 2, (37, 22)
#: Nine of ten fluxes may move by this many sigmas, all by so many; of those that have lost an
#: exposure to learn from 99 of 100 by so many.
MOVED, LARGEST, LOST = 0.3, 2.0, 1.5


@pytest.fixture(scope="module")
def field(tmp_path_factory) -> Paths:
    """The field as it is."""
    folder = tmp_path_factory.mktemp("field")
    settings = {
        "simulate": SIMULATE,
        "shape": SHAPE,
        "results": folder,
        "metrics": {"subpixels": 1},
    }
    return reduce(load_config(settings))


def perturbed(field: Paths, folder: Path, frame=None, catalogue=None) -> Paths:
    """The field again, with one exposure or the catalogue changed."""
    files = []
    for path in sorted(Path(field.exposures).parent.rglob("*.fits")):
        with fits.open(path) as hdus:
            if frame and hdus[0].header["EXP_NO"] == BAD:
                frame(hdus)
            files.append(folder / path.name)
            hdus.writeto(files[-1])
    table = pd.read_csv(field.catalogue)
    (catalogue or (lambda table: table))(table).to_csv(folder / "catalogue.csv", index=False)
    sheet = folder / "exposures.tsv"
    sheet.write_text("\n".join(["file", *map(str, files)]) + "\n")
    settings = {
        "exposures": {"sheet": str(sheet)},
        "catalogue": {"path": str(folder / "catalogue.csv")},
        "shape": SHAPE,
        "metrics": {"subpixels": 1},
        "results": str(folder / "results"),
    }
    return reduce(load_config(settings))


def photometry(paths: Paths) -> pd.DataFrame:
    """Rows by source_id and exposure."""
    sources = read_table(paths.sources, schemas.SOURCES)
    batches = sorted(Path(paths.photometry.format(batch="0")).parent.glob("*.parquet"))
    rows = pd.concat([read_table(path, schemas.PHOTOMETRY) for path in batches])
    rows["source_id"] = sources["source_id"].to_numpy()[rows["source"]]
    return rows.set_index(["source_id", "exposure"]).sort_index()


def moves(field: Paths, other: Paths) -> pd.DataFrame:
    """Changes of the fluxes in errors, of measurements that are good in both runs.

    Errors are those of noise and model together.
    """
    before, after = photometry(field), photometry(other)
    before = before.reindex(after.index)
    ignored = BAD_MEASUREMENT | int(SourceFlag.EDGE | SourceFlag.MASKED | SourceFlag.OUTLIER)
    good = ((before["flags"].fillna(ignored).astype(int) | after["flags"]) & ignored) == 0
    error = np.hypot(before["psf_flux_err"], before["model_err"])
    moved = ((after["psf_flux"] - before["psf_flux"]) / error)[good]
    return moved.reset_index(name="sigma")


def corrupt(value):
    def change(hdus):
        hdus[0].data[PIXEL] = value
        hdus[1].data[PIXEL] = np.sqrt(min(value, 1e5) / 66.0)

    return change


def track(hdus):
    for step in range(10):
        hdus[0].data[30 + step, 20 + step // 2] += 300.0


def zeros(hdus):
    hdus[0].data[:] = 0.0


def off_by_an_arcsec(hdus):
    hdus[0].header["CRVAL1"] += 1.0 / 3600.0


def smeared(hdus):
    hdus[0].data[:] = sum(np.roll(hdus[0].data, step, 1) for step in (-2, -1, 0, 1, 2)) / 5.0


@pytest.mark.parametrize("value", [3e4, 1e20])
def test_a_pixel_of_one_exposure(field, tmp_path, value):
    moved = moves(field, perturbed(field, tmp_path, frame=corrupt(value)))
    assert len(moved) > 200
    assert moved["sigma"].abs().max() < MOVED


def test_a_track_on_one_exposure(field, tmp_path):
    moved = moves(field, perturbed(field, tmp_path, frame=track))["sigma"].abs()
    assert moved.quantile(0.9) < MOVED
    assert moved.max() < LARGEST


@pytest.mark.parametrize("frame", [zeros, off_by_an_arcsec, smeared])
def test_a_bad_exposure(field, tmp_path, frame):
    other = perturbed(field, tmp_path, frame=frame)
    moved = moves(field, other)
    moved = moved[moved["exposure"] != BAD]
    assert moved["sigma"].abs().quantile(0.99) < LOST
    batch = read_table(other.frame_stats.format(batch="00000"), schemas.FRAME_STATS)
    flagged = batch.set_index("exposure")["flags"] != 0
    assert flagged.loc[BAD]
    assert flagged.sum() == 1
    assert batch["flags"].isin([0, ExposureFlag.MISFIT, ExposureFlag.NOT_CONVERGED]).all()


@pytest.mark.parametrize("mag", [12.5])
def test_a_wrong_magnitude(field, tmp_path, mag):
    sources = read_table(field.sources, schemas.SOURCES)
    wrong = sources["source_id"].iloc[int(np.argmin(np.abs(sources["mag"] - 19.0)))]

    def catalogue(table):
        return table.assign(F146=table["F146"].where(table["sicbro_id"] != wrong, mag))

    other = perturbed(field, tmp_path, catalogue=catalogue)
    flags = read_table(other.sources, schemas.SOURCES).set_index("source_id")["flags"]
    contradicted = (flags & int(SourceFlag.CONTRADICTED)) != 0
    assert contradicted.loc[wrong]
    assert contradicted.sum() == 1
    moved = moves(field, other)["sigma"].abs()
    assert moved.quantile(0.9) < MOVED
    assert moved.max() < LARGEST
