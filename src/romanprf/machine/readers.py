"""Machines of the pixels of image files and target pixel files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from romanprf.machine.data import MachineData
from romanprf.machine.scene import Catalogue
from romanprf.machine.series import Series

if TYPE_CHECKING:
    from romanprf.io.pixel_series import PixelSeries

#: Arguments of `romanprf.Machine` that suit pixels of 0.11 arcsec and images with background.
_ROMAN = {"n_r_knots": 28, "n_phi_knots": 24, "rmin": 0.01, "rmax": 2.2, "cut_r": 0.05}
_ROMAN |= {"fit_background": True}
#: The same for pixels of 4 and 21 arcsec.
_KEPLER = {"rmin": 1.0, "rmax": 16.0, "cut_r": 6.0, "sparse_dist_lim": 40.0}
_TESS = {"rmin": 5.0, "rmax": 80.0, "cut_r": 30.0, "sparse_dist_lim": 210.0}


class Readers(MachineData):
    """The methods of `romanprf.Machine` that read files."""

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
    ) -> Self:
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
            Of `Machine`.  By default the background is fitted, and the knots are those of the
            workflow.  Fluxes are weighted by the photon noise of the model instead of that of the
            data, which would bias faint ones.

        Raises
        ------
        InputError
            If a file cannot be used or does not show the position.
        """
        from romanprf.io.cutouts import read_cutouts  # noqa: PLC0415

        series = read_cutouts(files, position, size, gain=gain, zero_point=zero_point)
        column = kwargs.setdefault("sources_flux_column", "flux")
        sources = _with_flux(sources, column, series.meta["zero_point"])
        return cls._from_series(series, sources, {**_ROMAN, **kwargs})

    @classmethod
    def from_tpfs(
        cls,
        tpfs: Sequence[Any],
        sources: pd.DataFrame,
        *,
        quality: int | str = "default",
        **kwargs: Any,
    ) -> Self:
        """Read Kepler, K2 or TESS target pixel files of one channel or CCD.

        The scales of the PRF model default to those that suit the mission's pixels.

        Parameters
        ----------
        tpfs : sequence of path or lightkurve TargetPixelFile
            Pixels in two of them are used once.
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
        suitable = _TESS if series.meta["mission"] == "TESS" else _KEPLER
        return cls._from_series(series, sources, {**suitable, **kwargs})

    @classmethod
    def _from_series(
        cls, series: PixelSeries, sources: pd.DataFrame, kwargs: Mapping[str, Any]
    ) -> Self:
        """Machine of the sources near the pixels of a series."""
        pixels = {n: getattr(series, n) for n in ("flux", "flux_err", "ra", "dec", "column", "row")}
        machine = cls(series.time, sources=sources, **pixels, **kwargs)
        near = _near_pixels(machine._series, machine._catalogue, machine.rmax)
        if not near.all():
            machine._set_catalogue(machine._catalogue.only(near))
        machine.meta = {**series.meta, **series.extra}
        machine._calibrated = series.meta["mission"] == "Roman"
        machine.image_shape = series.meta.get("shape")
        if "poisson_slope" in series.extra:
            slope = series.extra["poisson_slope"]
            machine._series = replace(machine._series, poisson_slope=slope)
        return machine


def _with_flux(sources: pd.DataFrame, column: str, zero_point: float) -> pd.DataFrame:
    """The sources with a column of fluxes (e-/s), from their AB magnitudes where it is missing."""
    if not isinstance(sources, pd.DataFrame) or column in sources or "mag" not in sources:
        return sources
    flux = 10.0 ** (-0.4 * (sources["mag"] - zero_point))
    return sources.assign(**{column: flux})


def _near_pixels(series: Series, catalogue: Catalogue, radius: float) -> np.ndarray:
    """Which sources are within ``radius`` (arcsec) of a pixel of some frame, (nsources,).

    Raises
    ------
    ValueError
        If none is.
    """
    near = np.zeros(len(catalogue), bool)
    for grid in series.grids:
        near[grid.deltas(catalogue.ra, catalogue.dec, radius)["source"]] = True
    if not near.any():
        raise ValueError(
            f"none of the {near.size} sources is within {radius} arcsec of the pixels, "
            "expected a catalogue of the same field, ra and dec in degrees ICRS"
        )
    return near
