"""Fluxes of all sources of a frame: stamps, normal equations, solver."""
