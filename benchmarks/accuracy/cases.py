"""The fields: drawn, or read from folders with their own truth; and their reductions."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy.table import Table
from truth import Truth

from romanprf import schemas
from romanprf.config import Simulate, load_config
from romanprf.io.exposures import read_exposures
from romanprf.io.simulated import write_catalogue, write_frame
from romanprf.io.tables import read_table
from romanprf.reduce import reduce
from romanprf.simulate import Field, make_exposure, make_field
from romanprf.simulate.exposure import pointing
from romanprf.simulate.field import with_astrometry
from romanprf.simulate.wfi import to_flux, to_time
from romanprf.sky.motion import moved, propagate
from romanprf.workflow.paths import Paths

#: Fields that nobody looked at while the package was written; repeats add `NEXT_SEED`.
SEED, NEXT_SEED = 31469, 1009
#: Of each kind, on 192 x 192 pixels.
EVENTS = 40
#: Close pairs: one every so many pixels; brighter member (F146); separations (pixels) and
#: magnitude differences.
PITCH, PAIR_MAGNITUDES = 14, (18.0, 19.5)
SEPARATIONS, DIFFERENCES = (0.5, 1.0, 1.5, 2.0), (0.0, 2.0)
#: A Gaia-like catalogue: limit and colour (G - F146, its spread), epoch, errors (mas, mas/yr).
GAIA_LIMIT, GAIA_COLOUR, GAIA_EPOCH, GAIA_ERROR = 18.0, (1.5, 0.4), 2016.0, 0.1
_MINUTES = 365.25 * 1440.0


@dataclass(frozen=True)
class Case:
    """A kind of field.

    Attributes
    ----------
    simulate : dict
        Settings that differ from those of the simulation; positions are exact by default.
    exact : str
        The case that is the same field with an exact catalogue and without motions.
    years : float
        Time from the first exposure to the last; 0: at the cadence of the survey.
    frames : float
        Number of exposures in units of that of other cases.
    catalogue : str
        simulated; none; or gaia: none but for a reference of the bright stars.
    shift : float
        1 sigma per axis (pixels) of the pointings that the WCS does not know.
    shape : dict
        Settings of that section.
    events, pairs : bool
        Whether it is full of events, or of close pairs.
    """

    simulate: dict[str, Any] = field(default_factory=dict)
    exact: str = ""
    years: float = 0.0
    frames: float = 1.0
    catalogue: str = "simulated"
    shift: float = 0.0
    shape: dict[str, Any] = field(default_factory=dict)
    events: bool = False
    pairs: bool = False


#: Cases that others are compared with.
COMPLETE, CUT = "complete to 25", "cut at 23"
_CUT = {"catalogue_limit": 23.0}
_QUIET = {"microlensing": 0, "transits": 0, "eclipses": 0}
CASES = {
    COMPLETE: Case(),
    CUT: Case(_CUT),
    "cut at 21": Case({"catalogue_limit": 21.0}),
    "shifts of 0.05 pixel": Case(shift=0.05),
    "shifts, cut at 23": Case({"catalogue_limit": 23.0}, shift=0.05),
    "WFI17, twice as dense": Case({"seed": 52711, "sca": 17, "density": 2.0}),
    "PRF of 4088 pixels": Case({"seed": 64919, "prf_span": 4088}, shape={"nodes": 3}),
    "stars to 11": Case({"seed": 83417, "bright_limit": 11.0}),
    "events": Case({"seed": 20483}, events=True),
    "close pairs": Case({"seed": 47293}, pairs=True),
    "2 mas": Case({"position_error": 2.0}, exact=COMPLETE),
    "10 mas": Case({"position_error": 10.0}, exact=COMPLETE),
    "40 mas": Case({"position_error": 40.0}, exact=COMPLETE),
    "2 mas, cut at 23": Case({**_CUT, "position_error": 2.0}, exact=CUT),
    "10 mas, cut at 23": Case({**_CUT, "position_error": 10.0}, exact=CUT),
    "40 mas, cut at 23": Case({**_CUT, "position_error": 40.0}, exact=CUT),
    "100 mas": Case({"position_error": 100.0}, exact=COMPLETE),
    "proper motions": Case(
        {"position_error": 10.0, "proper_motion": 4.0}, exact=COMPLETE, years=2.0
    ),
    "exact, 24 frames": Case(frames=1.5),
    "parallaxes": Case(
        {"position_error": 10.0, "parallaxes": (1.0, 5.0)},
        exact="exact, 24 frames",
        years=1.0,
        frames=1.5,
    ),
    "no catalogue": Case(_QUIET, exact=COMPLETE, catalogue="none"),
    "Gaia-like": Case({**_QUIET, "proper_motion": 4.0}, exact=COMPLETE, catalogue="gaia"),
}


@dataclass(frozen=True, eq=False)
class Reduction:
    """Results of the workflow, the truth, and the seconds it took."""

    paths: Paths
    truth: Truth
    seconds: float


def simulated(
    name: str,
    number: int,
    size: int,
    exposures: int,
    results: Path,
    shape: dict[str, Any],
    seed: int | None = None,
) -> Reduction:
    """Draw and reduce repeat ``number`` of a case, with a seed of its own or this one."""
    case = CASES[name]
    exposures = round(case.frames * exposures)
    settings = {"seed": SEED, "position_error": 0.0, **case.simulate}
    settings["seed"] = (seed or settings["seed"]) + number * NEXT_SEED
    if case.years:
        settings["cadence"] = case.years * _MINUTES / (exposures - 1)
    if case.events:
        many = max(2, EVENTS * size**2 // 192**2)
        settings |= {"microlensing": many, "transits": many, "eclipses": 0}
    folder = results / f"{name.replace(' ', '_')}_{number}"
    images, truth = draw(
        Simulate(size=size, exposures=exposures, **settings), case, folder / "frames"
    )
    return reduced(images, folder, {**case.shape, **shape}, lambda paths: truth)


def reduced(images: dict[str, Any], folder: Path, shape: dict[str, Any], truth: Any) -> Reduction:
    """Run the workflow; ``truth`` is made from the paths of what it wrote."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of astropy, on headers
        paths = reduce(load_config({**images, "results": str(folder), "shape": shape}))
    return Reduction(paths, truth(paths), time.perf_counter() - start)


