"""Tables of the astrometric solution."""

from __future__ import annotations

from romanprf.schemas.sources import STATE
from romanprf.schemas.table import F8, I4, I8, Column, TableSchema

ASTROMETRY = TableSchema(
    "astrometry",
    1,
    "One row per source: its astrometric parameters from the catalogue and the centroids of all "
    "exposures. A parameter that the exposures cannot constrain keeps its prior.",
    (
        Column("source", I4, "", "source number"),
        Column("source_id", I8, "", "as in sources"),
        *STATE,
        Column(
            "chi2",
            F8,
            "",
            "sum of squared normalised residuals of the centroids over its expectation",
            nullable=True,
        ),
        Column("n_exposures", I4, "", "exposures whose centroid was used"),
        Column("n_rejected", I4, "", "exposures whose centroid was left out as an outlier"),
        Column(
            "flags",
            I4,
            "",
            "flags of the source; NO_DATA: no centroid was used; PRIOR: the position is known "
            "better from the prior than from the centroids",
        ),
    ),
)

#: Terms of the geometry of a frame: offset at the image centre and its derivatives.
FRAME_TERMS = ("dx", "dx_x", "dx_y", "dy", "dy_x", "dy_y")

FRAME_ASTROMETRY = TableSchema(
    "frame_astrometry",
    1,
    "One row per exposure: what its WCS and its measured shift lack, so that stars are where their "
    "states put them. The terms are 0 where they are not solved.",
    (
        Column("exposure", I8, "", "exposure number"),
        Column("dx", F8, "pix", "offset of the stars along columns, at the image centre"),
        Column("dx_x", F8, "", "change of the offset along columns per pixel along columns"),
        Column("dx_y", F8, "", "the same, per pixel along rows"),
        Column("dy", F8, "pix", "offset of the stars along rows, at the image centre"),
        Column("dy_x", F8, "", "change of the offset along rows per pixel along columns"),
        Column("dy_y", F8, "", "the same, per pixel along rows"),
        *(
            Column(
                f"{name}_err",
                F8,
                "pix" if len(name) == 2 else "",
                f"1 sigma of {name}; empty if not solved",
                nullable=True,
            )
            for name in FRAME_TERMS
        ),
        Column(
            "astrometric_excess",
            F8,
            "mas",
            "scatter per axis of the centroids of bright stars beyond their errors; added to the "
            "errors of all centroids in quadrature",
        ),
        Column("n_stars", I4, "", "stars whose centroid was used"),
        Column("n_rejected", I4, "", "stars whose centroid was left out as an outlier"),
        Column("chi2", F8, "", "as in astrometry", nullable=True),
    ),
)
