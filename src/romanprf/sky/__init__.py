"""Positions on the sky: coordinates, proper motion, catalogues."""