def draw(settings: Simulate, case: Case, frames: Path) -> tuple[dict[str, Any], Truth]:
    """Write the frames and the catalogue of a case; configuration that reduces them, and truth."""
    frames.mkdir(parents=True, exist_ok=True)
    for old in frames.glob("*.fits"):
        old.unlink()
    field = make_field(settings)
    if case.pairs:
        field = with_pairs(field, settings)
    random = np.random.default_rng([settings.seed, settings.exposures])
    for number in range(settings.exposures):
        exposure = make_exposure(field, settings, number)
        wcs = exposure.wcs.deepcopy()
        wcs.wcs.crpix += random.normal(0.0, case.shift, 2)
        write_frame(frames / f"{number:05d}.fits", replace(exposure, wcs=wcs))
    stars = field.stars.assign(kind="constant", listed=listed(field, settings, case))
    images = write_lists(field, settings, case, frames)
    times, factors = to_time(np.arange(settings.exposures), settings.cadence), {}
    for event in field.events:
        stars.loc[event.star, "kind"] = event.kind
        factors[int(stars["source_id"].iloc[event.star])] = event.factor(times)
    return images, Truth(stars, settings, factors)


def listed(field: Field, settings: Simulate, case: Case) -> np.ndarray:
    """Whether the catalogue of a case holds each star."""
    mag = field.stars["catalogue_mag"].to_numpy()
    return (mag < settings.catalogue_limit) & (case.catalogue == "simulated")


def write_lists(field: Field, settings: Simulate, case: Case, frames: Path) -> dict[str, Any]:
    """Write the catalogue and the list of the images; configuration that reduces them."""
    path = frames / "catalogue.csv"
    images = folder_settings(frames, "*.fits", path.name, frames.parent)
    if case.catalogue == "simulated":
        write_catalogue(path, field, settings)
        return images
    images["catalogue"] = {"path": None}
    if case.catalogue == "gaia":
        bright = gaia_magnitudes(field, settings) < GAIA_LIMIT
        gaia_catalogue(field, settings)[bright].to_csv(path, index=False)
        images["reference"] = {"path": str(path)}
    return images


def gaia_magnitudes(field: Field, settings: Simulate) -> np.ndarray:
    """Magnitudes in a bluer filter."""
    colour = np.random.default_rng([settings.seed, 3]).normal(*GAIA_COLOUR, len(field.stars))
    return field.stars["mag"].to_numpy() + colour


def gaia_catalogue(field: Field, settings: Simulate) -> pd.DataFrame:
    """All stars as Gaia would list them, with errors."""
    stars, random = field.stars, np.random.default_rng([settings.seed, 4])
    ra, dec, pmra, pmdec, epoch = (
        stars[name].to_numpy() for name in ("ra", "dec", "pmra", "pmdec", "epoch")
    )
    errors = GAIA_ERROR * random.normal(0.0, 1.0, (4, len(stars)))
    ra, dec = moved(*propagate(ra, dec, pmra, pmdec, epoch, GAIA_EPOCH), *errors[:2])
    names = ("ra_error", "dec_error", "pmra_error", "pmdec_error")
    motions = {"pmra": pmra + errors[2], "pmdec": pmdec + errors[3], "ref_epoch": GAIA_EPOCH}
    columns = {"source_id": stars["source_id"], "ra": ra, "dec": dec, **motions}
    magnitude = {"phot_g_mean_mag": gaia_magnitudes(field, settings)}
    return pd.DataFrame({**columns, **dict.fromkeys(names, GAIA_ERROR), **magnitude})


