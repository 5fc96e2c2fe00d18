"""Columns of star catalogues: their names in the catalogues in use, their units and limits."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from romanprf.errors import InputError
from romanprf.schemas import ASTROMETRIC_CORRELATIONS, ASTROMETRIC_ERRORS


class Role(NamedTuple):
    """A quantity of a catalogue.

    Attributes
    ----------
    unit : str
        Unit of the result; empty where files are not converted.
    aliases : dict of str to str
        Lower-case names in files, in order of preference, with the unit there.  A unit that the
        file states takes precedence.
    """

    unit: str
    aliases: dict[str, str]


def _correlation(name: str) -> Role:
    """A correlation: the names of Gaia's archive, of VIRAC2 and of Gaia's tables at the CDS."""
    first, second = name.removesuffix("_corr").split("_")
    short = {"parallax": "plx", "dec": "de", "pmdec": "pmde"}
    de = {"dec": "de", "pmdec": "pmde"}
    names = (
        name,
        f"{de.get(first, first)}_{de.get(second, second)}_corr",
        f"{short.get(first, first)}{short.get(second, second)}cor",
    )
    return Role("", dict.fromkeys(names, ""))


#: Magnitudes of other filters than those of Roman: Gaia G, 2MASS H, VISTA H and Ks.
FOREIGN_MAGNITUDES = (
    "phot_g_mean_mag",
    "gmag",
    "hmag",
    "h_m",
    "phot_h_mean_mag",
    "phot_ks_mean_mag",
    "ksmag",
)

#: The quantities that are read: names of TRExS, Roman, Gaia (archive and CDS), VIRAC2 and 2MASS.
ROLES = {
    "source_id": Role(
        "", dict.fromkeys(("source_id", "sicbro_id", "label", "sourceid", "source", "id"), "")
    ),
    "ra": Role(
        "deg", dict.fromkeys(("ra_psf", "ra", "ra_deg", "radeg", "ra_icrs", "raj2000"), "deg")
    ),
    "dec": Role(
        "deg",
        dict.fromkeys(
            ("dec_psf", "dec", "dec_deg", "dedeg", "decdeg", "de_icrs", "de", "dej2000"), "deg"
        ),
    ),
    "mag": Role("", dict.fromkeys(("mag", "f146", *FOREIGN_MAGNITUDES), "")),
    "flux_njy": Role("nJy", {"flux_njy": "nJy", "psf_flux": "nJy"}),
    "epoch": Role("", {"ref_epoch": "yr", "epoch": "yr"}),
    "parallax": Role("mas", {"parallax": "mas", "plx": "mas"}),
    "pmra": Role("mas / yr", {"pmra": "mas / yr"}),
    "pmdec": Role("mas / yr", {"pmdec": "mas / yr", "pmde": "mas / yr"}),
    "ra_err": Role(
        "mas",
        {
            "ra_psf_err": "arcsec",
            "ra_err": "arcsec",
            "ra_error": "mas",
            "e_ra_icrs": "mas",
            "era": "mas",
            "errmaj": "arcsec",
            "err_maj": "arcsec",
        },
    ),
    "dec_err": Role(
        "mas",
        {
            "dec_psf_err": "arcsec",
            "dec_err": "arcsec",
            "dec_error": "mas",
            "de_error": "mas",
            "e_de_icrs": "mas",
            "ede": "mas",
            # Of the larger axis of the error ellipse, whatever its angle.
            "errmaj": "arcsec",
            "err_maj": "arcsec",
        },
    ),
    "parallax_err": Role(
        "mas", dict.fromkeys(("parallax_err", "parallax_error", "e_plx", "eplx"), "mas")
    ),
    "pmra_err": Role(
        "mas / yr", dict.fromkeys(("pmra_err", "pmra_error", "e_pmra", "epmra"), "mas / yr")
    ),
    "pmdec_err": Role(
        "mas / yr",
        dict.fromkeys(
            ("pmdec_err", "pmdec_error", "pmde_error", "e_pmde", "epmde", "epmdec"), "mas / yr"
        ),
    ),
    "mag_err": Role("", {"mag_err": ""}),
    **{name: _correlation(name) for name in ASTROMETRIC_CORRELATIONS},
}
#: Quantities that a catalogue may lack: NaN then.
OPTIONAL = (
    "epoch",
    "parallax",
    "pmra",
    "pmdec",
    *ASTROMETRIC_ERRORS,
    *ASTROMETRIC_CORRELATIONS,
    "mag_err",
)


def choose(
    names: list[str], columns: dict[str, str], path: str | Path, with_mag: bool
) -> dict[str, str]:
    """Column of the file for each quantity that it has; ``with_mag``: a magnitude is needed."""
    _check_map(names, columns, path)
    others = (role for role in ROLES if role not in columns)
    matches = {role: _match(names, ROLES[role].aliases, path) for role in others}
    chosen = {role: name for role, name in matches.items() if name is not None} | columns
    if "flux_njy" in columns:
        chosen.pop("mag", None)
    elif "mag" in chosen:
        chosen.pop("flux_njy", None)
    for role in ("ra", "dec"):
        if role not in chosen:
            raise InputError(f"{path}: no column for {role}, found {names}; set columns.{role}")
    if with_mag and "mag" not in chosen and "flux_njy" not in chosen:
        raise InputError(
            f"{path}: no column for mag, found {names}; set columns.mag or flux_njy, or "
            "catalogue.photometry: approximate"
        )
    return chosen


def _check_map(names: list[str], columns: dict[str, str], path: str | Path) -> None:
    """Refuse a column map that does not fit."""
    for role, name in columns.items():
        if role not in ROLES:
            raise InputError(f"{path}: columns: unknown name {role!r}, expected {list(ROLES)}")
        if name not in names:
            raise InputError(f"{path}: columns.{role}: no column {name!r}, found {names}")
    if "mag" in columns and "flux_njy" in columns:
        raise InputError(f"{path}: columns: expected one of mag and flux_njy, got both")


def _match(names: list[str], aliases: Iterable[str], path: str | Path) -> str | None:
    """First alias that the file has, in any case."""
    for alias in aliases:
        if alias in names:
            return alias
        found = [name for name in names if name.lower() == alias]
        if len(found) > 1:
            raise InputError(f"{path}: columns {found} differ in case only, expected one of them")
        if found:
            return found[0]
    return None
