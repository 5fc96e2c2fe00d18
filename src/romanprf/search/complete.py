"""Learning the PRF together with the stars that the catalogue lacks.

Without them their light would be in the PRF and in the fluxes of their neighbours.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from romanprf import schemas
from romanprf.astrometry.refine import refine_positions
from romanprf.config import Crossmatch, Shape
from romanprf.flags import SourceFlag
from romanprf.frame.frame import Frame
from romanprf.frame.model import FrameModels
from romanprf.frame.state import FrameState
from romanprf.learn.fluxes import APPROXIMATE, learning_prior, measured
from romanprf.learn.patches import is_cut
from romanprf.learn.tensor import LearnedPRF, Round, TensorSettings, common_flux, learn_tensor
from romanprf.prf import TensorPRF
from romanprf.search.find import Found, find_stars
from romanprf.sky.sources import described
from romanprf.solve.fluxes import Prior

logger = logging.getLogger(__name__)

#: Refinements of the positions after a search.
_REFINEMENTS = 2
#: Rounds of learning the PRF after a search.
_ROUNDS = 2

#: Frames with the positions of all rows of a sources table.
Frames = Callable[[pd.DataFrame], list[Frame]]


@dataclass(frozen=True, eq=False)
class Learned:
    """Result of `learn`.

    Attributes
    ----------
    prf : TensorPRF
        The model.
    states : list of FrameState
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
    states: list[FrameState]
    sources: pd.DataFrame
    rounds: list[Round]
    searches: list[dict[str, int]]


