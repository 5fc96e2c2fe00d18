"""What is in the images: the stars, the PRF that drew them, and the photon limit they set."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from scipy.spatial import KDTree

from romanprf import schemas
from romanprf.config import Simulate
from romanprf.core.image import Image, masked_image
from romanprf.frame.frame import Frame
from romanprf.frame.stamps import Stamps, make_stamps
from romanprf.io.exposures import read_exposures
from romanprf.io.images import read_image
from romanprf.io.tables import read_table
from romanprf.prf.table import read_prf
from romanprf.simulate import inject
from romanprf.simulate.prf import nodes_at
from romanprf.sky.motion import positions_at
from romanprf.sky.wcs import ARCSEC, STERADIAN, TangentWCS, project
from romanprf.solve.fluxes import Method, Prior, solve_frame
from romanprf.solve.noise import pixel_variance
from romanprf.workflow.paths import Paths

#: Far from a star a pixel gets this much of its light over the cube of the distance (pixels).
WING = 0.1
#: Footprints of the limit end at this flux (e-/s per pixel): 1/15 of the noise of the sky.
CUT_OFF = 0.02
#: Sizes of footprints, pixels.
SMALLEST, LARGEST = 4.0, 100.0
#: Prior of the limit in units of the flux: none, but for stars of which a frame shows a glimpse.
PRIOR = 10.0
#: A source that was found is a star so close (arcsec) and of so similar a flux (mag).
SAME_PLACE, SAME_FLUX = 0.06, 0.75
#: The PRFs are compared out to this offset along either axis, at phases of 1/20 pixel (pixels).
CORE, PHASES = 4.0, np.arange(-10, 10) / 20.0
#: Where a PRF that varies is compared: fractions of the image's sides.
NODES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, eq=False)
class Truth:
    """What is in the images.

    Attributes
    ----------
    stars : DataFrame
        ``source_id``; ``ra``, ``dec``, ``epoch``, ``parallax``, ``pmra``, ``pmdec`` as in the
        truth table; ``flux`` out of events (e-/s); ``kind``: constant or that of an event;
        optionally ``pair``: number of a close pair, -1: none, and its ``separation`` (pixels) and
        ``difference`` (mag).
    settings : Simulate
        Detector and change of the PRF.
    factors : dict of int to ndarray, shape (nt,)
        ``source_id`` of a variable star -> flux in units of ``flux``, in order of time.
    """

    stars: pd.DataFrame
    settings: Simulate
    factors: dict[int, np.ndarray] = field(default_factory=dict)

    def places(self, exposure: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (x, y) of all stars on an exposure; NaN where its WCS ends."""
        wcs = TangentWCS.from_json(exposure["wcs"])
        return wcs.sky_to_pixel(*positions_at(self.stars, exposure["time"]))

    def rows(self, sources: pd.DataFrame) -> np.ndarray:
        """Row of ``stars`` for each source, -1 for none.

        Sources of a catalogue are identified by their ``source_id``.  A source that was found is
        the closest star within `SAME_PLACE` and `SAME_FLUX` that no other source is.
        """
        row = pd.Index(self.stars["source_id"]).get_indexer(sources["source_id"])
        free = np.setdiff1d(np.arange(len(self.stars)), row)
        found = np.flatnonzero(row < 0)
        if not (free.size and found.size):
            return row
        centre = self.stars[["ra", "dec"]].mean()
        own, other = (
            ARCSEC * np.stack(project(table["ra"], table["dec"], *centre), axis=1)
            for table in (sources.iloc[found], self.stars.iloc[free])
        )
        near = KDTree(own).sparse_distance_matrix(KDTree(other), SAME_PLACE, output_type="ndarray")
        flux = [table["flux"].to_numpy() for table in (sources.iloc[found], self.stars.iloc[free])]
        contrast = 2.5 * np.log10(np.maximum(flux[0][near["i"]], 1e-9) / flux[1][near["j"]])
        near = near[np.abs(contrast) < SAME_FLUX]
        for i, j, _ in np.sort(near, order="v"):
            if row[found[i]] < 0 and free[j] not in row[found]:
                row[found[i]] = free[j]
        return row


@dataclass(frozen=True)
class PRFError:
    """Largest error of the model over the true peak, as it is and without its mean shift.

    ``shift`` is what the model is off the truth (pixels, x and y).
    """

    largest: float
    unshifted: float
    shift: tuple[float, float]


def true_values(stamps: Stamps, settings: Simulate) -> np.ndarray:
    """True PRF of each star on the pixels of its window (see `Stamps.entries`)."""
    star, row, column = stamps.entries()
    dx, dy, value = column - stamps.x[star], row - stamps.y[star], np.zeros(star.size)
    where = stamps.shape, settings.sca, settings.prf_span
    for prf, weight in nodes_at(stamps.x, stamps.y, *where):
        some = np.flatnonzero(weight[star] > 0.0)
        value[some] += weight[star[some]] * prf.evaluate(dx[some], dy[some])
    return value


