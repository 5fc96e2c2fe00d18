"""Target pixel files of Kepler, K2 and TESS: small stacks of pixels about one star each.

The format is that of the Kepler Archive Manual (KDMC-10008-006, sec. 2.3.2) and of the TESS Science
Data Products Description Document (EXP-TESS-ARC-ICD-0014): extension 1 is a table of cadences whose
columns of images carry their own WCS keywords, extension 2 the image of the aperture.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS, NoWcsKeywordsFoundError

from romanprf.errors import InputError
from romanprf.io.files import first_bytes
from romanprf.io.pixel_series import PixelSeries
from romanprf.io.reading import entry, readable
from romanprf.io.times import checked_dates, time_scale

#: Bits of QUALITY that reject a cadence of Kepler or K2, the default bit mask of lightkurve 2.6
#: (Lightkurve Collaboration 2018, ascl:1812.013): attitude tweak, safe mode, coarse point, Earth
#: point, desaturation, manual exclude, detector anomaly, no data, thruster firing (Archive Manual,
#: table 2-3).
_KEPLER_BITS = 1 | 2 | 4 | 8 | 32 | 256 | 16384 | 65536 | 1048576
#: The same of TESS: attitude tweak, safe mode, coarse point, Earth point, Argabrightening,
#: desaturation, manual exclude, impulsive outlier, bad calibration (Data Products Description, data
#: quality flags).
_TESS_BITS = 1 | 2 | 4 | 8 | 16 | 32 | 128 | 512 | 16384
#: Bit of the aperture image of pixels that the spacecraft collected.
_COLLECTED = 1
_COLUMNS = ("TIME", "CADENCENO", "FLUX", "FLUX_ERR", "QUALITY", "POS_CORR1", "POS_CORR2")
#: Mission -> keywords of the primary header that identify a detector and a pointing.
_PLACE = {
    "Kepler": ("QUARTER", "CHANNEL"),
    "K2": ("CAMPAIGN", "CHANNEL"),
    "TESS": ("SECTOR", "CAMERA", "CCD"),
}
#: Mission -> keywords of the star's identifier and magnitude.
_STAR = {
    "Kepler": ("KEPLERID", "KEPMAG"),
    "K2": ("KEPLERID", "KEPMAG"),
    "TESS": ("TICID", "TESSMAG"),
}


@dataclass(frozen=True, eq=False)
class _Target:
    """The good cadences (nt) and collected pixels (npix) of one file."""

    name: str
    place: dict[str, Any]
    star: dict[str, Any]
    time_scale: str
    cadence: np.ndarray
    time: np.ndarray
    flux: np.ndarray
    flux_err: np.ndarray
    pos_corr1: np.ndarray
    pos_corr2: np.ndarray
    row: np.ndarray
    column: np.ndarray
    ra: np.ndarray
    dec: np.ndarray


def read_target_pixels(tpfs: Iterable[Any], quality: int | str = "default") -> PixelSeries:
    """Join target pixel files of one channel or CCD into one series of pixels.

    Parameters
    ----------
    tpfs : iterable of paths or lightkurve TargetPixelFile objects
        Of one mission, of one quarter, campaign or sector, and of one channel or CCD.  Cadences
        that were taken out of an object stay out.
    quality : {"default", "none"} or int
        Bits of QUALITY that reject a cadence, as in lightkurve: the usual ones of the mission,
        none, or those of a bit mask.

    Returns
    -------
    PixelSeries
        The cadences that are good, and have a time, in all files; the times are those of the
        first file (BJD; barycentric corrections of one channel differ by less than a minute).
        Pixels that the spacecraft collected, file by file, each once: a pixel in two files is
        that of the first.  ``ra``, ``dec``, ``row`` and ``column`` are (npix,).  ``meta`` holds
        mission; quarter, campaign or sector; channel or camera and ccd; time_scale; and per file
        the lists targetid, ra_obj, dec_obj and kepmag or tessmag (NaN where unknown).  ``extra``
        holds cadence (nt,), pos_corr1 and pos_corr2 (nt, nfiles; pixels along column and row), and
        file (npix,), the index of the file that a pixel is from.

    Raises
    ------
    InputError
        If a file is no target pixel file, or does not go with the others.
    ValueError, TypeError
        If ``tpfs`` is empty or holds other objects, or ``quality`` has no valid form.
    """
    if quality not in ("default", "none") and not isinstance(quality, (int, np.integer)):
        raise ValueError(f"quality is {quality!r}, expected 'default', 'none' or a bit mask")
    tpfs = [tpfs] if isinstance(tpfs, (str, Path)) or _is_object(tpfs) else list(tpfs)
    if not tpfs:
        raise ValueError("tpfs is empty, expected at least one target pixel file")
    targets = [_read(tpf, quality) for tpf in tpfs]
    _check_together(targets)
    return _joined(targets, _common_cadences(targets))


def _joined(targets: list[_Target], cadence: np.ndarray) -> PixelSeries:
    """Each pixel once, at the cadences that all files have."""
    index = [np.intersect1d(cadence, t.cadence, return_indices=True)[2] for t in targets]
    row, column, ra, dec = (
        np.concatenate([getattr(t, name) for t in targets])
        for name in ("row", "column", "ra", "dec")
    )
    file = np.repeat(np.arange(len(targets)), [len(t.row) for t in targets])
    once = np.sort(np.unique(np.stack([row, column]), axis=1, return_index=True)[1])
    flux, flux_err, pos_corr1, pos_corr2 = (
        np.concatenate([getattr(t, name)[i] for t, i in zip(targets, index, strict=True)], axis=1)
        for name in ("flux", "flux_err", "pos_corr1", "pos_corr2")
    )
    first = targets[0]
    stars = {key: [t.star[key] for t in targets] for key in first.star}
    return PixelSeries(
        time=first.time[index[0]],
        flux=flux[:, once],
        flux_err=flux_err[:, once],
        ra=ra[once],
        dec=dec[once],
        row=row[once],
        column=column[once],
        meta={**first.place, "time_scale": first.time_scale, **stars},
        extra={
            "cadence": cadence,
            "pos_corr1": pos_corr1,
            "pos_corr2": pos_corr2,
            "file": file[once],
        },
    )


def _is_object(tpf: Any) -> bool:
    """Whether it is a TargetPixelFile of lightkurve, which need not be installed."""
    return hasattr(tpf, "hdu") and hasattr(tpf, "quality_mask")


@contextmanager
def _opened(tpf: Any) -> Iterator[tuple[str, fits.HDUList, np.ndarray | None]]:
    """Name, HDUs and, of an object, the cadences that it kept."""
    if _is_object(tpf):
        name = str(getattr(tpf, "path", None) or tpf)
        with readable(name, "target pixel file"):
            yield name, tpf.hdu, np.asarray(tpf.quality_mask)
    elif isinstance(tpf, (str, Path)):
        first_bytes(tpf, 1, "a target pixel file (FITS)")
        with (
            readable(tpf, "target pixel file"),
            warnings.catch_warnings(action="ignore", category=AstropyWarning),
            fits.open(tpf, memmap=False) as hdus,
        ):
            yield str(tpf), hdus, None
    else:
        raise TypeError(f"tpfs holds {tpf!r}, expected paths or lightkurve TargetPixelFile objects")


def _read(tpf: Any, quality: int | str) -> _Target:
    with _opened(tpf) as (name, hdus, kept):
        _check_layout(name, hdus)
        primary, header, table = hdus[0].header, hdus[1].header, hdus[1].data
        mission = _mission(name, primary)
        good = _good_cadences(table, quality, mission)
        good = good if kept is None else good & kept
        if not good.any():
            raise InputError(f"{name}: no cadence with a time and good quality, expected some")
        collected = _collected(hdus)
        flux, flux_err = (_numbers(table[key][:, collected][good]) for key in ("FLUX", "FLUX_ERR"))
        rejected = ~(np.isfinite(flux) & np.isfinite(flux_err) & (flux_err > 0))
        flux[rejected], flux_err[rejected] = np.nan, np.inf
        y, x = np.nonzero(collected)
        number = hdus[1].columns.names.index("FLUX") + 1
        epoch = entry(header, "BJDREFI", name, int) + entry(header, "BJDREFF", name)
        keys = {key.lower(): entry(primary, key, name, int) for key in _PLACE[mission]}
        ra, dec = _sky(name, hdus, number, x, y)
        return _Target(
            name=name,
            place={"mission": mission, **keys},
            star=_star(primary, *_STAR[mission]),
            time_scale=time_scale(header, "TDB", name),
            cadence=_cadences(table["CADENCENO"])[good],
            time=checked_dates(_numbers(table["TIME"][good]) + epoch, "TIME", name),
            flux=flux,
            flux_err=flux_err,
            pos_corr1=_numbers(table["POS_CORR1"][good])[:, np.newaxis],
            pos_corr2=_numbers(table["POS_CORR2"][good])[:, np.newaxis],
            row=y + entry(header, f"2CRV{number}P", name, int),
            column=x + entry(header, f"1CRV{number}P", name, int),
            ra=ra,
            dec=dec,
        )


def _numbers(values: np.ndarray) -> np.ndarray:
    """Copy in the machine's byte order and in double precision."""
    return np.array(values, dtype=np.float64)


