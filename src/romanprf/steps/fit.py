"""Step ``fit``: all fluxes of every frame of a batch."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from romanprf import schemas
from romanprf.catalog.motion import positions_at
from romanprf.flags import ExposureFlag, SourceFlag
from romanprf.io.images import read_image
from romanprf.io.tables import provenance, read_table, write_table
from romanprf.photometry.background import Mesh
from romanprf.photometry.frame import FrameFit, fit_frame
from romanprf.photometry.image import Image
from romanprf.photometry.model_error import error_images, model_error
from romanprf.photometry.register import UNKNOWN, Shift, frame_shift, reference_stars
from romanprf.photometry.solver import NotConvergedError
from romanprf.photometry.stamps import Stamps, far_light, make_stamps
from romanprf.prf import PRF, TensorPRF
from romanprf.statistics import robust_spread
from romanprf.steps.frames import read_exposures
from romanprf.steps.shape import read_prf
from romanprf.wcs import TangentWCS

logger = logging.getLogger(__name__)

#: Rows per group of the photometry: a light curve is found by reading one group per batch.
ROW_GROUP = 65536
#: A star this many times brighter than catalogued shines beyond the footprint of its catalogue
#: flux, where its light would pass for that of neighbours or for outliers.
_RISEN = 10.0
#: ... if it shines beyond the smallest footprint at all: so many times the cut-off.
_FAR_SEEN = 1000.0


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
    exposures = read_exposures(inputs["exposures"], params["exposures"])
    sources = read_table(inputs["sources"], schemas.SOURCES)
    prf = read_prf(inputs["prf"])
    fluxes, statistics = [], []
    errors = model_errors(exposures.to_dict("records"), sources, prf, params)
    for exposure in tqdm(exposures.to_dict("records"), "fit", disable=None):
        rows, row = fit_exposure(exposure, sources, prf, params)
        fluxes.append(rows | {"model_err": errors})
        statistics.append(row)
    origin = provenance({name: inputs[name] for name in ("sources", "prf")}, params)
    write_table(outputs["frame_stats"], pd.DataFrame(statistics), schemas.FRAME_STATS, origin)
    write_table(
        outputs["photometry"],
        by_source(fluxes),
        schemas.PHOTOMETRY,
        origin,
        row_group_size=ROW_GROUP,
    )


def model_errors(
    exposures: list[dict], sources: pd.DataFrame, prf: PRF, params: Mapping[str, Any]
) -> np.ndarray:
    """Errors of the fluxes that the PRF makes, e-/s, float32; NaN if unknown.

    They change little from frame to frame: those of the first good exposure, or of the last one.
    """
    out = np.full(len(sources), np.nan, np.float32)
    if not isinstance(prf, TensorPRF) or len(prf.errors) == 0:
        return out
    flux, sigma = flux_prior(sources, params["fit"]["prior_width"])
    good = [row for row in exposures if not row["flags"] & ExposureFlag.UNUSABLE]
    # The first and the last of a batch are the furthest apart, and show most of the sources.
    for exposure in good[:1] + good[1:][-1:]:
        make = partial(exposure_stamps, exposure, sources, flux_cut_off=params["flux_cut_off"])
        errors = error_images(prf, make, flux)
        try:
            new = model_error(read_image(exposure), make(prf), errors, flux, sigma)
        except NotConvergedError as error:
            logger.warning("exposure %d: %s", exposure["exposure"], error)
            continue
        out = np.where(np.isnan(out), new, out).astype(np.float32)
    return out


def flux_prior(sources: pd.DataFrame, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Centre and sigma (e-/s) of the prior of each flux of a frame."""
    flux = sources["flux"].to_numpy()
    return flux, width * np.sqrt(np.maximum(flux, 1.0))


