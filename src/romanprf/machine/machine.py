"""The documented class: PRF photometry of pixels in memory, for notebooks and cut-outs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix
from tqdm import tqdm

from romanprf.frame.stamps import Stamps
from romanprf.learn.logpolar import Usage
from romanprf.machine import checks as arrays
from romanprf.machine.grid import perturbed
from romanprf.machine.scene import (
    CONTAMINATION,
    Catalogue,
    Scene,
    binned_medians,
    centroid_shift,
    learn_scene,
    recognise_scene,
    refine_scene,
)
from romanprf.machine.series import Series, make_grids
from romanprf.prf import PRF, LogPolarPRF
from romanprf.solve.fluxes import FrameFluxes
from romanprf.solve.solver import NotConvergedError

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.figure import Figure

    from romanprf.io.pixel_series import PixelSeries

#: Up to so many pairs of sources and pixels, offsets are dense arrays.
_DENSE = 200_000
#: Most rounds of fitting a tensor model.
_ROUNDS = 6
#: Cells per axis of ``bin_data=True``.
_BINS = 30
#: Geometry of the PRF model that suits pixels of 0.11, 4 and 21 arcsec; Roman images hold the sky.
_ROMAN = {"n_r_knots": 28, "n_phi_knots": 24, "rmin": 0.01, "rmax": 2.2, "cut_r": 0.05}
_ROMAN |= {"fit_background": True}
_KEPLER = {"rmin": 1.0, "rmax": 16.0, "cut_r": 6.0, "sparse_dist_lim": 40.0}
_TESS = {"rmin": 5.0, "rmax": 80.0, "cut_r": 30.0, "sparse_dist_lim": 210.0}

#: Default reach of the time model, pixels: beyond it the light changes little when stars move.
_TIME_RADIUS = 3.0
#: Longest keyword of a FITS header.
_FITS_KEY = 8
#: What computes the attributes that are not there from the start.
_MADE_BY = {
    "build_shape_model()": "scene prf position_offset flux_scale source_mask mean_model radius "
    "uncontaminated_source_mask _reference_stamps _clean",
    "fit_model()": "ws werrs fit_quality background background_err",
    "fit_model(compute_model=True)": "model_flux",
    "build_time_model()": "time_model",
    "build_time_model() and then fit_model()": "ws_va werrs_va",
    "get_psf_metrics()": "source_psf_fraction",
    "build_time_model() and then get_psf_metrics()": "perturbed_ratio_mean perturbed_std",
}


class Machine:
    """Linearized Field Deblending of images in memory.

    Positions come from a catalogue, the PRF is learned from the images (`build_shape_model`) and
    the fluxes of all sources of a frame are solved at once (`fit_model`).

    Parameters
    ----------
    time : array_like, shape (nt,)
        JD.
    flux, flux_err : array_like, shape (nt, npixels) or (nt, nrows, ncolumns)
        Electrons per second.  A pixel whose flux or error is not finite is left out.
    ra, dec : array_like, shape (npixels,) or that of ``flux``
        Centres of the pixels, degrees ICRS; dithered frames have their own.
    sources : DataFrame
        Columns ``ra``, ``dec`` (degrees ICRS) and ``sources_flux_column``; any index.
    column, row : array_like, shapes of ``ra``
        Whole detector pixels.
    time_mask : array_like of bool, shape (nt,), optional
        Frames that "mean" and "all" of `build_shape_model` use.
    n_r_knots, n_phi_knots : int
        Knots of the PRF in radius (uniform in its square root) and angle.
    rmin, rmax : float
        Radii between which the PRF is modelled, arcsec.
    cut_r : float
        Radial functions that end inside this radius (arcsec) do not depend on the angle.
    sparse_dist_lim : float
        Large problems keep offsets of pixels up to this far from a source, arcsec.
    sources_flux_column : str
        Estimated flux of the sources; any unit, as one factor is fitted (``flux_scale``).
    saturation_limit : float, optional
        Pixels at or above this (e-/s), and those that touch them, are left out.
    fit_background : bool
        Solve a constant sky of each frame with the fluxes; otherwise it is 0.

    Attributes
    ----------
    nsources, nt, npixels : int
        Sizes.
    source_flux_estimates : ndarray, shape (nsources,)
        ``sources_flux_column``, never changed.
    dra, ddec : ndarray or csr_matrix, shape (nsources, npixels)
        Offsets of the pixels of frame ``reference_frame`` from the sources, on the sky, degrees:
        longitude and latitude in the frame whose origin is the source.
    r, phi : ndarray or csr_matrix, shape (nsources, npixels)
        The same in polar coordinates, arcsec and rad from east to north.
    source_mask : csr_matrix of bool, shape (nsources, npixels)
        Pixels in the footprint of each source.
    uncontaminated_source_mask : csr_matrix of bool, shape (nsources, npixels)
        Those where all contaminants together give less than a tenth of the source's light.
    mean_model : csr_matrix, shape (nsources, npixels)
        Fraction of each source's flux in each pixel.
    radius : ndarray, shape (nsources,)
        Of the footprints, arcsec.
    prf : LogPolarPRF or TensorPRF
        The PRF model, normalised.
    position_offset : tuple of float
        (east, north) by which all sources are moved to fit the images, arcsec.
    flux_scale : float
        Flux in e-/s of a source whose estimate is 1.
    ws, werrs : ndarray, shape (nt, nsources)
        Fluxes and their marginal errors, e-/s; NaN where no usable pixel shows the source.
    ws_va, werrs_va : ndarray, shape (nt, nsources)
        The same with the perturbed model.
    model_flux : ndarray, shape (nt, npixels)
        Model of the images, e-/s.
    fit_quality : ndarray of int, shape (nt,)
        0: solved; 1: the solver did not converge, the frame's fluxes are NaN.
    background, background_err : ndarray, shape (nt,)
        Sky, e-/s per pixel.
    source_psf_fraction, perturbed_ratio_mean, perturbed_std : ndarray, shape (nsources,)
        See `get_psf_metrics`.
    cartesian_knot_spacing : {"sqrt", "linear"}
        Spacing of the knots of the time model.
    quiet : bool
        No progress bars.
    contaminant_flux_limit : float or None
        Only sources of a larger flux estimate count as contaminants and shape the PRF.

    References
    ----------
    Hedges et al. 2021, AJ 162, 107; Luger, Foreman-Mackey & Hogg 2017, RNAAS 1, 7.
    """

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
        arrays.spline_settings(n_r_knots, n_phi_knots, rmin, rmax, cut_r)
        self._catalogue = Catalogue(*arrays.source_table(sources, sources_flux_column))
        self.source_flux_estimates = self._catalogue.flux.copy()
        self.sources = sources
        self.time = arrays.times(time)
        given = np.shape(flux)
        self.flux, self.flux_err = arrays.pixel_series(flux, flux_err, self.time.size)
        self.image_shape = given[1:] if len(given) == 3 else None
        self.nt, self.npixels = self.flux.shape
        self.nsources = len(sources)
        self.time_mask = arrays.frame_mask(time_mask, self.nt)
        self.ra, self.dec = (
            arrays.pixel_coordinate(v, n, given) for v, n in ((ra, "ra"), (dec, "dec"))
        )
        self.row, self.column = (
            arrays.whole_numbers(arrays.pixel_coordinate(v, n, given), n)
            for v, n in ((row, "row"), (column, "column"))
        )
        self.n_r_knots, self.n_phi_knots = int(n_r_knots), int(n_phi_knots)
        self.rmin, self.rmax, self.cut_r = float(rmin), float(rmax), float(cut_r)
        self.sparse_dist_lim = arrays.positive(sparse_dist_lim, "sparse_dist_lim", "arcsec")
        self.fit_background = fit_background
        self.cartesian_knot_spacing = "sqrt"
        self.quiet = False
        self.contaminant_flux_limit: float | None = None
        self.reference_frame = 0
        self.meta: dict[str, Any] = {}
        self._shape_facts: dict[str, Any] = {}
        if saturation_limit is not None:  # the caller's array stays as it is
            self.flux_err = self.flux_err.copy()
        self._series = Series(
            make_grids(self.row, self.column, self.ra, self.dec),
            self.flux,
            self.flux_err,
            self.time_mask,
            np.zeros(self.nt),
        )
        if saturation_limit is not None:
            limit = arrays.positive(saturation_limit, "saturation_limit")
            for t in range(self.nt):
                bright = self.flux[t] >= limit
                self.flux_err[t, self._series.grid(t).touching(bright)] = np.inf
        arrays.require_usable(self.flux, self.flux_err)

    def __repr__(self) -> str:
        return f"<Machine: {self.nsources} sources, {self.nt} times, {self.npixels} pixels>"

    def __getattr__(self, name: str) -> Any:
        # Only reached for what is not there: say which method computes it.
        for method, names in _MADE_BY.items():
            if name in names.split():
                raise AttributeError(f"Machine.{name} is not there yet: call {method} first")
        raise AttributeError(f"Machine has no attribute {name!r}")

    def _has(self, name: str) -> bool:
        return name in self.__dict__

    def _forget(self, *methods: str) -> None:
        """Drop what methods computed, because what it rests on changes."""
        for method in methods:
            for name in _MADE_BY[method].split():
                self.__dict__.pop(name, None)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of sources, times and pixels."""
        return self.nsources, self.nt, self.npixels

    # ---- the ways in ----

    @classmethod
    def from_roman(
        cls,
        files: Sequence[str | Path],
        sources: pd.DataFrame,
        position: Any = None,
        size: int | tuple[int, int] | None = None,
        *,
        gain: float | None = None,
        zero_point: float | None = None,
        **kwargs: Any,
    ) -> Machine:
        """Read Roman images: official Level 2 files, RImTimSim frames or roman-cuts cubes.

        Parameters
        ----------
        files : sequence of path
            Images, in any order.
        sources : DataFrame
            Columns ``ra``, ``dec`` (degrees ICRS, at the time of the images) and ``flux`` (e-/s)
            or ``mag`` (AB).  Those whose footprint cannot reach the pixels are left out.
        position : (ra, dec), SkyCoord or PixelPosition, optional
            Centre of a cut-out: on the sky (degrees), or a pixel of the first frame.  It is
            followed through the dithers.  Whole images if not given.
        size : int or (nrows, ncolumns), optional
            Of the cut-out, pixels.
        gain, zero_point : float, optional
            Electrons per DN and AB magnitude of 1 e-/s, for files that do not state them.
        **kwargs
            Of `Machine`.  Unless given, the sky is fitted and the knots are those of the workflow.
            Fluxes are weighted by the photon noise of the model instead of that of the data,
            which would bias faint ones.

        Raises
        ------
        InputError
            If a file cannot be used or does not show the position.
        """
        from romanprf.io.cutouts import read_cutouts  # noqa: PLC0415

        series = read_cutouts(files, position, size, gain=gain, zero_point=zero_point)
        column = kwargs.setdefault("sources_flux_column", "flux")
        if isinstance(sources, pd.DataFrame) and column not in sources and "mag" in sources:
            flux = 10.0 ** (-0.4 * (sources["mag"] - series.meta["zero_point"]))
            sources = sources.assign(**{column: flux})
        return cls._from_series(series, sources, {**_ROMAN, **kwargs})

    @classmethod
    def from_tpfs(
        cls,
        tpfs: Sequence[Any],
        sources: pd.DataFrame,
        *,
        quality: int | str = "default",
        **kwargs: Any,
    ) -> Machine:
        """Read Kepler, K2 or TESS target pixel files of one channel or CCD.

        The scales of the PRF model default to those that suit the mission's pixels.

        Parameters
        ----------
        tpfs : sequence of path or lightkurve TargetPixelFile
            Pixels that two of them share are used once.
        sources : DataFrame
            Columns ``ra``, ``dec`` and ``sources_flux_column``.
        quality : {"default", "none"} or int
            Which cadences to leave out (see `romanprf.io.target_pixels.read_target_pixels`).
        **kwargs
            Of `Machine`.

        Raises
        ------
        InputError
            If a file cannot be used, or if they do not belong together.
        """
        from romanprf.io.target_pixels import read_target_pixels  # noqa: PLC0415

        series = read_target_pixels(tpfs, quality)
        geometry = _TESS if series.meta["mission"] == "TESS" else _KEPLER
        return cls._from_series(series, sources, {**geometry, **kwargs})

    @classmethod
    def _from_series(
        cls, series: PixelSeries, sources: pd.DataFrame, kwargs: Mapping[str, Any]
    ) -> Machine:
        pixels = {n: getattr(series, n) for n in ("flux", "flux_err", "ra", "dec", "column", "row")}
        machine = cls(series.time, sources=sources, **pixels, **kwargs)
        near = machine._near_pixels()
        if not near.all():
            machine = cls(series.time, sources=sources[near], **pixels, **kwargs)
        machine.meta = {**series.meta, **series.extra}
        machine.image_shape = series.meta.get("shape")
        if "poisson_slope" in series.extra:
            slope = series.extra["poisson_slope"]
            machine._series = replace(machine._series, poisson_slope=slope)
        return machine

    def _near_pixels(self) -> np.ndarray:
        """Which sources are within ``rmax`` of a pixel of some frame."""
        near = np.zeros(self.nsources, bool)
        catalogue = self._catalogue
        for grid in self._series.grids:
            near[grid.deltas(catalogue.ra, catalogue.dec, self.rmax)["source"]] = True
        if not near.any():
            raise ValueError(
                f"none of the {self.nsources} sources is within {self.rmax} arcsec of the pixels, "
                "expected a catalogue of the same field, ra and dec in degrees ICRS"
            )
        return near

    # ---- geometry ----

    @property
    def dra(self) -> np.ndarray | csr_matrix:
        """East offsets of pixels from sources, degrees, shape (nsources, npixels)."""
        return self._deltas["dra"]

    @property
    def ddec(self) -> np.ndarray | csr_matrix:
        """North offsets of pixels from sources, degrees, shape (nsources, npixels)."""
        return self._deltas["ddec"]

    @property
    def r(self) -> np.ndarray | csr_matrix:
        """Distances of pixels from sources, arcsec, shape (nsources, npixels)."""
        return self._deltas["r"]

    @property
    def phi(self) -> np.ndarray | csr_matrix:
        """Angles of pixels from sources, rad from east to north, shape (nsources, npixels)."""
        return self._deltas["phi"]

    @property
    def _dense(self) -> bool:
        return self.nsources * self.npixels < _DENSE

    @cached_property
    def _deltas(self) -> Mapping[str, Any]:
        grid, catalogue = self._series.grid(self.reference_frame), self._catalogue
        if self._dense:
            return grid.dense_deltas(catalogue.ra, catalogue.dec)
        return grid.sparse_deltas(catalogue.ra, catalogue.dec, self.sparse_dist_lim)

    # ---- the PRF ----

    @property
    def prf(self) -> PRF:
        """The PRF model, normalised."""
        return self.scene.prf

    @property
    def position_offset(self) -> tuple[float, float]:
        """(east, north) by which all sources are moved to fit the images, arcsec."""
        return self.scene.shift

    @property
    def flux_scale(self) -> float:
        """Flux (e-/s) of a source whose estimate in the catalogue is 1."""
        return self.scene.flux_scale

    def build_shape_model(
        self,
        flux_cut_off: float = 1,
        frame_index: str | int = 0,
        bin_data: int = 0,
        plot: bool = False,
        *,
        model: str = "log-polar",
        **kwargs: Any,
    ) -> Figure | None:
        """Learn the PRF from the images.

        Two rounds of: fit log10(flux / source flux) of pixels that belong to one source, correct
        the positions by a common shift, normalise, and measure all fluxes with the result.

        Parameters
        ----------
        flux_cut_off : float
            A footprint ends where the light of its source falls under this (e-/s per pixel).
        frame_index : int, "mean" or "all"
            Frame to learn from, or the mean of the frames of ``time_mask`` (not for dithered
            ones), or all of their pixels.
        bin_data : int
            Median of the pixels in so many bins per axis of angle and radius; True means 30.
        plot : bool
            Return the picture of `plot_shape_model`.
        model : {"log-polar", "tensor"}
            Kind of PRF: splines of its logarithm on the sky; or, starting from these, splines of
            its value on the detector's axes, fitted to all pixels (see docs/shape.md), which
            undersampled images of many dithers need and many stars.
        **kwargs
            ``source_flux_limit`` (1): use a source out to where its light falls under this
            (e-/s per pixel); ``iterations`` (4): rounds of selecting pixels and fitting;
            ``reference_frame`` (0): frame whose pixels the masks, ``mean_model`` and the
            offsets refer to.

        Returns
        -------
        Figure or None

        Raises
        ------
        ValueError
            If an argument is wrong, or if too few pixels belong to one source only.
        """
        if model not in ("log-polar", "tensor"):
            raise ValueError(f"model={model!r}, expected 'log-polar' or 'tensor'")
        bins = _BINS if bin_data is True else arrays.count(bin_data, "bin_data")
        limit, settings, reference = self._mask_settings(kwargs)
        frames = self._series.choose(frame_index)
        scene = learn_scene(
            frames,
            self._catalogue,
            settings,
            self._usage(bins, limit),
            self._reach,
            arrays.positive(flux_cut_off, "flux_cut_off"),
        )
        if model == "tensor":
            scene = refine_scene(scene, frames, self._catalogue, _ROUNDS, self.fit_background)
        self._adopt(scene, reference)
        return self.plot_shape_model(frame_index, bins > 0) if plot else None

    def load_shape_model(
        self, path: str | Path, flux_cut_off: float = 1, frame_index: str | int = 0, **kwargs: Any
    ) -> None:
        """Use a PRF that `save_shape_model`, psfmachine or roman-lcs wrote.

        The shift of the positions and the scale of the catalogue are still fitted to the images.

        Parameters
        ----------
        path : path
            ``.parquet`` or ``.fits``.
        flux_cut_off, frame_index, **kwargs
            As in `build_shape_model`.

        Raises
        ------
        InputError
            If the file cannot be used.
        """
        from romanprf.prf.shape_files import read_shape  # noqa: PLC0415

        limit, settings, reference = self._mask_settings(kwargs)
        frames = self._series.choose(frame_index)
        prf, facts = read_shape(path, frames[0].grid.pixel_area)
        scene = recognise_scene(
            prf.normalised(),
            frames,
            self._catalogue,
            settings,
            self._usage(0, limit),
            self._reach,
            arrays.positive(flux_cut_off, "flux_cut_off"),
        )
        self._adopt(scene, reference)
        self._shape_facts = facts

    def save_shape_model(self, path: str | Path) -> None:
        """Write the PRF to a ``.parquet`` or ``.fits`` file (see `load_shape_model`).

        ``meta`` fills the header: psfmachine asks for mission, quarter and channel, roman-lcs
        for mission, field and detector.
        """
        from romanprf.prf.shape_files import write_shape  # noqa: PLC0415

        if not isinstance(self.prf, LogPolarPRF):
            raise ValueError(
                "the files are those of log-polar models, and this is a tensor model: "
                'save that of build_shape_model(model="log-polar")'
            )
        plain = {k: v for k, v in self.meta.items() if isinstance(v, (str, int, float))}
        known = {k: v for k, v in plain.items() if len(k) <= _FITS_KEY}
        write_shape(path, self.prf, {"jd-obs": float(self.time[0]), **known, **self._shape_facts})

    @property
    def _reach(self) -> float:
        return self.rmax if self._dense else min(self.rmax, self.sparse_dist_lim)

    @property
    def _settings(self) -> dict[str, Any]:
        names = ("n_r_knots", "n_phi_knots", "rmin", "cut_r", "rmax")
        return {
            **{name: getattr(self, name) for name in names},
            "source_flux_limit": 0.0,
            "contamination": CONTAMINATION,
            "iterations": 4,
        }

    def _mask_settings(self, given: Mapping[str, Any]) -> tuple[float, dict[str, Any], int]:
        """``source_flux_limit``, settings of the fit, and ``reference_frame``."""
        known = {"source_flux_limit": 1.0, "iterations": 4, "reference_frame": 0}
        for name in given:
            if name not in known:
                raise TypeError(
                    f"there is no argument {name!r}, expected one of {', '.join(known)}"
                )
        limit, iterations, frame = ({**known, **given}[name] for name in known)
        if not limit >= 0.0:
            raise ValueError(f"source_flux_limit={limit}, expected a flux of 0 or more (e-/s)")
        if arrays.count(iterations, "iterations") == 0:
            raise ValueError("iterations=0, expected 1 or more")
        frame = arrays.frame_number(frame, "reference_frame", self.nt)
        return float(limit), {**self._settings, "iterations": int(iterations)}, frame

    def _usage(self, bins: int, flux_limit: float) -> Usage:
        faintest = 0.0 if self.contaminant_flux_limit is None else self.contaminant_flux_limit
        return Usage(self.fit_background, True, bins, flux_limit, faintest)

    def _adopt(self, scene: Scene, reference: int) -> None:
        """Take over a shape model; what was computed with an older one goes."""
        self._forget(*_MADE_BY)
        self.__dict__.pop("_deltas", None)
        self.scene, self.reference_frame, self._shape_facts = scene, reference, {}
        grid = self._series.grid(reference)
        stamps = self._reference_stamps = scene.stamps(grid)
        self.radius = stamps.radius * grid.pixel_scale
        self.mean_model = grid.matrix(stamps)
        self.source_mask = self.mean_model > 0
        limit = self.contaminant_flux_limit
        counted = None if limit is None else self.source_flux_estimates > limit
        _, self._clean = scene.uncontaminated(stamps, counted)
        self.uncontaminated_source_mask = grid.matrix(perturbed(stamps, self._clean)) > 0

    # ---- the fluxes ----

    def fit_model(
        self,
        prior_mu: np.ndarray | None = None,
        prior_sigma: np.ndarray | None = None,
        compute_model: bool = False,
    ) -> None:
        """Fit the fluxes of all sources of each frame at once, with Gaussian priors.

        If there is a time model, also with the perturbed PRF (``ws_va``, ``werrs_va``).

        Parameters
        ----------
        prior_mu : ndarray, shape (nsources,), optional
            e-/s; ``flux_scale`` times ``source_flux_estimates`` if not given.
        prior_sigma : ndarray, shape (nsources,), optional
            e-/s; five square roots of the size of ``prior_mu``, at least 5, if not given.
        compute_model : bool
            Also compute ``model_flux``.

        Raises
        ------
        AttributeError
            If there is no shape model yet.
        ValueError
            If a prior cannot be used.
        """
        default = self.flux_scale * self.source_flux_estimates
        mu = arrays.vector_of_sources(prior_mu, "prior_mu", default)
        default = 5.0 * np.sqrt(np.maximum(np.abs(mu), 1.0))
        sigma = arrays.vector_of_sources(prior_sigma, "prior_sigma", default)
        if not (sigma > 0.0).all():
            raise ValueError(f"prior_sigma has the value {sigma.min()}, expected positive ones")
        plain, moving = _Fluxes(self), _Fluxes(self)
        model_flux = np.full(self.flux.shape, np.nan)
        stamps = None
        for t in tqdm(range(self.nt), desc="fit_model", disable=self.quiet):
            grid = self._series.grid(t)
            if stamps is None or self._series.dithered:
                stamps = self.scene.stamps(grid)
            fit = plain.solve(t, stamps, mu, sigma)
            if compute_model and fit is not None:
                model_flux[t] = grid.pixels(fit.model)
            if self._has("time_model"):
                moving.solve(t, self._perturbed(stamps, t), mu, sigma)
        self._forget("fit_model(compute_model=True)", "build_time_model() and then fit_model()")
        self.ws, self.werrs = plain.flux, plain.flux_err
        self.fit_quality = np.maximum(plain.quality, moving.quality)
        self.background, self.background_err = plain.background
        if compute_model:
            self.model_flux = model_flux
        if self._has("time_model"):
            self.ws_va, self.werrs_va = moving.flux, moving.flux_err

    # ---- the time model ----

    def build_time_model(
        self,
        time_nknots: int = 7,
        time_resolution: int = 1,
        time_radius: float | None = None,
        *,
        vectors: str | ArrayLike = "polynomial",
        poly_order: int = 3,
        segments: bool = True,
        plot: bool = False,
    ) -> Figure | None:
        """Learn how the PRF changes in time (Hedges et al. 2021, sec. 3).

        For frames on one pixel grid, in which stars drift or the focus changes.

        Parameters
        ----------
        time_nknots : int
            Knots per axis of the splines in the offset from the source.
        time_resolution : int
            Frames to bin.
        time_radius : float, optional
            Reach of the model around a source, arcsec; three pixels if not given.
        vectors : "polynomial", "centroid" or array_like, shape (nt, k)
            What the change follows in time: powers of the time, the centroid of the scene and
            its squares, or series of your own.
        poly_order : int
            Highest power of "polynomial".
        segments : bool
            Let each stretch between gaps (5 times the cadence) have vectors of its own.
        plot : bool
            Return the picture of `plot_time_model`.

        Raises
        ------
        ValueError
            If the frames are dithered or cannot determine the model.
        """
        if self._series.dithered:
            raise ValueError(
                "the frames are dithered: the time model describes drifts on one pixel grid, "
                'dithers belong into the PRF, build_shape_model(frame_index="all")'
            )
        from romanprf.timemodel import Pairs, fit_time_model, segment_starts, split  # noqa: PLC0415

        scale = self._series.grid(0).pixel_scale
        source, dra, ddec, flux, flux_err = pairs = self._clean_pairs()
        starts = segment_starts(self.time) if segments else np.zeros(1, int)
        self.time_model, used = fit_time_model(
            split(self._time_vectors(vectors, poly_order), starts),
            Pairs(source=source, dx=dra, dy=ddec, flux=flux, flux_err=flux_err),
            self.prf,
            starts=starts,
            nknots=time_nknots,
            radius=_TIME_RADIUS * scale if time_radius is None else float(time_radius),
            spacing=self.cartesian_knot_spacing,
            resolution=time_resolution,
        )
        self._time_model_pairs = [a[..., used] for a in pairs]
        self._forget(*(method for method in _MADE_BY if "and then" in method))
        return self.plot_time_model() if plot else None

    def perturbed_model(self, time_index: int) -> csr_matrix:
        """Mean model times the perturbation at a time, shape (nsources, npixels)."""
        frame = arrays.frame_number(time_index, "time_index", self.nt)
        stamps = self._perturbed(self._reference_stamps, frame)
        return self._series.grid(0).matrix(stamps)

    def _perturbed(self, stamps: Stamps, time_index: int) -> Stamps:
        offsets = self._series.grid(0).offsets(stamps)
        return perturbed(stamps, self.time_model.factor(time_index, *offsets))

    def _clean_pairs(self) -> list[np.ndarray]:
        """Source, offsets (arcsec), flux and error (nt, npairs) of uncontaminated pixels."""
        stamps, grid = self._reference_stamps, self._series.grid(0)
        source, pixel = grid.entries(stamps)
        keep = self._clean & (pixel >= 0)
        pixel = pixel[keep]
        east, north = (offset[keep] for offset in grid.offsets(stamps))
        return [source[keep], east, north, self.flux[:, pixel], self.flux_err[:, pixel]]

    def _time_vectors(self, vectors: str | ArrayLike, poly_order: int) -> np.ndarray:
        from romanprf.timemodel.vectors import checked, polynomials  # noqa: PLC0415

        if isinstance(vectors, str) and vectors == "polynomial":
            return polynomials(self.time, poly_order, segments=False)
        if isinstance(vectors, str) and vectors == "centroid":
            frames = (self._series.frame(t) for t in range(self.nt))
            shifts = [centroid_shift(self.scene, frame) for frame in frames]
            x, y = np.transpose(shifts - np.mean(shifts, axis=0))
            return np.stack([x, y, x * x, x * y, y * y], axis=1)
        if isinstance(vectors, str):
            raise ValueError(
                f'vectors={vectors!r}, expected "polynomial", "centroid" or an array of shape '
                f"({self.nt}, k)"
            )
        return checked(vectors, self.nt)

    # ---- metrics ----

    def get_psf_metrics(self, npoints_per_pixel: int = 10) -> None:
        """Compute how much of each source's light is in the data, and what the time model does.

        Sets ``source_psf_fraction``, the fraction of the light in the pixels of the source's
        footprint, mean over the frames; and, if there is a time model, ``perturbed_ratio_mean``,
        the perturbed over the mean model's light, and ``perturbed_std``, the standard deviation
        in time of the perturbed model's light.

        Parameters
        ----------
        npoints_per_pixel : int
            The PRF is averaged over so many places per axis of each pixel; 0 takes its centre.
        """
        points = max(arrays.count(npoints_per_pixel, "npoints_per_pixel"), 1)
        grids, scene = self._series.grids, self.scene
        light = [_light(grid.matrix(scene.stamps(grid, points))) for grid in grids]
        self.source_psf_fraction = np.clip(np.mean(light, axis=0), 0.0, 1.0)
        if self._has("time_model"):
            series = np.stack([_light(self.perturbed_model(t)) for t in range(self.nt)])
            with np.errstate(invalid="ignore"):  # sources without light
                self.perturbed_ratio_mean = series.mean(axis=0) / _light(self.mean_model)
            self.perturbed_std = series.std(axis=0)

    # ---- pictures ----

    def plot_shape_model(
        self, frame_index: str | int = "mean", bin_data: bool = False, clean: bool = True
    ) -> Figure:
        """Draw data, PRF and residual against the offset from the source.

        Parameters
        ----------
        frame_index : int, "mean" or "all"
            Which pixels; the mean of dithered frames is all of their pixels.
        bin_data : bool
            Medians of the pixels in bins.
        clean : bool
            Only pixels that belong to one source.

        Returns
        -------
        Figure
        """
        from romanprf.plots.shape_model import shape_model_figure  # noqa: PLC0415
        from romanprf.plots.style import drawing  # noqa: PLC0415

        if self._series.dithered and frame_index == "mean":
            frame_index = "all"
        dra, ddec, value = self.scene.profile(
            self._series.choose(frame_index), clean, self.fit_background
        )
        if bin_data:
            dra, ddec, value = binned_medians(dra, ddec, value, _BINS)
        model = self.prf.evaluate(np.hypot(dra, ddec), np.arctan2(ddec, dra))
        titles = {"mean": "mean of the frames", "all": "pixels of all frames"}
        title = titles.get(str(frame_index), f"frame {frame_index}")
        with drawing():
            return shape_model_figure(dra, ddec, value, model, title)

    def plot_source_mask(self) -> Figure:
        """Draw the fall of the light with radius and the footprint of each source."""
        from romanprf.plots.source_mask import source_mask_figure  # noqa: PLC0415
        from romanprf.plots.style import drawing  # noqa: PLC0415

        frame = self._series.frame(self.reference_frame)
        dra, ddec, value = self.scene.profile([frame], True, self.fit_background)
        r, flux = np.hypot(dra, ddec), self.scene.flux
        with drawing():
            return source_mask_figure(
                r, value, self.prf.mean_profile, flux, self.radius, self.scene.flux_cut_off
            )

    def plot_time_model(self) -> Figure:
        """Draw data, model and residual of the time model at both ends of the series."""
        from romanprf.plots.style import drawing  # noqa: PLC0415
        from romanprf.plots.time_model import time_model_figure  # noqa: PLC0415

        model = self.time_model
        source, dra, ddec, flux, _ = self._time_model_pairs
        relative = model.relative_flux(flux, source, dra, ddec)
        with drawing():
            return time_model_figure(model, dra, ddec, relative, np.ones(source.size, bool))

    # ---- the ways out ----

    def to_table(self) -> Table:
        """Light curves as an Astropy table: source_id, time, ra, dec, psf_flux, psf_flux_err.

        One row per source and time, by source; ``perturbed_flux`` and its error where there is a
        time model.  ``source_id`` is that column of ``sources``, or ``designation``, or the index.
        """
        from romanprf.io.light_curves import light_curve_table  # noqa: PLC0415

        return light_curve_table(self.time, self.sources, self._light_curves(), self.meta)

    def to_lightkurve(self) -> Any:
        """Light curves as a ``lightkurve.LightCurveCollection``, one per source."""
        from romanprf.io.light_curves import lightkurve_collection  # noqa: PLC0415

        return lightkurve_collection(self.time, self.sources, self._light_curves(), self.meta)

    def _light_curves(self) -> dict[str, np.ndarray]:
        columns = {"psf_flux": self.ws, "psf_flux_err": self.werrs}
        if self._has("ws_va"):
            columns |= {"perturbed_flux": self.ws_va, "perturbed_flux_err": self.werrs_va}
        return columns


class _Fluxes:
    """Fluxes and errors of all frames, as they come."""

    def __init__(self, machine: Machine):
        self._machine = machine
        self.flux, self.flux_err = np.full((2, machine.nt, machine.nsources), np.nan)
        self.quality = np.zeros(machine.nt, int)
        self.background = np.full((2, machine.nt), np.nan)

    def solve(
        self, frame: int, stamps: Stamps, mu: np.ndarray, sigma: np.ndarray
    ) -> FrameFluxes | None:
        """Fit one frame; None, and quality 1, if the solver does not converge."""
        machine = self._machine
        try:
            fit = machine._series.frame(frame).fit(stamps, mu, sigma, machine.fit_background)
        except NotConvergedError:
            self.quality[frame] = 1
            return None
        self.flux[frame], self.flux_err[frame] = fit.flux, fit.flux_err
        self.background[:, frame] = fit.background, fit.background_err
        return fit


def _light(model: csr_matrix) -> np.ndarray:
    """Sum over the pixels, shape (nsources,)."""
    return np.asarray(model.sum(axis=1)).ravel()
