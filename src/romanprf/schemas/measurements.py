"""Tables of measurements, of the light curves that they form, and of their checks."""

from __future__ import annotations

import pyarrow as pa

from romanprf.schemas.table import (
    ABSOLUTE,
    BOOL,
    F4,
    F8,
    I4,
    I8,
    RELATIVE,
    STRING,
    Column,
    TableSchema,
)

PHOTOMETRY = TableSchema(
    "photometry",
    3,
    "One row per source and exposure of a batch, by source, then exposure.",
    (
        Column("source", I4, "", "source number"),
        Column("exposure", I8, "", "exposure number"),
        Column(
            "psf_flux",
            F4,
            "electron / s",
            "flux of the joint fit",
            nullable=True,
            rounded="psf_flux_err",
        ),
        Column(
            "psf_flux_err",
            F4,
            "electron / s",
            "1 sigma, marginal over neighbours",
            nullable=True,
            rounded=RELATIVE,
        ),
        Column(
            "dx",
            F4,
            "pix",
            "offset of the star from where its state and that of the frame put it, along columns",
            nullable=True,
            rounded="dx_err",
        ),
        Column("dy", F4, "pix", "the same, along rows", nullable=True, rounded="dy_err"),
        Column(
            "dx_err",
            F4,
            "pix",
            "1 sigma of dx, marginal over the flux and neighbours",
            nullable=True,
            rounded=RELATIVE,
        ),
        Column("dy_err", F4, "pix", "1 sigma of dy", nullable=True, rounded=RELATIVE),
        Column("dxy_corr", F4, "", "correlation of dx and dy", nullable=True, rounded=ABSOLUTE),
        Column(
            "free_flux",
            F4,
            "electron / s",
            "flux when the position is free as well",
            nullable=True,
            rounded="psf_flux_err",
        ),
        Column(
            "model_err",
            F4,
            "electron / s",
            "1 sigma due to the error of the PRF and to uncatalogued stars; it is common to all "
            "exposures, so it does not affect changes of the flux; null if unknown",
            nullable=True,
            rounded=RELATIVE,
        ),
        Column(
            "chi2",
            F4,
            "",
            "mean squared normalised residual over the footprint, weighted by the PRF",
            nullable=True,
            rounded=RELATIVE,
        ),
        Column(
            "psf_fraction",
            F4,
            "",
            "fraction of the source's light, by the PRF, in the pixels of its footprint that the "
            "fit used: without rejected pixels, outliers and what lies beyond the footprint",
            rounded=RELATIVE,
        ),
        Column("n_outliers", pa.int8(), "", "outliers within 1.5 pixels, left out of the fit"),
        Column("flags", I4, "", "bits of romanprf.flags.SourceFlag, 0 = good"),
    ),
    row_group=65536,  # 1024 stars of 64 frames: a light curve needs one group of each batch
)

METRICS = TableSchema(
    "metrics",
    3,
    "One row per source: statistics of its light curve.",
    (
        Column("source", I4, "", "source number"),
        Column("source_id", I8, "", "as in sources"),
        Column("ra", F8, "deg", "as in sources"),
        Column("dec", F8, "deg", "as in sources"),
        Column("mag", F8, "mag(AB)", "as in sources"),
        Column("flux", F8, "electron / s", "as in sources"),
        Column(
            "image_fraction",
            F8,
            "",
            "fraction of the source's light, by the PRF as far as it reaches, inside the edges of "
            "the image, whatever the state of its pixels; mean over exposures",
            nullable=True,
        ),
        Column("n_good", I4, "", "exposures with a good flux"),
        Column("median_flux", F8, "electron / s", "of good fluxes", nullable=True),
        Column("scatter", F8, "electron / s", "1.4826 x MAD of good fluxes", nullable=True),
        Column("expected_scatter", F8, "electron / s", "median error", nullable=True),
        Column("reduced_chi2", F8, "", "of a constant flux (weighted mean)", nullable=True),
        Column(
            "centroid_scatter",
            F8,
            "mas",
            "1.4826 x MAD of good `east` and `north` of the light curve together",
            nullable=True,
        ),
        Column("expected_centroid_scatter", F8, "mas", "median of their errors", nullable=True),
        Column("flags", I4, "", "flags of the source or of any good measurement"),
    ),
)

LIGHTCURVES = TableSchema(
    "lightcurves",
    3,
    "One row per source with its whole light curve as lists, by time.",
    (
        Column("source", I4, "", "source number"),
        Column("source_id", I8, "", "as in sources"),
        Column("ra", F8, "deg", "as in sources"),
        Column("dec", F8, "deg", "as in sources"),
        Column("mag", F8, "mag(AB)", "as in sources"),
        Column("exposure", pa.list_(I8), "", "exposure numbers"),
        Column("time", pa.list_(F8), "d", "mid-exposure, Julian date"),
        Column("psf_flux", pa.list_(F4), "electron / s", "flux"),
        Column("psf_flux_err", pa.list_(F4), "electron / s", "1 sigma"),
        Column(
            "east",
            pa.list_(F4),
            "mas",
            "displacement of the star to the east of its state in `astrometry`, without the terms "
            "of the frame; NaN if not measured",
            rounded="east_err",
        ),
        Column("north", pa.list_(F4), "mas", "the same, to the north", rounded="north_err"),
        Column(
            "east_err",
            pa.list_(F4),
            "mas",
            "1 sigma, with the excess of the frame",
            rounded=RELATIVE,
        ),
        Column("north_err", pa.list_(F4), "mas", "the same, of north", rounded=RELATIVE),
        Column("model_err", F4, "electron / s", "1 sigma of the model", nullable=True),
        Column("flags", pa.list_(I4), "", "bits of romanprf.flags.SourceFlag"),
    ),
)

CHECKS = TableSchema(
    "checks",
    1,
    "One row per check of the results, in the order of romanprf.metrics.checks.CHECKS, which gives "
    "the reasons of the limits.",
    (
        Column("check", STRING, "", "name of the check"),
        Column("value", F8, "", "what was found; null: not measured", nullable=True),
        Column("low", F8, "", "smallest value that passes; null: no limit", nullable=True),
        Column("high", F8, "", "largest value that passes; null: no limit", nullable=True),
        Column("unit", STRING, "", "unit of the three"),
        Column("passed", BOOL, "", "false also if not measured"),
        Column("message", STRING, "", "quantity and value; if it failed, what is expected or why"),
    ),
)