def by_source(fluxes: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Join the rows of frames, each sorted by source, into rows by source, then exposure."""
    return {name: np.stack([rows[name] for rows in fluxes], axis=1).ravel() for name in fluxes[0]}


def fit_exposure(
    exposure: Mapping[str, Any],
    sources: pd.DataFrame,
    prf: PRF,
    params: Mapping[str, Any],
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Rows of ``photometry`` and the row of ``frame_stats`` of one exposure."""
    flags = exposure["flags"]
    head = {"exposure": exposure["exposure"], "time": exposure["time"], "flags": flags}
    if flags & ExposureFlag.UNUSABLE:
        return _no_fluxes(exposure, len(sources)), {**head, **_no_statistics(exposure)}
    try:
        fit, shift = frame_solution(exposure, sources, prf, params)
    except NotConvergedError as error:
        logger.warning("exposure %d: %s", exposure["exposure"], error)
        head["flags"] = flags | int(ExposureFlag.NOT_CONVERGED)
        return _no_fluxes(exposure, len(sources)), {**head, **_no_statistics(exposure)}
    rows = {
        "source": sources["source"].to_numpy(),
        "exposure": np.full(len(sources), exposure["exposure"]),
        "psf_flux": fit.flux.astype(np.float32),
        "psf_flux_err": fit.flux_err.astype(np.float32),
        "chi2": fit.chi2.astype(np.float32),
        "psf_fraction": fit.psf_fraction.astype(np.float32),
        "n_outliers": fit.core_outliers.astype(np.int8),
        "flags": fit.flags | (int(SourceFlag.BAD_EXPOSURE) if flags else 0),
    }
    used = np.isfinite(fit.residual)
    statistics = {
        "n_sources": int(np.isfinite(fit.flux).sum()),
        "n_pixels": int(used.sum()),
        "n_masked": int((~used).sum()),
        "n_outliers": fit.n_outliers,
        "shift_x": shift.x,
        "shift_y": shift.y,
        "shift_err": max(shift.x_err, shift.y_err),
        "background": fit.background,
        "background_err": fit.background_err,
        "background_mesh": fit.background_mesh.ravel(),
        "chi2": fit.mean_chi2,
        "residual_rms": robust_spread(fit.residual[used]),
        "iterations": fit.iterations,
    }
    return rows, {**head, **statistics}


def frame_solution(
    exposure: Mapping[str, Any], sources: pd.DataFrame, prf: PRF, params: Mapping[str, Any]
) -> tuple[FrameFit, Shift]:
    """Read one exposure, register it and fit it."""
    image, settings = read_image(exposure), params["fit"]
    cut_off = params["flux_cut_off"]
    shift = UNKNOWN
    if settings["register_frames"]:
        shift = registered(image, exposure, sources, prf, cut_off)
    flux, sigma = flux_prior(sources, settings["prior_width"])
    names = ("tolerance", "reweight", "clip", "background_nodes")
    numbers = {name: settings[name] for name in names}

    def fitted(stars: pd.DataFrame) -> FrameFit:
        stamps, far = exposure_light(exposure, stars, prf, cut_off, shift[:2])
        return fit_frame(image, stamps, flux, sigma, **numbers, fixed=far)

    fit = fitted(sources)
    with np.errstate(invalid="ignore"):
        risen = fit.flux > np.maximum(_RISEN * flux, flux + 5.0 * fit.flux_err)
        risen &= fit.flux > _FAR_SEEN * cut_off
    if risen.any():
        fit = fitted(sources.assign(flux=np.where(risen, fit.flux, flux)))
    return fit, shift


def registered(
    image: Image,
    exposure: Mapping[str, Any],
    sources: pd.DataFrame,
    prf: PRF,
    flux_cut_off: float,
) -> Shift:
    """Shift of an exposure from the stars of its sources table."""
    flux = sources["flux"].to_numpy()
    stars = reference_stars(flux, sources["flags"].to_numpy())
    if not stars.any():
        return UNKNOWN
    everything = exposure_stamps(exposure, sources, prf, flux_cut_off)
    others = everything.model(np.where(stars, 0.0, flux))
    others += np.median((image.flux - everything.model(flux))[image.usable])
    chosen = sources[stars]

    def make(shift: tuple[float, float]) -> Stamps:
        return exposure_stamps(exposure, chosen, prf, 10.0 * flux_cut_off, shift)

    return frame_shift(image, make, flux[stars], others, (0.0, 0.0))


def exposure_stamps(
    exposure: Mapping[str, Any],
    sources: pd.DataFrame,
    prf: PRF,
    flux_cut_off: float,
    shift: tuple[float, float] = (0.0, 0.0),
) -> Stamps:
    """PRF of each source on one exposure, at its position at that time.

    Parameters
    ----------
    exposure : mapping
        Row of the ``exposures`` table.
    sources : DataFrame
        Rows of the ``sources`` table.
    prf : PRF
        The model.
    flux_cut_off : float
        e-/s per pixel at which a footprint ends.
    shift : tuple of float
        Pixels (x, y) by which the exposure is off its WCS.
    """
    area = exposure["pixel_area"]
    return make_stamps(
        prf,
        *positions_at(sources, exposure["time"]),
        sources["flux"].to_numpy(),
        TangentWCS.from_json(exposure["wcs"]),
        (exposure["nrows"], exposure["ncols"]),
        flux_cut_off,
        area if np.isfinite(area) else None,
        shift=shift,
    )


def exposure_light(
    exposure: Mapping[str, Any],
    sources: pd.DataFrame,
    prf: PRF,
    flux_cut_off: float,
    shift: tuple[float, float],
) -> tuple[Stamps, np.ndarray]:
    """`exposure_stamps`, and the light of the catalogue's fluxes beyond them, e-/s, an image."""

    def make(fraction: float, some: slice) -> Stamps:
        return exposure_stamps(exposure, sources[some], prf, fraction * flux_cut_off, shift)

    stamps = make(1.0, slice(None))
    return stamps, far_light(make, stamps, sources["flux"].to_numpy())


def model_image(
    exposure: Mapping[str, Any],
    sources: pd.DataFrame,
    prf: PRF,
    flux: np.ndarray,
    statistics: Mapping[Any, Any],
    flux_cut_off: float,
) -> np.ndarray:
    """Image (e-/s) of sources with these fluxes, shape (nrows, ncols).

    ``statistics`` is the exposure's row of ``frame_stats``, with its background and shift.  A
    source whose flux is NaN, as one without a usable pixel, gives no light.
    """
    shift = float(statistics["shift_x"]), float(statistics["shift_y"])
    stamps, far = exposure_light(exposure, sources, prf, flux_cut_off, shift)
    mesh = np.asarray(statistics["background_mesh"], dtype=float)
    nodes = math.isqrt(mesh.size)
    sky = Mesh(nodes, stamps.shape).image(mesh.reshape(nodes, nodes))
    return stamps.model(np.nan_to_num(flux.astype(float))) + far + sky


def _no_fluxes(exposure: Mapping[str, Any], n: int) -> dict[str, np.ndarray]:
    """Flagged rows without values of an exposure that cannot be used."""
    nothing = np.full(n, np.nan, np.float32)
    return {
        "source": np.arange(n, dtype=np.int32),
        "exposure": np.full(n, exposure["exposure"]),
        "psf_flux": nothing,
        "psf_flux_err": nothing,
        "chi2": nothing,
        "psf_fraction": np.zeros(n, np.float32),
        "n_outliers": np.zeros(n, np.int8),
        "flags": np.full(n, int(SourceFlag.BAD_EXPOSURE), np.int32),
    }


def _no_statistics(exposure: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "n_sources": 0,
        "n_pixels": 0,
        "n_masked": exposure["nrows"] * exposure["ncols"],
        "n_outliers": 0,
        "shift_x": 0.0,
        "shift_y": 0.0,
        "shift_err": np.nan,
        "background": np.nan,
        "background_err": np.nan,
        "background_mesh": [],
        "chi2": np.nan,
        "residual_rms": np.nan,
        "iterations": 0,
    }
