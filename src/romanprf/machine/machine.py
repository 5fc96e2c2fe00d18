"""The documented class: PRF photometry of pixels in memory, for notebooks and cut-outs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix
from tqdm import tqdm

from romanprf.machine import checks
from romanprf.machine.fluxes import fit_series
from romanprf.machine.metrics import perturbed_metrics, psf_metrics
from romanprf.machine.pictures import BINS, Pictures
from romanprf.machine.readers import Readers
from romanprf.machine.time_model import learn_time_model, time_vectors

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.figure import Figure

#: Key of the angle on the sky of the columns of the detector whose PRF a file holds, degrees.
_ROLL = "colangle"
#: Longest keyword of a FITS header.
_FITS_KEY = 8


class Machine(Readers, Pictures):
    """Linearized Field Deblending of images in memory.

    Positions come from a catalogue, the PRF is learned from the images (`build_shape_model`) and
    the fluxes of all sources of a frame are solved at once (`fit_model`).

    Parameters
    ----------
    time : array_like, shape (nt,)
        JD.
    flux, flux_err : array_like, shape (nt, npixels) or (nt, nrows, ncolumns)
        Electrons per second; quantities are converted.  A pixel whose flux or error is masked or
        not finite is left out.
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
        If there are many pixels and sources, only the offsets of pixels up to this far from a
        source are kept, arcsec.
    sources_flux_column : str
        Column of the estimated fluxes, in any unit: one factor is fitted (``flux_scale``).
    saturation_limit : float, optional
        Pixels at or above this (e-/s), and those that touch them, are left out.
    fit_background : bool
        Solve a constant background of each frame with the fluxes; otherwise it is 0.

    Attributes
    ----------
    nsources, nt, npixels : int
        Numbers of sources, frames and pixels.
    source_flux_estimates : ndarray, shape (nsources,)
        ``sources_flux_column``, never changed.
    dra, ddec : ndarray or csr_matrix, shape (nsources, npixels)
        East and north offsets on the sky of the pixels of frame ``reference_frame`` from the
        sources, degrees: longitude and latitude in the frame whose origin is the source.
    r, phi : ndarray or csr_matrix, shape (nsources, npixels)
        The same in polar coordinates, arcsec and rad from east to north.
    source_mask : csr_matrix of bool, shape (nsources, npixels)
        Pixels in the footprint of each source.
    uncontaminated_source_mask : csr_matrix of bool, shape (nsources, npixels)
        Those in which all contaminants together give less than a tenth of the source's light.
    mean_model : csr_matrix, shape (nsources, npixels)
        Fraction of each source's flux in each pixel.
    radius : ndarray, shape (nsources,)
        Radius of each footprint, arcsec.
    prf : LogPolarPRF or TensorPRF
        The PRF model, normalised.
    position_offset : tuple of float
        (east, north) by which all sources are moved to fit the images, arcsec.
    flux_scale : float
        Flux in e-/s of a source whose estimate is 1.
    scale_error : float
        Relative error that the fluxes of all sources and frames share, because the light in the
        wings of the PRF is uncertain.
    ws, werrs : ndarray, shape (nt, nsources)
        Fluxes and their marginal errors, e-/s; NaN where no usable pixel shows the source.  The
        errors include ``scale_error``, which does not make a light curve scatter.
    ws_va, werrs_va : ndarray, shape (nt, nsources)
        The same with the perturbed model.
    model_flux : ndarray, shape (nt, npixels)
        Model of the images, e-/s.
    fit_quality : ndarray of int, shape (nt,)
        0: solved; 1: the solver did not converge; 2: the frame has no usable pixel.  The fluxes of
        1 and 2 are NaN.
    frame_shift : ndarray, shape (nt, 2)
        (x, y) by which the sources of each frame are off those that the PRF was learned from,
        pixels; NaN where they do not tell.  Frames off by more than 5 sigma and 0.05 pixel (0.01 of
        dithered ones) are fitted with the sources where they are.
    background, background_err : ndarray, shape (nt,)
        Background and its error, e-/s per pixel; 0 if it is not fitted.
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

        Two rounds: fit log10(flux / source flux) of the pixels that belong to one source, correct
        the positions by a common shift, measure the light of the PRF by radius on all pixels (in
        rings that no pixel shows well it follows the ring inside), normalise it on the pixels, and
        measure all fluxes with the result.

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
            its value on the detector's axes, fitted to all pixels (see
            docs/explanation/shape.md).  The latter suits undersampled images with many dithers
            and many stars.
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
        bins = BINS if bin_data is True else checks.count(bin_data, "bin_data")
        settings = checks.MaskSettings.checked(kwargs, self.nt)
        learner = self._learner(flux_cut_off, frame_index, settings, bins)
        scene = learner.learn()
        if model == "tensor":
            scene = learner.refine(scene)
        self._adopt(scene, settings.reference_frame)
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

        settings = checks.MaskSettings.checked(kwargs, self.nt)
        learner = self._learner(flux_cut_off, frame_index, settings)
        prf, header = read_shape(path, learner.frames[0].grid.pixel_area)
        # Ours is normalised on the pixels that shaped it; others are fractions of catalogue fluxes.
        prf = prf if header.get("origin") == "romanprf" else prf.normalised()
        if _ROLL in header:
            learner = replace(learner, angle=float(np.deg2rad(header[_ROLL])))
        self._adopt(learner.recognise(prf), settings.reference_frame, header)

    def save_shape_model(self, path: str | Path) -> None:
        """Write the PRF to a ``.parquet`` or ``.fits`` file (see `load_shape_model`).

        ``meta`` fills the header: psfmachine asks for mission, quarter and channel, roman-lcs
        for mission, field and detector.
        """
        from romanprf.prf.shape_files import write_shape  # noqa: PLC0415

        shape = self._shape
        known = {
            key: value
            for key, value in self.meta.items()
            if isinstance(value, (str, int, float)) and len(key) <= _FITS_KEY
        }
        facts = {"jd-obs": float(self.time[0]), **known, **shape.header}
        write_shape(path, shape.prf, {**facts, _ROLL: float(np.rad2deg(shape.scene.angle))})

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
        expected = self.flux_scale * self.source_flux_estimates
        self._results = fit_series(
            self._series,
            self._results,
            checks.flux_prior(prior_mu, prior_sigma, expected),
            tqdm(range(self.nt), desc="fit_model", disable=self.quiet),
            with_background=self.fit_background,
            with_images=compute_model,
        )

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
            Number of frames in a bin.
        time_radius : float, optional
            Reach of the model around a source, arcsec; three pixels if not given.
        vectors : "polynomial", "centroid" or array_like, shape (nt, k)
            Time dependence of the change: powers of the time, the centroid of the scene and its
            squares, or series of your own.
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
        shape = self._shape
        time_model = learn_time_model(
            self._series,
            shape,
            time_vectors(self._series, shape.scene, vectors, poly_order),
            segments=segments,
            nknots=time_nknots,
            radius=time_radius,
            spacing=self.cartesian_knot_spacing,
            resolution=time_resolution,
        )
        self._results = replace(
            self._results, time_model=time_model, perturbed_fluxes=None, perturbed_metrics=None
        )
        return self.plot_time_model() if plot else None

    def perturbed_model(self, time_index: int) -> csr_matrix:
        """Mean model times the perturbation at a time, shape (nsources, npixels)."""
        frame = checks.frame_number(time_index, "time_index", self.nt)
        stamps = self._shape.stamps
        return self._results.need("time_model", "time_model").matrix(stamps, frame)

    def get_psf_metrics(self, npoints_per_pixel: int = 10) -> None:
        """Compute the fraction of each source's light in the data and the effect of the time model.

        Sets ``source_psf_fraction``, the fraction of the light in the pixels of the source's
        footprint, mean over the frames; and, if there is a time model, ``perturbed_ratio_mean``,
        the perturbed over the mean model's light, and ``perturbed_std``, the standard deviation
        in time of the perturbed model's light.

        Parameters
        ----------
        npoints_per_pixel : int
            The PRF is averaged over so many places per axis of each pixel; 0 takes its centre.
        """
        points = max(checks.count(npoints_per_pixel, "npoints_per_pixel"), 1)
        shape, time_model = self._shape, self._results.time_model
        metrics = psf_metrics(self._series, shape.scene, points)
        perturbed = None if time_model is None else perturbed_metrics(shape, time_model)
        self._results = replace(self._results, metrics=metrics, perturbed_metrics=perturbed)

    def to_table(self) -> Table:
        """Light curves as an Astropy table: source_id, time, ra, dec, psf_flux, psf_flux_err.

        One row per source and time, by source; ``perturbed_flux`` and its error where there is a
        time model.  ``source_id`` is that column of ``sources``, or ``designation``, or the index.
        """
        from romanprf.io.light_curves import light_curve_table  # noqa: PLC0415

        columns = self._results.light_curves()
        return light_curve_table(self.time, self.sources, columns, self.meta)

    def to_lightkurve(self) -> Any:
        """Light curves as a ``lightkurve.LightCurveCollection``, one per source."""
        from romanprf.io.light_curves import lightkurve_collection  # noqa: PLC0415

        columns = self._results.light_curves()
        return lightkurve_collection(self.time, self.sources, columns, self.meta)
