"""Learning the PRF together with the stars that the catalogue lacks.

Without them their light would be in the PRF and in the fluxes of their neighbours.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from romanprf import schemas
from romanprf.astrometry.stars import Stars
from romanprf.astrometry.update import update
from romanprf.config import Crossmatch, Shape
from romanprf.flags import SourceFlag
from romanprf.frame.frame import Frame
from romanprf.frame.model import FrameModels
from romanprf.frame.state import FrameState
from romanprf.learn.fluxes import APPROXIMATE, learning_prior, measured
from romanprf.learn.judge import good_frames
from romanprf.learn.part import Misfit
from romanprf.learn.patches import is_cut
from romanprf.learn.tensor import LearnedPRF, Round, TensorSettings, common_flux, learn_tensor
from romanprf.prf import TensorPRF
from romanprf.search.find import Found, find_stars
from romanprf.sky.sources import described
from romanprf.sky.states import FOUND_ERROR
from romanprf.solve.fluxes import Prior
from romanprf.solve.noise import CLIP_LEARNING, PRF_ERROR_LEARNING

logger = logging.getLogger(__name__)

#: Most updates of the states of the stars at first, and after a search.
_FIRST, _AGAIN = 12, 3
#: Rounds of learning the PRF after an update.
_ROUNDS = 2
#: Most searches with a catalogue and without one.
_SEARCHES, _MOST_SEARCHES = 3, 8
#: The states have settled when this many of them (%) ...
_MOST = 90.0
#: ... move by less than this part of their errors ...
_SETTLED = 0.3
#: ... and pixels are clipped once they move by less than this: stars that are far off their places
#: stand out of the model like cosmic rays.
_NEARLY = 2.0

#: Splines per axis of the background that are tried where a constant may not be enough, at least so
#: many pixels apart: closer ones take the light of stars.  After so many ...
_MORE_NODES, _APART, _TRIED = (2, 4, 8, 16), 24, 2
#: ... the first that do not lower chi2 to this part end the trials.
_GAIN = 0.8
#: A star found that moves so close (pixels) to a brighter one is that star.
_TOUCHING = 0.4

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
        Of the frames that are used.
    sources : DataFrame
        The sources table with the stars found at its end, the brightest first.
    rounds : list of Round
        Of all fits.
    searches : list of dict
        ``n_found``: stars that each search found; ``n_negative``: peaks above the threshold in the
        negative of the stack; ``n_kept``: stars found so far that are significant in the joint fit.
    used : ndarray of bool, shape (nframes,)
        Frames that taught; the others are not described as well as these.
    background_nodes : int
        Splines per axis of the background of each frame.
    """

    prf: TensorPRF
    states: list[FrameState]
    sources: pd.DataFrame
    rounds: list[Round]
    searches: list[dict[str, int]]
    used: np.ndarray
    background_nodes: int


