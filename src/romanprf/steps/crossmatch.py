"""Step ``crossmatch``: the sources of a reduction, from one or two catalogues."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from romanprf import schemas
from romanprf.config import Crossmatch
from romanprf.errors import InputError
from romanprf.flags import SourceFlag
from romanprf.io.catalogues import read_catalogue
from romanprf.io.tables import provenance, write_table
from romanprf.sky import blends
from romanprf.sky.crossmatch import Matches, match, position_errors, shift
from romanprf.sky.field import inside
from romanprf.sky.motion import propagate
from romanprf.sky.sources import described

_MOTION = ["pmra", "pmdec"]
#: Wing of the F146 PRF: r pixels from a star a pixel gets this times r^-3 of its flux.
_WING = 0.1
#: A star outside the images is kept if it gives a pixel inside at least this flux, e-/s.
_FAINTEST = 0.1
#: Stars further outside the images than this are never kept, pixels: the end of the tensor PRF.
_FARTHEST = 100.0


def run(inputs: Mapping[str, Any], outputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Make ``catalogue_sources.parquet``.

    Parameters
    ----------
    inputs : mapping
        ``catalogue`` and, if there is one, ``reference``: paths.
    outputs : mapping
        ``catalogue_sources``: path.
    params : mapping
        Sections ``catalogue``, ``reference`` and ``crossmatch`` of the configuration, and
        ``field``: tangent point and outline of the images, ``pixel_scale`` (arcsec), ``epoch``
        (Julian year) and ``zero_point``.

    Raises
    ------
    InputError
        If a catalogue cannot be read or has no source in the field, or if nothing matches the
        reference.
    """
    field, settings = params["field"], Crossmatch(**params["crossmatch"])
    sources = _load("catalogue", inputs, params, settings).assign(
        match_id=lambda table: pd.Series(pd.NA, index=table.index, dtype="Int64"),
        match_separation=np.nan,
        match_ambiguous=False,
    )
    metadata: dict[str, str] = {}
    if "reference" in inputs:
        reference = _load("reference", inputs, params, settings)
        # Rows of one star would be rivals for its match; a blend is to be matched with a blend.
        sources = blends.merge(sources, settings.blend_limit)
        reference = blends.merge(reference, settings.blend_limit)
        sources, metadata = _adopt(sources, reference, settings, field)
        if not sources["match_id"].notna().any():
            raise InputError(
                f"{inputs['reference']}: none of its {len(reference)} sources in the field "
                f"matches {inputs['catalogue']}, expected some within crossmatch.match_radius = "
                f"{settings.match_radius} arcsec; check frames, epochs and magnitudes"
            )
    sources = _at_epoch(sources, field["epoch"])
    sources = blends.merge(sources, settings.blend_limit)
    border = _border(settings, field, sources["mag"].to_numpy())
    within = inside(sources["ra"].to_numpy(), sources["dec"].to_numpy(), field, border)
    if not within.any():
        raise _no_overlap(inputs["catalogue"], sources, field)
    sources = _finish(sources[within], settings, field)
    if metadata:
        metadata["n_matched"] = str(int(sources["match_id"].notna().sum()))
        metadata["n_ambiguous"] = str(int(sources["match_ambiguous"].sum()))
    files = {name: inputs[name] for name in ("catalogue", "reference") if name in inputs}
    origin = provenance(files, params)
    write_table(outputs["catalogue_sources"], sources, schemas.SOURCES, origin, metadata)


def _border(settings: Crossmatch, field: Mapping[str, float], mag: np.ndarray) -> np.ndarray:
    """Width of the strip around the images in which sources are kept, arcsec, shape (n,).

    The wings of a bright star reach further than `margin`.
    """
    flux = 10.0 ** (-0.4 * (np.nan_to_num(mag, nan=99.0) - field["zero_point"]))
    reach = np.minimum(np.cbrt(_WING * flux / _FAINTEST), _FARTHEST)
    return np.maximum(settings.margin, reach) * field["pixel_scale"]


def _load(
    name: str, inputs: Mapping[str, Any], params: Mapping[str, Any], settings: Crossmatch
) -> pd.DataFrame:
    """A catalogue's rows in or near the field, with its epoch."""
    path, section, field = inputs[name], params[name], params["field"]
    table = read_catalogue(Path(path), section["columns"], section["frame"])
    epoch = field["epoch"] if section["epoch"] is None else section["epoch"]
    table = table.reset_index(drop=True).assign(epoch=float(epoch))
    # Matching may still move a source by the offset between the catalogues.
    margin = _border(settings, field, table["mag"].to_numpy()) + 4.0 * settings.match_radius
    moved = _at_epoch(table, field["epoch"])
    near = inside(moved["ra"].to_numpy(), moved["dec"].to_numpy(), field, margin)
    if not near.any():
        raise _no_overlap(path, table, field)
    return table[near].reset_index(drop=True).assign(n_merged=1)