def true_stamps(
    exposure: pd.Series,
    x: np.ndarray,
    y: np.ndarray,
    flux: np.ndarray,
    settings: Simulate,
    largest: float = LARGEST,
) -> Stamps:
    """True PRF of stars on an exposure, on footprints up to ``largest`` pixels away."""
    shape = exposure["nrows"], exposure["ncols"]
    lost = ~(np.isfinite(x) & np.isfinite(y))
    x, y = np.where(lost, 0.0, x), np.where(lost, 0.0, y)
    radius = np.clip(np.cbrt(WING * flux / CUT_OFF), SMALLEST, largest)
    edges = [
        np.clip(edge, 0, size)
        for place, size in ((y, shape[0]), (x, shape[1]))
        for edge in (np.ceil(place - radius), np.floor(place + radius) + 1)
    ]
    window = np.stack(edges, axis=1).astype(np.int32)
    window[lost | (window[:, 1] <= window[:, 0]) | (window[:, 3] <= window[:, 2])] = 0
    size = np.diff(window[:, :2]).ravel().astype(np.int64) * np.diff(window[:, 2:]).ravel()
    offset = np.append(0, np.cumsum(size))
    # The footprints are squares.
    empty = Stamps(x, y, np.sqrt(2.0) * radius, window, offset, np.empty(0), shape)
    values = true_values(empty, settings) * np.repeat(flat_field(exposure, x, y), size)
    return replace(empty, values=values.astype(np.float32))


def flat_field(exposure: pd.Series, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What flat-fielding makes of the light at places of an exposure."""
    if not np.isfinite(exposure["pixel_area"]):
        return np.ones(len(x))
    jacobian = TangentWCS.from_json(exposure["wcs"]).jacobian(x, y)
    return STERADIAN * exposure["pixel_area"] / np.abs(np.linalg.det(jacobian))


def ideal_image(exposure: pd.Series, truth: Truth) -> Image:
    """Noise-free image of an exposure with its usable pixels and their variance."""
    image = read_image(exposure)  # type: ignore[arg-type]
    x, y = truth.places(exposure)
    near = np.isfinite(x) & np.isfinite(y)
    stars = x[near], y[near], truth.stars["flux"].to_numpy()[near]
    drawn = truth.settings.sca, truth.settings.prf_span
    light = inject(np.zeros(image.flux.shape), *stars, *drawn)
    light += np.median((image.flux - light)[image.usable])
    # Files give the variance with the photon noise of the data: put that of the truth instead.
    error = np.sqrt(pixel_variance(image, light))
    return masked_image(light, error, image.flags, poisson_slope=0.0)


def limits(exposure: pd.Series, truth: Truth, rows: np.ndarray) -> np.ndarray:
    """Photon limit of the fluxes of some rows of the true stars on a frame, e-/s.

    The marginal (Cramer-Rao) error of each flux with the true PRF at the true position, all these
    fluxes and the background free, the usable pixels of the frame and the variance of its
    noise-free image.
    """
    flux = truth.stars["flux"].to_numpy()[rows]
    x, y = (axis[rows] for axis in truth.places(exposure))
    stamps = true_stamps(exposure, x, y, flux, truth.settings)
    ideal = ideal_image(exposure, truth)
    return solve_frame(ideal, stamps, Prior(flux, PRIOR * flux), Method(1e-3)).flux_err


def model_stamps(paths: Paths, exposure: pd.Series, x: np.ndarray, y: np.ndarray) -> Stamps:
    """PRF of a reduction for stars at places of an exposure, out to about 10 pixels."""
    frame = Frame.from_row(exposure, read_table(paths.sources, schemas.SOURCES))
    ra, dec = frame.wcs.pixel_to_sky(x, y)
    stars = replace(frame, ra=ra, dec=dec)
    return make_stamps(read_prf(paths.prf), stars, np.ones(len(x)), WING * 1e-3)


def prf_error(paths: Paths, truth: Truth) -> PRFError:
    """Compare the PRF with the truth at all sub-pixel phases, and in many places if it varies."""
    exposure = read_exposures(paths.exposures).iloc[0]
    nodes = NODES if truth.settings.prf_span else (0.5,)
    found = [_error_at(paths, truth, exposure, fx, fy) for fy in nodes for fx in nodes]
    worst = int(np.argmax([error.unshifted for error in found]))
    return PRFError(
        max(error.largest for error in found), found[worst].unshifted, found[worst].shift
    )


def _error_at(
    paths: Paths, truth: Truth, exposure: pd.Series, across: float, up: float
) -> PRFError:
    dx, dy = (axis.ravel() for axis in np.meshgrid(PHASES, PHASES))
    x = np.rint(across * (exposure["ncols"] - 1)) + dx
    y = np.rint(up * (exposure["nrows"] - 1)) + dy
    stamps = model_stamps(paths, exposure, x, y)
    star, row, column = stamps.entries()
    core = (np.abs(row - y[star]) <= CORE) & (np.abs(column - x[star]) <= CORE)
    scale = flat_field(exposure, x, y)[star][core]

    def true(shift: np.ndarray) -> np.ndarray:
        moved = replace(stamps, x=x + shift[0], y=y + shift[1])
        return true_values(moved, truth.settings)[core] * scale

    shift, step = np.zeros(2), 0.01 * np.eye(2)
    model, peak = stamps.values[core], true(shift).max()  # noqa: PD011
    largest = np.abs(model - true(shift)).max() / peak
    slope = [(true(s) - true(-s)) / 0.02 for s in step]
    for _ in range(2):
        error = model - true(shift)
        shift = shift + np.linalg.lstsq(np.stack(slope, axis=1), error, rcond=None)[0]
    unshifted = np.abs(model - true(shift)).max() / peak
    return PRFError(float(largest), float(unshifted), (float(shift[0]), float(shift[1])))
