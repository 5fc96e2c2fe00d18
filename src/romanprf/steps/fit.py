"""Step ``fit``: all fluxes of every frame of a batch."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from tqdm import tqdm

from romanprf import schemas
from romanprf.core.accelerate import get_threads, keep_memory
from romanprf.core.image import Image, enough_rows
from romanprf.core.statistics import robust_spread
from romanprf.flags import ExposureFlag, SourceFlag
from romanprf.frame.background import Mesh
from romanprf.frame.far import far_light
from romanprf.frame.stamps import SOLVED, Stamps, make_stamps
from romanprf.io.exposures import read_exposures
from romanprf.io.images import read_image
from romanprf.io.tables import provenance, read_metadata, read_table, write_table
from romanprf.prf import PRF
from romanprf.prf.table import read_prf
from romanprf.sky.motion import positions_at
from romanprf.sky.wcs import ARCSEC, TangentWCS
from romanprf.solve.fluxes import Far, FrameFit, departed, fit_frame
from romanprf.solve.model_error import error_images, model_error
from romanprf.solve.register import UNKNOWN, Shift, frame_shift, reference_stars
from romanprf.solve.solver import NotConvergedError
from romanprf.solve.uncatalogued import Unknown

logger = logging.getLogger(__name__)

#: About so many pixels of a frame tell the spread of its residuals.
_ENOUGH = 2**19
#: Part of the catalogue (%) that is fainter than where it ends.
_FADING = 10.0
#: Sources in blocks of so many arcsec are worked on together.
_BLOCK = 3.5
#: Sources within so many pixels of a reference star may shine on it.
_NEIGHBOURS = 40.0


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
    exposures = read_exposures(inputs["exposures"], params["exposures"]).to_dict("records")
    sources = read_table(inputs["sources"], schemas.SOURCES)
    order = sky_order(sources)
    sources, back = sources.iloc[order], np.argsort(order)
    prf = read_prf(inputs["prf"])
    fluxes, statistics = [], []
    errors = model_errors(exposures, sources, prf, params, read_search(inputs))
    pairs = zip(exposures, read_ahead(exposures), strict=True)
    for exposure, image in tqdm(pairs, "fit", len(exposures), disable=None):
        rows, row = fit_exposure(image, exposure, sources, prf, params)
        rows["model_err"] = errors
        fluxes.append({name: values[back] for name, values in rows.items()})
        statistics.append(row)
    origin = provenance({name: inputs[name] for name in ("sources", "prf")}, params)
    write_table(outputs["frame_stats"], pd.DataFrame(statistics), schemas.FRAME_STATS, origin)
    write_table(outputs["photometry"], by_source(fluxes), schemas.PHOTOMETRY, origin)


def sky_order(sources: pd.DataFrame) -> np.ndarray:
    """Order that makes neighbours on the sky neighbours in memory: half the time of a fit."""
    ra, dec = sources["ra"].to_numpy(), sources["dec"].to_numpy()
    east = ra * np.cos(np.deg2rad(dec.mean()))
    return np.lexsort([east // (_BLOCK / ARCSEC), dec // (_BLOCK / ARCSEC)])


def read_ahead(exposures: list[dict]) -> Iterator[Image | None]:
    """Image of each exposure, the next one read meanwhile; None for one that cannot be used."""

    def read(exposure: dict) -> Image | None:
        return None if exposure["flags"] & ExposureFlag.UNUSABLE else read_image(exposure)

    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read, exposures[0])
        for following in exposures[1:]:
            image = coming.result()
            coming = reader.submit(read, following)
            yield image
        yield coming.result()


def model_errors(
    exposures: list[dict],
    sources: pd.DataFrame,
    prf: PRF,
    params: Mapping[str, Any],
    searched: tuple[float, int],
) -> np.ndarray:
    """Errors of the fluxes that the PRF and unknown stars make, e-/s, float32; NaN if unknown.

    They change little from frame to frame: those of the first good exposure, or of the last one.
    ``searched`` is what `read_search` says.
    """
    out = np.full(len(sources), np.nan, np.float32)
    if prf.n_errors == 0:
        return out
    flux, sigma = flux_prior(sources, params["fit"]["prior_width"])
    good = [row for row in exposures if not row["flags"] & ExposureFlag.UNUSABLE]
    # The first and the last of a batch are the furthest apart, and show most of the sources.
    for exposure in good[:1] + good[1:][-1:]:
        image, cut_off = read_image(exposure), params["flux_cut_off"]
        shift = registered(image, exposure, sources, prf, params)
        # Further out the errors of the PRF are lost among those of the sky.
        make = partial(
            exposure_stamps, exposure, sources, flux_cut_off=SOLVED * cut_off, shift=shift[:2]
        )
        wrong = error_images(prf, make, flux, with_scale=True)
        unknown = unknown_stars(exposure, sources, prf, searched)
        stamps, far = exposure_light(exposure, sources, prf, cut_off, shift[:2])
        beyond = far(flux, np.zeros(stamps.shape))
        try:
            new = model_error(image, stamps, beyond, wrong, unknown, flux, sigma)
        except NotConvergedError as error:
            logger.warning("exposure %d: %s", exposure["exposure"], error)
            continue
        out = np.where(np.isnan(out), new, out).astype(np.float32)
    return out


def read_search(inputs: Mapping[str, Any]) -> tuple[float, int]:
    """Sigmas that a star had to stand out by to be found, infinite without a search, and frames."""
    search = json.loads(read_metadata(inputs["sources"], schemas.SOURCES).get("search", "{}"))
    frames = json.loads(read_metadata(inputs["prf"], schemas.PRF).get("shifts", "[]"))
    return search["threshold"] if search.get("rounds") else math.inf, len(frames)


def unknown_stars(
    exposure: Mapping[str, Any],
    sources: pd.DataFrame,
    prf: PRF,
    searched: tuple[float, int],
) -> Unknown:
    """What is known of the stars of an exposure that nobody knows."""
    catalogue = sources.loc[sources["origin"] == "catalogue", "flux"]
    middle = 0.5 * exposure["ncols"], 0.5 * exposure["nrows"]
    jacobian = TangentWCS.from_json(exposure["wcs"]).jacobian(*map(np.asarray, middle))
    on_pixels = partial(prf.at(*middle).on_pixels, jacobian=jacobian)
    return Unknown(np.percentile(catalogue, _FADING), *searched, on_pixels)


def flux_prior(sources: pd.DataFrame, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Centre and sigma (e-/s) of the prior of each flux of a frame."""
    flux = sources["flux"].to_numpy(copy=True)
    return flux, width * np.sqrt(np.maximum(flux, 1.0))


