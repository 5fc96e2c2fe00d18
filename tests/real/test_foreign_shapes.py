"""PRF shapes that psfmachine and roman-lcs fitted to Kepler pixels."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from scipy.interpolate import BSpline

from romanprf.prf.shape_files import read_shape, write_shape

N_R, N_PHI, RMIN, RMAX, CUT_R, CUT = 10, 15, 1.0, 16.0, 6.0, 4
PIXEL_AREA = 3.98**2


def evaluated(r, phi, weights):
    """The packages' log10 of the PRF at one offset."""
    knots = np.linspace(np.sqrt(RMIN), np.sqrt(RMAX), N_R) ** 2
    angular, radial = np.zeros((N_R + 5, N_PHI)), np.zeros(N_R + 5)
    angular[CUT:] = weights[: (N_R + 5 - CUT) * N_PHI].reshape(-1, N_PHI)
    radial[1:CUT], radial[0] = weights[-CUT:-1], weights[-1]
    around = BSpline(np.arange(-3, N_PHI + 4), angular[:, np.arange(-3, N_PHI)].T, 3)
    position = (phi + np.pi) * N_PHI / (2.0 * np.pi)
    coefficients = radial + around(position)
    along = BSpline(np.r_[[0.0] * 4, knots, [RMAX] * 4], coefficients[1:], 3)
    return float(coefficients[0] + along(r))


@pytest.mark.parametrize("pixels", ["ffi", "tpf"])
@pytest.mark.parametrize("package", ["psfmachine", "romanlcs"])
def test_their_fits_load_and_survive(small_dir, tmp_path, pixels, package):
    with np.load(small_dir / "real_sky" / f"kepler_{pixels}_reference.npz") as reference:
        weights = reference[f"{package}_psf_w"]
    column = fits.Column(name="psf_w", array=weights, format="D")
    table = fits.BinTableHDU.from_columns([column])
    geometry = {"n_rknots": N_R, "n_pknots": N_PHI, "rmin": RMIN, "rmax": RMAX, "cut_r": CUT_R}
    header = {"origin": package, "mission": "Kepler", **geometry, "spln_deg": 3, "norm": "False"}
    table.header.update(header)
    table.writeto(tmp_path / "theirs.fits", checksum=True)
    prf, facts = read_shape(tmp_path / "theirs.fits", PIXEL_AREA)
    rng = np.random.default_rng(9)
    r, phi = (4.0 * rng.random(500)) ** 2, rng.uniform(-np.pi, np.pi, 500)
    expected = np.array([evaluated(*offset, weights) for offset in zip(r, phi, strict=True)])
    assert np.abs(np.log10(prf.evaluate(r, phi)) - expected).max() < 1e-4
    write_shape(tmp_path / "ours.fits", prf, facts)
    again, _ = read_shape(tmp_path / "ours.fits")
    np.testing.assert_array_equal(again.evaluate(r, phi), prf.evaluate(r, phi))
    exchanged = fits.getdata(tmp_path / "ours.fits", 1)["psf_w"]
    back = np.array([evaluated(*offset, exchanged) for offset in zip(r, phi, strict=True)])
    assert np.abs(back - expected).max() < 1e-4
    assert facts.items() >= header.items()
