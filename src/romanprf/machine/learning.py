"""Learning the PRF of a scene, its positions and its fluxes from frames in memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from romanprf.learn.logpolar import LogPolarSettings, fit_shift, learn_logpolar
from romanprf.learn.tensor import TensorSettings, learn_tensor
from romanprf.machine.scene import Catalogue, Scene, catalogue_scale, centroid_shift
from romanprf.machine.series import FramePixels
from romanprf.machine.wings import measure_rings, total_light
from romanprf.prf import LogPolarPRF, TensorPRF
from romanprf.sky.wcs import ARCSEC
from romanprf.solve.fluxes import Prior

#: Most rounds of fitting a tensor model.
_TENSOR_ROUNDS = 6
#: Sources brighter than this many times the noise of a pixel shape a tensor model.
_PRECISE = 30.0
#: Pixels are listed out to this fraction of the flux limit; the first estimate of the fluxes uses
#: those out to this multiple of cut_r.
_FAINTEST, _NEAR = 0.03, 3.0
#: Rounds of measuring the light of the PRF by radius, on so many frames at most.
_WINGS, _ENOUGH = 5, 4
#: An estimate is absurd if it is so many times the flux that the closest pixel can have, at so many
#: sigmas: the first guess of a PRF is up to a factor of 5 wrong there.
_ABSURD, _MOST_SIGMA = 50.0, 5.0
#: ... and if it outshines the noise of the pixel by this factor.
_CERTAIN = 100.0
#: That pixel is so near (pixels), and the background is at least this quantile of the pixels.
_WITHIN, _DARK = 0.75, 0.05
#: Least flux of a source, e-/s: footprints need a positive one.
_LEAST_FLUX = 1e-6


@dataclass(frozen=True, eq=False)
class SceneLearner:
    """Frames and catalogue from which a scene is learned.

    Attributes
    ----------
    frames : sequence of FramePixels
        To learn from.
    catalogue : Catalogue
        Positions and flux estimates.
    settings : LogPolarSettings
        How; ``contaminant_limit`` in the unit of the catalogue.
    reach : float
        Pixels further than this from a source are not used, arcsec.
    flux_cut_off : float
        e-/s per pixel at which a footprint ends.
    angle : float
        `PixelGrid.angle` of the axes of the PRF, rad.
    """

    frames: Sequence[FramePixels]
    catalogue: Catalogue
    settings: LogPolarSettings
    reach: float
    flux_cut_off: float
    angle: float

    def with_plausible_fluxes(self) -> SceneLearner:
        """The learner with estimates that the pixel closest to each source allows.

        A source that is estimated far brighter than that pixel would leave no pixel to the others.
        """
        area = self.frames[0].grid.pixel_area
        prf, table = self.settings.first_guess(area), self._table(np.sqrt(area))
        if self.settings.background:  # what all pixels have, at least
            table["flux"] -= table.groupby("exposure")["flux"].transform("quantile", _DARK)
        closest = table.loc[table.groupby("source")["r"].idxmin()]
        closest = closest[closest["r"] < _WITHIN * np.sqrt(area)]
        source = closest["source"].to_numpy()
        light = prf.evaluate(closest["r"], closest["phi"]) * self.catalogue.flux[source]
        most = (closest["flux"] + _MOST_SIGMA * closest["flux_err"]).to_numpy()
        scale = catalogue_scale(closest["flux"].to_numpy(), light)
        noise = _CERTAIN * closest["flux_err"].to_numpy()
        absurd = scale * light > np.maximum(_ABSURD * most, noise)
        if not absurd.any():
            return self
        flux = self.catalogue.flux.copy()
        flux[source[absurd]] *= np.maximum(most / (scale * light), 0.0)[absurd]
        warn_of_absurd(self.catalogue, source[absurd])
        return replace(self, catalogue=replace(self.catalogue, flux=flux))

    def learn(self) -> Scene:
        """Learn log-polar PRF, shift of the positions and fluxes.

        Two rounds of `romanprf.learn.logpolar.learn_logpolar`, the second with the fluxes measured
        after the first, because the estimates of a catalogue may be in another band.

        Raises
        ------
        InputError
            If too few pixels belong to one source only.
        """
        area, settings = self.frames[0].grid.pixel_area, self.settings
        guess = settings.first_guess(area)
        scale = self._rough_scale(guess, self.reach)
        flux = self._flux(scale)
        # Faint sources need no pixels of their wings: those would be most of the table.
        faintest = _FAINTEST * max(settings.flux_limit, 1e-3)
        reach = np.minimum(guess.radius(faintest / flux), self.reach)
        table = self._table(np.maximum(reach, settings.cut_r))
        for wings in (1, _WINGS):
            prf, history = learn_logpolar(table, _sources(flux), area, self._scaled(scale))
            scene = self._with_wings(self._scene(prf, flux, history[-1].shift), wings)
            flux, scale = scene.flux, scene.flux_scale
        # As `recognise` finds it, so that the model, saved and loaded, gives the same fluxes.
        return replace(self.recognise(cast(LogPolarPRF, scene.prf)), history=history)

    def recognise(self, prf: LogPolarPRF) -> Scene:
        """Shift and fluxes for a PRF that is known and normalised."""
        reach = min(self.reach, prf.rmax)
        scale = self._rough_scale(prf, reach)
        flux = self._flux(scale)
        shift = fit_shift(prf, self._table(reach), _sources(flux), self._scaled(scale))
        scene = self._scene(prf, flux, shift)
        rings = measure_rings(scene, self._some, None, self.settings.background)
        return _pointed(replace(scene, scale_error=rings.scale_error(prf)), self._some)

    @property
    def _some(self) -> Sequence[FramePixels]:
        """Frames that are enough to measure the wings."""
        return self.frames[:: -(-len(self.frames) // _ENOUGH)]

    def _with_wings(self, scene: Scene, rounds: int) -> Scene:
        """The scene with as much light in the wings of its PRF as the frames show."""
        applied = None
        for number in range(rounds):
            rings = measure_rings(scene, self._some, applied, self.settings.background)
            applied = rings.positive if applied is None else applied * rings.positive
            prf = rings.applied(cast(LogPolarPRF, scene.prf))
            scene = _normalised(replace(scene, prf=prf), self._some)
            if number in (1, rounds - 1):
                scene = self._measured(scene)
        return scene

    def refine(self, scene: Scene) -> Scene:
        """Replace the PRF of `learn` by a tensor model (see `romanprf.learn.tensor`)."""
        frames = [frame.frame(scene.ra, scene.dec) for frame in self.frames]
        exposure, log_polar = frames[0].exposure, cast(LogPolarPRF, scene.prf)
        jacobian, reach = exposure.jacobian, log_polar.rmax / exposure.pixel_scale
        start = TensorPRF.projected(log_polar.with_wing(jacobian), reach, jacobian)
        first = self.frames[0]
        noise = float(np.median(first.flux_err[first.usable]))
        settings = TensorSettings(
            rounds=_TENSOR_ROUNDS,
            flux_cut_off=scene.flux_cut_off,
            source_flux_limit=min(_PRECISE * noise, float(np.sort(scene.flux)[-3:].min())),
            background_nodes=int(self.settings.background),
            with_errors=False,
        )
        prior, flags = Prior(scene.flux, 10.0 * scene.flux), np.zeros(scene.flux.size, np.int32)
        learned = learn_tensor(frames, prior, flags, start, settings)
        scene = self._measured(replace(scene, prf=learned.prf.normalised()))
        return _pointed(scene, self._some)

    def _scene(self, prf: LogPolarPRF, flux: np.ndarray, shift: tuple[float, float]) -> Scene:
        """The scene with this PRF; fluxes (e-/s) are measured with footprints for these."""
        catalogue = self.catalogue
        east = shift[0] / ARCSEC / np.cos(np.deg2rad(catalogue.dec))
        scene = Scene(
            ra=catalogue.ra + east,
            dec=catalogue.dec + shift[1] / ARCSEC,
            flux=flux,
            prf=prf,
            flux_cut_off=self.flux_cut_off,
            shift=shift,
            angle=self.angle,
        )
        return self._measured(scene)

    def _measured(self, scene: Scene) -> Scene:
        return scene.measured(self.frames, self.catalogue, self.settings.background)

    def _flux(self, scale: float) -> np.ndarray:
        """Estimated fluxes, e-/s."""
        return np.maximum(scale * self.catalogue.flux, _LEAST_FLUX)

    def _scaled(self, scale: float) -> LogPolarSettings:
        """The settings with limits in e-/s, for a catalogue of this scale."""
        limit = self.settings.contaminant_limit * scale
        return replace(self.settings, contaminant_limit=limit)

    def _table(self, radius: ArrayLike) -> pd.DataFrame:
        return pixel_table(
            self.frames, self.catalogue.ra, self.catalogue.dec, radius, angle=self.angle
        )

    def _rough_scale(self, prf: LogPolarPRF, reach: float) -> float:
        """Scale of a catalogue in any unit, from the pixel closest to each source.

        It only has to be good enough to choose the pixels that a source outshines.
        """
        table = self._near(reach)
        light = (
            prf.evaluate(table["r"], table["phi"] - table["turn"])
            * self.catalogue.flux[table["source"]]
        )
        pixels = table.assign(light=light).groupby(["exposure", "pixel"])
        total = pixels["light"].transform("sum")
        closest = table.groupby("source")["r"].idxmin()
        scale = catalogue_scale(table["flux"][closest].to_numpy(), total[closest].to_numpy())
        return scale if scale > 0.0 else 1.0

    def _near(self, reach: float) -> pd.DataFrame:
        """Pixels close to the sources; the background, if there is one, is subtracted."""
        table = self._table(min(reach, _NEAR * self.settings.cut_r))
        if self.settings.background:
            table["flux"] -= table.groupby("exposure")["flux"].transform("median")
        return table


def _pointed(scene: Scene, frames: Sequence[FramePixels]) -> Scene:
    """The scene with the mean shift of its frames."""
    shifts = np.array([centroid_shift(scene, frame)[:2] for frame in frames])
    x, y = shifts.mean(axis=0)
    return replace(scene, pointing=(float(x), float(y)))


def _normalised(scene: Scene, frames: Sequence[FramePixels]) -> Scene:
    """The scene with a PRF whose light is 1 in the pixels of its frames."""
    light = total_light(scene, frames)
    return replace(scene, prf=scene.prf.brightened(1.0 / light), flux=scene.flux * light)


def warn_of_absurd(catalogue: Catalogue, source: np.ndarray) -> None:
    """Tell which estimates were not believed."""
    row = catalogue.table.index[source[0]]
    warnings.warn(
        f"sources: flux of row {row} is {catalogue.flux[source[0]]:.4g}, more than {_ABSURD:g} "
        f"times what its pixels show ({source.size} such sources): it does not shape the PRF",
        stacklevel=4,
    )


def pixel_table(
    frames: Iterable[FramePixels],
    ra: np.ndarray,
    dec: np.ndarray,
    radius: ArrayLike,
    angle: float,
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
    angle : float
        Of the axes of the PRF, rad.
    """
    tables = []
    for number, frame in enumerate(frames):
        pairs = frame.grid.deltas(ra, dec, radius)
        flux, flux_err = frame.flux[pairs["pixel"]], frame.flux_err[pairs["pixel"]]
        table = pd.DataFrame({**pairs, "flux": flux, "flux_err": flux_err, "exposure": number})
        table["turn"] = frame.grid.turned_from(angle)
        tables.append(table[np.isfinite(flux) & np.isfinite(flux_err)])
    return pd.concat(tables, ignore_index=True)


def _sources(flux: np.ndarray) -> pd.DataFrame:
    """Table of unflagged sources."""
    return pd.DataFrame({"flux": flux, "flags": 0})
