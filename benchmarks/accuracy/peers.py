"""Other programs on the same frames, each in an environment of its own."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from table import Curves
from truth import Truth

from romanprf import schemas
from romanprf.io.exposures import read_exposures
from romanprf.io.images import read_image
from romanprf.io.tables import read_table
from romanprf.simulate import true_prf
from romanprf.sky.motion import positions_at
from romanprf.sky.wcs import TangentWCS
from romanprf.workflow.paths import Paths

SIDES = Path(__file__).parents[1]
#: Error of pixels that cannot be used, e-/s: they carry no weight.
USELESS = 1e6
#: What roman-lcs takes for Roman images, and the flux (e-/s) that ends its masks.
KNOTS = {"n_r_knots": 9, "n_phi_knots": 15, "rmin": 0.02, "cut_r": 0.15, "rmax": 0.8}
SHAPE = {"frame_index": 0, "source_flux_limit": 3.5}
#: Samples per pixel and half-width (pixels) of the PRF that photutils gets.
OVERSAMPLING, REACH = 5, 6


class PeerError(RuntimeError):
    """Another program failed."""


def roman_lcs(python: Path, paths: Paths, curves: Curves) -> Curves:
    """Light curves by roman-lcs with the same catalogue."""
    exposures = read_exposures(paths.exposures).sort_values(["time", "exposure"])
    sources = read_table(paths.sources, schemas.SOURCES)
    sources = sources[sources["origin"] == "catalogue"]
    arrays: dict[str, list] = {name: [] for name in ("flux", "flux_err", "ra", "dec")}
    for _, exposure in exposures.iterrows():
        image = read_image(exposure)  # type: ignore[arg-type]
        row, column = np.indices(image.flux.shape).reshape(2, -1)
        ra, dec = TangentWCS.from_json(exposure["wcs"]).pixel_to_sky(column * 1.0, row * 1.0)
        error = np.where(image.usable, image.flux_err, USELESS).ravel()
        # It takes the logarithm of all pixels: those without a value get that of the sky.
        flux = np.where(image.usable, image.flux, np.median(image.flux[image.usable])).ravel()
        for name, values in zip(arrays, (flux, error, ra, dec), strict=True):
            arrays[name].append(values)
    pixels = {"row": row, "column": column}
    data = {name: np.stack(values) for name, values in arrays.items()}
    data |= {name: np.tile(values, (len(exposures), 1)) for name, values in pixels.items()}
    data |= {f"source_{name}": sources[name].to_numpy() for name in ("ra", "dec", "flux")}
    data["time"] = exposures["time"].to_numpy()
    settings = json.dumps(KNOTS), json.dumps(SHAPE)
    found = side(python, "roman_lcs_side.py", paths, data, "roman_lcs", *settings)
    return fluxes(curves, sources, found["ws"].T, found["werrs"].T)


def photutils(python: Path, paths: Paths, truth: Truth, curves: Curves) -> Curves:
    """Fluxes of the first frame by photutils with the true PRF and the same catalogue."""
    exposure = read_exposures(paths.exposures).sort_values(["time", "exposure"]).iloc[0]
    sources = read_table(paths.sources, schemas.SOURCES)
    sources = sources[sources["origin"] == "catalogue"]
    image = read_image(exposure)  # type: ignore[arg-type]
    wcs = TangentWCS.from_json(exposure["wcs"])
    x, y = wcs.sky_to_pixel(*positions_at(sources, exposure["time"]))
    data = {
        "image": image.flux,
        "error": np.where(image.usable, image.flux_err, USELESS),
        "mask": ~image.usable,
        **{"x": x, "y": y, "flux": sources["flux"].to_numpy()},
        "prf": oversampled(truth),
        "oversampling": OVERSAMPLING,
    }
    found = side(python, "photutils_side.py", paths, data)
    one = replace(curves, limit=curves.limit[:, :1], factor=curves.factor[:, :1])
    return fluxes(one, sources, found["flux"][:, None], found["flux_err"][:, None])


def oversampled(truth: Truth) -> np.ndarray:
    """True PRF as photutils wants it: samples within the pixels, the star in the middle."""
    offset = np.arange(-REACH * OVERSAMPLING, REACH * OVERSAMPLING + 1) / OVERSAMPLING
    middle = 0.5 * (truth.settings.size - 1)
    return true_prf(*np.meshgrid(offset, offset), middle, middle, truth.settings)


def fluxes(curves: Curves, sources: pd.DataFrame, flux: np.ndarray, error: np.ndarray) -> Curves:
    """Light curves with the measurements of another program; NaN where it has none."""
    good = np.isfinite(flux) & (flux != 0.0) & (error > 0.0)
    last = max(sources["source"].max(), curves.source.max())
    table = np.full((2, last + 1, flux.shape[1]), np.nan)
    table[:, sources["source"]] = np.where(good, [flux, error], np.nan)
    return curves.measured(*table)


def side(
    python: Path, script: str, paths: Paths, data: dict, package: str = "", *settings: str
) -> dict[str, np.ndarray]:
    """Run a script in another environment, from arrays to arrays."""
    arrays, results = (paths.root / f"{Path(script).stem}.{end}.npz" for end in ("in", "out"))
    np.savez(arrays, **data)
    command: list[str | Path] = [python, SIDES / script, *([package] if package else [])]
    done = subprocess.run(
        [*command, arrays, results, *settings], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise PeerError(f"{script}: {done.stderr.splitlines()[-1]}")
    with np.load(results) as found:
        return dict(found)
