"""The sources of a field with the PRF that they share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from romanprf.core.statistics import typical_ratio
from romanprf.frame.model import FrameModel
from romanprf.frame.stamps import Stamps, make_stamps
from romanprf.frame.state import AS_IN_HEADER, Shift
from romanprf.learn.logpolar import Iteration, uncontaminated
from romanprf.machine import checks
from romanprf.machine.beyond import beyond_rmax
from romanprf.machine.series import FramePixels
from romanprf.prf import PRF, LogPolarPRF
from romanprf.solve.fluxes import Prior
from romanprf.solve.register import register

#: A pixel belongs to one source if all others give less than this fraction of its light.
CONTAMINATION = 0.1
#: The scale of a catalogue is that of its brightest fifth.
_BRIGHTEST = 5
#: Number of the brightest sources that determine a centroid.
_CENTROID_STARS = 200
#: Light beyond footprints is followed to this fraction of the noise of a pixel.
_FAR = 0.05
#: A flux is measured on frames with more than this fraction of the light of the source.
_SHOWN = 0.2


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Positions and flux estimates of the sources.

    Attributes
    ----------
    table : DataFrame
        One row per source.
    ra, dec : ndarray, shape (nsources,)
        Degrees ICRS.
    flux : ndarray, shape (nsources,)
        Estimated, in any unit.
    """

    table: pd.DataFrame
    ra: np.ndarray
    dec: np.ndarray
    flux: np.ndarray

    @classmethod
    def from_table(cls, table: Any, flux_column: str) -> Catalogue:
        """Parse a table of sources (see `romanprf.machine.checks.source_table`)."""
        ra, dec, flux = checks.source_table(table, flux_column)
        return cls(table=table.copy(), ra=ra, dec=dec, flux=flux)

    def __len__(self) -> int:
        return len(self.ra)

    def only(self, chosen: np.ndarray) -> Catalogue:
        """Some of the sources; ``chosen`` is a mask."""
        return Catalogue(
            table=self.table[chosen],
            ra=self.ra[chosen],
            dec=self.dec[chosen],
            flux=self.flux[chosen],
        )


