"""The sources of a field with the PRF they share, and how it is learned from frames in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from romanprf.core.statistics import typical_ratio
from romanprf.frame.model import FrameModel
from romanprf.frame.stamps import Stamps, make_stamps
from romanprf.learn.logpolar import (
    Iteration,
    LogPolarSettings,
    fit_shift,
    learn_logpolar,
    uncontaminated,
)
from romanprf.learn.tensor import TensorSettings, learn_tensor
from romanprf.machine.series import FramePixels
from romanprf.prf import PRF, LogPolarPRF, TensorPRF
from romanprf.sky.wcs import ARCSEC
from romanprf.solve.fluxes import Prior
from romanprf.solve.register import register

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

    def model(self, frame: FramePixels) -> FrameModel:
        """What the sources look like on a frame."""
        return FrameModel(
            frame=frame.frame(self.ra, self.dec),
            prf=self.prf,
            flux=self.flux,
            flux_cut_off=self.flux_cut_off,
            solved=1.0,
        )

    def stamps(self, frame: FramePixels, points: int = 1) -> Stamps:
        """PRF of all sources on a frame (see `romanprf.frame.stamps.make_stamps`)."""
        stars = frame.frame(self.ra, self.dec)
        return make_stamps(self.prf, stars, self.flux, self.flux_cut_off, points=points)

    def measured(
        self, frames: Sequence[FramePixels], catalogue: Catalogue, with_background: bool
    ) -> Scene:
        """Replace the fluxes by those of the frames, under a prior too weak to matter.

        Sources of which the frames show little keep theirs.
        """
        sums = np.zeros((2, self.flux.size))
        for frame in frames:
            prior = Prior(self.flux, 10.0 * self.flux)
            fit = frame.solve(self.stamps(frame), prior, with_background)
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
        self, frames: Iterable[FramePixels], clean: bool, with_background: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Offsets (east, north, arcsec) and flux over source flux of the pixels in footprints.

        The light of the other sources, and the median of what is left with a background, are
        subtracted; ``clean`` keeps only pixels that belong to one source.
        """
        parts = []
        for frame in frames:
            stamps = self.stamps(frame)
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
    frames: Sequence[FramePixels],
    catalogue: Catalogue,
    settings: LogPolarSettings,
    radius: float,
    flux_cut_off: float,
) -> Scene:
    """Learn PRF, shift of the positions and fluxes from frames.

    Two rounds of `romanprf.learn.logpolar.learn_logpolar`, the second with the fluxes measured
    after the first, because the estimates of a catalogue may be in another band.

    Parameters
    ----------
    frames : sequence of FramePixels
        What to learn from.
    catalogue : Catalogue
        Positions and flux estimates.
    settings : LogPolarSettings
        ``contaminant_limit`` in the unit of the catalogue.
    radius : float
        Reach of the pixels that are used, arcsec.
    flux_cut_off : float
        e-/s per pixel at which a footprint ends.

    Raises
    ------
    InputError
        If too few pixels belong to one source only.
    """
    area, with_background = frames[0].grid.pixel_area, settings.background
    guess = settings.first_guess(area)
    near = min(radius, _NEAR * settings.cut_r)
    scale = _rough_scale(frames, catalogue, guess, near, with_background)
    flux = np.maximum(scale * catalogue.flux, 1e-6)
    # Faint sources need no pixels of their wings: those would be most of the table.
    faintest = _FAINTEST * max(settings.flux_limit, 1e-3)
    reach = np.minimum(guess.radius(faintest / flux), radius)
    table = pixel_table(frames, catalogue.ra, catalogue.dec, np.maximum(reach, settings.cut_r))
    for _ in range(_ROUNDS):
        sources = pd.DataFrame({"flux": flux, "flags": 0})
        scaled = replace(settings, contaminant_limit=settings.contaminant_limit * scale)
        prf, history = learn_logpolar(table, sources, area, scaled)
        shift = history[-1].shift
        ra, dec = _moved(catalogue, shift)
        scene = Scene(
            ra=ra,
            dec=dec,
            flux=flux * prf.integral(),
            prf=prf.normalised(),
            flux_cut_off=flux_cut_off,
            shift=shift,
            history=history,
        ).measured(frames, catalogue, with_background)
        flux, scale = scene.flux, scene.flux_scale
    return scene


