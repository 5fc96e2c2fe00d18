"""Writers of simulated data: frames and cubes in the layouts of real ones, catalogue and truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.io import fits
from astropy.wcs import WCS

from romanprf.config import Simulate
from romanprf.io.atomic import replacing
from romanprf.io.tables import write_table
from romanprf.schemas import TRUTH
from romanprf.simulate import Field, SimulatedExposure, wfi

#: Half an exposure, days.
_HALF = 0.5 * wfi.EXPOSURE_TIME / 86400.0
#: Stated error of exact positions, mas: readers take zero for unknown.
_EXACT = 1e-3


def write_frame(path: str | Path, exposure: SimulatedExposure) -> None:
    """Write a FITS frame in the layout of RImTimSim: flux, then error, both e-/s."""
    cards = {
        "SOFTWARE": "romanprf",
        "TELESCOP": "Roman",
        "INSTRUME": "WFI",
        "DETECTOR": f"SCA{exposure.sca:02d}",
        "FILTER": wfi.FILTER,
        "EXPOSURE": wfi.EXPOSURE_TIME,
        "TSTART": exposure.time - _HALF,
        "TEND": exposure.time + _HALF,
        "EXP_NO": exposure.number,
        "UNIT": "electrons per second",
        "ABMAGZP": wfi.ZERO_POINT,
    }
    header = fits.Header(cards.items())
    header.comments["ABMAGZP"] = "AB magnitude of 1 electron per second"
    header.update(_row_first(exposure.wcs).to_header())
    frame = fits.HDUList([fits.PrimaryHDU(exposure.flux, header), fits.ImageHDU(exposure.flux_err)])
    with replacing(path) as temporary:
        frame.writeto(temporary)


def write_cube(path: str | Path, exposures: Sequence[SimulatedExposure]) -> None:
    """Write an ASDF cube in the layout of roman-cuts: many exposures in one file."""
    import asdf  # noqa: PLC0415  (slow; frames do not need it)

    first, last = exposures[0], exposures[-1]
    shape = first.flux.shape
    meta = {
        "CREATOR": "romanprf",
        "MISSION": "Roman-Sim",
        "TELESCOP": "Roman",
        "SOFTWARE": "romanprf",
        "DETECTOR": f"SCA{first.sca:02d}",
        "FILTER": wfi.FILTER,
        "READMODE": "rampfitted",
        "EXPOSURE": wfi.EXPOSURE_TIME,
        "NTIMES": len(exposures),
        "IMGSIZE": list(shape),
        "DITHERED": False,
        "RA_CEN": float(first.wcs.wcs.crval[0]),
        "DEC_CEN": float(first.wcs.wcs.crval[1]),
        "RADESYS": "ICRS",
        "EQUINOX": 2000.0,
        "TSTART": first.time - _HALF,
        "TEND": last.time + _HALF,
        "ABMAGZP": wfi.ZERO_POINT,
    }
    data = {
        "flux": np.stack([e.flux for e in exposures]),
        "flux_err": np.stack([e.flux_err for e in exposures]),
        "time": np.array([e.time for e in exposures]),
        "exposureno": np.array([e.number for e in exposures]),
        "quality": np.zeros(len(exposures), dtype=np.int64),
        "row": 0,
        "column": 0,
    }
    wcs = [_row_first(e.wcs) for e in exposures]
    with replacing(path) as temporary:
        asdf.AsdfFile({"roman": {"meta": meta, "wcs": wcs, "data": data}}).write_to(temporary)


def _row_first(wcs: WCS) -> WCS:
    """The same world coordinates with the row as axis 1, the convention of these formats."""
    swapped = wcs.deepcopy()
    swapped.wcs.crpix = wcs.wcs.crpix[::-1]
    swapped.wcs.pc = wcs.wcs.pc[:, ::-1]
    swapped.wcs.set()
    return swapped


def write_catalogue(path: str | Path, field: Field, settings: Simulate) -> None:
    """Write the stars to ``catalogue_limit`` as CSV with the column names of TRExS and Gaia."""
    stars = field.stars[field.stars["catalogue_mag"] < settings.catalogue_limit]
    error = max(settings.position_error, _EXACT)
    columns = {
        "sicbro_id": stars["source_id"],
        "RA_DEG": stars["catalogue_ra"],
        "DEC_DEG": stars["catalogue_dec"],
        "ra_error": error,
        "dec_error": error,
        "epoch": stars["epoch"].round(4),
        wfi.FILTER: stars["catalogue_mag"].round(4),
    }
    with replacing(path) as temporary:
        pd.DataFrame(columns).to_csv(temporary, index=False, lineterminator="\n")


def write_truth(
    path: str | Path, field: Field, settings: Simulate, origin: Mapping[str, str]
) -> None:
    """Write the stars as drawn, with the light curves of variable ones (`schemas.TRUTH`)."""
    stars = field.stars
    numbers = np.arange(settings.exposures)
    times = wfi.to_time(numbers, settings.cadence)
    kind = ["constant"] * len(stars)
    lists: dict[str, list] = {name: [[]] * len(stars) for name in ("exposure", "time", "factor")}
    for event in field.events:
        kind[event.star] = event.kind
        lists["exposure"][event.star] = numbers
        lists["time"][event.star] = times
        lists["factor"][event.star] = event.factor(times)
    columns = stars[[name for name in TRUTH.names if name in stars]].to_dict("series")
    write_table(path, {**columns, "kind": kind, **lists}, TRUTH, origin)
