"""Results of the methods of `romanprf.Machine`, and the attributes that delegate to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.sparse import csr_matrix

from romanprf.frame.stamps import Stamps
from romanprf.machine.grid import PixelGrid, perturbed
from romanprf.machine.scene import Scene
from romanprf.machine.series import FramePixels
from romanprf.prf import PRF

if TYPE_CHECKING:
    from romanprf.timemodel import Pairs, TimeModel

#: The method that computes each of the `Results`.
_MADE_BY = {
    "shape": "build_shape_model()",
    "fluxes": "fit_model()",
    "images": "fit_model(compute_model=True)",
    "time_model": "build_time_model()",
    "perturbed_fluxes": "build_time_model() and then fit_model()",
    "metrics": "get_psf_metrics()",
    "perturbed_metrics": "build_time_model() and then get_psf_metrics()",
}


@dataclass(frozen=True, eq=False)
class ShapeResult:
    """Shape model and its footprints on the reference frame.

    Attributes
    ----------
    scene : Scene
        PRF, positions and fluxes of the sources.
    stamps : Stamps
        PRF of each source on the reference frame.
    clean : ndarray of bool, shape (nvalues,)
        Whether each value of the stamps is in a pixel that belongs to its source only.
    radius : ndarray, shape (nsources,)
        Of the footprints, arcsec.
    mean_model : csr_matrix, shape (nsources, npixels)
        Fraction of each source's flux in each pixel.
    source_mask, uncontaminated_source_mask : csr_matrix of bool, shape (nsources, npixels)
        Pixels of the footprints, and those of them that belong to one source.
    header : mapping
        Header of the file that the PRF was read from.
    """

    scene: Scene
    stamps: Stamps
    clean: np.ndarray
    radius: np.ndarray
    mean_model: csr_matrix
    source_mask: csr_matrix
    uncontaminated_source_mask: csr_matrix
    header: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        scene: Scene,
        frame: FramePixels,
        contaminant: np.ndarray | None,
        header: Mapping[str, Any],
    ) -> Self:
        """Footprints of a scene on a reference frame.

        Parameters
        ----------
        scene : Scene
            The shape model.
        frame : FramePixels
            The reference frame.
        contaminant : ndarray of bool, shape (nsources,), optional
            See `Scene.uncontaminated`.
        header : mapping
            Header of the file that the PRF was read from.
        """
        stamps, grid = scene.stamps(frame), frame.grid
        _, clean = scene.uncontaminated(stamps, contaminant)
        mean_model = grid.matrix(stamps)
        return cls(
            scene=scene,
            stamps=stamps,
            clean=clean,
            radius=stamps.radius * grid.pixel_scale,
            mean_model=mean_model,
            source_mask=mean_model > 0,
            uncontaminated_source_mask=grid.matrix(perturbed(stamps, clean)) > 0,
            header=header,
        )

    @property
    def prf(self) -> PRF:
        """The PRF model, normalised."""
        return self.scene.prf

    @property
    def position_offset(self) -> tuple[float, float]:
        """(east, north) by which all sources are moved to fit the images, arcsec."""
        return self.scene.shift

    @property
    def flux_scale(self) -> float:
        """Flux (e-/s) of a source whose estimate in the catalogue is 1."""
        return self.scene.flux_scale

    @property
    def scale_error(self) -> float:
        """Relative error that the fluxes of all sources share."""
        return self.scene.scale_error


@dataclass(frozen=True, eq=False)
class FluxResult:
    """Fluxes and backgrounds of all frames; see `romanprf.Machine`."""

    ws: np.ndarray
    werrs: np.ndarray
    fit_quality: np.ndarray
    background: np.ndarray
    background_err: np.ndarray
    frame_shift: np.ndarray


@dataclass(frozen=True, eq=False)
class ImageResult:
    """Model images of all frames; see `romanprf.Machine`."""

    model_flux: np.ndarray


@dataclass(frozen=True, eq=False)
class PerturbedFluxes:
    """Fluxes with the perturbed model; see `romanprf.Machine`."""

    ws_va: np.ndarray
    werrs_va: np.ndarray


@dataclass(frozen=True, eq=False)
class TimeModelResult:
    """The time model.

    Attributes
    ----------
    time_model : TimeModel
        The model.
    grid : PixelGrid
        Of all frames.
    pairs : Pairs
        Pixels that it was fitted to.
    """

    time_model: TimeModel
    grid: PixelGrid
    pairs: Pairs

    def stamps(self, mean: Stamps, time_index: int) -> Stamps:
        """Perturbed stamps at a time, from those of the mean model."""
        return perturbed(mean, self.time_model.factor(time_index, *self.grid.offsets(mean)))

    def matrix(self, mean: Stamps, time_index: int) -> csr_matrix:
        """Perturbed model at a time, shape (nsources, npixels)."""
        return self.grid.matrix(self.stamps(mean, time_index))


@dataclass(frozen=True, eq=False)
class PSFMetrics:
    """Metrics of the shape model; see `romanprf.Machine.get_psf_metrics`."""

    source_psf_fraction: np.ndarray


@dataclass(frozen=True, eq=False)
class PerturbedMetrics:
    """Metrics of the time model; see `romanprf.Machine.get_psf_metrics`."""

    perturbed_ratio_mean: np.ndarray
    perturbed_std: np.ndarray


@dataclass(frozen=True, eq=False)
class Results:
    """Results of the methods of a machine; None where a method was not called yet.

    A result that rests on another one is dropped when that one is replaced.
    """

    shape: ShapeResult | None = None
    fluxes: FluxResult | None = None
    images: ImageResult | None = None
    time_model: TimeModelResult | None = None
    perturbed_fluxes: PerturbedFluxes | None = None
    metrics: PSFMetrics | None = None
    perturbed_metrics: PerturbedMetrics | None = None

    def need(self, result: str, wanted: str) -> Any:
        """A result that must be there.

        Parameters
        ----------
        result : str
            Its name.
        wanted : str
            Attribute of `romanprf.Machine` that it is needed for.

        Raises
        ------
        AttributeError
            If the method that computes it was not called.
        """
        found = getattr(self, result)
        if found is None:
            raise AttributeError(
                f"Machine.{wanted} is not there yet: call {_MADE_BY[result]} first"
            )
        return found

    def light_curves(self) -> dict[str, np.ndarray]:
        """Columns of the light curves, each (nt, nsources)."""
        fluxes, perturbed = self.need("fluxes", "ws"), self.perturbed_fluxes
        columns = {"psf_flux": fluxes.ws, "psf_flux_err": fluxes.werrs}
        if perturbed is not None:
            columns["perturbed_flux"] = perturbed.ws_va
            columns["perturbed_flux_err"] = perturbed.werrs_va
        return columns


class Computed:
    """Read-only attribute of a machine that delegates to one of its `Results`."""

    def __init__(self, result: str):
        self._result = result
        self.__doc__ = f"Computed by {_MADE_BY[result]}."

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, machine: Any, owner: type) -> Any:
        if machine is None:
            return self
        return getattr(machine._results.need(self._result, self._name), self._name)

    def __set__(self, machine: object, value: Any) -> None:
        raise AttributeError(
            f"Machine.{self._name} is a result of {_MADE_BY[self._result]} and cannot be set"
        )