def learn(
    frames: Frames,
    sources: pd.DataFrame,
    start: TensorPRF,
    shape: Shape,
    calibrates: bool = True,
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
    shape : Shape
        That section of the configuration.
    calibrates : bool
        Whether the fluxes of the catalogue set the scale; otherwise they are first guesses, and the
        result has measured fluxes.
    """
    learning = _Completing(frames, shape, calibrates)
    sources = sources.assign(noise=0.0)
    settings = TensorSettings.configured(shape, calibrates)
    few = replace(settings, rounds=_ROUNDS, with_errors=False)
    result = learning.fit(sources, start, settings)
    rounds, searches, disturbed = result.rounds, list[dict[str, int]](), False
    for _ in range(shape.search_rounds):
        found = learning.find(sources, result)
        searches.append({"n_found": len(found.ra), "n_negative": found.n_negative})
        likely = len(found.ra) > found.n_negative  # otherwise they are as many as in noise
        if likely:
            disturbed = True
            sources = learning.refined(_with(sources, found), result)
            result = learning.fit(sources, result.prf, few)
            rounds = rounds + result.rounds
            sources = learning.significant(sources, result)
        searches[-1]["n_kept"] = int(_is_residual(sources).sum())
        logger.info("search %d: %s", len(searches), searches[-1])
        if not likely:
            break
    if disturbed:
        result = learning.fit(sources, result.prf, settings)
        rounds = rounds + result.rounds
        sources = learning.significant(sources, result)
    elif not calibrates:
        sources = measured(sources, learning.fluxes(sources, result))
    return Learned(
        prf=result.prf,
        states=result.states,
        sources=sources.drop(columns="noise"),
        rounds=rounds,
        searches=searches,
    )


def numbered(sources: pd.DataFrame, zero_point: float, crossmatch: Crossmatch) -> pd.DataFrame:
    """Complete the columns of the stars found, at the end of a sources table.

    Their ``source_id`` are negative, and lower than any of the catalogue.
    """
    residual, unknown = _is_residual(sources), sources["mag"].isna()
    lowest = min(0, sources.loc[~residual, "source_id"].min())
    identifier = lowest - np.cumsum(residual)
    sources = sources.assign(
        source=np.arange(len(sources), dtype=np.int32),
        source_id=sources["source_id"].where(~residual, identifier),
        mag=sources["mag"].where(~unknown, zero_point - 2.5 * np.log10(sources["flux"])),
    )
    return described(sources, crossmatch)[schemas.SOURCES.names]


def _is_residual(sources: pd.DataFrame) -> np.ndarray:
    """Whether each source was found in the residuals."""
    return (sources["origin"] == "residual").to_numpy()


@dataclass(frozen=True)
class _Completing:
    """Steps of `learn` on the frames, with section ``shape`` of the configuration."""

    frames: Frames
    shape: Shape
    calibrates: bool

    def prior(self, sources: pd.DataFrame) -> Prior:
        """Prior of the fluxes; the flux of a star that was found is no more than a guess."""
        catalogued = 0.0 if self.calibrates else APPROXIMATE
        relative = np.where(_is_residual(sources), 1.0, catalogued)
        return learning_prior(sources["flux"].to_numpy(), relative)

    def fit(self, sources: pd.DataFrame, start: TensorPRF, settings: TensorSettings) -> LearnedPRF:
        """Fit the PRF; only stars of the catalogue shape and calibrate it and register frames."""
        found = np.where(_is_residual(sources), SourceFlag.BLENDED, 0)
        flags = sources["flags"].to_numpy() | found
        return learn_tensor(self.frames(sources), self.prior(sources), flags, start, settings)

    def _models(self, sources: pd.DataFrame, result: LearnedPRF) -> FrameModels:
        return FrameModels(
            frames=self.frames(sources),
            prf=result.prf,
            flux=self.prior(sources).mu,
            flux_cut_off=self.shape.flux_cut_off,
            states=result.states,
        )

    def find(self, sources: pd.DataFrame, result: LearnedPRF) -> Found:
        """Stars that neither the catalogue nor an earlier search gave."""
        models = self._models(sources, result)
        return find_stars(models, self.prior(sources), self.shape.search_threshold)

    def refined(self, sources: pd.DataFrame, result: LearnedPRF) -> pd.DataFrame:
        """Move the stars found to where the frames show them; the catalogue's stay."""
        which = _is_residual(sources)
        for _ in range(_REFINEMENTS):
            steps = refine_positions(self._models(sources, result), self.prior(sources), which)
            sources = sources.copy()
            sources.loc[which, "ra"] = np.mod(sources.loc[which, "ra"] + steps.ra, 360.0)
            sources.loc[which, "dec"] += steps.dec
        return sources

    def fluxes(self, sources: pd.DataFrame, result: LearnedPRF) -> np.ndarray:
        """Fluxes of a fit, e-/s; those of a joint fit are of the stars on its patches."""
        models = self._models(sources, result)
        if not is_cut(models.frames):
            return result.flux
        return common_flux(models, self.prior(sources).sigma)

    def significant(self, sources: pd.DataFrame, result: LearnedPRF) -> pd.DataFrame:
        """Stars found that a joint fit confirms, with its fluxes, the brightest first.

        The fluxes of neighbours were off when they were found, and took or gave light.
        """
        found, flux = _is_residual(sources), self.fluxes(sources, result)
        if self.calibrates:
            sources = sources.assign(flux=np.where(found, flux, sources["flux"]))
        else:
            sources = measured(sources, flux)
        stars = sources[found]
        stars = stars[stars["flux"] >= self.shape.search_threshold * stars["noise"]]
        stars = stars.sort_values("flux", ascending=False, kind="stable")
        return pd.concat([sources[~found], stars], ignore_index=True)


def _with(sources: pd.DataFrame, found: Found) -> pd.DataFrame:
    """Append stars; ``noise`` is the error of their flux in the stack, e-/s."""
    new = pd.DataFrame(
        {"ra": found.ra, "dec": found.dec, "flux": found.flux}
        | {"noise": found.flux / found.significance}
    ).assign(
        source=0,
        source_id=0,
        epoch=sources["epoch"].iloc[0],
        **dict.fromkeys(schemas.ASTROMETRIC[2:], 0.0),
        # No better than the worst of the catalogue.
        **{name: sources[name].max() for name in schemas.ASTROMETRIC_ERRORS},
        **dict.fromkeys(schemas.ASTROMETRIC_CORRELATIONS, np.float32(0.0)),
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
