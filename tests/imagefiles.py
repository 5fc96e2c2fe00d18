"""Small image files of the three formats, for tests."""

from __future__ import annotations

from pathlib import Path

import asdf
import gwcs
import numpy as np
from astropy import coordinates as coord
from astropy import units as u
from astropy.io import fits
from astropy.modeling import models
from astropy.time import Time
from astropy.wcs import WCS
from gwcs import coordinate_frames as cf
from gwcs.geometry import CartesianToSpherical, SphericalToCartesian

SHAPE = (6, 9)
SCALE = 0.11 / 3600


def pixels(seed: int = 1, shape: tuple[int, ...] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """Flux and error of an image."""
    rng = np.random.default_rng(seed)
    return (
        rng.normal(5.0, 1.0, shape).astype("f4"),
        rng.uniform(0.5, 1.0, shape).astype("f4"),
    )


def swapped_wcs(ra: float = 268.0, dec: float = -29.0, frame: str = "FK5") -> WCS:
    """WCS whose axis 1 counts rows, north along columns."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [3.0, 5.0]
    wcs.wcs.cd = [[-SCALE, 0.0], [0.0, SCALE]]
    wcs.wcs.radesys = frame
    wcs.wcs.equinox = 2000.0
    return wcs


def frame_header(number: int = 3, **changes: object) -> fits.Header:
    header = swapped_wcs().to_header()
    header.update(EXP_NO=number, TSTART=2461450.0, TEND=2461450.5, EXPOSURE=54.0)
    header.update(FILTER="F146", DETECTOR="SCA02")
    for key, value in changes.items():
        if value is None:
            del header[key]
        else:
            header[key] = value
    return header


def write_frame(path: Path, flux=None, flux_err=None, **changes: object) -> Path:
    """RImTimSim frame; a header change of None removes the keyword."""
    default = pixels()
    flux = default[0] if flux is None else flux
    flux_err = default[1] if flux_err is None else flux_err
    hdus = [fits.PrimaryHDU(flux, frame_header(**changes)), fits.ImageHDU(flux_err)]
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


def cube_tree(n: int = 3, dithered: bool = False) -> dict:
    flux, flux_err = pixels(2, (n, *SHAPE))
    first = np.arange(n)
    return {
        "meta": {"FILTER": "F146", "DETECTOR": "SCA11", "EXPOSURE": 54.0, "RADESYS": "FK5"},
        "wcs": [swapped_wcs() for _ in range(n)],
        "data": {
            "flux": flux,
            "flux_err": flux_err,
            "time": 2461450.0 + 0.0084 * first,
            "exposureno": 10 + first,
            "quality": np.zeros(n, dtype=int),
            "row": 20 + first if dithered else 20,
            "column": 40 - first if dithered else 40,
        },
    }


def cube_with(section: str, name: str, value: object) -> dict:
    """The tree of a cube with another value of an entry."""
    tree = cube_tree()
    tree[section][name] = value
    return tree


def write_cube(path: Path, tree: dict | None = None) -> Path:
    asdf.AsdfFile({"roman": cube_tree() if tree is None else tree}).write_to(path)
    return path


def tangent_gwcs(reference: coord.BaseCoordinateFrame, ra: float = 268.0, dec: float = -29.0):
    """North along y, east along -x, about pixel (4, 2.5); NaN outside its bounding box."""
    transform = (
        models.Shift(-4.0) & models.Shift(-2.5)
        | models.Scale(-SCALE) & models.Scale(SCALE)
        | models.Pix2Sky_TAN()
        | models.RotateNative2Celestial(ra, dec, 180.0)
    )
    detector = cf.Frame2D(name="detector", axes_order=(0, 1), unit=(u.pix, u.pix))
    sky = cf.CelestialFrame(name="world", reference_frame=reference, unit=(u.deg, u.deg))
    wcs = gwcs.WCS([(detector, transform), (sky, None)])
    wcs.bounding_box = ((-0.5, SHAPE[1] - 0.5), (-0.5, SHAPE[0] - 0.5))
    return wcs


def distorted_gwcs(size: int = 4088):
    """A whole detector: a polynomial of degree 5, 1 percent at the edges, turned and put on the
    sky by rotations, as the WCS of official files are made."""
    rng = np.random.default_rng(7)
    corner = {2: 1.0, 3: 0.05, 4: 0.02, 5: 0.05}  # arcsec, the largest terms of each degree
    polynomials = []
    for axis in (0, 1):
        terms = {
            f"c{i}_{n - i}": rng.uniform(-1.0, 1.0) * most / (size / 2) ** n
            for n, most in corner.items()
            for i in range(n + 1)
        }
        terms[("c1_0", "c0_1")[axis]] = (0.1095, 0.1059)[axis]
        polynomials.append(models.Polynomial2D(5, **terms))
    middle = models.Shift(-(size - 1) / 2.0)
    angles = (0.43, 0.25, -119.4, -29.2, -268.0)
    transform = (
        middle & middle.copy()
        | models.Mapping((0, 1, 0, 1))
        | polynomials[0] & polynomials[1]
        | models.Shift(1546.0) & models.Shift(-892.0)
        | models.Scale(1 / 3600.0) & models.Scale(1 / 3600.0)
        | SphericalToCartesian(wrap_lon_at=180)
        | models.RotationSequence3D(angles, "zyxyz")
        | CartesianToSpherical(wrap_lon_at=360)
    )
    detector = cf.Frame2D(name="detector", axes_order=(0, 1), unit=(u.pix, u.pix))
    sky = cf.CelestialFrame(name="world", reference_frame=coord.ICRS(), unit=(u.deg, u.deg))
    return gwcs.WCS([(detector, transform), (sky, None)])


def l2_model(reference: coord.BaseCoordinateFrame | None = None, wcs: bool = True):
    """Official Level 2 image, to be saved with ``write_l2``."""
    from roman_datamodels import datamodels

    model = datamodels.ImageModel.create_fake_data(shape=SHAPE)
    flux, flux_err = pixels(3)
    model["data"], model["err"] = flux, flux_err.astype("f2")
    model["var_poisson"] = (0.01 * flux).astype("f2")
    model["dq"] = np.zeros(SHAPE, dtype="u4")
    meta = model.meta
    meta["wcs"] = tangent_gwcs(coord.ICRS() if reference is None else reference) if wcs else None
    meta["exposure"]["mid_time"] = Time("2027-03-05T00:00:33.206", scale="utc")
    meta["exposure"]["effective_exposure_time"] = 66.4
    meta["instrument"]["detector"] = "WFI02"
    meta["instrument"]["optical_element"] = "F146"
    for name, number in zip(
        ("pass", "segment", "observation", "visit", "exposure"), (1, 2, 3, 4, 5), strict=True
    ):
        meta["observation"][name] = number
    meta["photometry"]["conversion_megajanskys"] = -0.25
    meta["photometry"]["pixel_area"] = -2.7e-13
    return model


def write_l2(path: Path, model=None) -> Path:
    """Official Level 2 file; the name may be any, which the model's own `save` refuses."""
    proper = path.with_name(f"{path.name}.asdf")
    (l2_model() if model is None else model).save(proper)
    return proper.rename(path)