def by_source(fluxes: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Join the rows of frames, each sorted by source, into rows by source, then exposure."""
    return {name: np.stack([rows[name] for rows in fluxes], axis=1).ravel() for name in fluxes[0]}


def fit_exposure(
    image: Image | None,
    exposure: Mapping[str, Any],
    sources: pd.DataFrame,
    prf: PRF,
    params: Mapping[str, Any],
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Rows of ``photometry`` and the row of ``frame_stats`` of one exposure."""
    flags = exposure["flags"]
    head = {"exposure": exposure["exposure"], "time": exposure["time"], "flags": flags}
    if image is None or not image.usable.any():
        head["flags"] = flags | int(ExposureFlag.UNUSABLE)
        return _no_fluxes(exposure, sources["source"].to_numpy()), {
            **head,
            **_no_statistics(exposure),
        }
    try:
        fit, shift = frame_solution(image, exposure, sources, prf, params)
    except NotConvergedError as error:
        logger.warning("exposure %d: %s", exposure["exposure"], error)
        head["flags"] = flags | int(ExposureFlag.NOT_CONVERGED)
        return _no_fluxes(exposure, sources["source"].to_numpy()), {
            **head,
            **_no_statistics(exposure),
        }
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
    some = enough_rows(used, _ENOUGH)
    statistics = {
        "n_sources": int(np.isfinite(fit.flux).sum()),
        "n_pixels": int(np.count_nonzero(used)),
        "n_masked": int(used.size - np.count_nonzero(used)),
        "n_outliers": fit.n_outliers,
        "shift_x": shift.x,
        "shift_y": shift.y,
        "shift_err": max(shift.x_err, shift.y_err),
        "background": fit.background,
        "background_err": fit.background_err,
        "background_mesh": fit.background_mesh.ravel(),
        "chi2": fit.mean_chi2,
        "residual_rms": robust_spread(fit.residual[some][used[some]]),
        "iterations": fit.iterations,
    }
    return rows, {**head, **statistics}


def frame_solution(
    image: Image,
    exposure: Mapping[str, Any],
    sources: pd.DataFrame,
    prf: PRF,
    params: Mapping[str, Any],
) -> tuple[FrameFit, Shift]:
    """Register one exposure and fit it."""
    settings, cut_off = params["fit"], params["flux_cut_off"]
    shift = registered(image, exposure, sources, prf, params)
    flux, sigma = flux_prior(sources, settings["prior_width"])
    names = ("tolerance", "reweight", "clip", "background_nodes")
    numbers = {name: settings[name] for name in names}
    stamps, far = exposure_light(exposure, sources, prf, cut_off, shift[:2])
    return fit_frame(image, stamps, flux, sigma, **numbers, far=far), shift


def registered(
    image: Image,
    exposure: Mapping[str, Any],
    sources: pd.DataFrame,
    prf: PRF,
    params: Mapping[str, Any],
) -> Shift:
    """Shift of an exposure from the stars of its sources table, if frames are registered."""
    stars = reference_stars(sources["flux"].to_numpy(), sources["flags"].to_numpy())
    if not (params["fit"]["register_frames"] and stars.any()):
        return UNKNOWN
    wcs = TangentWCS.from_json(exposure["wcs"])
    places = np.nan_to_num(wcs.sky_to_pixel(*positions_at(sources, exposure["time"]))).T
    tree = cKDTree(places[stars])
    distance, _ = tree.query(places, distance_upper_bound=_NEIGHBOURS, workers=get_threads())
    neighbours = sources[np.isfinite(distance) & ~stars]
    cut_off = SOLVED * params["flux_cut_off"]
    stamps = exposure_stamps(exposure, neighbours, prf, cut_off)
    others = stamps.model(neighbours["flux"].to_numpy(copy=True))  # pandas' own is read-only
    chosen = sources[stars]

    def make(shift: tuple[float, float]) -> Stamps:
        return exposure_stamps(exposure, chosen, prf, cut_off, shift)

    return frame_shift(image, make, chosen["flux"].to_numpy(copy=True), others, (0.0, 0.0))


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
) -> tuple[Stamps, Far]:
    """Footprints in which fluxes are solved, and the light beyond them for given fluxes (e-/s)."""
    stamps = exposure_stamps(exposure, sources, prf, SOLVED * flux_cut_off, shift)
    wcs, area = TangentWCS.from_json(exposure["wcs"]), exposure["pixel_area"]

    def far(flux: np.ndarray, image: np.ndarray) -> np.ndarray:
        own_area = area if np.isfinite(area) else None
        return far_light(prf, stamps, flux, wcs, flux_cut_off, image, own_area)

    return stamps, far


