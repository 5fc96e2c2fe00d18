"""Columns of star catalogues: their names in the catalogues in use, their units and limits."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from astropy import units as u

from romanprf.errors import InputError
from romanprf.schemas import ASTROMETRIC_CORRELATIONS, ASTROMETRIC_ERRORS


class Role(NamedTuple):
    """A quantity of a catalogue.

    Attributes
    ----------
    unit : str
        Unit of the result; empty for pure numbers.
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
    "mag": Role("mag", dict.fromkeys(("mag", "f146", *FOREIGN_MAGNITUDES), "mag")),
    "flux_njy": Role("nJy", {"flux_njy": "nJy", "psf_flux": "nJy"}),
    "epoch": Role("yr", {"ref_epoch": "yr", "epoch": "yr"}),
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
    "mag_err": Role("mag", {"mag_err": "mag"}),
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


#: Spellings that astropy does not know, in lower case and without blanks.
_SPELLINGS = {
    **dict.fromkeys(("abmag", "magab", "mags", "magnitude", "magnitudes"), "mag"),
    **dict.fromkeys(("degrees", "angle[deg]"), "deg"),
    **dict.fromkeys(("none", "-", "---"), ""),
}
#: Units of epochs, in lower case and without blanks: a duration since the year 0.
_YEARS = ("", "yr", "year", "years", "a", "jyear", "julianyear", "time[julianyears]")


def unit_factor(unit: str, role: str, name: str, path: str | Path) -> float:
    """Factor from the unit of a column to that of its role in `ROLES`.

    Parameters
    ----------
    unit : str
        As the file states it; empty: the unit that the column's name implies.
    role, name, path : str
        Quantity, column and file.

    Raises
    ------
    InputError
        If the unit is unknown or of another kind.
    """
    target, aliases = ROLES[role]
    plain = "".join(unit.lower().split())
    spelled = _SPELLINGS.get(plain, unit) or aliases.get(name.lower(), target)
    if role == "epoch":
        if _SPELLINGS.get(plain, plain) in _YEARS:
            return 1.0
        raise InputError(f"{path}: column {name} is in {unit!r}, expected Julian years")
    try:
        return _factor(u.Unit(spelled), u.Unit(target))
    except (ValueError, TypeError, AttributeError) as error:
        expected = f"a unit like {target}" if target else "a pure number"
        raise InputError(f"{path}: column {name} is in {unit!r}, expected {expected}") from error


def _factor(unit: u.UnitBase, target: u.UnitBase) -> float:
    """Factor between units; of magnitudes those of the AB system only."""
    if isinstance(unit, u.MagUnit):
        if unit.physical_unit != u.AB:
            raise u.UnitConversionError(f"{unit} is not in the AB system")
        unit = unit.function_unit
    return float(unit.to(target))


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
