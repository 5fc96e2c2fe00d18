"""All tables: columns, types, units, meaning, nullability.

A change of columns raises the version of the table; readers refuse another version.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import pyarrow as pa

#: Bits kept of the 23-bit mantissa of rounded float32 values: relative errors of at most 2.4e-4.
KEPT_BITS = 11


@dataclass(frozen=True)
class Column:
    """One column.

    ``unit`` is an astropy unit string, empty for none.  A float32 column that is ``rounded`` keeps
    `KEPT_BITS` bits (2.4e-4): more digits would be noise that does not compress.
    """

    name: str
    type: pa.DataType
    unit: str
    meaning: str
    nullable: bool = False
    rounded: bool = False


@dataclass(frozen=True)
class TableSchema:
    """One kind of table; its files are read in groups of ``row_group`` rows at least."""

    name: str
    version: int
    meaning: str
    columns: tuple[Column, ...]
    row_group: int | None = None

    @property
    def names(self) -> list[str]:
        """Column names, in order."""
        return [column.name for column in self.columns]

    def arrow(self) -> pa.Schema:
        """Arrow schema with unit and meaning in the metadata of each field."""
        return pa.schema(
            [
                pa.field(c.name, c.type, c.nullable, {"unit": c.unit, "description": c.meaning})
                for c in self.columns
            ]
        )


_I4, _I8, _F4, _F8 = pa.int32(), pa.int64(), pa.float32(), pa.float64()
_STR, _BOOL = pa.string(), pa.bool_()

EXPOSURES = TableSchema(
    "exposures",
    1,
    "One row per exposure, sorted by exposure number.",
    (
        Column("exposure", _I8, "", "exposure number, unique in a run"),
        Column("file", _STR, "", "image file, as written in the sheet"),
        Column("format", _STR, "", "roman_l2, rimtimsim or roman_cuts"),
        Column("plane", _I4, "", "index of the image in its file"),
        Column("time", _F8, "d", "mid-exposure, Julian date"),
        Column("time_scale", _STR, "", "time scale of `time`"),
        Column("exposure_time", _F8, "s", "effective exposure time"),
        Column("filter", _STR, "", "optical element"),
        Column("detector", _STR, "", "WFI01 ... WFI18"),
        Column("nrows", _I4, "pix", "rows of the array"),
        Column("ncols", _I4, "pix", "columns of the array"),
        Column("row0", _I4, "pix", "detector row of the first array row"),
        Column("column0", _I4, "pix", "detector column of the first array column"),
        Column("gain", _F8, "electron / DN", "factor from the file's flux unit to electrons"),
        Column("zero_point", _F8, "mag(AB)", "AB magnitude of 1 e-/s"),
        Column(
            "pixel_area",
            _F8,
            "sr",
            "pixel area to which a flat-fielded image refers; null: not flat-fielded",
            nullable=True,
        ),
        Column("wcs", _STR, "", "romanprf.sky.wcs.TangentWCS as JSON"),
        Column("quality", _I8, "", "quality word of the file"),
        Column("usable_fraction", _F8, "", "fraction of pixels with weight"),
        Column("flags", _I4, "", "bits of romanprf.flags.ExposureFlag, 0 = good"),
        Column("content_hash", _STR, "", "hash of the image's pixels and metadata"),
    ),
)

LEARNING = TableSchema(
    "learning",
    1,
    "The exposures that the PRF is learned from, in the order of choice: spread over time and "
    "dither, every beginning of the list as well as it can be. Kept when exposures are added.",
    (
        Column("order", _I4, "", "place in the list, from 0"),
        Column("exposure", _I8, "", "exposure number"),
        Column("time", _F8, "d", "mid-exposure, Julian date"),
        Column("phase_x", _F8, "pix", "middle of the field: distance from a pixel's centre (x)"),
        Column("phase_y", _F8, "pix", "the same, along rows (y)"),
    ),
)

#: Astrometric parameters of a star, in the order of Gaia's tables.
ASTROMETRIC = ("ra", "dec", "parallax", "pmra", "pmdec")
#: Columns of their 1 sigma errors and of the correlations between them, as in `ASTROMETRIC`.
ASTROMETRIC_ERRORS = tuple(f"{name}_err" for name in ASTROMETRIC)
ASTROMETRIC_CORRELATIONS = tuple(f"{a}_{b}_corr" for a, b in combinations(ASTROMETRIC, 2))

_STATE = (
    Column("ra", _F8, "deg", "right ascension, ICRS, barycentric, at `epoch`"),
    Column("dec", _F8, "deg", "declination, ICRS, barycentric, at `epoch`"),
    Column("epoch", _F8, "yr", "Julian year of ra and dec"),
    Column("parallax", _F8, "mas", "parallax; 0 if unknown"),
    Column("pmra", _F8, "mas / yr", "proper motion in ra times cos(dec); 0 if unknown"),
    Column("pmdec", _F8, "mas / yr", "proper motion in dec; 0 if unknown"),
    Column("ra_err", _F8, "mas", "1 sigma of ra times cos(dec)"),
    Column("dec_err", _F8, "mas", "1 sigma of dec"),
    Column("parallax_err", _F8, "mas", "1 sigma of parallax"),
    Column("pmra_err", _F8, "mas / yr", "1 sigma of pmra"),
    Column("pmdec_err", _F8, "mas / yr", "1 sigma of pmdec"),
    *(
        Column(name, _F4, "", f"correlation of {' and '.join(name.split('_')[:2])}")
        for name in ASTROMETRIC_CORRELATIONS
    ),
)

SOURCES = TableSchema(
    "sources",
    2,
    "The sources of a reduction, numbered 0 ... n-1: of the catalogue, then found by the search. "
    "In `catalogue_sources` positions and motions are those of the catalogue, in `sources` those "
    "that the images and the catalogue give together.",
    (
        Column("source", _I4, "", "row number, the key of all later tables"),
        Column(
            "source_id",
            _I8,
            "",
            "identifier in the catalogue; of stars found or detected: negative",
        ),
        *_STATE,
        Column(
            "mag", _F8, "mag(AB)", "of the catalogue (all merged members together), or from `flux`"
        ),
        Column(
            "flux", _F8, "electron / s", "from `mag` and the zero point; of stars found: measured"
        ),
        Column("match_id", _I8, "", "source_id of the match in the reference", nullable=True),
        Column("match_separation", _F8, "arcsec", "distance to the match", nullable=True),
        Column("match_ambiguous", _BOOL, "", "another candidate was nearly as good"),
        Column("nearest", _F8, "arcsec", "distance to the nearest other source", nullable=True),
        Column("n_merged", _I4, "", "catalogue rows merged into this source, at least 1"),
        Column(
            "origin",
            _STR,
            "",
            "catalogue; image: detected without a catalogue; residual: found by the search",
        ),
        Column("flags", _I4, "", "bits of romanprf.flags.SourceFlag, 0 = good"),
    ),
)

DELTAS = TableSchema(
    "deltas",
    1,
    "Source-pixel pairs in the middle of the exposures that the PRF is fitted to, by exposure and "
    "source.",
    (
        Column("exposure", _I8, "", "exposure number"),
        Column("source", _I4, "", "source number"),
        Column("row", _I4, "pix", "array row of the pixel"),
        Column("column", _I4, "pix", "array column of the pixel"),
        Column("dra", _F8, "deg", "(ra of pixel - ra of source) cos(dec of source)"),
        Column("ddec", _F8, "deg", "dec of pixel - dec of source"),
        Column("r", _F8, "arcsec", "distance of pixel and source on the sky"),
        Column("phi", _F8, "rad", "arctan2(ddec, dra)"),
        Column("flux", _F4, "electron / s", "pixel value"),
        Column("flux_err", _F4, "electron / s", "1 sigma of the pixel; inf where rejected"),
    ),
)

PRF = TableSchema(
    "prf",
    3,
    "PRF model: spline coefficients; its kind, knots and ranges are in the metadata key `model`.",
    (
        Column("node", _I4, "", "of the grid `rows` x `columns` in `model`, row by row; else 0"),
        Column("i", _I4, "", "tensor: function along rows (y); log-polar: radial function"),
        Column("j", _I4, "", "tensor: along columns (x); log-polar: angular, -1: angle-free"),
        Column("coefficient", _F8, "", "of the PRF (tensor) or of its log10 (log-polar)"),
        Column("errors", pa.list_(_F4), "", "jackknife errors, mean square = variance (tensor)"),
    ),
)

PHOTOMETRY = TableSchema(
    "photometry",
    2,
    "One row per source and exposure of a batch, by source, then exposure.",
    (
        Column("source", _I4, "", "source number"),
        Column("exposure", _I8, "", "exposure number"),
        Column("psf_flux", _F4, "electron / s", "flux of the joint fit", nullable=True),
        Column(
            "psf_flux_err",
            _F4,
            "electron / s",
            "1 sigma, marginal over neighbours",
            nullable=True,
            rounded=True,
        ),
        Column(
            "model_err",
            _F4,
            "electron / s",
            "1 sigma due to the error of the PRF and to uncatalogued stars; it is common to all "
            "exposures, so it does not affect changes of the flux; null if unknown",
            nullable=True,
            rounded=True,
        ),
        Column(
            "chi2",
            _F4,
            "",
            "mean squared normalised residual over the footprint, weighted by the PRF",
            nullable=True,
            rounded=True,
        ),
        Column(
            "psf_fraction",
            _F4,
            "",
            "fraction of the source's light, by the PRF, in the pixels of its footprint that the "
            "fit used: without rejected pixels, outliers and what lies beyond the footprint",
            rounded=True,
        ),
        Column("n_outliers", pa.int8(), "", "outliers within 1.5 pixels, left out of the fit"),
        Column("flags", _I4, "", "bits of romanprf.flags.SourceFlag, 0 = good"),
    ),
    row_group=65536,  # 1024 stars of 64 frames: a light curve needs one group of each batch
)

FRAME_STATS = TableSchema(
    "frame_stats",
    3,
    "One row per exposure of a batch.",
    (
        Column("exposure", _I8, "", "exposure number"),
        Column("time", _F8, "d", "mid-exposure, Julian date"),
        Column("n_sources", _I4, "", "sources with a flux"),
        Column("n_pixels", _I8, "", "pixels used"),
        Column("n_masked", _I8, "", "pixels rejected, outliers included"),
        Column("n_outliers", _I8, "", "outliers, which the fit leaves out"),
        Column("shift_x", _F8, "pix", "shift of the stars from their WCS positions, along columns"),
        Column("shift_y", _F8, "pix", "the same, along rows"),
        Column("shift_err", _F8, "pix", "1 sigma of either, the larger", nullable=True),
        Column(
            "background",
            _F8,
            "electron / s",
            "per pixel, mean over used pixels",
            nullable=True,
        ),
        Column("background_err", _F8, "electron / s", "1 sigma", nullable=True),
        Column(
            "background_mesh",
            pa.list_(_F8),
            "electron / s",
            "coefficients of romanprf.frame.background.Mesh, row by row",
        ),
        Column("chi2", _F8, "", "mean squared normalised residual of used pixels", nullable=True),
        Column("residual_rms", _F8, "electron / s", "1.4826 x MAD of residuals", nullable=True),
        Column("iterations", _I4, "", "iterations of the solver"),
        Column("flags", _I4, "", "bits of romanprf.flags.ExposureFlag, 0 = good"),
    ),
)

METRICS = TableSchema(
    "metrics",
    2,
    "One row per source: statistics of its light curve.",
    (
        Column("source", _I4, "", "source number"),
        Column("source_id", _I8, "", "as in sources"),
        Column("ra", _F8, "deg", "as in sources"),
        Column("dec", _F8, "deg", "as in sources"),
        Column("mag", _F8, "mag(AB)", "as in sources"),
        Column("flux", _F8, "electron / s", "as in sources"),
        Column(
            "image_fraction",
            _F8,
            "",
            "fraction of the source's light, by the PRF as far as it reaches, inside the edges of "
            "the image, whatever the state of its pixels; mean over exposures",
            nullable=True,
        ),
        Column("n_good", _I4, "", "exposures with a good flux"),
        Column("median_flux", _F8, "electron / s", "of good fluxes", nullable=True),
        Column("scatter", _F8, "electron / s", "1.4826 x MAD of good fluxes", nullable=True),
        Column("expected_scatter", _F8, "electron / s", "median error", nullable=True),
        Column("reduced_chi2", _F8, "", "of a constant flux (weighted mean)", nullable=True),
        Column("flags", _I4, "", "flags of the source or of any good measurement"),
    ),
)

LIGHTCURVES = TableSchema(
    "lightcurves",
    2,
    "One row per source with its whole light curve as lists, by time.",
    (
        Column("source", _I4, "", "source number"),
        Column("source_id", _I8, "", "as in sources"),
        Column("ra", _F8, "deg", "as in sources"),
        Column("dec", _F8, "deg", "as in sources"),
        Column("mag", _F8, "mag(AB)", "as in sources"),
        Column("exposure", pa.list_(_I8), "", "exposure numbers"),
        Column("time", pa.list_(_F8), "d", "mid-exposure, Julian date"),
        Column("psf_flux", pa.list_(_F4), "electron / s", "flux"),
        Column("psf_flux_err", pa.list_(_F4), "electron / s", "1 sigma"),
        Column("model_err", _F4, "electron / s", "1 sigma of the model", nullable=True),
        Column("flags", pa.list_(_I4), "", "bits of romanprf.flags.SourceFlag"),
    ),
)

CHECKS = TableSchema(
    "checks",
    1,
    "One row per check of the results, in the order of romanprf.metrics.checks.CHECKS, which gives "
    "the reasons of the limits.",
    (
        Column("check", _STR, "", "name of the check"),
        Column("value", _F8, "", "what was found; null: not measured", nullable=True),
        Column("low", _F8, "", "smallest value that passes; null: no limit", nullable=True),
        Column("high", _F8, "", "largest value that passes; null: no limit", nullable=True),
        Column("unit", _STR, "", "unit of the three"),
        Column("passed", _BOOL, "", "false also if not measured"),
        Column("message", _STR, "", "quantity and value; if it failed, what is expected or why"),
    ),
)

TRUTH = TableSchema(
    "truth",
    2,
    "The stars of a simulated field, as drawn.",
    (
        Column("source_id", _I8, "", "identifier, as in the simulated catalogue"),
        Column("ra", _F8, "deg", "right ascension, ICRS, barycentric, at `epoch`"),
        Column("dec", _F8, "deg", "declination, ICRS, barycentric, at `epoch`"),
        Column("epoch", _F8, "yr", "Julian year of ra and dec: that of the first exposure"),
        Column("parallax", _F8, "mas", "parallax"),
        Column("pmra", _F8, "mas / yr", "proper motion in ra times cos(dec)"),
        Column("pmdec", _F8, "mas / yr", "proper motion in dec"),
        Column("mag", _F8, "mag(AB)", "magnitude out of events"),
        Column("flux", _F8, "electron / s", "flux out of events"),
        Column("kind", _STR, "", "constant, microlensing, transit or eclipse"),
        Column("exposure", pa.list_(_I8), "", "exposure numbers; empty for constant stars"),
        Column("time", pa.list_(_F8), "d", "mid-exposure, Julian date"),
        Column("factor", pa.list_(_F8), "", "flux in units of `flux`"),
    ),
)

TABLES = {
    table.name: table
    for table in (
        EXPOSURES,
        LEARNING,
        SOURCES,
        DELTAS,
        PRF,
        PHOTOMETRY,
        FRAME_STATS,
        METRICS,
        LIGHTCURVES,
        CHECKS,
        TRUTH,
    )
}


def to_markdown() -> str:
    """Reference page of all tables, kept in ``docs/reference/tables.md``."""
    lines = [
        "# The tables",
        "",
        "Made by `python -m romanprf.schemas`. All are Parquet files; units",
    ]
    lines += ["and meanings are also in the metadata of each field, and the metadata of a file say"]
    lines += ["what made it: package version, commit, hashes of the settings and of the inputs."]
    lines += ["Columns that are rounded hold 12 significant bits (relative error at most 2.4e-4)."]
    for table in TABLES.values():
        lines += ["", f"## {table.name}", "", table.meaning, ""]
        lines += ["| column | type | unit | meaning |", "|---|---|---|---|"]
        for c in table.columns:
            empty = "; may be empty" if c.nullable else ""
            empty += "; rounded" if c.rounded else ""
            lines.append(f"| `{c.name}` | {c.type} | {c.unit} | {c.meaning}{empty} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(to_markdown(), end="")
