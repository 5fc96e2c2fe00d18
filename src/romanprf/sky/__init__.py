"""Places on the sky: coordinates, motion, catalogues."""
