"""Step ``fit``: all fluxes of every frame of a batch."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from romanprf import schemas
from romanprf.config import Fit
from romanprf.core.accelerate import keep_memory
from romanprf.core.image import Image, enough_rows
from romanprf.core.statistics import robust_spread
from romanprf.flags import ExposureFlag, SourceFlag
from romanprf.frame.frame import Frame
from romanprf.frame.model import FrameModel
from romanprf.frame.state import AS_IN_HEADER, RIGID, FrameState
from romanprf.io.exposures import read_exposures
from romanprf.io.tables import provenance, read_metadata, read_table, write_table
from romanprf.prf import PRF
from romanprf.prf.table import read_prf
from romanprf.sky.wcs import ARCSEC
from romanprf.solve.centroids import Centroids, centroids
from romanprf.solve.fit import FrameFit, fit_frame
from romanprf.solve.fluxes import Method, Prior
from romanprf.solve.geometry import register_geometry
from romanprf.solve.model_error import error_images, model_error
from romanprf.solve.register import reference_stars
from romanprf.solve.solver import NotConvergedError
from romanprf.solve.uncatalogued import UncataloguedStars

logger = logging.getLogger(__name__)

#: Pixels of a frame, about, from which the spread of its residuals is measured.
_ENOUGH = 2**19
#: The catalogue ends at the flux that this part of it (%) is below.
_FADING = 10.0
#: A frame is a MISFIT if its typical chi2 is this many times that of those learned from.
_MISFIT = 3.0
#: ... or if its bright stars are that much fainter or brighter than elsewhere.
_SCALE = 1.5
#: Sources in blocks of so many arcsec are neighbours in memory.
_BLOCK = 3.5
#: Sources within so many pixels of a reference star may shine on it.
_NEARBY = 40.0


@dataclass(frozen=True, eq=False)
class Reduction:
    """What all frames of a reduction share.

    Attributes
    ----------
    sources : DataFrame
        The ``sources`` table, in the order of `sky_order`.
    prf : PRF
        The model.
    settings : Fit
        That section of the configuration.
    flux_cut_off : float
        e-/s per pixel at which the light of a star ends.
    learned_chi2 : float
        Of the pixels that the PRF was learned from; NaN if unknown.
    background_nodes : int
        Splines per axis of the background that the images need.
    """

    sources: pd.DataFrame
    prf: PRF
    settings: Fit
    flux_cut_off: float
    learned_chi2: float = np.nan
    background_nodes: int = 1

    @cached_property
    def reference(self) -> np.ndarray:
        """Whether each source is one of those that tell of a frame as a whole."""
        sources = self.sources
        return reference_stars(sources["flux"].to_numpy(), sources["flags"].to_numpy())

    def misfits(self, fit: FrameFit) -> str:
        """Why a frame is none that the PRF and the sources describe; empty if it is one."""
        limit = _MISFIT * max(self.learned_chi2, 1.0)
        if fit.typical_chi2 > limit:
            return f"chi2 of its pixels is {fit.typical_chi2:.3g}, expected less than {limit:.3g}"
        ratio = (fit.flux / self.prior.mu)[self.reference & np.isfinite(fit.flux)]
        if ratio.size and not 1.0 / _SCALE < np.median(ratio) < _SCALE:
            return f"fluxes are {np.median(ratio):.3g} times those expected"
        return ""

    @property
    def prior(self) -> Prior:
        """Prior of each flux of a frame."""
        return flux_prior(self.sources, self.settings.prior_width)

    def model(self, frame: Frame, state: FrameState) -> FrameModel:
        """A frame in this state."""
        flux = self.sources["flux"].to_numpy(copy=True)  # pandas' own is read-only
        return FrameModel(frame, self.prf, flux, self.flux_cut_off, state)

    def register(self, frame: Frame, image: Image) -> FrameState:
        """State of a frame from the reference stars, if frames are registered."""
        stars = self.reference
        if not (self.settings.register_frames and stars.any()):
            return AS_IN_HEADER
        model = self.model(frame, AS_IN_HEADER)
        return register_geometry(image, model, model.flux, stars, _NEARBY)


def run(inputs: Mapping[str, Any], outputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Make one batch of ``photometry`` and ``frame_stats``.

    Parameters
    ----------
    inputs : mapping
        ``exposures``, ``sources`` and ``prf``: paths.
    outputs : mapping
        ``photometry`` and ``frame_stats``: paths.
    params : mapping
        Section ``fit`` of the configuration; ``flux_cut_off`` (e-/s); ``exposures``: the
        exposure numbers of the batch.
    """
    keep_memory()
    sources = read_table(inputs["sources"], schemas.SOURCES)
    order = sky_order(sources)
    back = np.argsort(order)
    reduction = Reduction(
        sources=sources.iloc[order],
        prf=read_prf(inputs["prf"]),
        settings=Fit(**params["fit"]),
        flux_cut_off=params["flux_cut_off"],
        **read_learned(inputs["prf"]),
    )
    rows = read_exposures(inputs["exposures"], params["exposures"]).to_dict("records")
    frames = [Frame.from_row(row, reduction.sources) for row in rows]
    errors = model_errors(frames, reduction, read_search(inputs))
    fluxes, statistics = [], []
    pairs = zip(frames, read_ahead(frames), strict=True)
    for frame, image in tqdm(pairs, "fit", len(frames), disable=None):
        columns, row = fit_exposure(frame, image, reduction)
        columns["model_err"] = errors
        fluxes.append({name: values[back] for name, values in columns.items()})
        statistics.append(row)
    origin = provenance({name: inputs[name] for name in ("sources", "prf")}, params)
    write_table(outputs["frame_stats"], pd.DataFrame(statistics), schemas.FRAME_STATS, origin)
    write_table(outputs["photometry"], by_source(fluxes), schemas.PHOTOMETRY, origin)


