"""Tables of exposures."""

from __future__ import annotations

import pyarrow as pa

from romanprf.schemas.table import F8, I4, I8, STRING, Column, TableSchema

EXPOSURES = TableSchema(
    "exposures",
    1,
    "One row per exposure, sorted by exposure number.",
    (
        Column("exposure", I8, "", "exposure number, unique in a run"),
        Column("file", STRING, "", "image file, as written in the sheet"),
        Column("format", STRING, "", "roman_l2, rimtimsim or roman_cuts"),
        Column("plane", I4, "", "index of the image in its file"),
        Column("time", F8, "d", "mid-exposure, Julian date"),
        Column("time_scale", STRING, "", "time scale of `time`"),
        Column("exposure_time", F8, "s", "effective exposure time"),
        Column("filter", STRING, "", "optical element"),
        Column("detector", STRING, "", "WFI01 ... WFI18"),
        Column("nrows", I4, "pix", "rows of the array"),
        Column("ncols", I4, "pix", "columns of the array"),
        Column("row0", I4, "pix", "detector row of the first array row"),
        Column("column0", I4, "pix", "detector column of the first array column"),
        Column(
            "gain",
            F8,
            "electron / DN",
            "factor from the file's flux unit to electrons and to the zero point",
        ),
        Column("zero_point", F8, "mag(AB)", "AB magnitude of 1 e-/s, the same in a run"),
        Column(
            "pixel_area",
            F8,
            "sr",
            "pixel area to which a flat-fielded image refers; null: not flat-fielded",
            nullable=True,
        ),
        Column("wcs", STRING, "", "romanprf.sky.wcs.TangentWCS as JSON"),
        Column("quality", I8, "", "quality word of the file"),
        Column("usable_fraction", F8, "", "fraction of pixels with weight"),
        Column("flags", I4, "", "bits of romanprf.flags.ExposureFlag, 0 = good"),
        Column("content_hash", STRING, "", "hash of the image's pixels and metadata"),
    ),
)

LEARNING = TableSchema(
    "learning",
    1,
    "The exposures that the PRF is learned from, in the order of choice: spread over time and "
    "dither, every beginning of the list as well as it can be. Kept when exposures are added.",
    (
        Column("order", I4, "", "place in the list, from 0"),
        Column("exposure", I8, "", "exposure number"),
        Column("time", F8, "d", "mid-exposure, Julian date"),
        Column("phase_x", F8, "pix", "middle of the field: distance from a pixel's centre (x)"),
        Column("phase_y", F8, "pix", "the same, along rows (y)"),
    ),
)

FRAME_STATS = TableSchema(
    "frame_stats",
    4,
    "One row per exposure of a batch.",
    (
        Column("exposure", I8, "", "exposure number"),
        Column("time", F8, "d", "mid-exposure, Julian date"),
        Column("n_sources", I4, "", "sources with a flux"),
        Column("n_pixels", I8, "", "pixels used"),
        Column("n_masked", I8, "", "pixels rejected, outliers included"),
        Column("n_outliers", I8, "", "outliers, which the fit leaves out"),
        Column("shift_x", F8, "pix", "shift of the stars from their WCS positions, along columns"),
        Column("shift_y", F8, "pix", "the same, along rows"),
        Column("shift_err", F8, "pix", "1 sigma of either, the larger", nullable=True),
        Column(
            "linear",
            pa.list_(F8),
            "",
            "change of the shift with the place, about the middle of the image: of shift_x along "
            "columns and rows, of shift_y along columns and rows; 0 where stars show none",
        ),
        Column(
            "background",
            F8,
            "electron / s",
            "per pixel, mean over used pixels",
            nullable=True,
        ),
        Column("background_err", F8, "electron / s", "1 sigma", nullable=True),
        Column(
            "background_mesh",
            pa.list_(F8),
            "electron / s",
            "coefficients of romanprf.frame.background.Mesh, row by row",
        ),
        Column("chi2", F8, "", "mean squared normalised residual of used pixels", nullable=True),
        Column("residual_rms", F8, "electron / s", "1.4826 x MAD of residuals", nullable=True),
        Column("iterations", I4, "", "iterations of the solver"),
        Column("flags", I4, "", "bits of romanprf.flags.ExposureFlag, 0 = good"),
    ),
)
