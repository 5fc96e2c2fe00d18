"""Metrics of the shape model and the time model of a machine."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from romanprf.machine.results import PerturbedMetrics, PSFMetrics, ShapeResult, TimeModelResult
from romanprf.machine.scene import Scene
from romanprf.machine.series import Series


def psf_metrics(series: Series, scene: Scene, points: int) -> PSFMetrics:
    """Fraction of the light of each source in the pixels of its footprint, mean over the frames.

    Parameters
    ----------
    series : Series
        The frames.
    scene : Scene
        The sources.
    points : int
        The PRF is averaged over so many places per axis of each pixel.
    """
    # Frames that share a grid share their footprints.
    frames = [series.frame(t) for t in range(len(series.grids))]
    light = [_light(frame.grid.matrix(scene.stamps(frame, points))) for frame in frames]
    return PSFMetrics(source_psf_fraction=np.clip(np.mean(light, axis=0), 0.0, 1.0))


def perturbed_metrics(shape: ShapeResult, result: TimeModelResult) -> PerturbedMetrics:
    """Light of the perturbed model: its mean in time over that of the mean model, and its scatter.

    The ratio is NaN where a source has no light.
    """
    nt = len(result.time_model.vectors)
    light = np.stack([_light(result.matrix(shape.stamps, t)) for t in range(nt)])
    with np.errstate(invalid="ignore"):
        ratio = light.mean(axis=0) / _light(shape.mean_model)
    return PerturbedMetrics(perturbed_ratio_mean=ratio, perturbed_std=light.std(axis=0))


def _light(model: csr_matrix) -> np.ndarray:
    """Sum over the pixels, shape (nsources,)."""
    return np.asarray(model.sum(axis=1)).ravel()