def _collected(hdus: fits.HDUList) -> np.ndarray:
    """Pixels that the spacecraft collected; early TESScut files have an aperture of floats."""
    return (hdus[2].data.astype(np.int64) & _COLLECTED) != 0


def _good_cadences(table: Any, quality: int | str, mission: str) -> np.ndarray:
    usual = _TESS_BITS if mission == "TESS" else _KEPLER_BITS
    named: dict[int | str, int | str] = {"default": usual, "none": 0}
    bits = named.get(quality, quality)
    return ((table["QUALITY"] & int(bits)) == 0) & np.isfinite(table["TIME"])


def _check_layout(name: str, hdus: fits.HDUList) -> None:
    """Refuse a file that is no target pixel file."""
    if len(hdus) < 3 or not isinstance(hdus[1], fits.BinTableHDU) or not hdus[2].is_image:
        raise InputError(
            f"{name}: no target pixel file, expected a table of cadences in extension 1 and the "
            "aperture image in extension 2"
        )
    missing = [column for column in _COLUMNS if column not in hdus[1].columns.names]
    if missing:
        raise InputError(f"{name}: no column {missing[0]} in extension 1, expected {_COLUMNS}")
    shapes = hdus[1].data["FLUX"].shape[1:], hdus[1].data["FLUX_ERR"].shape[1:], hdus[2].shape
    if len(shapes[0]) != 2 or len(set(shapes)) > 1:
        raise InputError(f"{name}: FLUX, FLUX_ERR and aperture have the shapes {shapes}")
    if not _collected(hdus).any():
        raise InputError(f"{name}: no pixel was collected, expected bit 1 in the aperture image")