def _no_overlap(path: Any, table: pd.DataFrame, field: Mapping[str, float]) -> InputError:
    # Right ascensions relative to the field: the range is right across 0/360 as well.
    turn = np.mod(table["ra"].to_numpy() - field["ra0"] + 180.0, 360.0) - 180.0
    ra = [np.mod(field["ra0"] + value, 360.0) for value in (turn.min(), turn.max())]
    dec = table["dec"]
    return InputError(
        f"{path}: no source in the field of the images at RA {field['ra0']:.4f}, "
        f"Dec {field['dec0']:.4f}; the {len(table)} rows span RA {ra[0]:.4f} to {ra[1]:.4f}, "
        f"Dec {dec.min():.4f} to {dec.max():.4f}"
    )


def _at_epoch(sources: pd.DataFrame, epoch: float) -> pd.DataFrame:
    """Positions moved to another epoch by proper motion; an unknown motion counts as 0."""
    ra, dec, pmra, pmdec = (sources[name].to_numpy() for name in ("ra", "dec", *_MOTION))
    ra, dec = propagate(ra, dec, pmra, pmdec, sources["epoch"].iloc[0], epoch)
    return sources.assign(ra=ra, dec=dec, epoch=epoch)


def _adopt(
    sources: pd.DataFrame,
    reference: pd.DataFrame,
    settings: Crossmatch,
    field: Mapping[str, float],
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Move the catalogue to the frame of the reference and take what that knows better."""
    ra0, dec0 = field["ra0"], field["dec0"]
    fixed = reference["epoch"].iloc[0] == sources["epoch"].iloc[0]
    reference = _at_epoch(reference, sources["epoch"].iloc[0])
    found = match(sources, reference, settings, ra0, dec0)
    ra, dec = shift(sources["ra"].to_numpy(), sources["dec"].to_numpy(), found.offset, ra0, dec0)
    sources = sources.assign(ra=ra, dec=dec)
    ours, theirs = found.catalogue, reference.iloc[found.reference]

    sources.loc[ours, "match_id"] = theirs["source_id"].to_numpy()
    sources.loc[ours, "match_separation"] = found.separation
    sources.loc[ours, "match_ambiguous"] = found.ambiguous
    moving = theirs[_MOTION].notna().all(axis=1).to_numpy()
    sources.loc[ours[moving], _MOTION] = theirs.loc[moving, _MOTION].to_numpy()
    # A position without a motion is worth its error at its own epoch only.
    error, our_error = (
        np.hypot(*position_errors(table, settings).T) for table in (theirs, sources.iloc[ours])
    )
    better = (error < our_error) & (moving | fixed)
    sources.loc[ours[better], ["ra", "dec"]] = theirs.loc[better, ["ra", "dec"]].to_numpy()
    return sources, _astrometry(found)


def _astrometry(found: Matches) -> dict[str, str]:
    """Offset between the catalogues, reference minus catalogue, for the metadata (mas, mag)."""
    values = {
        "astrometric_offset_ra": 1e3 * found.offset[0],
        "astrometric_offset_ra_err": 1e3 * found.offset_err[0],
        "astrometric_offset_dec": 1e3 * found.offset[1],
        "astrometric_offset_dec_err": 1e3 * found.offset_err[1],
        "magnitude_offset": found.magnitude_offset,
    }
    return {name: f"{round(value, 4) + 0.0:.4f}" for name, value in values.items()}


def _finish(
    sources: pd.DataFrame, settings: Crossmatch, field: Mapping[str, float]
) -> pd.DataFrame:
    """Sort by flux, number, flag, and keep the columns of the table."""
    order = np.lexsort((sources["source_id"].to_numpy(), sources["mag"].to_numpy()))
    sources = sources.iloc[order].reset_index(drop=True)
    bits = {
        SourceFlag.BLENDED: sources["n_merged"].to_numpy() > 1,
        SourceFlag.AMBIGUOUS: sources["match_ambiguous"].to_numpy(),
    }
    sources = sources.assign(
        source=np.arange(len(sources), dtype=np.int32),
        pmra=sources["pmra"].fillna(0.0),
        pmdec=sources["pmdec"].fillna(0.0),
        flux=10.0 ** (-0.4 * (sources["mag"] - field["zero_point"])),
        origin="catalogue",
        flags=sum(np.int32(bit) * set_ for bit, set_ in bits.items()),
    )
    return described(sources, settings)[schemas.SOURCES.names]