def sky_order(sources: pd.DataFrame) -> np.ndarray:
    """Order that makes neighbours on the sky neighbours in memory: half the time of a fit."""
    ra, dec = sources["ra"].to_numpy(), sources["dec"].to_numpy()
    east = ra * np.cos(np.deg2rad(dec.mean()))
    return np.lexsort([east // (_BLOCK / ARCSEC), dec // (_BLOCK / ARCSEC)])


def usable(frame: Frame) -> bool:
    """Whether a frame has usable pixels, by its flags in the exposures table."""
    return not frame.exposure.flags & ExposureFlag.UNUSABLE


def read_ahead(frames: list[Frame]) -> Iterator[Image | None]:
    """Image of each frame, the next one read meanwhile; None for one that cannot be used."""

    def read(frame: Frame) -> Image | None:
        return frame.read() if usable(frame) else None

    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read, frames[0])
        for following in frames[1:]:
            image = coming.result()
            coming = reader.submit(read, following)
            yield image
        yield coming.result()


@dataclass(frozen=True)
class Search:
    """The search that made a sources table.

    ``threshold``: significance of its stars in sigmas, infinite without a search; ``n_frames``:
    frames that were searched.
    """

    threshold: float
    n_frames: int


def read_search(inputs: Mapping[str, Any]) -> Search:
    """The search, from the metadata of the ``sources`` and ``prf`` tables."""
    search = json.loads(read_metadata(inputs["sources"], schemas.SOURCES).get("search", "{}"))
    frames = json.loads(read_metadata(inputs["prf"], schemas.PRF).get("shifts", "[]"))
    return Search(search["threshold"] if search.get("rounds") else math.inf, len(frames))


def read_learned(path: str) -> dict[str, Any]:
    """Attributes of `Reduction` that were learned with the PRF, from its metadata."""
    metadata = read_metadata(path, schemas.PRF)
    rounds = json.loads(metadata.get("rounds", "[]"))
    return {
        "learned_chi2": rounds[-1]["chi2"] if rounds else math.nan,
        "background_nodes": json.loads(metadata.get("background_nodes", "1")),
    }


def model_errors(frames: list[Frame], reduction: Reduction, search: Search) -> np.ndarray:
    """Errors of the fluxes from the PRF and uncatalogued stars, e-/s, float32; NaN if unknown.

    They change little from frame to frame: those of the first good frame, or of the last one.
    """
    out = np.full(len(reduction.sources), np.nan, np.float32)
    if reduction.prf.n_errors == 0:
        return out
    good = [frame for frame in frames if usable(frame)]
    # The first and the last of a batch are the furthest apart, and show most of the sources.
    for frame in good[:1] + good[1:][-1:]:
        image, prior = frame.read(), reduction.prior
        model = reduction.model(frame, reduction.register(frame, image))
        # Further out the errors of the PRF are lost among those of the background.
        errors = error_images(model, prior.mu, with_scale=True)
        uncatalogued = uncatalogued_stars(frame, reduction, search)
        far = model.far(prior.mu)
        try:
            new = model_error(image, model.stamps, far, errors, uncatalogued, prior)
        except NotConvergedError as error:
            logger.warning("exposure %d: %s", frame.exposure.number, error)
            continue
        out = np.where(np.isnan(out), new, out).astype(np.float32)
    return out


def uncatalogued_stars(frame: Frame, reduction: Reduction, search: Search) -> UncataloguedStars:
    """Statistical model of the uncatalogued stars of a frame."""
    sources = reduction.sources
    catalogue = sources.loc[sources["origin"] != "residual", "flux"]
    middle = reduction.prf.at(*frame.exposure.centre)
    return UncataloguedStars(
        catalogue_limit=np.percentile(catalogue, _FADING),
        threshold=search.threshold,
        n_frames=search.n_frames,
        prf=partial(middle.on_pixels, jacobian=frame.exposure.jacobian),
    )


def flux_prior(sources: pd.DataFrame, width: float) -> Prior:
    """Prior of each flux of a frame; ``width``: its sigma in square roots of the flux (e-/s)."""
    flux = sources["flux"].to_numpy(copy=True)
    return Prior(flux, width * np.sqrt(np.maximum(flux, 1.0)))


def by_source(fluxes: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Join the rows of frames, each sorted by source, into rows by source, then exposure."""
    return {name: np.stack([rows[name] for rows in fluxes], axis=1).ravel() for name in fluxes[0]}


def fit_exposure(
    frame: Frame, image: Image | None, reduction: Reduction
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Rows of ``photometry`` and the row of ``frame_stats`` of one exposure."""
    sources = reduction.sources["source"].to_numpy()
    if image is None or not image.usable.any():
        return _nothing(frame, sources, ExposureFlag.UNUSABLE)
    try:
        solution = frame_solution(frame, image, reduction)
    except NotConvergedError as error:
        logger.warning("exposure %d: %s", frame.exposure.number, error)
        return _nothing(frame, sources, ExposureFlag.NOT_CONVERGED)
    flags = frame.exposure.flags
    if reason := reduction.misfits(solution.fit):
        flags |= int(ExposureFlag.MISFIT)
        logger.warning("exposure %d: %s: flagged MISFIT", frame.exposure.number, reason)
    statistics = _statistics(frame, solution.fit, solution.state, flags)
    return _measurements(frame, sources, solution, flags), statistics


class FrameSolution(NamedTuple):
    """What one exposure gives: its state, the fit of all fluxes, and where the stars are seen."""

    state: FrameState
    fit: FrameFit
    centroids: Centroids


def frame_solution(frame: Frame, image: Image, reduction: Reduction) -> FrameSolution:
    """Register one exposure and fit it."""
    state, prior = reduction.register(frame, image), reduction.prior
    model = reduction.model(frame, state)
    method = Method.configured(reduction.settings, reduction.background_nodes)
    fit = fit_frame(image, model.stamps, prior, method, model.add_far)
    return FrameSolution(state, fit, centroids(model, fit, prior.sigma))


def _measurements(
    frame: Frame, source: np.ndarray, solution: FrameSolution, flags: int
) -> dict[str, np.ndarray]:
    """Rows of ``photometry``, but for ``model_err``."""
    fit, seen = solution.fit, solution.centroids
    return {
        "source": source,
        "exposure": np.full(source.size, frame.exposure.number),
        "psf_flux": fit.flux.astype(np.float32),
        "psf_flux_err": fit.flux_err.astype(np.float32),
        **{name: values.astype(np.float32) for name, values in seen._asdict().items()},
        "chi2": fit.chi2.astype(np.float32),
        "psf_fraction": fit.psf_fraction.astype(np.float32),
        "n_outliers": fit.core_outliers.astype(np.int8),
        "flags": fit.flags | (int(SourceFlag.BAD_EXPOSURE) if flags else 0),
    }


def _statistics(frame: Frame, fit: FrameFit, state: FrameState, flags: int) -> dict[str, Any]:
    """Row of ``frame_stats``."""
    shift = state.shift
    used = np.isfinite(fit.residual)
    some = enough_rows(used, _ENOUGH)
    return {
        "exposure": frame.exposure.number,
        "time": frame.exposure.time,
        "flags": flags,
        "n_sources": int(np.isfinite(fit.flux).sum()),
        "n_pixels": int(np.count_nonzero(used)),
        "n_masked": int(used.size - np.count_nonzero(used)),
        "n_outliers": fit.n_outliers,
        "shift_x": shift.x,
        "shift_y": shift.y,
        "shift_err": max(shift.x_err, shift.y_err),
        "linear": list(state.linear),
        "background": fit.background,
        "background_err": fit.background_err,
        "background_mesh": fit.background_mesh.ravel(),
        "chi2": fit.mean_chi2,
        "residual_rms": robust_spread(fit.residual[some][used[some]]),
        "iterations": fit.iterations,
    }


def _nothing(
    frame: Frame, source: np.ndarray, flag: ExposureFlag
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Flagged rows without values of an exposure that cannot be used."""
    nothing = np.full(source.size, np.nan, np.float32)
    photometry = {
        "source": source,
        "exposure": np.full(source.size, frame.exposure.number),
        "psf_flux": nothing,
        "psf_flux_err": nothing,
        **dict.fromkeys(Centroids._fields, nothing),
        "chi2": nothing,
        "psf_fraction": np.zeros(source.size, np.float32),
        "n_outliers": np.zeros(source.size, np.int8),
        "flags": np.full(source.size, int(SourceFlag.BAD_EXPOSURE), np.int32),
    }
    statistics = {
        "exposure": frame.exposure.number,
        "time": frame.exposure.time,
        "flags": frame.exposure.flags | int(flag),
        "n_sources": 0,
        "n_pixels": 0,
        "n_masked": frame.shape[0] * frame.shape[1],
        "n_outliers": 0,
        "shift_x": 0.0,
        "shift_y": 0.0,
        "shift_err": np.nan,
        "linear": list(RIGID),
        "background": np.nan,
        "background_err": np.nan,
        "background_mesh": [],
        "chi2": np.nan,
        "residual_rms": np.nan,
        "iterations": 0,
    }
    return photometry, statistics
