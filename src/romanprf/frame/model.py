"""A frame under a PRF and a state: its footprints, the light beyond them, its model image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from romanprf.frame.far import add_far_light
from romanprf.frame.frame import Frame
from romanprf.frame.stamps import Stamps, make_stamps
from romanprf.frame.state import AS_IN_HEADER, FrameState
from romanprf.prf import PRF

#: Footprints in which fluxes are solved end at this multiple of the cut-off of the light: further
#: out, pixels hold less than 1e-3 of the information on a flux.
SOLVED = 8.0


@dataclass(frozen=True, eq=False)
class FrameModel:
    """What the stars of a frame look like.

    Attributes
    ----------
    frame : Frame
        The exposure with its stars.
    prf : PRF
        The model.
    flux : ndarray, shape (nsources,)
        Expected fluxes, e-/s; set the size of the footprints only.
    flux_cut_off : float
        e-/s per pixel at which the light of a star ends.
    state : FrameState
        Of the frame.
    background_nodes : int
        Splines per axis of its background.
    solved : float
        Footprints end at this multiple of ``flux_cut_off``.
    """

    frame: Frame
    prf: PRF
    flux: np.ndarray
    flux_cut_off: float
    state: FrameState = AS_IN_HEADER
    background_nodes: int = 1
    solved: float = SOLVED

    @cached_property
    def stamps(self) -> Stamps:
        """PRF of each star in the footprint in which its flux is solved."""
        return self.footprints(self.flux, self.solved * self.flux_cut_off)

    def footprints(self, flux: np.ndarray, flux_cut_off: float) -> Stamps:
        """PRF of each star out to where a flux (nsources,) falls under a cut-off, e-/s."""
        return make_stamps(self.prf, self.frame, flux, flux_cut_off, self.state)

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (x, y) of the stars, each (nsources,); NaN where the WCS gives none."""
        return self.to_pixels(self.frame.ra, self.frame.dec)

    def to_pixels(self, ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (x, y) of positions on the sky (degrees ICRS)."""
        return self.state.moved(*self.frame.wcs.sky_to_pixel(ra, dec))

    def to_sky(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions (degrees ICRS) of pixels."""
        return self.frame.wcs.pixel_to_sky(*self.state.unmoved(x, y))

    def only(self, chosen: np.ndarray) -> FrameModel:
        """The model of some of the stars."""
        return replace(self, frame=self.frame.only(chosen), flux=self.flux[chosen])

    def add_far(self, flux: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Add the light beyond the footprints of stars of these fluxes (e-/s); the image."""
        return add_far_light(self.prf, self.frame, self.stamps, flux, self.flux_cut_off, image)

    def far(self, flux: np.ndarray) -> np.ndarray:
        """Image (e-/s) of the light beyond the footprints of stars of these fluxes (e-/s)."""
        return self.add_far(flux, np.zeros(self.frame.shape))


@dataclass(frozen=True, eq=False)
class FrameModels(Sequence[FrameModel]):
    """All frames under one PRF, each with its state (see `FrameModel`).

    A model is made anew whenever it is asked for: the footprints of all frames together would not
    fit into memory.
    """

    frames: Sequence[Frame]
    prf: PRF
    flux: np.ndarray
    flux_cut_off: float
    states: Sequence[FrameState]
    background_nodes: int = 1

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, number: Any) -> Any:
        return FrameModel(
            frame=self.frames[number],
            prf=self.prf,
            flux=self.flux,
            flux_cut_off=self.flux_cut_off,
            state=self.states[number],
            background_nodes=self.background_nodes,
        )