def _mission(name: str, primary: fits.Header) -> str:
    """``Kepler``, ``K2`` or ``TESS``."""
    telescope = str(primary.get("TELESCOP", "")).strip().upper()
    if telescope == "TESS":
        return "TESS"
    if telescope == "KEPLER":
        return "K2" if str(primary.get("MISSION", "")).strip() == "K2" else "Kepler"
    raise InputError(f"{name}: TELESCOP is {telescope!r}, expected Kepler or TESS")


def _star(primary: fits.Header, identifier: str, magnitude: str) -> dict[str, Any]:
    """Identifier, position (deg) and magnitude of the star that the file was made for."""
    numbers = {}
    for key in ("RA_OBJ", "DEC_OBJ", magnitude):
        value = primary.get(key)
        numbers[key.lower()] = float(value) if isinstance(value, (int, float)) else np.nan
    return {"targetid": primary.get(identifier), **numbers}


def _cadences(number: np.ndarray) -> np.ndarray:
    """Cadence numbers; TESScut writes zeros, in stacks that hold all cadences of the sector."""
    return np.asarray(number, np.int64) if number.any() else np.arange(len(number))


def _sky(
    name: str, hdus: fits.HDUList, number: int, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Right ascension and declination (deg ICRS) by the linear WCS of a column of images.

    Files that lack it have it in the header of the aperture, which shows the same pixels.
    """
    with warnings.catch_warnings(action="ignore", category=AstropyWarning):
        try:
            wcs = WCS(hdus[1].header, keysel=["binary"], colsel=[number], naxis=2)
        except (NoWcsKeywordsFoundError, KeyError):  # none at all; none of this column
            wcs = WCS(hdus[2].header)
        if not wcs.has_celestial:
            raise InputError(
                f"{name}: no WCS of the column FLUX or of the aperture, expected 1CTYP{number} and "
                "so on, or CTYPE1 in extension 2"
            )
        ra, dec = wcs.wcs_pix2world(x, y, 0)
    return ra, dec


def _check_together(targets: list[_Target]) -> None:
    first = targets[0]
    for target in targets[1:]:
        if target.place != first.place:
            raise InputError(
                f"{target.name} is of {_text(target.place)} but {first.name} of "
                f"{_text(first.place)}, expected target pixel files of one of these"
            )


def _common_cadences(targets: list[_Target]) -> np.ndarray:
    """Cadences that are good in all files."""
    cadence = targets[0].cadence
    for target in targets[1:]:
        cadence = np.intersect1d(cadence, target.cadence)
        if not len(cadence):
            raise InputError(
                f"{target.name}: no good cadence in common with {targets[0].name} and those "
                "between, expected files of the same times"
            )
    return np.sort(cadence)


def _text(place: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in place.items())
