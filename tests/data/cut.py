"""Cut the small data in this folder out of the full-size ones: ``python cut.py FULL_FOLDER``.

README.md says what the files are and what the cut preserves.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import asdf
import numpy as np
import pandas as pd
from astropy.io import fits
from astropy.modeling.models import Shift
from astropy.table import Table

HERE = Path(__file__).resolve().parent
#: A catalogue keeps stars up to this far outside the pixels (pixels) ...
MARGIN = 20
#: ... and brighter ones (AB mag) wherever they are: their wings reach further.
BRIGHT = 18.0


class Window(NamedTuple):
    """Square of an image."""

    row: int
    column: int
    side: int

    def cut(self, image: np.ndarray) -> np.ndarray:
        rows, columns = (slice(a, a + self.side) for a in (self.row, self.column))
        return np.array(image[rows, columns])

    def near(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Places of the full image within `MARGIN` of the window."""
        half = 0.5 * (self.side - 1)
        centre = self.row + half, self.column + half
        distance = np.maximum(np.abs(rows - centre[0]), np.abs(columns - centre[1]))
        return distance <= half + MARGIN


def main(full: Path) -> None:
    cut_l2(full / "roman_l2", HERE / "roman_l2", Window(80, 32, 128), 6)
    frames, cubes = "rimtimsim/field", "rimtimsim/roman_cuts"
    cut_frames(full / frames, HERE / frames, Window(64, 64, 128), 8)
    copy(full / cubes, HERE / cubes, "*.asdf")
    cut_catalogue(full / cubes, HERE / cubes, Window(64, 64, 64))
    copy(full / "real_sky", HERE / "real_sky", "kepler_*")


def cut_l2(full: Path, small: Path, window: Window, n: int) -> None:
    """Level 2 files, every second one with the compression that `roman_datamodels` chooses."""
    small.mkdir(parents=True, exist_ok=True)
    for k, path in enumerate(sorted(full.glob("*_cal.asdf"))[:n]):
        with asdf.open(path) as file:
            cut_model(file["roman"], window)
            compression = "lz4" if k % 2 else ""
            file.write_to(small / path.name, all_array_compression=compression)

    stars = Table.read(full / "catalog.ecsv")
    with np.load(full / "truth_xy.npz") as truth:
        x, y, ids = (truth[name] for name in ("x", "y", "source_id"))
    kept = window.near(y[0], x[0]) | (stars["F146"] < BRIGHT)
    stars[kept].write(small / "catalog.ecsv", overwrite=True)
    Table.read(full / "truth.ecsv")[kept].write(small / "truth.ecsv", overwrite=True)
    x, y = x[:n, kept] - window.column, y[:n, kept] - window.row
    np.savez_compressed(small / "truth_xy.npz", x=x, y=y, source_id=ids[kept])


def cut_model(roman: dict, window: Window) -> None:
    """Cut the arrays of a Level 2 image and move the origin of its gwcs."""
    for name in ("data", "dq", "err", "var_poisson"):
        roman[name] = window.cut(roman[name])
    for name in [name for name in roman if "border_ref_pix" in name]:
        array = roman[name]  # along the image's side plus 4 pixels at both ends
        roman[name] = np.array(array[tuple(slice(window.side + 8) for _ in array.shape)])
    wcs = roman["meta"]["wcs"]
    wcs.insert_transform("detector", Shift(window.column) & Shift(window.row), after=True)
    wcs.bounding_box = ((-0.5, window.side - 0.5), (-0.5, window.side - 0.5))


def cut_frames(full: Path, small: Path, window: Window, n: int) -> None:
    """RImTimSim frames; axis 1 of their WCS counts rows."""
    small.mkdir(parents=True, exist_ok=True)
    for path in sorted(full.glob("*.fits"))[:n]:
        with fits.open(path) as hdus:
            for hdu in hdus:
                hdu.data = window.cut(hdu.data)
            hdus[0].header["CRPIX1"] -= window.row
            hdus[0].header["CRPIX2"] -= window.column
            hdus.writeto(small / path.name, overwrite=True)
    cut_catalogue(full, small, window, n, first=(window.row, window.column))


def cut_catalogue(
    full: Path,
    small: Path,
    window: Window,
    n: int | None = None,
    first: tuple[int, int] = (0, 0),
) -> None:
    """A TRExS catalogue and the true light curves of its stars in the first ``n`` exposures.

    MEAN_XCOL counts rows, MEAN_YCOL columns; ``first`` is the pixel that becomes (0, 0).
    """
    stars = pd.read_csv(full / "catalog.csv")
    near = window.near(stars["MEAN_XCOL"].to_numpy(), stars["MEAN_YCOL"].to_numpy())
    stars = stars[near | (stars["F146"] < BRIGHT)]
    stars[["MEAN_XCOL", "MEAN_YCOL"]] -= list(first)
    stars.to_csv(small / "catalog.csv", index=False)
    with np.load(full / "truth_lightcurves.npz") as truth:
        kept = np.isin(truth["sicbro_id"], stars["sicbro_id"])
        ids, flux, time = truth["sicbro_id"][kept], truth["flux"][:n, kept], truth["time"][:n]
    np.savez_compressed(small / "truth_lightcurves.npz", time=time, sicbro_id=ids, flux=flux)


def copy(full: Path, small: Path, pattern: str) -> None:
    small.mkdir(parents=True, exist_ok=True)
    for path in full.glob(pattern):
        shutil.copyfile(path, small / path.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
