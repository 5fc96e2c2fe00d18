"""Step ``fit``: all fluxes of every frame of a batch."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from romanprf import schemas
from romanprf.catalog.motion import positions_at
from romanprf.flags import ExposureFlag, SourceFlag
from romanprf.io.images import read_image
from romanprf.io.tables import provenance, read_table, write_table
from romanprf.photometry.frame import FrameFit, fit_frame
from romanprf.photometry.solver import NotConvergedError
from romanprf.photometry.stamps import Stamps, make_stamps
from romanprf.prf import LogPolarPRF
from romanprf.statistics import robust_spread
from romanprf.steps.frames import read_exposures
from romanprf.steps.shape import read_prf
from romanprf.wcs import TangentWCS

logger = logging.getLogger(__name__)

#: Rows per group of the photometry: a light curve is found by reading one group per batch.
ROW_GROUP = 65536


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
    for exposure in tqdm(exposures.to_dict("records"), "fit", disable=None):
        rows, row = fit_exposure(exposure, sources, prf, params)
        fluxes.append(rows)
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


def by_source(fluxes: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Join the rows of frames, each sorted by source, into rows by source, then exposure."""
    return {name: np.stack([rows[name] for rows in fluxes], axis=1).ravel() for name in fluxes[0]}


def fit_exposure(
    exposure: Mapping[str, Any],
    sources: pd.DataFrame,
    prf: LogPolarPRF,
    params: Mapping[str, Any],
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Rows of ``photometry`` and the row of ``frame_stats`` of one exposure."""
    flags = exposure["flags"]
    head = {"exposure": exposure["exposure"], "time": exposure["time"], "flags": flags}
    if flags & ExposureFlag.UNUSABLE:
        return _no_fluxes(exposure, len(sources)), {**head, **_no_statistics(exposure)}
    try:
        fit = frame_solution(exposure, sources, prf, params)
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
        "flags": fit.flags | (int(SourceFlag.BAD_EXPOSURE) if flags else 0),
    }
    used = np.isfinite(fit.residual)
    statistics = {
        "n_sources": int(np.isfinite(fit.flux).sum()),
        "n_pixels": int(used.sum()),
        "n_masked": int((~used).sum()),
        "background": fit.background,
        "background_err": fit.background_err,
        "chi2": fit.mean_chi2,
        "residual_rms": robust_spread(fit.residual[used]),
        "iterations": fit.iterations,
    }
    return rows, {**head, **statistics}


def frame_solution(
    exposure: Mapping[str, Any],
    sources: pd.DataFrame,
    prf: LogPolarPRF,
    params: Mapping[str, Any],
) -> FrameFit:
    """Read one exposure and fit it."""
    image = read_image(exposure)
    stamps = exposure_stamps(exposure, sources, prf, params["flux_cut_off"])
    flux = sources["flux"].to_numpy()
    sigma = params["fit"]["prior_width"] * np.sqrt(np.maximum(flux, 1.0))
    return fit_frame(
        image, stamps, flux, sigma, params["fit"]["tolerance"], params["fit"]["reweight"]
    )


def exposure_stamps(
    exposure: Mapping[str, Any], sources: pd.DataFrame, prf: LogPolarPRF, flux_cut_off: float
) -> Stamps:
    """PRF of each source on one exposure, at its position at that time.

    Parameters
    ----------
    exposure : mapping
        Row of the ``exposures`` table.
    sources : DataFrame
        Rows of the ``sources`` table.
    prf : LogPolarPRF
        The model.
    flux_cut_off : float
        e-/s per pixel at which a footprint ends.
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
    )


def model_image(
    exposure: Mapping[str, Any],
    sources: pd.DataFrame,
    prf: LogPolarPRF,
    flux: np.ndarray,
    background: float,
    flux_cut_off: float,
) -> np.ndarray:
    """Image (e-/s) of sources with these fluxes on a background, shape (nrows, ncols).

    A source whose flux is NaN, as one without a usable pixel, gives no light.
    """
    stamps = exposure_stamps(exposure, sources, prf, flux_cut_off)
    return stamps.model(np.nan_to_num(flux.astype(float))) + background


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
        "flags": np.full(n, int(SourceFlag.BAD_EXPOSURE), np.int32),
    }


def _no_statistics(exposure: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "n_sources": 0,
        "n_pixels": 0,
        "n_masked": exposure["nrows"] * exposure["ncols"],
        "background": np.nan,
        "background_err": np.nan,
        "chi2": np.nan,
        "residual_rms": np.nan,
        "iterations": 0,
    }