def learn(
    frames: Frames,
    sources: pd.DataFrame,
    start: TensorPRF,
    shape: Shape,
    calibrates: bool = True,
    background_nodes: int | None = None,
) -> Learned:
    """Fit the PRF and the states of the stars in turn, search for stars, and repeat with those.

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
    background_nodes : int, optional
        Splines per axis of the background; by default as many as the images need.
    """
    learning = _Completing(frames, shape, start, calibrates)
    stars = Stars.of(sources.assign(noise=0.0))
    learning, used = learning.with_good_frames(stars.table())
    learning = replace(learning, background_nodes=background_nodes or 1)
    alone = from_images(sources)
    begun = stars
    stars, result, rounds = learning.placed(begun, start, _AGAIN if alone else _FIRST)
    if background_nodes is None:
        nodes = learning.enough_nodes(stars.table(), result)
        if nodes > 1:
            learning = replace(learning, background_nodes=nodes)
            stars, result, rounds = learning.placed(begun, start, _AGAIN if alone else _FIRST)
    result = learning.fit(
        stars.table(), result.prf, learning.settings
    )  # searches need the PRF's errors
    rounds = rounds + result.rounds
    searches, disturbed = list[dict[str, int]](), False
    for _ in range(_searches(shape, sources)):
        found = learning.find(stars, result)
        searches.append({"n_found": len(found.ra), "n_negative": found.n_negative})
        if len(found.ra) > 0:
            disturbed = True
            stars = _with(stars, found)
            stars, result, more = learning.placed(stars, result.prf, _AGAIN)
            rounds = rounds + more
            stars = learning.significant(stars, result)
        searches[-1]["n_kept"] = _n_found(stars)
        logger.info("search %d: %s", len(searches), searches[-1])
        if len(found.ra) == 0:
            break
    if disturbed and alone:  # many stars were missing while the states were fitted
        stars, result, more = learning.placed(stars, result.prf, _FIRST)
        rounds, stars = rounds + more, learning.significant(stars, result)
        searches[-1]["n_kept"] = _n_found(stars)
    if disturbed:
        result = learning.fit(stars.table(), result.prf, learning.settings)
        rounds = rounds + result.rounds
    if not calibrates:
        prior = measured(stars.prior, learning.fluxes(stars.table(), result))
        stars = replace(stars, prior=prior)
    return Learned(
        prf=result.prf,
        states=result.states,
        sources=stars.result().drop(columns="noise"),
        rounds=rounds,
        searches=searches,
        used=used,
        background_nodes=learning.background_nodes,
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


def _searches(shape: Shape, sources: pd.DataFrame) -> int:
    """Largest number of searches: more without a catalogue, as each finds fainter stars."""
    if shape.search_rounds is not None:
        return shape.search_rounds
    return _MOST_SEARCHES if from_images(sources) else _SEARCHES


def from_images(sources: pd.DataFrame) -> bool:
    """Whether the stars were detected in the images, for want of a catalogue."""
    return bool((sources["origin"] == "image").any())


def _touching(x: np.ndarray, y: np.ndarray, flux: np.ndarray) -> np.ndarray:
    """Whether each star (pixels) has moved onto a brighter one, with which it is degenerate."""
    seen = np.flatnonzero(np.isfinite(x + y))
    tree = cKDTree(np.stack([x, y], axis=1)[seen])
    pairs = seen[tree.query_pairs(_TOUCHING, output_type="ndarray")]
    out = np.zeros(len(x), bool)
    out[np.where(flux[pairs[:, 0]] < flux[pairs[:, 1]], pairs[:, 0], pairs[:, 1])] = True
    return out


def _settled(stars: Stars) -> bool:
    """Whether stars were updated before: then those that are new do not move the others far."""
    return bool(stars.measured().any())


def _is_residual(sources: pd.DataFrame) -> np.ndarray:
    """Whether each source was found in the residuals."""
    return (sources["origin"] == "residual").to_numpy()


def _n_found(stars: Stars) -> int:
    """Number of stars that searches found."""
    return int(_is_residual(stars.prior).sum())


@dataclass(frozen=True)
class _Completing:
    """Steps of `learn` on the frames, with section ``shape`` of the configuration."""

    frames: Frames
    shape: Shape
    likely: TensorPRF
    calibrates: bool
    background_nodes: int = 1

    @property
    def settings(self) -> TensorSettings:
        """How the PRF is learned until it converges."""
        return TensorSettings.configured(self.shape, self.calibrates, self.background_nodes)

    def prior(self, sources: pd.DataFrame) -> Prior:
        """Prior of the fluxes; the flux of a star that was found is no more than a guess."""
        catalogued = 0.0 if self.calibrates else APPROXIMATE
        relative = np.where(_is_residual(sources), 1.0, catalogued)
        return learning_prior(sources["flux"].to_numpy(), relative)

    def fit(self, sources: pd.DataFrame, start: TensorPRF, settings: TensorSettings) -> LearnedPRF:
        """Fit the PRF; only stars of the catalogue shape and calibrate it and register frames."""
        found = np.where(_is_residual(sources), SourceFlag.BLENDED, 0)
        flags = sources["flags"].to_numpy() | found
        frames = self.frames(sources)
        return learn_tensor(frames, self.prior(sources), flags, start, settings, self.likely)

    @property
    def few_rounds(self) -> TensorSettings:
        """How it is learned in between."""
        return replace(self.settings, rounds=_ROUNDS, with_errors=False)

    def with_good_frames(self, sources: pd.DataFrame) -> tuple[_Completing, np.ndarray]:
        """The steps on frames that may teach, and which of the frames these are.

        A bad frame spoils the PRF and with it the other frames: those without it are judged anew.
        """
        used = np.ones(len(self.frames(sources)), bool)
        while used.sum() > 1:
            trial = self._of(used)
            good = good_frames(trial.fit(sources, self.likely, trial.few_rounds).misfits)
            if good.all():
                break
            used[used] = good
        return self._of(used), used

    def enough_nodes(self, sources: pd.DataFrame, result: LearnedPRF) -> int:
        """Splines per axis of a background that leaves no structure: more of them gain little."""

        def chi2(nodes: int) -> float:
            trial = replace(self, background_nodes=nodes)
            return Misfit.total(trial.fit(sources, result.prf, trial.few_rounds).misfits).chi2

        enough, least = 1, Misfit.total(result.misfits).chi2
        side = min(min(frame.shape) for frame in self.frames(sources))
        for nodes in (nodes for nodes in _MORE_NODES if nodes * _APART <= side):
            found = chi2(nodes)
            if found <= _GAIN * least:
                enough, least = nodes, found
            elif nodes > _TRIED:
                break
        return enough

    def _of(self, used: np.ndarray) -> _Completing:
        """The steps on some of the frames."""
        frames, chosen = self.frames, used.copy()
        return replace(self, frames=lambda table: list(itertools.compress(frames(table), chosen)))

    def _models(self, sources: pd.DataFrame, result: LearnedPRF) -> FrameModels:
        return FrameModels(
            frames=self.frames(sources),
            prf=result.prf,
            flux=self.prior(sources).mu,
            flux_cut_off=self.shape.flux_cut_off,
            states=result.states,
            background_nodes=self.background_nodes,
        )

    def find(self, stars: Stars, result: LearnedPRF) -> Found:
        """Stars that neither the catalogue nor an earlier search gave."""
        sources = stars.table()
        models = self._models(sources, result)
        prior, threshold = self.prior(sources), self.shape.search_threshold
        return find_stars(models, prior, threshold, _n_found(stars))

    def placed(
        self, stars: Stars, start: TensorPRF, most: int
    ) -> tuple[Stars, LearnedPRF, list[Round]]:
        """Fit PRF and states of the stars in turn until the states settle, ``most`` times."""
        few = self.few_rounds
        result = self.fit(stars.table(), start, few)
        rounds, settled = result.rounds, _settled(stars)
        for number in range(most):
            sources, before = stars.table(), settled
            moving = sources["flux"].to_numpy() > self._faintest(number, settled)
            models, clip = self._models(sources, result), CLIP_LEARNING if settled else np.inf
            new = update(models, self.prior(sources), stars, moving, clip, PRF_ERROR_LEARNING)
            stars = new.stars
            steps = new.moved[moving & stars.measured()]
            typical = float(np.percentile(steps, _MOST)) if steps.size else 0.0
            logger.info(
                "states %d: %d stars, 90 %% move < %.2g errors", number, steps.size, typical
            )
            result = self.fit(stars.table(), result.prf, few)
            rounds = rounds + result.rounds
            settled = typical < _NEARLY
            if before and moving.all() and typical < _SETTLED:
                break
        return stars, result, rounds

    def _faintest(self, number: int, settled: bool) -> float:
        """Flux of the faintest stars whose states are free: the bright ones come first, e-/s."""
        return 0.0 if settled else self.shape.source_flux_limit * 10.0 ** (1 - number)

    def fluxes(self, sources: pd.DataFrame, result: LearnedPRF) -> np.ndarray:
        """Fluxes of a fit, e-/s; those of a joint fit are of the stars on its patches."""
        models = self._models(sources, result)
        if not is_cut(models.frames):
            return result.flux
        return common_flux(models, self.prior(sources).sigma)

    def significant(self, stars: Stars, result: LearnedPRF) -> Stars:
        """Stars found that a joint fit confirms, with its fluxes, the brightest first.

        The fluxes of neighbours were off when they were found, and took or gave light.
        """
        sources, found = stars.table(), _is_residual(stars.prior)
        flux = self.fluxes(sources, result)
        if self.calibrates:
            prior = stars.prior.assign(flux=np.where(found, flux, sources["flux"]))
        else:
            prior = measured(stars.prior, flux)
        bright = prior["flux"] >= self.shape.search_threshold * prior["noise"]
        first = self.frames(sources)[0].places()
        kept = np.flatnonzero((bright & ~_touching(*first, prior["flux"].to_numpy())) | ~found)
        order = np.lexsort((-flux[kept] * found[kept], found[kept]))
        kept = kept[order]
        return stars.taking(prior.iloc[kept].reset_index(drop=True), kept)


def _with(stars: Stars, found: Found) -> Stars:
    """Append stars; ``noise`` is the error of their flux in the stack, e-/s."""
    sources, n = stars.prior, len(stars)
    new = pd.DataFrame(
        {"ra": found.ra, "dec": found.dec, "flux": found.flux}
        | {"noise": found.flux / found.significance}
    ).assign(
        source=0,
        source_id=0,
        epoch=sources["epoch"].iloc[0],
        **dict.fromkeys(schemas.ASTROMETRIC[2:], 0.0),
        **dict.fromkeys(schemas.ASTROMETRIC_ERRORS[:2], FOUND_ERROR),
        # No better than the worst of the catalogue.
        **{name: sources[name].max() for name in schemas.ASTROMETRIC_ERRORS[2:]},
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
    prior = pd.concat([sources.astype(exact), new.astype(exact)], ignore_index=True)
    return stars.taking(prior, np.arange(n))
