"""The only place that touches ASDF, FITS, Parquet and text tables."""
