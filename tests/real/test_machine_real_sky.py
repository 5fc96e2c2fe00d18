"""Machine on Kepler pixels: a full-frame cut-out and ten target pixel files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from romanprf import Machine

KEPLER = {
    "rmin": 1,
    "rmax": 16,
    "cut_r": 6,
    "sparse_dist_lim": 40,
    "sources_flux_column": "phot_g_mean_flux",
}
SATURATED = 1e5
N_TARGETS = 10


def kepler(folder, name: str, **kwargs) -> tuple[Machine, dict[str, np.ndarray]]:
    with np.load(folder / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file}
    sources = pd.read_csv(folder / f"{name}_sources.csv")
    pixels = {n: arrays[n] for n in ("flux", "flux_err", "ra", "dec", "column", "row")}
    machine = Machine(arrays["time"], sources=sources, **pixels, **KEPLER, **kwargs)
    machine.quiet = True
    return machine, arrays


def residual(machine: Machine, chosen=True) -> float:
    """Residual rms over flux rms inside the source mask."""
    inside = (machine.source_mask.getnnz(axis=0) > 0) & chosen
    left = (machine.flux - machine.model_flux)[:, inside]
    return float(np.sqrt(np.mean(left**2) / np.mean(machine.flux[:, inside] ** 2)))


@pytest.fixture(scope="module")
def folder(small_dir):
    return small_dir / "real_sky"


@pytest.fixture(scope="module")
def full_frame(folder):
    machine, _ = kepler(folder, "kepler_ffi", saturation_limit=SATURATED)
    machine.build_shape_model()
    machine.fit_model(compute_model=True)
    return machine


@pytest.fixture(scope="module")
def target_pixels(folder):
    machine, arrays = kepler(folder, "kepler_tpf")
    machine.build_shape_model(frame_index="all")
    machine.fit_model(compute_model=True)
    return machine, arrays


def ppm(flux: np.ndarray, aperture: np.ndarray) -> np.ndarray:
    """Scatter in time of PSF over aperture flux of the targets."""
    ratio = flux[:, :N_TARGETS] / aperture
    return 1e6 * ratio.std(axis=0) / ratio.mean(axis=0)


def test_full_frame_image(full_frame):
    assert full_frame.shape == (259, 1, 33840)
    used = np.isfinite(full_frame.flux_err[0])
    saturated = full_frame.flux[0] >= SATURATED
    assert 0 < saturated.sum() < 100
    assert not used[saturated].any()
    assert used.mean() > 0.97
    assert residual(full_frame, used) <= 0.15
    assert np.hypot(*full_frame.position_offset) < 0.5
    assert 0.3 < full_frame.flux_scale < 1.0


def test_a_few_saturated_pixels_rule_the_residual_of_a_full_frame_image(folder, full_frame):
    """With saturated pixels in the fit the goal holds on the rest of the image, as it should."""
    machine, _ = kepler(folder, "kepler_ffi")
    machine.build_shape_model()
    machine.fit_model(compute_model=True)
    unsaturated = np.isfinite(full_frame.flux_err[0])  # and not touching saturated ones
    assert residual(machine, unsaturated) <= 0.40
    assert residual(machine) > 2.0 * residual(full_frame, unsaturated)


def test_footprints_of_a_full_frame_image(full_frame):
    sums = np.asarray(full_frame.mean_model.sum(axis=1)).ravel()
    inside = full_frame.source_mask.getnnz(axis=1) > 30
    assert np.median(sums[inside]) == pytest.approx(0.9, abs=0.12)
    full_frame.get_psf_metrics(4)
    fraction = full_frame.source_psf_fraction
    assert ((fraction >= 0.0) & (fraction <= 1.0)).all()


def test_target_pixel_files(target_pixels):
    machine, arrays = target_pixels
    assert machine.shape == (12, 10, 287)
    assert (machine.fit_quality == 0).all()
    assert residual(machine) <= 0.12
    assert np.median(ppm(machine.ws, arrays["sap_pipeline"])) <= 190.0


def test_perturbed_fluxes_of_target_pixel_files(target_pixels):
    machine, arrays = target_pixels
    centroids = [np.nanmedian(arrays[n], axis=1) for n in ("pos_corr1", "pos_corr2")]
    machine.build_time_model(vectors=np.stack(centroids, axis=1))
    machine.fit_model(compute_model=True)
    plain, better = (np.median(ppm(w, arrays["sap_pipeline"])) for w in (machine.ws, machine.ws_va))
    assert better <= plain
    machine.get_psf_metrics()
    assert_allclose(machine.perturbed_ratio_mean, 1.0, atol=0.01)
    assert machine.perturbed_std.max() < 0.01
    assert_allclose(machine.ws_va.mean(axis=0), machine.ws.mean(axis=0), rtol=0.01)