@dataclass(frozen=True, eq=False)
class Scene:
    """Positions and fluxes of all sources, and the PRF that they share.

    Attributes
    ----------
    ra, dec : ndarray, shape (nsources,)
        Degrees ICRS.
    flux : ndarray, shape (nsources,)
        e-/s, positive; sets the size of each footprint.
    prf : LogPolarPRF or TensorPRF
        Normalised.
    flux_cut_off : float
        A footprint ends where the light of its source falls under this (e-/s per pixel).
    shift : tuple of float
        (east, north) from the catalogue's positions to these, arcsec.
    flux_scale : float
        Flux in e-/s of a source whose estimate in the catalogue is 1.
    history : list of Iteration
        Iterations of the last fit of the log-polar PRF.
    pointing : tuple of float
        Mean (x, y) shift, as `centroid_shift` measures it, of the frames that the scene was learned
        from, pixels: what other frames are registered to.
    angle : float
        `PixelGrid.angle` of the frames that the PRF is as it is for; rad.
    scale_error : float
        Relative error that the fluxes of all sources share: that of the light of the wings.
    """

    ra: np.ndarray
    dec: np.ndarray
    flux: np.ndarray
    prf: PRF
    flux_cut_off: float
    shift: tuple[float, float]
    flux_scale: float = 1.0
    angle: float = 0.0
    pointing: tuple[float, float] = (0.0, 0.0)
    history: list[Iteration] = field(default_factory=list)
    scale_error: float = 0.0

    def prf_of(self, frame: FramePixels) -> PRF:
        """The PRF on a frame, whose detector may be turned on the sky."""
        if not isinstance(self.prf, LogPolarPRF):  # on the axes of the detector
            return self.prf
        return self.prf.turned(frame.grid.turned_from(self.angle))

    def model(self, frame: FramePixels, shift: tuple[float, float] = (0.0, 0.0)) -> FrameModel:
        """The sources on a frame, with footprints that end at ``flux_cut_off``.

        ``shift``: (x, y) by which they are off, pixels.
        """
        return FrameModel(
            frame=frame.frame(self.ra, self.dec),
            prf=self.prf_of(frame),
            flux=self.flux,
            flux_cut_off=self.flux_cut_off,
            state=AS_IN_HEADER.at(*shift),
            solved=1.0,
        )

    def far(self, frame: FramePixels, shift: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
        """Image (e-/s) of the light of the sources beyond their footprints and beyond the PRF."""
        model = self.model(frame, shift)
        # Many sources together are bright where each of them is lost in the noise.
        faintest = min(self.flux_cut_off, _FAR * frame.noise)
        model = replace(model, flux_cut_off=faintest, solved=self.flux_cut_off / faintest)
        # The flux of a source without a window is what a catalogue claims, and nobody can check it.
        flux = np.where(np.diff(model.stamps.offset) > 0, self.flux, 0.0)
        image = beyond_rmax(self.prf, frame.grid, self.ra, self.dec, flux)
        return model.add_far(flux, image)

    def stamps(self, frame: FramePixels, points: int = 1) -> Stamps:
        """PRF of all sources on a frame (see `romanprf.frame.stamps.make_stamps`)."""
        stars = frame.frame(self.ra, self.dec)
        return make_stamps(self.prf_of(frame), stars, self.flux, self.flux_cut_off, points=points)

    def measured(
        self, frames: Sequence[FramePixels], catalogue: Catalogue, with_background: bool
    ) -> Scene:
        """The scene with fluxes measured on the frames, under a prior too weak to matter.

        Sources with little of their light on the frames keep their fluxes.
        """
        sums = np.zeros((2, self.flux.size))
        for frame in frames:
            prior = Prior(self.flux, 10.0 * self.flux)
            fit = frame.solve(self.stamps(frame), prior, with_background, self.far(frame))
            seen = np.isfinite(fit.flux) & (fit.light > _SHOWN)
            weight = fit.flux_err[seen] ** -2.0
            sums[:, seen] += weight * fit.flux[seen], weight
        with np.errstate(invalid="ignore", divide="ignore"):
            flux = sums[0] / sums[1]
        flux = np.where(flux > 0.1 * self.flux, flux, self.flux)
        seen = sums[1] > 0.0
        return replace(
            self, flux=flux, flux_scale=catalogue_scale(flux[seen], catalogue.flux[seen])
        )

    def uncontaminated(
        self, stamps: Stamps, contaminant: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Light of each source in the pixels of its stamp, and whether a pixel belongs to it only.

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

        The light of the other sources is subtracted.

        Parameters
        ----------
        frames : iterable of FramePixels
            The pixels.
        clean : bool
            Whether to keep only pixels that belong to one source.
        with_background : bool
            Whether to subtract the median of the residual of each frame.
        """
        parts = []
        for frame in frames:
            stamps = self.stamps(frame)
            source, pixel = frame.grid.entries(stamps)
            light, own = self.uncontaminated(stamps)
            keep = (pixel >= 0) & (own if clean else light > 0.0)
            keep[keep] = frame.usable[pixel[keep]]
            left = frame.flux - frame.grid.pixels(stamps.model(self.flux))
            background = np.nanmedian(left) if with_background else 0.0
            own_flux = left[pixel[keep]] - background + light[keep]
            offset = frame.grid.offsets(stamps)
            turn = getattr(self.prf_of(frame), "turn", 0.0)
            east, north = (
                np.cos(turn) * a + sign * np.sin(turn) * b
                for a, b, sign in ((*offset, 1.0), (*offset[::-1], -1.0))
            )
            parts.append((east[keep], north[keep], own_flux / self.flux[source[keep]]))
        dra, ddec, value = (np.concatenate(column) for column in zip(*parts, strict=True))
        return dra, ddec, value


def centroid_shift(
    scene: Scene, frame: FramePixels, start: tuple[float, float] = (0.0, 0.0)
) -> Shift:
    """Common shift of the brightest sources of a frame from their positions.

    ``start``: first guess, pixels.
    """
    stars = np.zeros(scene.flux.size, bool)
    stars[np.argsort(-scene.flux)[:_CENTROID_STARS]] = True
    return register(frame.image(), scene.model(frame, start), scene.flux, stars)


def catalogue_scale(flux: np.ndarray, estimate: np.ndarray) -> float:
    """Typical ratio of measured flux and catalogue estimate."""
    known = estimate > 0.0
    return typical_ratio(flux[known], estimate[known], _BRIGHTEST)
