"""Step ``crossmatch``: the sources of a reduction, from one or two catalogues."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from romanprf import schemas
from romanprf.config import Catalogue, Crossmatch, Reference
from romanprf.errors import InputError
from romanprf.flags import SourceFlag
from romanprf.io.catalogues import read_catalogue
from romanprf.io.exposures import COMPARED, DETECTED, read_chosen
from romanprf.io.tables import provenance, write_table
from romanprf.search.align import View, align, expected
from romanprf.search.brightness import UNKNOWN_ERROR, believed, measured
from romanprf.search.detect import detect
from romanprf.sky import blends
from romanprf.sky.crossmatch import (
    LEAST_MATCHED,
    Matches,
    doubt,
    match,
    position_errors,
    shift,
)
from romanprf.sky.duplicates import REACH as REPEATS
from romanprf.sky.duplicates import crowded_row, find_repeats
from romanprf.sky.field import SkyRegion
from romanprf.sky.pattern import REACH
from romanprf.sky.sources import described
from romanprf.sky.states import at_epoch, completed

logger = logging.getLogger(__name__)

_POSITION = ["ra", "dec", "ra_err", "dec_err"]
_MOTION = ["parallax", "pmra", "pmdec", "parallax_err", "pmra_err", "pmdec_err"]
#: Wing of the F146 PRF: r pixels from a star a pixel gets this times r^-3 of its flux.
_WING = 0.1
#: A star outside the images is kept if it gives a pixel inside at least this flux, e-/s.
_FAINTEST = 0.1
#: Stars further outside the images than this are never kept, pixels: the end of the tensor PRF.
_FARTHEST = 100.0
#: Magnitude of a star without one: it is faint, and matches any with its error.
_UNKNOWN_MAGNITUDE = 25.0
#: A whole catalogue is moved by no less than this, pixels: registration measures smaller shifts.
_LEAST_MOVE = 0.3
#: Largest part of a catalogue that may be in pairs of similar rows beyond those of chance, too far
#: apart to be merged.
_MOST_REPEATED = 0.01
#: Epochs that differ by less than this are the same, years.
_SAME_EPOCH = 0.01


def run(inputs: Mapping[str, Any], outputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Make ``catalogue_sources.parquet``.

    Parameters
    ----------
    inputs : mapping
        ``catalogue`` and ``reference``, if there are any, ``exposures`` and ``learning``: paths.
        Without a catalogue stars are detected in the images; without ``exposures`` the catalogue is
        not compared with images.
    outputs : mapping
        ``catalogue_sources``: path.
    params : mapping
        Sections ``catalogue``, ``reference`` and ``crossmatch`` of the configuration; ``field``:
        the numbers of a `romanprf.sky.field.SkyRegion`.

    Raises
    ------
    InputError
        If a catalogue cannot be read or has no source in the field, or if nothing matches the
        reference or the images.
    """
    settings, region = Crossmatch(**params["crossmatch"]), SkyRegion(**params["field"])
    path, catalogue = inputs.get("catalogue", "images"), Catalogue(**params["catalogue"])
    rows = _exposures(inputs)
    views = [View.of(row, region) for row in rows[:COMPARED]]
    if "catalogue" in inputs:
        sources = _load(path, catalogue, settings, region).assign(origin="catalogue")
    else:
        sources = _detected(rows, settings, region).assign(origin="image")
    sources = sources.assign(
        match_id=lambda table: pd.Series(pd.NA, index=table.index, dtype="Int64"),
        match_separation=np.nan,
        match_ambiguous=False,
        contradicted=False,
    )
    sources, metadata = _aligned(sources, views, region, path)
    if "reference" in inputs:
        reference = _load(inputs["reference"], Reference(**params["reference"]), settings, region)
        sources, offsets = _matched(
            sources, reference, settings, region, (path, inputs["reference"])
        )
        # The exposures need not be in the frame of the reference.
        sources, moved = _aligned(sources, views, region, path)
        metadata |= offsets | moved
        if "catalogue" not in inputs:
            del metadata["magnitude_offset"]  # magnitudes are measured later
    sources = blends.merge(at_epoch(sources, region.epoch), settings.blend_limit)
    within = _near(sources, region, settings)
    if not within.any():
        raise _no_overlap(path, sources, region)
    sources = sources[within]
    if rows and not ("catalogue" in inputs and catalogue.calibrates):
        sources = measured(sources, rows, region.zero_point)
    elif rows:
        sources = believed(sources, rows, region.zero_point, path)
    sources = _finish(sources, settings, region.zero_point)
    if "reference" in inputs:
        metadata["n_matched"] = str(int(sources["match_id"].notna().sum()))
        metadata["n_ambiguous"] = str(int(sources["match_ambiguous"].sum()))
    files = {name: inputs[name] for name in ("catalogue", "reference") if name in inputs}
    origin = provenance(files, params)
    write_table(outputs["catalogue_sources"], sources, schemas.SOURCES, origin, metadata)


