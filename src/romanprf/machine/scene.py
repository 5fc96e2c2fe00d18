"""The sources of a field with the PRF they share, and how it is learned from frames in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from romanprf.core.statistics import typical_ratio
from romanprf.frame.frame import Exposure
from romanprf.frame.stamps import Stamps
from romanprf.learn.logpolar import Iteration, Usage, fit_shape, fit_shift, uncontaminated
from romanprf.learn.tensor import fit_joint
from romanprf.machine.grid import PixelGrid
from romanprf.machine.series import Frame
from romanprf.prf import PRF, LogPolarPRF, TensorPRF
from romanprf.sky.wcs import ARCSEC
from romanprf.solve.register import frame_shift

#: A pixel belongs to one source where all others give less than this fraction of its light.
CONTAMINATION = 0.1
#: Rounds of fitting the PRF with the fluxes that the last one gave.
_ROUNDS = 2
#: The scale of a catalogue is that of its brightest fifth.
_BRIGHTEST = 5
#: Sources of so many times the noise of a pixel shape a tensor model; so many tell a centroid.
_PRECISE, _CENTROID_STARS = 30.0, 200
#: A source is measured where this fraction of its light falls on the pixels.
_SHOWN = 0.2
#: Pixels are listed out to this fraction of the flux limit; the first look at the fluxes goes out
#: to this multiple of cut_r.
_FAINTEST, _NEAR = 0.03, 3.0
_GEOMETRY = "n_r_knots", "n_phi_knots", "rmin", "cut_r", "rmax"


@dataclass(frozen=True, eq=False)
class Catalogue:
    """What is known of the sources before: ra, dec (degrees) and flux estimate, (nsources,)."""

    ra: np.ndarray
    dec: np.ndarray
    flux: np.ndarray


@dataclass(frozen=True, eq=False)
class Scene:
    """Positions and fluxes of all sources and the PRF they share.

    Attributes
    ----------
    ra, dec : ndarray, shape (nsources,)
        Degrees ICRS.
    flux : ndarray, shape (nsources,)
        e-/s, positive; decides how far each footprint reaches.
    prf : LogPolarPRF or TensorPRF
        Normalised.
    flux_cut_off : float
        A footprint ends where the light of its source falls under this (e-/s per pixel).
    shift : tuple of float
        (east, north) from the catalogue's positions to these, arcsec.
    flux_scale : float
        Flux in e-/s of a source whose estimate in the catalogue is 1.
    history : list of Iteration
        Of the fit of the PRF.
    """

    ra: np.ndarray
    dec: np.ndarray
    flux: np.ndarray
    prf: PRF
    flux_cut_off: float
    shift: tuple[float, float]
    flux_scale: float = 1.0
    history: list[Iteration] = field(default_factory=list)

    def stamps(
        self, grid: PixelGrid, points: int = 1, shift: tuple[float, float] = (0.0, 0.0)
    ) -> Stamps:
        """PRF of all sources on a grid (see `romanprf.frame.stamps.make_stamps`)."""
        stars = self.ra, self.dec, self.flux
        return grid.stamps(self.prf, *stars, self.flux_cut_off, points, shift)

    def measured(
        self, frames: Sequence[Frame], catalogue: Catalogue, with_background: bool
    ) -> Scene:
        """Replace the fluxes by those of the frames, under a prior too weak to matter.

        Sources of which the frames show little keep theirs.
        """
        sums = np.zeros((2, self.flux.size))
        for frame in frames:
            fit = frame.fit(self.stamps(frame.grid), self.flux, 10.0 * self.flux, with_background)
            seen = np.isfinite(fit.flux) & (fit.light > _SHOWN)
            weight = fit.flux_err[seen] ** -2.0
            sums[:, seen] += weight * fit.flux[seen], weight
        with np.errstate(invalid="ignore", divide="ignore"):
            flux = sums[0] / sums[1]
        flux = np.where(flux > 0.1 * self.flux, flux, self.flux)
        seen = sums[1] > 0.0
        return replace(self, flux=flux, flux_scale=_scale(flux[seen], catalogue.flux[seen]))

    def uncontaminated(
        self, stamps: Stamps, contaminant: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Light of each source in each value of its stamp, and whether the pixel is its own.

        Parameters
        ----------
        stamps : Stamps
            Of this scene.
        contaminant : ndarray of bool, shape (nsources,), optional
            Sources that count; the others neither contaminate nor own a pixel.
        """
        source, row, column = stamps.entries()
        counted = np.ones(len(stamps), bool) if contaminant is None else contaminant
        light = stamps.values * self.flux[source]  # noqa: PD011
        total = stamps.model(np.where(counted, self.flux, 0.0))[row, column]
        own = np.where(counted[source], light, 0.0)
        return light, uncontaminated(own, total - own, CONTAMINATION)

    def profile(
        self, frames: Iterable[Frame], clean: bool, with_background: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Offsets (east, north, arcsec) and flux over source flux of the pixels in footprints.

        The light of the other sources, and the median of what is left with a background, are
        subtracted; ``clean`` keeps only pixels that belong to one source.
        """
        parts = []
        for frame in frames:
            stamps = self.stamps(frame.grid)
            source, pixel = frame.grid.entries(stamps)
            light, own = self.uncontaminated(stamps)
            keep = (pixel >= 0) & (own if clean else light > 0.0)
            keep[keep] = frame.usable[pixel[keep]]
            left = frame.flux - frame.grid.pixels(stamps.model(self.flux))
            sky = np.nanmedian(left) if with_background else 0.0
            own_flux = left[pixel[keep]] - sky + light[keep]
            east, north = frame.grid.offsets(stamps)
            parts.append((east[keep], north[keep], own_flux / self.flux[source[keep]]))
        dra, ddec, value = (np.concatenate(column) for column in zip(*parts, strict=True))
        return dra, ddec, value


def learn_scene(
    frames: Sequence[Frame],
    catalogue: Catalogue,
    settings: Mapping[str, Any],
    usage: Usage,
    radius: float,
    flux_cut_off: float,
) -> Scene:
    """Learn PRF, shift of the positions and fluxes from frames.

    Two rounds of `romanprf.learn.logpolar.fit_shape`, the second with the fluxes that the first one
    leads to, because estimates of a catalogue may be in another band.

    Parameters
    ----------
    frames : sequence of Frame
        What to learn from.
    catalogue : Catalogue
        Positions and flux estimates.
    settings, usage
        See `romanprf.learn.logpolar.fit_shape`.
    radius : float
        Reach of the pixels that are used, arcsec.
    flux_cut_off : float
        e-/s per pixel at which a footprint ends.

    Raises
    ------
    InputError
        If too few pixels belong to one source only.
    """
    limit, area = usage.contaminant_limit, frames[0].grid.pixel_area
    n_r, n_phi, rmin, cut_r, rmax = (settings[name] for name in _GEOMETRY)
    guess = LogPolarPRF.first_guess(n_r, n_phi, rmin, cut_r, rmax, area)
    scale = _rough_scale(frames, catalogue, guess, min(radius, _NEAR * cut_r), usage.background)
    flux = np.maximum(scale * catalogue.flux, 1e-6)
    # Faint sources need no pixels of their wings: those would be most of the table.
    reach = np.minimum(guess.radius(_FAINTEST * max(usage.flux_limit, 1e-3) / flux), radius)
    table = pixel_table(frames, catalogue.ra, catalogue.dec, np.maximum(reach, cut_r))
    usage = usage._replace(contaminant_limit=limit * scale)
    for _ in range(_ROUNDS):
        sources = pd.DataFrame({"flux": flux, "flags": 0})
        prf, history = fit_shape(table, sources, settings, area, usage)
        shift = history[-1].shift
        ra, dec = _moved(catalogue, shift)
        scene = Scene(ra, dec, flux * prf.integral(), prf.normalised(), flux_cut_off, shift)
        scene = scene.measured(frames, catalogue, usage.background)
        flux = scene.flux
        usage = usage._replace(contaminant_limit=limit * scene.flux_scale)
    return replace(scene, history=history)


def recognise_scene(
    prf: LogPolarPRF,
    frames: Sequence[Frame],
    catalogue: Catalogue,
    settings: Mapping[str, Any],
    usage: Usage,
    radius: float,
    flux_cut_off: float,
) -> Scene:
    """Shift and fluxes for a PRF that is known and normalised (see `learn_scene`)."""
    radius = min(radius, prf.rmax)
    table = pixel_table(frames, catalogue.ra, catalogue.dec, radius)
    near = min(radius, _NEAR * settings["cut_r"])
    scale = _rough_scale(frames, catalogue, prf, near, usage.background)
    flux = np.maximum(scale * catalogue.flux, 1e-6)
    usage = usage._replace(contaminant_limit=usage.contaminant_limit * scale)
    sources = pd.DataFrame({"flux": flux, "flags": 0})
    shift = fit_shift(prf, table, sources, settings, usage)
    scene = Scene(*_moved(catalogue, shift), flux, prf, flux_cut_off, shift)
    return scene.measured(frames, catalogue, usage.background)


def refine_scene(
    scene: Scene,
    frames: Sequence[Frame],
    catalogue: Catalogue,
    rounds: int,
    with_background: bool,
) -> Scene:
    """Replace the log-polar PRF of a scene by a tensor model (see `romanprf.learn.tensor`).

    Parameters
    ----------
    scene : Scene
        From `learn_scene`.
    frames : sequence of Frame
        To learn from.
    catalogue : Catalogue
        Its scale is measured again.
    rounds : int
        Most rounds of the fit.
    with_background : bool
        Whether frames have an unknown sky.
    """
    grid, log_polar = frames[0].grid, cast(LogPolarPRF, scene.prf)  # that of learn_scene
    jacobian = grid.wcs.jacobian(*(np.asarray((n - 1) / 2.0) for n in reversed(grid.shape)))
    reach = log_polar.rmax / grid.pixel_scale
    start = TensorPRF.projected(log_polar.with_wing(jacobian), reach, jacobian)
    noise = float(np.median(frames[0].flux_err[frames[0].usable]))
    settings = {
        "rounds": rounds,
        "flux_cut_off": scene.flux_cut_off,
        "source_flux_limit": min(_PRECISE * noise, float(np.sort(scene.flux)[-3:].min())),
    }
    exposures = [
        Exposure(
            partial(f.grid.image, f.flux, f.flux_err, f.poisson_slope),
            scene.ra,
            scene.dec,
            f.grid.wcs,
            f.grid.shape,
            None,
        )
        for f in frames
    ]
    flags, sigma = np.zeros(scene.flux.size, np.int32), 10.0 * scene.flux
    stars = exposures, scene.flux, flags
    joint = fit_joint(*stars, start, settings, sigma, with_background, with_errors=False)
    return replace(scene, prf=joint.prf.normalised()).measured(frames, catalogue, with_background)


def centroid_shift(scene: Scene, frame: Frame) -> tuple[float, float]:
    """Common (x, y) shift of all sources of a frame from their places, pixels."""
    image = frame.grid.image(frame.flux, frame.flux_err, frame.poisson_slope)
    stars = np.argsort(-scene.flux)[:_CENTROID_STARS]
    rest = scene.flux.copy()
    rest[stars] = 0.0
    others = scene.stamps(frame.grid).model(rest)
    chosen = replace(scene, ra=scene.ra[stars], dec=scene.dec[stars], flux=scene.flux[stars])

    def make(shift: tuple[float, float]) -> Stamps:
        return chosen.stamps(frame.grid, shift=shift)

    found = frame_shift(image, make, chosen.flux, others, (0.0, 0.0))
    return found.x, found.y


def pixel_table(
    frames: Iterable[Frame], ra: np.ndarray, dec: np.ndarray, radius: ArrayLike
) -> pd.DataFrame:
    """Pairs of sources and usable pixels of frames, the table of `learn.logpolar.fit_shape`.

    Parameters
    ----------
    frames : iterable of Frame
        Numbered as exposures in their order.
    ra, dec : ndarray, shape (nsources,)
        Degrees ICRS.
    radius : float or ndarray, shape (nsources,)
        Arcsec.
    """
    tables = []
    for number, frame in enumerate(frames):
        pairs = frame.grid.deltas(ra, dec, radius)
        flux, flux_err = frame.flux[pairs["pixel"]], frame.flux_err[pairs["pixel"]]
        table = pd.DataFrame({**pairs, "flux": flux, "flux_err": flux_err, "exposure": number})
        tables.append(table[np.isfinite(flux) & np.isfinite(flux_err)])
    return pd.concat(tables, ignore_index=True)


def binned_medians(
    x: np.ndarray, y: np.ndarray, value: np.ndarray, bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Medians of ``value``, and of the places, in the cells of a grid that are not empty."""
    edge = max(float(np.abs(x).max()), float(np.abs(y).max())) * (1.0 + 1e-9)
    column, row = (np.floor((a / edge + 1.0) * 0.5 * bins) for a in (x, y))
    table = pd.DataFrame({"x": x, "y": y, "value": value})
    medians = table.groupby([column, row]).median()
    return medians["x"].to_numpy(), medians["y"].to_numpy(), medians["value"].to_numpy()


def _moved(catalogue: Catalogue, shift: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    east = shift[0] / ARCSEC / np.cos(np.deg2rad(catalogue.dec))
    return catalogue.ra + east, catalogue.dec + shift[1] / ARCSEC


def _rough_scale(
    frames: Sequence[Frame],
    catalogue: Catalogue,
    prf: LogPolarPRF,
    radius: float,
    with_background: bool,
) -> float:
    """Scale of a catalogue in any unit, from the pixel closest to each source.

    It only has to be good enough to choose the pixels that a source outshines.
    """
    table = pixel_table(frames, catalogue.ra, catalogue.dec, radius)
    light = prf.evaluate(table["r"], table["phi"]) * catalogue.flux[table["source"]]
    total = table.assign(light=light).groupby(["exposure", "pixel"])["light"].transform("sum")
    sky = table.groupby("exposure")["flux"].transform("median") if with_background else 0.0
    closest = table.groupby("source")["r"].idxmin()
    scale = _scale((table["flux"] - sky)[closest].to_numpy(), total[closest].to_numpy())
    return scale if scale > 0.0 else 1.0


def _scale(flux: np.ndarray, estimate: np.ndarray) -> float:
    """Typical ratio of measured flux and catalogue estimate."""
    known = estimate > 0.0
    return typical_ratio(flux[known], estimate[known], _BRIGHTEST)
