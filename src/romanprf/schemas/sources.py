"""Tables of stars, and the astrometric parameters that they share."""

from __future__ import annotations

from itertools import combinations

import pyarrow as pa

from romanprf.schemas.table import BOOL, F4, F8, I4, I8, STRING, Column, TableSchema

#: Astrometric parameters of a star, in the order of Gaia's tables.
ASTROMETRIC = ("ra", "dec", "parallax", "pmra", "pmdec")
#: Columns of their 1 sigma errors and of the correlations between them, as in `ASTROMETRIC`.
ASTROMETRIC_ERRORS = tuple(f"{name}_err" for name in ASTROMETRIC)
ASTROMETRIC_CORRELATIONS = tuple(f"{a}_{b}_corr" for a, b in combinations(ASTROMETRIC, 2))

#: Columns of the state of a star.
STATE = (
    Column("ra", F8, "deg", "right ascension, ICRS, barycentric, at `epoch`"),
    Column("dec", F8, "deg", "declination, ICRS, barycentric, at `epoch`"),
    Column("epoch", F8, "yr", "Julian year of ra and dec"),
    Column("parallax", F8, "mas", "parallax; 0 if unknown"),
    Column("pmra", F8, "mas / yr", "proper motion in ra times cos(dec); 0 if unknown"),
    Column("pmdec", F8, "mas / yr", "proper motion in dec; 0 if unknown"),
    Column("ra_err", F8, "mas", "1 sigma of ra times cos(dec)"),
    Column("dec_err", F8, "mas", "1 sigma of dec"),
    Column("parallax_err", F8, "mas", "1 sigma of parallax"),
    Column("pmra_err", F8, "mas / yr", "1 sigma of pmra"),
    Column("pmdec_err", F8, "mas / yr", "1 sigma of pmdec"),
    *(
        Column(name, F4, "", f"correlation of {' and '.join(name.split('_')[:2])}")
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
        Column("source", I4, "", "row number, the key of all later tables"),
        Column(
            "source_id",
            I8,
            "",
            "identifier in the catalogue; of stars found or detected: negative",
        ),
        *STATE,
        Column(
            "mag", F8, "mag(AB)", "of the catalogue (all merged members together), or from `flux`"
        ),
        Column(
            "flux", F8, "electron / s", "from `mag` and the zero point; of stars found: measured"
        ),
        Column("match_id", I8, "", "source_id of the match in the reference", nullable=True),
        Column("match_separation", F8, "arcsec", "distance to the match", nullable=True),
        Column("match_ambiguous", BOOL, "", "another candidate was nearly as good"),
        Column("nearest", F8, "arcsec", "distance to the nearest other source", nullable=True),
        Column("n_merged", I4, "", "catalogue rows merged into this source, at least 1"),
        Column(
            "origin",
            STRING,
            "",
            "catalogue; image: detected without a catalogue; residual: found by the search",
        ),
        Column("flags", I4, "", "bits of romanprf.flags.SourceFlag, 0 = good"),
    ),
)

TRUTH = TableSchema(
    "truth",
    2,
    "The stars of a simulated field, as drawn.",
    (
        Column("source_id", I8, "", "identifier, as in the simulated catalogue"),
        Column("ra", F8, "deg", "right ascension, ICRS, barycentric, at `epoch`"),
        Column("dec", F8, "deg", "declination, ICRS, barycentric, at `epoch`"),
        Column("epoch", F8, "yr", "Julian year of ra and dec: that of the first exposure"),
        Column("parallax", F8, "mas", "parallax"),
        Column("pmra", F8, "mas / yr", "proper motion in ra times cos(dec)"),
        Column("pmdec", F8, "mas / yr", "proper motion in dec"),
        Column("mag", F8, "mag(AB)", "magnitude out of events"),
        Column("flux", F8, "electron / s", "flux out of events"),
        Column("kind", STRING, "", "constant, microlensing, transit or eclipse"),
        Column("exposure", pa.list_(I8), "", "exposure numbers; empty for constant stars"),
        Column("time", pa.list_(F8), "d", "mid-exposure, Julian date"),
        Column("factor", pa.list_(F8), "", "flux in units of `flux`"),
    ),
)
