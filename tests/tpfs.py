"""Target pixel files as Kepler, K2 and TESS write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits

NT, SHAPE = 8, (4, 3)
RA, DEC = 289.8, 51.7
#: Celestial keywords of the images, with the pixel scale of Kepler and of TESS (deg).
SCALE = {"Kepler": 0.0011056, "K2": 0.0011056, "TESS": 0.0058333}
PLACES = {
    "Kepler": {"MISSION": "Kepler", "KEPLERID": 11904151, "CHANNEL": 1, "QUARTER": 12},
    "K2": {"MISSION": "K2", "KEPLERID": 201367065, "CHANNEL": 31, "CAMPAIGN": 1},
    "TESS": {"TICID": 25155310, "SECTOR": 1, "CAMERA": 4, "CCD": 2},
}


def celestial(mission: str) -> dict[str, object]:
    """WCS keywords of an image whose first pixel is the reference pixel (2.2, 1.4)."""
    angle = np.deg2rad(62.0)
    keys: dict[str, object] = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
    keys |= {"CRPIX1": 2.2, "CRPIX2": 1.4, "CRVAL1": RA, "CRVAL2": DEC}
    keys |= {"CUNIT1": "deg", "CUNIT2": "deg", "CDELT1": -SCALE[mission], "CDELT2": SCALE[mission]}
    keys |= {"PC1_1": np.cos(angle), "PC1_2": -np.sin(angle)}
    return keys | {"PC2_1": np.sin(angle), "PC2_2": np.cos(angle)}


#: Name of a WCS keyword of an image -> that of the n-th column of images (FITS standard, table 22).
IN_TABLE = {
    **{f"{key}{axis}": f"{axis}{short}{{n}}" for axis in (1, 2) for key, short in
       (("CTYPE", "CTYP"), ("CRPIX", "CRPX"), ("CRVAL", "CRVL"), ("CUNIT", "CUNI"),
        ("CDELT", "CDLT"))},
    **{f"PC{i}_{j}": f"{i}{j}PC{{n}}" for i in (1, 2) for j in (1, 2)},
}  # fmt: skip


def pixels(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    flux = rng.normal(1000.0, 5.0, (NT, *SHAPE)).astype(">f4")
    return flux, rng.uniform(1.0, 2.0, flux.shape).astype(">f4")


def table_of_cadences(mission: str, corner: tuple[int, int], values: dict) -> fits.BinTableHDU:
    """Extension 1, with the columns in the order of the archive's files."""
    size, dim = SHAPE[0] * SHAPE[1], f"({SHAPE[1]},{SHAPE[0]})"
    epoch = 2457000 if mission == "TESS" else 2454833

    def column(name: str, form: str, unit: str | None = None) -> fits.Column:
        image = form[0].isdigit()
        values.setdefault(name, np.zeros((NT, *SHAPE) if image else NT))
        return fits.Column(name, form, unit, dim=dim if image else None, array=values[name])

    images = ["FLUX", "FLUX_ERR", "FLUX_BKG", "FLUX_BKG_ERR"]
    table = fits.BinTableHDU.from_columns(
        [
            column("TIME", "D", f"BJD - {epoch}"),
            column("TIMECORR", "E", "d"),
            column("CADENCENO", "J"),
            column("RAW_CNTS", f"{size}J", "count"),
            *(column(name, f"{size}E", "e-/s") for name in images),
            column("COSMIC_RAYS", f"{size}E", "e-/s"),
            column("QUALITY", "J"),
            column("POS_CORR1", "E", "pixel"),
            column("POS_CORR2", "E", "pixel"),
        ],
        name="PIXELS" if mission == "TESS" else "TARGETTABLES",
    )
    header = table.header
    header.update(TIMESYS="TDB", BJDREFI=epoch, BJDREFF=0.0, EXPOSURE=80.0)
    for n in range(4, 10):
        header.update({f"WCSN{n}P": "PHYSICAL", f"WCAX{n}P": 2, f"WCAX{n}": 2})
        for axis, (name, first) in enumerate(zip(("RAWX", "RAWY"), corner[::-1], strict=True), 1):
            header.update({f"{axis}CTY{n}P": name, f"{axis}CUN{n}P": "PIXEL"})
            header.update({f"{axis}CRV{n}P": first, f"{axis}CDL{n}P": 1.0, f"{axis}CRP{n}P": 1})
        header.update({IN_TABLE[key].format(n=n): v for key, v in celestial(mission).items()})
    return table


def write_tpf(
    path: Path,
    mission: str = "Kepler",
    corner: tuple[int, int] = (243, 655),
    aperture: np.ndarray | None = None,
    primary: dict[str, object] | None = None,
    **values: np.ndarray,
) -> Path:
    """A target pixel file in the layout of the archive; ``values`` replace columns."""
    flux, flux_err = pixels()
    time = 1235.5 + np.arange(NT) / 48.0
    default = {"TIME": time, "CADENCENO": 500 + np.arange(NT), "FLUX": flux, "FLUX_ERR": flux_err}
    head = fits.Header({"TELESCOP": "TESS" if mission == "TESS" else "Kepler", "ORIGIN": "NASA"})
    head.update(CREATOR="TargetPixelExporterPipelineModule", OBJECT="a star", RADESYS="ICRS")
    head.update(RA_OBJ=RA, DEC_OBJ=DEC, EQUINOX=2000.0, OBSMODE="long cadence")
    head.update({"TESSMAG" if mission == "TESS" else "KEPMAG": 11.5} | PLACES[mission])
    head.update(primary or {})
    aperture = np.full(SHAPE, 3, dtype=np.int32) if aperture is None else aperture
    image = fits.ImageHDU(aperture, fits.Header(celestial(mission)), "APERTURE")
    table = table_of_cadences(mission, corner, default | values)
    fits.HDUList([fits.PrimaryHDU(header=head), table, image]).writeto(path, overwrite=True)
    return path