def recognise_scene(
    prf: LogPolarPRF,
    frames: Sequence[FramePixels],
    catalogue: Catalogue,
    settings: LogPolarSettings,
    radius: float,
    flux_cut_off: float,
) -> Scene:
    """Shift and fluxes for a PRF that is known and normalised (see `learn_scene`)."""
    radius = min(radius, prf.rmax)
    table = pixel_table(frames, catalogue.ra, catalogue.dec, radius)
    near = min(radius, _NEAR * settings.cut_r)
    scale = _rough_scale(frames, catalogue, prf, near, settings.background)
    flux = np.maximum(scale * catalogue.flux, 1e-6)
    sources = pd.DataFrame({"flux": flux, "flags": 0})
    scaled = replace(settings, contaminant_limit=settings.contaminant_limit * scale)
    shift = fit_shift(prf, table, sources, scaled)
    ra, dec = _moved(catalogue, shift)
    scene = Scene(ra=ra, dec=dec, flux=flux, prf=prf, flux_cut_off=flux_cut_off, shift=shift)
    return scene.measured(frames, catalogue, settings.background)


def refine_scene(
    scene: Scene,
    frames: Sequence[FramePixels],
    catalogue: Catalogue,
    rounds: int,
    with_background: bool,
) -> Scene:
    """Replace the log-polar PRF of a scene by a tensor model (see `romanprf.learn.tensor`).

    Parameters
    ----------
    scene : Scene
        From `learn_scene`.
    frames : sequence of FramePixels
        To learn from.
    catalogue : Catalogue
        Its scale is measured again.
    rounds : int
        Most rounds of the fit.
    with_background : bool
        Whether frames have an unknown sky.
    """
    stars = [frame.frame(scene.ra, scene.dec) for frame in frames]
    log_polar = cast(LogPolarPRF, scene.prf)  # that of learn_scene
    first = stars[0].exposure
    jacobian, reach = first.jacobian, log_polar.rmax / first.pixel_scale
    start = TensorPRF.projected(log_polar.with_wing(jacobian), reach, jacobian)
    noise = float(np.median(frames[0].flux_err[frames[0].usable]))
    settings = TensorSettings(
        rounds=rounds,
        flux_cut_off=scene.flux_cut_off,
        source_flux_limit=min(_PRECISE * noise, float(np.sort(scene.flux)[-3:].min())),
        with_background=with_background,
        with_errors=False,
    )
    prior, flags = Prior(scene.flux, 10.0 * scene.flux), np.zeros(scene.flux.size, np.int32)
    learned = learn_tensor(stars, prior, flags, start, settings)
    refined = replace(scene, prf=learned.prf.normalised())
    return refined.measured(frames, catalogue, with_background)


def centroid_shift(scene: Scene, frame: FramePixels) -> tuple[float, float]:
    """Common (x, y) shift of the brightest sources of a frame from their places, pixels."""
    stars = np.zeros(scene.flux.size, bool)
    stars[np.argsort(-scene.flux)[:_CENTROID_STARS]] = True
    found = register(frame.image(), scene.model(frame), scene.flux, stars)
    return found.x, found.y


def pixel_table(
    frames: Iterable[FramePixels], ra: np.ndarray, dec: np.ndarray, radius: ArrayLike
) -> pd.DataFrame:
    """Pairs of sources and usable pixels, as `romanprf.learn.logpolar.learn_logpolar` takes them.

    Parameters
    ----------
    frames : iterable of FramePixels
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
    frames: Sequence[FramePixels],
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
