"""Part of step ``shape``: the PRF together with the stars that the catalogue lacks.

Without them their light would be in the PRF and in the fluxes of their neighbours.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from romanprf import schemas
from romanprf.astrometry.refine import refine_positions
from romanprf.config import Crossmatch
from romanprf.flags import SourceFlag
from romanprf.frame.frame import Exposure
from romanprf.learn.patches import is_cut
from romanprf.learn.tensor import Joint, Round, common_flux, fit_joint
from romanprf.prf import TensorPRF
from romanprf.search.find import Found, find_stars
from romanprf.sky.sources import described
from romanprf.solve.register import Shift

logger = logging.getLogger(__name__)

#: Prior sigma of the fluxes while the PRF is learned, in sqrt(e-/s).
_PRIOR_WIDTH = 5.0
#: Refinements of the positions and rounds of the joint fit after a search.
_REFINEMENTS, _ROUNDS = 2, 2

#: Frames with the positions of all rows of a sources table.
Frames = Callable[[pd.DataFrame], list[Exposure]]


class Learned(NamedTuple):
    """What the frames say.

    Attributes
    ----------
    prf : TensorPRF
        The model.
    shifts : list of Shift
        Of the frames.
    sources : DataFrame
        The sources table with the stars found at its end, the brightest first.
    rounds : list of Round
        Of all fits.
    searches : list of dict
        ``n_found``: stars that each search found; ``n_negative``: as many would be found in noise
        at most; ``n_kept``: stars found so far that are significant in the joint fit.
    """

    prf: TensorPRF
    shifts: list[Shift]
    sources: pd.DataFrame
    rounds: list[Round]
    searches: list[dict[str, int]]


def learn(
    frames: Frames, sources: pd.DataFrame, start: TensorPRF, settings: Mapping[str, Any]
) -> Learned:
    """Fit the PRF, search for stars, and repeat with those found.

    Parameters
    ----------
    frames : callable
        Gives the frames for a sources table.
    sources : DataFrame
        The catalogue's.
    start : TensorPRF
        First guess.
    settings : mapping
        Section ``shape`` of the configuration.
    """
    sources = sources.assign(noise=0.0)
    joint = _fit(frames, sources, start, settings)
    rounds, searches = joint.rounds, []
    few, disturbed = {**settings, "rounds": _ROUNDS}, False
    for _ in range(settings["search_rounds"]):
        found = _found(frames, sources, joint, settings)
        searches.append({"n_found": len(found.ra), "n_negative": found.n_negative})
        likely = len(found.ra) > found.n_negative  # otherwise they are as many as in noise
        if likely:
            disturbed = True
            sources = _with(sources, found)
            sources = _refined(frames, sources, joint, settings)
            joint = _fit(frames, sources, joint.prf, few, with_errors=False)
            rounds = rounds + joint.rounds
            sources = _significant(frames, sources, joint, settings)
        searches[-1]["n_kept"] = int(_residual(sources).sum())
        logger.info("search %d: %s", len(searches), searches[-1])
        if not likely:
            break
    if disturbed:
        joint = _fit(frames, sources, joint.prf, settings)
        rounds = rounds + joint.rounds
        sources = _significant(frames, sources, joint, settings)
    return Learned(joint.prf, joint.shifts, sources.drop(columns="noise"), rounds, searches)


def numbered(sources: pd.DataFrame, zero_point: float, crossmatch: Crossmatch) -> pd.DataFrame:
    """Give the stars found, at the end of a sources table, all that the table tells of a source.

    Their ``source_id`` are negative, and lower than any of the catalogue.
    """
    residual = _residual(sources)
    lowest = min(0, sources.loc[~residual, "source_id"].min())
    flux = sources["flux"].where(residual, 1.0)
    identifier = lowest - np.cumsum(residual)
    sources = sources.assign(
        source=np.arange(len(sources), dtype=np.int32),
        source_id=sources["source_id"].where(~residual, identifier),
        mag=sources["mag"].where(~residual, zero_point - 2.5 * np.log10(flux)),
    )
    return described(sources, crossmatch)[schemas.SOURCES.names]


def _residual(sources: pd.DataFrame) -> np.ndarray:
    """Whether each source was found in the residuals."""
    return (sources["origin"] == "residual").to_numpy()


def _prior(sources: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Flux and its sigma, e-/s; the flux of a star that was found is no more than a guess."""
    flux = sources["flux"].to_numpy()
    sigma = _PRIOR_WIDTH * np.sqrt(np.maximum(flux, 1.0))
    return flux, np.where(_residual(sources), np.maximum(sigma, flux), sigma)


