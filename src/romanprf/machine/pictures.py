"""Pictures of a machine's shape model, source mask and time model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from romanprf.machine.data import MachineData

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Bins per axis of ``bin_data=True``.
BINS = 30
_TITLES = {"mean": "mean of the frames", "all": "pixels of all frames"}


class Pictures(MachineData):
    """The methods of `romanprf.Machine` that draw."""

    def plot_shape_model(
        self, frame_index: str | int = "mean", bin_data: bool = False, clean: bool = True
    ) -> Figure:
        """Draw data, PRF and residual against the offset from the source.

        Parameters
        ----------
        frame_index : int, "mean" or "all"
            Which pixels; the mean of dithered frames is all of their pixels.
        bin_data : bool
            Medians of the pixels in bins.
        clean : bool
            Only pixels that belong to one source.

        Returns
        -------
        Figure
        """
        from romanprf.plots.shape_model import shape_model_figure  # noqa: PLC0415
        from romanprf.plots.style import drawing  # noqa: PLC0415

        scene = self.scene
        if self._series.dithered and frame_index == "mean":
            frame_index = "all"
        frames = self._series.choose(frame_index)
        dra, ddec, value = scene.profile(frames, clean, self.fit_background)
        if bin_data:
            dra, ddec, value = _binned_medians(dra, ddec, value, BINS)
        model = scene.prf.evaluate(np.hypot(dra, ddec), np.arctan2(ddec, dra))
        title = _TITLES.get(str(frame_index), f"frame {frame_index}")
        with drawing():
            return shape_model_figure(dra, ddec, value, model, title)

    def plot_source_mask(self) -> Figure:
        """Draw the decline of the light with radius and the radius of each footprint."""
        from romanprf.plots.source_mask import source_mask_figure  # noqa: PLC0415
        from romanprf.plots.style import drawing  # noqa: PLC0415

        scene, frame = self.scene, self._series.frame(self.reference_frame)
        dra, ddec, value = scene.profile([frame], True, self.fit_background)
        r, profile = np.hypot(dra, ddec), scene.prf.mean_profile
        with drawing():
            return source_mask_figure(
                r, value, profile, scene.flux, self.radius, scene.flux_cut_off
            )

    def plot_time_model(self) -> Figure:
        """Draw data, model and residual of the time model at both ends of the series."""
        from romanprf.plots.style import drawing  # noqa: PLC0415
        from romanprf.plots.time_model import time_model_figure  # noqa: PLC0415

        model, pairs = self.time_model, self._results.need("time_model", "time_model").pairs
        relative = model.relative_flux(pairs.flux, pairs.source, pairs.dx, pairs.dy)
        used = np.ones(pairs.source.size, bool)
        with drawing():
            return time_model_figure(model, pairs.dx, pairs.dy, relative, used)


def _binned_medians(
    x: np.ndarray, y: np.ndarray, value: np.ndarray, bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Medians of ``value``, and of the places, in the cells of a grid that are not empty."""
    edge = max(float(np.abs(x).max()), float(np.abs(y).max())) * (1.0 + 1e-9)
    column, row = (np.floor((a / edge + 1.0) * 0.5 * bins) for a in (x, y))
    table = pd.DataFrame({"x": x, "y": y, "value": value})
    medians = table.groupby([column, row]).median()
    return medians["x"].to_numpy(), medians["y"].to_numpy(), medians["value"].to_numpy()
