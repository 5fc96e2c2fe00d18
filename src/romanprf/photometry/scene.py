"""The sources of a field with the PRF they share, and how it is learned from frames in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from romanprf.photometry.grid import PixelGrid
from romanprf.photometry.series import Frame
from romanprf.photometry.stamps import Stamps
from romanprf.prf import LogPolarPRF
from romanprf.prf.shape import Iteration, Usage, fit_shape, fit_shift, uncontaminated
from romanprf.wcs import ARCSEC

#: A pixel belongs to one source where all others give less than this fraction of its light.
CONTAMINATION = 0.1
#: Rounds of fitting the PRF with the fluxes that the last one gave.
_ROUNDS = 2
#: The scale of a catalogue is that of its brightest fifth, at least so many sources.
_BRIGHTEST, _FEWEST = 5, 10


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
    prf : LogPolarPRF
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
    prf: LogPolarPRF
    flux_cut_off: float
    shift: tuple[float, float]
    flux_scale: float = 1.0
    history: list[Iteration] = field(default_factory=list)

    def stamps(self, grid: PixelGrid, points: int = 1) -> Stamps:
        """PRF of all sources on a grid (see `PixelGrid.stamps`)."""
        return grid.stamps(self.prf, self.ra, self.dec, self.flux, self.flux_cut_off, points)

    def measured(
        self, frames: Sequence[Frame], catalogue: Catalogue, with_background: bool
    ) -> Scene:
        """Replace the fluxes by those of the frames, under a prior too weak to matter.

        Sources that the frames do not show keep theirs.
        """
        sums = np.zeros((2, self.flux.size))
        for frame in frames:
            fit = frame.fit(self.stamps(frame.grid), self.flux, 10.0 * self.flux, with_background)
            seen = np.isfinite(fit.flux)
            weight = fit.flux_err[seen] ** -2.0
            sums[:, seen] += weight * fit.flux[seen], weight
        with np.errstate(invalid="ignore", divide="ignore"):
            flux = sums[0] / sums[1]
        flux = np.where(flux > 0.1 * self.flux, flux, self.flux)
        return replace(self, flux=flux, flux_scale=_scale(flux, catalogue.flux))

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
        self, frames: Iterable[Frame], clean: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Offsets (east, north, arcsec) and flux over source flux of the pixels in footprints.

        The light of the other sources is not subtracted; ``clean`` keeps only pixels that belong
        to one source.
        """
        parts = []
        for frame in frames:
            stamps = self.stamps(frame.grid)
            source, pixel = frame.grid.entries(stamps)
            light, own = self.uncontaminated(stamps)
            keep = (pixel >= 0) & (own if clean else light > 0.0)
            keep[keep] = frame.usable[pixel[keep]]
            east, north = frame.grid.offsets(stamps)
            ratio = frame.flux[pixel[keep]] / self.flux[source[keep]]
            parts.append((east[keep], north[keep], ratio))
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

    Two rounds of `romanprf.prf.shape.fit_shape`, the second with the fluxes that the first one
    leads to, because estimates of a catalogue may be in another band.

    Parameters
    ----------
    frames : sequence of Frame
        What to learn from.
    catalogue : Catalogue
        Positions and flux estimates.
    settings, usage
        See `romanprf.prf.shape.fit_shape`.
    radius : float
        Reach of the pixels that are used, arcsec.
    flux_cut_off : float
        e-/s per pixel at which a footprint ends.

    Raises
    ------
    InputError
        If too few pixels belong to one source only.
    """
    table = pixel_table(frames, catalogue.ra, catalogue.dec, radius)
    flux, limit = np.maximum(catalogue.flux, 1e-6), usage.contaminant_limit
    for _ in range(_ROUNDS):
        sources = pd.DataFrame({"flux": flux, "flags": 0})
        prf, history = fit_shape(table, sources, settings, frames[0].grid.pixel_area, usage)
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
    table = pixel_table(frames, catalogue.ra, catalogue.dec, min(radius, prf.rmax))
    flux = np.maximum(catalogue.flux, 1e-6)
    sources = pd.DataFrame({"flux": flux, "flags": 0})
    shift = fit_shift(prf, table, sources, settings, usage)
    scene = Scene(*_moved(catalogue, shift), flux, prf, flux_cut_off, shift)
    return scene.measured(frames, catalogue, usage.background)


def centroid_shift(scene: Scene, frame: Frame, settings: Mapping[str, Any]) -> tuple[float, float]:
    """Common (east, north) shift of all sources of a frame from their places, arcsec."""
    table = pixel_table([frame], scene.ra, scene.dec, scene.prf.rmax)
    sources = pd.DataFrame({"flux": scene.flux, "flags": 0})
    return fit_shift(scene.prf, table, sources, settings, Usage(background=False))


def pixel_table(
    frames: Iterable[Frame], ra: np.ndarray, dec: np.ndarray, radius: float
) -> pd.DataFrame:
    """Pairs of sources and usable pixels of frames, as `romanprf.prf.shape.fit_shape` reads them.

    Parameters
    ----------
    frames : iterable of Frame
        Numbered as exposures in their order.
    ra, dec : ndarray, shape (nsources,)
        Degrees ICRS.
    radius : float
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


def _scale(flux: np.ndarray, estimate: np.ndarray) -> float:
    """Typical ratio of measured flux and catalogue estimate; the brightest tell it best."""
    flux, estimate = flux[estimate > 0.0], estimate[estimate > 0.0]
    if flux.size == 0:
        return 1.0
    bright = np.argsort(-flux)[: max(_FEWEST, flux.size // _BRIGHTEST)]
    return float(np.median(flux[bright] / estimate[bright]))
