"""Pixels and sources of a machine, and the results that its methods have computed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cached_property
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from romanprf.learn.logpolar import LogPolarSettings
from romanprf.machine import checks
from romanprf.machine.grid import Offsets
from romanprf.machine.learning import SceneLearner
from romanprf.machine.results import Computed, Results, ShapeResult
from romanprf.machine.scene import CONTAMINATION, Catalogue, Scene
from romanprf.machine.series import Series, make_grids, unsaturated_errors

#: Scale of a catalogue that states e-/s or AB magnitudes beyond which, or its inverse, it is told.
_OFF_SCALE = 1.1
#: Offsets are dense arrays if there are fewer pairs of sources and pixels than this.
_DENSE = 200_000


class MachineData:
    """Data and results of a `romanprf.Machine`, which documents parameters and attributes."""

    scene = Computed("shape")
    prf = Computed("shape")
    position_offset = Computed("shape")
    flux_scale = Computed("shape")
    scale_error = Computed("shape")
    radius = Computed("shape")
    mean_model = Computed("shape")
    source_mask = Computed("shape")
    uncontaminated_source_mask = Computed("shape")
    ws = Computed("fluxes")
    werrs = Computed("fluxes")
    fit_quality = Computed("fluxes")
    background = Computed("fluxes")
    background_err = Computed("fluxes")
    frame_shift = Computed("fluxes")
    model_flux = Computed("images")
    time_model = Computed("time_model")
    ws_va = Computed("perturbed_fluxes")
    werrs_va = Computed("perturbed_fluxes")
    source_psf_fraction = Computed("metrics")
    perturbed_ratio_mean = Computed("perturbed_metrics")
    perturbed_std = Computed("perturbed_metrics")

    dra = property(attrgetter("_offsets.dra"), doc="East offsets of pixels from sources, degrees.")
    ddec = property(attrgetter("_offsets.ddec"), doc="North offsets, degrees.")
    r = property(attrgetter("_offsets.r"), doc="Distances of pixels from sources, arcsec.")
    phi = property(attrgetter("_offsets.phi"), doc="Angles, rad from east to north.")

    def __init__(
        self,
        time: ArrayLike,
        flux: ArrayLike,
        flux_err: ArrayLike,
        ra: ArrayLike,
        dec: ArrayLike,
        sources: pd.DataFrame,
        column: ArrayLike,
        row: ArrayLike,
        time_mask: ArrayLike | None = None,
        n_r_knots: int = 10,
        n_phi_knots: int = 15,
        rmin: float = 0.1,
        rmax: float = 2,
        cut_r: float = 0.2,
        sparse_dist_lim: float = 4,
        sources_flux_column: str = "flux",
        *,
        saturation_limit: float | None = None,
        fit_background: bool = False,
    ) -> None:
        checks.spline_settings(n_r_knots, n_phi_knots, rmin, rmax, cut_r)
        self._set_catalogue(Catalogue.from_table(sources, sources_flux_column))
        self.time = checks.times(time)
        given = np.shape(flux)
        self.flux, self.flux_err = checks.pixel_series(flux, flux_err, self.time.size)
        self.image_shape = given[1:] if len(given) == 3 else None
        self.nt, self.npixels = self.flux.shape
        self.time_mask = checks.frame_mask(time_mask, self.nt)
        self.ra, self.dec, self.row, self.column = checks.coordinates(ra, dec, row, column, given)
        self.n_r_knots, self.n_phi_knots = int(n_r_knots), int(n_phi_knots)
        self.rmin, self.rmax, self.cut_r = float(rmin), float(rmax), float(cut_r)
        self.sparse_dist_lim = checks.positive(sparse_dist_lim, "sparse_dist_lim", "arcsec")
        self.fit_background = fit_background
        self.cartesian_knot_spacing = "sqrt"
        self.quiet = False
        self.contaminant_flux_limit: float | None = None
        self.reference_frame = 0
        self.meta: dict[str, Any] = {}
        self._calibrated = False
        self._results = Results()
        grids = make_grids(self.row, self.column, self.ra, self.dec)
        if saturation_limit is not None:
            limit = checks.positive(saturation_limit, "saturation_limit")
            self.flux_err = unsaturated_errors(grids, self.flux, self.flux_err, limit)
        checks.require_usable(self.flux, self.flux_err)
        self._series = Series(
            time=self.time,
            grids=grids,
            flux=self.flux,
            flux_err=self.flux_err,
            time_mask=self.time_mask,
            poisson_slope=np.zeros(self.nt),
        )

    def __repr__(self) -> str:
        return f"<Machine: {self.nsources} sources, {self.nt} times, {self.npixels} pixels>"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of sources, times and pixels."""
        return self.nsources, self.nt, self.npixels

    @property
    def _shape(self) -> ShapeResult:
        return self._results.need("shape", "mean_model")

    def _set_catalogue(self, catalogue: Catalogue) -> None:
        self._catalogue, self.sources, self.nsources = catalogue, catalogue.table, len(catalogue)
        self.source_flux_estimates = catalogue.flux.copy()

    @property
    def _dense(self) -> bool:
        return self.nsources * self.npixels < _DENSE

    @cached_property
    def _offsets(self) -> Offsets:
        grid, catalogue = self._series.grid(self.reference_frame), self._catalogue
        if self._dense:
            return grid.dense_offsets(catalogue.ra, catalogue.dec)
        return grid.sparse_offsets(catalogue.ra, catalogue.dec, self.sparse_dist_lim)

    def _learner(
        self,
        flux_cut_off: float,
        frame_index: str | int,
        settings: checks.MaskSettings,
        bins: int = 0,
    ) -> SceneLearner:
        """Frames, catalogue and settings of the shape model."""
        log_polar = LogPolarSettings(
            n_r_knots=self.n_r_knots,
            n_phi_knots=self.n_phi_knots,
            rmin=self.rmin,
            cut_r=self.cut_r,
            rmax=self.rmax,
            source_flux_limit=0.0,
            contamination=CONTAMINATION,
            iterations=settings.iterations,
            background=self.fit_background,
            common_shift=True,
            bins=bins,
            flux_limit=settings.source_flux_limit,
            contaminant_limit=self.contaminant_flux_limit or 0.0,
        )
        frames = self._series.choose(frame_index)
        return SceneLearner(
            frames=frames,
            catalogue=self._catalogue,
            settings=log_polar,
            reach=self.rmax if self._dense else min(self.rmax, self.sparse_dist_lim),
            flux_cut_off=checks.positive(flux_cut_off, "flux_cut_off"),
            angle=frames[0].grid.angle,
        ).with_plausible_fluxes()

    def _adopt(self, scene: Scene, reference: int, header: Mapping[str, Any] | None = None) -> None:
        """Take over a shape model and drop all results of an older one."""
        limit = self.contaminant_flux_limit
        contaminant = None if limit is None else self.source_flux_estimates > limit
        shape = ShapeResult.of(scene, self._series.frame(reference), contaminant, header or {})
        self._results, self.reference_frame = Results(shape=shape), reference
        if self._calibrated:
            warn_of_scale(scene.flux_scale)
        self.__dict__.pop("_offsets", None)


def warn_of_scale(scale: float) -> None:
    """Tell of a catalogue whose fluxes are not those of the images."""
    if not 1.0 / _OFF_SCALE < scale < _OFF_SCALE:
        warnings.warn(
            f"flux_scale is {scale:.3g}, expected {1.0 / _OFF_SCALE:.2g} to {_OFF_SCALE:.2g}: "
            "magnitudes of the catalogue, zero_point, gain or the light in the wings are wrong",
            stacklevel=4,
        )
