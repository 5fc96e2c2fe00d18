"""Tables of the PRF and of the pixels that it is fitted to."""

from __future__ import annotations

import pyarrow as pa

from romanprf.schemas.table import F4, F8, I4, I8, Column, TableSchema

DELTAS = TableSchema(
    "deltas",
    1,
    "Source-pixel pairs in the middle of the exposures that the PRF is fitted to, by exposure and "
    "source.",
    (
        Column("exposure", I8, "", "exposure number"),
        Column("source", I4, "", "source number"),
        Column("row", I4, "pix", "array row of the pixel"),
        Column("column", I4, "pix", "array column of the pixel"),
        Column("dra", F8, "deg", "(ra of pixel - ra of source) cos(dec of source)"),
        Column("ddec", F8, "deg", "dec of pixel - dec of source"),
        Column("r", F8, "arcsec", "distance of pixel and source on the sky"),
        Column("phi", F8, "rad", "arctan2(ddec, dra)"),
        Column("flux", F4, "electron / s", "pixel value"),
        Column("flux_err", F4, "electron / s", "1 sigma of the pixel; inf where rejected"),
    ),
)

PRF = TableSchema(
    "prf",
    3,
    "PRF model: spline coefficients; its kind, knots and ranges are in the metadata key `model`.",
    (
        Column("node", I4, "", "of the grid `rows` x `columns` in `model`, row by row; else 0"),
        Column("i", I4, "", "tensor: function along rows (y); log-polar: radial function"),
        Column("j", I4, "", "tensor: along columns (x); log-polar: angular, -1: angle-free"),
        Column("coefficient", F8, "", "of the PRF (tensor) or of its log10 (log-polar)"),
        Column("errors", pa.list_(F4), "", "jackknife errors, mean square = variance (tensor)"),
    ),
)