def _exposures(inputs: Mapping[str, Any]) -> list[dict[Any, Any]]:
    """Rows of the exposures to compare a catalogue with, or to detect stars in."""
    if "exposures" not in inputs:
        return []
    most = COMPARED if "catalogue" in inputs else DETECTED
    return read_chosen(inputs, most).to_dict("records")


def _aligned(
    sources: pd.DataFrame, views: Sequence[View], region: SkyRegion, path: str | Path
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Sources where the images show them, if the whole catalogue is off; metadata that say so."""
    found = align(views, sources, region) if views else None
    if found is None:
        if views and expected(views, sources, region):
            raise InputError(
                f"{path}: the pattern of its stars is not that of the images, expected it within "
                f"{REACH:g} arcsec of shift and rotation; check frame, epoch and field"
            )
        return sources, {}
    if not found.matters(_LEAST_MOVE * region.pixel_scale):
        return sources, {}
    east, north = found.offset
    logger.warning(
        "%s: off by %.3f, %.3f arcsec (east, north) and %.4f degrees, and moved onto the images",
        *(path, -east, -north, -np.rad2deg(found.angle)),
    )
    place = sources["ra"].to_numpy(), sources["dec"].to_numpy()
    ra, dec = found.moved(*place, region.ra0, region.dec0)
    values = {"image_offset_ra": 1e3 * east, "image_offset_dec": 1e3 * north}
    values |= {"image_rotation": np.rad2deg(found.angle)}
    told = {name: f"{value:.4f}" for name, value in values.items()}
    return sources.assign(ra=ra, dec=dec), told


def _detected(
    rows: Sequence[Mapping[Any, Any]], settings: Crossmatch, region: SkyRegion
) -> pd.DataFrame:
    """Stars that the images show, in the place of a catalogue."""
    if len(rows) < 2:
        raise InputError(
            f"catalogue.path: null needs 2 good exposures that show the same stars, got {len(rows)}"
        )
    stars = completed(detect(rows, region), settings, "images")
    if stars.empty:
        raise InputError(
            f"catalogue.path: null, but no star stands out of the images in 2 of {len(rows)} "
            "exposures, expected some"
        )
    logger.info("%d stars detected in %d exposures", len(stars), len(rows))
    return stars.assign(
        source_id=-1 - np.arange(len(stars)),
        mag=_UNKNOWN_MAGNITUDE,
        mag_err=UNKNOWN_ERROR,
        n_merged=1,
    )


def _load(
    path: str | Path, catalogue: Catalogue | Reference, settings: Crossmatch, region: SkyRegion
) -> pd.DataFrame:
    """Rows of a catalogue in or near the region, with their epoch."""
    calibrates = isinstance(catalogue, Catalogue) and catalogue.calibrates
    table = read_catalogue(path, catalogue.columns, catalogue.frame, calibrates)
    table = dated(completed(table, settings, path), catalogue, region.epoch, path)
    for axis in ("ra", "dec"):
        table[f"{axis}_err"] = np.hypot(table[f"{axis}_err"], table.pop(f"{axis}_rounding"))
    # The catalogue as a whole may still move, and a source by the offset between catalogues.
    moved = at_epoch(table, region.epoch)
    near = _near(moved, region, settings, 4.0 * settings.match_radius + REACH)
    if not near.any():
        raise _no_overlap(path, table, region)
    table = _once(table[near], settings, path).reset_index(drop=True)
    unknown = table["mag"].isna()
    return table.assign(
        mag=table["mag"].where(~unknown, _UNKNOWN_MAGNITUDE),
        mag_err=table["mag_err"].where(~unknown, UNKNOWN_ERROR),
        n_merged=1,
    )


def _once(table: pd.DataFrame, settings: Crossmatch, path: str | Path) -> pd.DataFrame:
    """The table without rows that list a star again."""
    crowd = crowded_row(table["ra"].to_numpy(), table["dec"].to_numpy())
    if crowd is not None:
        raise InputError(
            f"{path}: row {table.index[crowd[0]] + 1}: {crowd[1]} rows within 0.1 arcsec, expected "
            "a catalogue of stars, each listed once"
        )
    found = find_repeats(table, settings.blend_limit)
    if found.apart - found.chance > _MOST_REPEATED * len(table):
        raise InputError(
            f"{path}: {found.apart} pairs of rows {settings.blend_limit:g} to {REPEATS:g} arcsec "
            f"apart have the same magnitude, expected {found.chance:.0f} in a catalogue that lists "
            "each star once; match its parts first"
        )
    repeated = int(found.same.sum())
    if repeated:
        logger.warning("%s: %d rows list a star again and are left out", path, repeated)
    return table[~found.same]


def dated(
    table: pd.DataFrame, catalogue: Catalogue | Reference, images: float, path: str | Path
) -> pd.DataFrame:
    """The table with an epoch (Julian year) in each row: of the file, else of the settings.

    Stars that have neither stay where they are at the epoch of the images, with a warning.

    Raises
    ------
    InputError
        If file and settings contradict each other, or if a star that moves has no epoch.
    """
    key = f"{type(catalogue).__name__.lower()}.epoch"
    epoch = table["epoch"].to_numpy(float)
    unknown = np.isnan(epoch)
    if catalogue.epoch is not None:
        contradicts = np.abs(epoch - catalogue.epoch) > _SAME_EPOCH
        if contradicts.any():
            row = int(np.argmax(contradicts))
            raise InputError(
                f"{path}: row {row + 1}: epoch is {epoch[row]}, but {key} is {catalogue.epoch}, "
                "expected the same; leave out the setting to use that of the file"
            )
        return table.assign(epoch=np.where(unknown, catalogue.epoch, epoch))
    moving = unknown & ((table["pmra"] != 0.0) | (table["pmdec"] != 0.0)).to_numpy()
    if moving.any():
        raise InputError(
            f"{path}: row {int(np.argmax(moving)) + 1}: a proper motion without an epoch, expected "
            f"a column ref_epoch or epoch (Julian year), or the setting {key}"
        )
    if unknown.any():
        message = "%s: %d of %d positions have no epoch (column epoch, setting %s): taken as %.2f"
        logger.warning(message, path, unknown.sum(), unknown.size, key, images)
    return table.assign(epoch=np.where(unknown, images, epoch))


def _near(
    sources: pd.DataFrame, region: SkyRegion, settings: Crossmatch, margin: float = 0.0
) -> np.ndarray:
    """Whether sources fall in the region or less than a border and ``margin`` (arcsec) outside.

    The border is `Crossmatch.margin`, or the reach of the wings of a brighter star.
    """
    ra, dec, mag = (sources[name].to_numpy() for name in ("ra", "dec", "mag"))
    flux = 10.0 ** (-0.4 * (np.nan_to_num(mag, nan=99.0) - region.zero_point))
    reach = np.minimum(np.cbrt(_WING * flux / _FAINTEST), _FARTHEST)
    border = np.maximum(settings.margin, reach) * region.pixel_scale
    return region.contains(ra, dec, border + margin)


def _no_overlap(path: str | Path, table: pd.DataFrame, region: SkyRegion) -> InputError:
    # Right ascensions relative to the region: the range is right across 0/360 as well.
    turn = np.mod(table["ra"].to_numpy() - region.ra0 + 180.0, 360.0) - 180.0
    ra = [np.mod(region.ra0 + value, 360.0) for value in (turn.min(), turn.max())]
    dec = table["dec"]
    return InputError(
        f"{path}: no source in the field of the images at RA {region.ra0:.4f}, "
        f"Dec {region.dec0:.4f}; the {len(table)} rows span RA {ra[0]:.4f} to {ra[1]:.4f}, "
        f"Dec {dec.min():.4f} to {dec.max():.4f}"
    )


def _matched(
    sources: pd.DataFrame,
    reference: pd.DataFrame,
    settings: Crossmatch,
    region: SkyRegion,
    files: tuple[str | Path, str | Path],
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Sources in the frame of the reference, and the offsets between the catalogues as metadata.

    Matched sources have position and motion of the reference where those are known better.
    """
    # Rows of one star would be rivals for its match; a blend is to be matched with a blend.
    epoch = float(sources["epoch"].median())
    sources = blends.merge(at_epoch(sources, epoch), settings.blend_limit)
    reference = blends.merge(at_epoch(reference, epoch), settings.blend_limit)
    centre = region.ra0, region.dec0
    found = match(sources, reference, settings, *centre)
    why = doubt(sources, reference, found, settings, *centre)
    if why is not None:
        raise InputError(
            f"{files[1]}: it matches {why} of {files[0]} within crossmatch.match_radius = "
            f"{settings.match_radius} arcsec, expected at least {LEAST_MATCHED:.0%} and more than "
            "by chance; check frames, epochs and magnitudes"
        )
    ra, dec = shift(sources["ra"].to_numpy(), sources["dec"].to_numpy(), found.offset, *centre)
    sources = sources.assign(ra=ra, dec=dec)
    ours, theirs = found.catalogue, reference.iloc[found.reference]

    sources.loc[ours, "match_id"] = theirs["source_id"].to_numpy()
    sources.loc[ours, "match_separation"] = found.separation
    sources.loc[ours, "match_ambiguous"] = found.ambiguous
    # The error of a position grows with the years from the epoch of its catalogue.
    own = sources.iloc[ours]
    error, our_error = (np.hypot(*position_errors(table).T) for table in (theirs, own))
    placed = error < our_error
    moving = placed | (theirs["pmra_err"].to_numpy() < own["pmra_err"].to_numpy())
    correlations = [*schemas.ASTROMETRIC_CORRELATIONS]
    sources.loc[ours[moving], correlations] = np.float32(0.0)
    sources.loc[ours[moving], _MOTION] = theirs.loc[moving, _MOTION].to_numpy()
    columns = _POSITION + correlations
    sources.loc[ours[placed], columns] = theirs.loc[placed, columns].to_numpy()
    return sources, _offsets(found)


def _offsets(found: Matches) -> dict[str, str]:
    """Metadata: reference minus catalogue in position (mas), catalogue minus reference in mag."""
    values = {
        "astrometric_offset_ra": 1e3 * found.offset[0],
        "astrometric_offset_ra_err": 1e3 * found.offset_err[0],
        "astrometric_offset_dec": 1e3 * found.offset[1],
        "astrometric_offset_dec_err": 1e3 * found.offset_err[1],
        "magnitude_offset": found.magnitude_offset,
    }
    return {name: f"{round(value, 4) + 0.0:.4f}" for name, value in values.items()}


def _finish(sources: pd.DataFrame, settings: Crossmatch, zero_point: float) -> pd.DataFrame:
    """Rows of the ``sources`` table, sorted by flux, numbered and flagged."""
    order = np.lexsort((sources["source_id"].to_numpy(), sources["mag"].to_numpy()))
    sources = sources.iloc[order].reset_index(drop=True)
    bits = {
        SourceFlag.BLENDED: sources["n_merged"].to_numpy() > 1,
        SourceFlag.AMBIGUOUS: sources["match_ambiguous"].to_numpy(),
        SourceFlag.CONTRADICTED: sources["contradicted"].to_numpy(),
    }
    sources = sources.assign(
        source=np.arange(len(sources), dtype=np.int32),
        flux=10.0 ** (-0.4 * (sources["mag"] - zero_point)),
        flags=sum(np.int32(bit) * set_ for bit, set_ in bits.items()),
    )
    return described(sources, settings)[schemas.SOURCES.names]