def model_image(
    exposure: Mapping[str, Any],
    sources: pd.DataFrame,
    prf: PRF,
    flux: np.ndarray,
    flux_err: np.ndarray,
    statistics: Mapping[Any, Any],
    flux_cut_off: float,
) -> np.ndarray:
    """Image (e-/s) of sources with these fluxes and errors, shape (nrows, ncols).

    ``statistics`` is the exposure's row of ``frame_stats``, with its background and shift.  A
    source whose flux is NaN, as one without a usable pixel, gives no light.
    """
    shift = float(statistics["shift_x"]), float(statistics["shift_y"])
    stamps, far = exposure_light(exposure, sources, prf, flux_cut_off, shift)
    lit = departed(flux.astype(float), flux_err, sources["flux"].to_numpy())
    mesh = np.asarray(statistics["background_mesh"], dtype=float)
    nodes = math.isqrt(mesh.size)
    sky = Mesh(nodes, stamps.shape).image(mesh.reshape(nodes, nodes))
    return far(lit, stamps.model(np.nan_to_num(flux.astype(float)), sky))


def _no_fluxes(exposure: Mapping[str, Any], source: np.ndarray) -> dict[str, np.ndarray]:
    """Flagged rows without values of an exposure that cannot be used."""
    n = source.size
    nothing = np.full(n, np.nan, np.float32)
    return {
        "source": source,
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