def _fit(
    frames: Frames,
    sources: pd.DataFrame,
    start: TensorPRF,
    settings: Mapping[str, Any],
    with_errors: bool = True,
) -> Joint:
    """Fit the PRF; the catalogue's stars alone shape it, calibrate it and register the frames."""
    flux, sigma = _prior(sources)
    flags = sources["flags"].to_numpy() | np.where(_residual(sources), SourceFlag.BLENDED, 0)
    stars = frames(sources), flux, flags
    return fit_joint(*stars, start, settings, sigma, with_errors=with_errors)


def _found(
    frames: Frames, sources: pd.DataFrame, joint: Joint, settings: Mapping[str, Any]
) -> Found:
    """Stars that neither the catalogue nor an earlier search gave."""
    numbers = settings["search_threshold"], settings["flux_cut_off"]
    return find_stars(frames(sources), joint.prf, *_prior(sources), joint.shifts, *numbers)


def _with(sources: pd.DataFrame, found: Found) -> pd.DataFrame:
    """Append stars; ``noise`` is the error of their flux in the stack, e-/s."""
    new = pd.DataFrame(
        {"ra": found.ra, "dec": found.dec, "flux": found.flux}
        | {"noise": found.flux / found.significance}
    ).assign(
        source=0,
        source_id=0,
        epoch=sources["epoch"].iloc[0],
        pmra=0.0,
        pmdec=0.0,
        mag=np.nan,
        match_id=None,
        match_separation=np.nan,
        match_ambiguous=False,
        nearest=np.nan,
        n_merged=1,
        origin="residual",
        flags=0,
    )
    exact = {"match_id": "Int64"}  # as floats, identifiers of 19 digits would change
    return pd.concat([sources.astype(exact), new.astype(exact)], ignore_index=True)


def _refined(
    frames: Frames, sources: pd.DataFrame, joint: Joint, settings: Mapping[str, Any]
) -> pd.DataFrame:
    """Move the stars found to where the frames show them; the catalogue's stay."""
    which = _residual(sources)
    for _ in range(_REFINEMENTS):
        exposures, cut_off = frames(sources), settings["flux_cut_off"]
        steps = refine_positions(
            exposures, joint.prf, *_prior(sources), joint.shifts, cut_off, which
        )
        sources = sources.copy()
        sources.loc[which, "ra"] = np.mod(sources.loc[which, "ra"] + steps.ra, 360.0)
        sources.loc[which, "dec"] += steps.dec
    return sources


def _significant(
    frames: Frames, sources: pd.DataFrame, joint: Joint, settings: Mapping[str, Any]
) -> pd.DataFrame:
    """Stars found that a joint fit confirms, with its fluxes, the brightest first.

    The fluxes of neighbours were off when they were found, and took or gave light.
    """
    residual, flux, exposures = _residual(sources), joint.flux, frames(sources)
    if is_cut(exposures):  # those of the joint fit are of the stars on its patches
        known = *_prior(sources), joint.shifts, settings["flux_cut_off"]
        flux = common_flux(exposures, joint.prf, *known)
    sources = sources.assign(flux=np.where(residual, flux, sources["flux"]))
    found = sources[residual]
    found = found[found["flux"] >= settings["search_threshold"] * found["noise"]]
    found = found.sort_values("flux", ascending=False, kind="stable")
    return pd.concat([sources[~residual], found], ignore_index=True)
