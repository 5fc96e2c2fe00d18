"""All fluxes of a frame at once."""