def with_pairs(field: Field, settings: Simulate) -> Field:
    """Field with close pairs of all kinds added, at random angles on a jittered grid."""
    random = np.random.default_rng([settings.seed, 2])
    steps = np.arange(PITCH, settings.size - PITCH + 1, PITCH, dtype=float)
    centre = np.stack(np.meshgrid(steps, steps)).reshape(2, -1)
    n = centre.shape[1]
    centre += random.uniform(-2.0, 2.0, (2, n))
    kind, angle = np.arange(n), random.uniform(0.0, 2.0 * np.pi, n)
    separation = np.take(SEPARATIONS, kind % 4)
    difference = np.take(DIFFERENCES, kind // 4 % 2)
    half = 0.5 * separation * np.stack([np.cos(angle), np.sin(angle)])
    bright = random.uniform(*PAIR_MAGNITUDES, n)
    x, y = np.concatenate([centre - half, centre + half], axis=1)
    mag = np.concatenate([bright, bright + difference])
    ra, dec = pointing(settings, 0.0, 0.0).all_pix2world(x, y, 0)
    members = {
        "source_id": field.stars["source_id"].max() + 1 + np.arange(2 * n),
        **{"ra": ra, "dec": dec, "x": x, "y": y, "mag": mag, "flux": to_flux(mag)},
        "catalogue_mag": mag + random.normal(0.0, 0.02, 2 * n),
        "pair": np.tile(1000 * settings.seed + kind, 2),
        "separation": np.tile(separation, 2),
        "difference": np.tile(difference, 2),
    }
    members["epoch"] = field.stars["epoch"].iloc[0]
    stars = pd.concat([field.stars.assign(pair=-1), pd.DataFrame(members)], ignore_index=True)
    return replace(field, stars=with_astrometry(stars, settings))


def folder_settings(folder: Path, images: str, catalogue: str, results: Path) -> dict[str, Any]:
    """Configuration that reduces a folder."""
    results.mkdir(parents=True, exist_ok=True)
    sheet = results / "exposures.tsv"
    sheet.write_text(f"file\n{folder.resolve() / images}\n")
    return {
        "exposures": {"sheet": str(sheet)},
        "catalogue": {"path": str(folder / catalogue)},
    }


def rimtimsim(folder: Path, results: Path, shape: dict[str, Any]) -> Reduction:
    """Reduce a folder in the layout of RImTimSim, with truth.csv and truth_lightcurves.npz."""
    images = folder_settings(folder, "*.fits", "catalog.csv", results)
    images["exposures"]["zero_point"] = 27.5777
    images["catalogue"]["frame"] = "fk5"
    stars = pd.read_csv(folder / "truth.csv").rename(columns={"sicbro_id": "source_id"})
    with np.load(folder / "truth_lightcurves.npz") as curves:
        factors = (curves["flux"] / stars["flux"].to_numpy()).T
    factors = dict(zip(stars["source_id"], factors, strict=True))
    return reduced(images, results, shape, lambda paths: folder_truth(paths, stars, factors))


def roman_l2(folder: Path, results: Path, shape: dict[str, Any]) -> Reduction:
    """Reduce a folder of official images with truth.ecsv; nothing in it varies."""
    images = folder_settings(folder, "*_cal.asdf", "catalog.ecsv", results)
    images["exposures"]["gain"] = 2.0
    stars = Table.read(folder / "truth.ecsv").to_pandas().assign(kind="constant")
    return reduced(images, results, shape, lambda paths: folder_truth(paths, stars, {}))


def folder_truth(paths: Paths, stars: pd.DataFrame, factors: dict[int, np.ndarray]) -> Truth:
    """True fluxes at the positions of the sources: these catalogues hold all stars."""
    state = ["source_id", "ra", "dec", "epoch", "parallax", "pmra", "pmdec"]
    sources = read_table(paths.sources, schemas.SOURCES, state)
    stars = stars[["source_id", "flux", "kind"]].merge(sources, on="source_id")
    detector = read_exposures(paths.exposures)["detector"].iloc[0]
    return Truth(stars, Simulate(sca=int(detector[-2:])), factors)
