"""Statistics of the light curves and of the light of each source on the images."""
