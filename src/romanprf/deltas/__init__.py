"""Source-pixel offsets on the sky."""

from romanprf.deltas.deltas import find_deltas

__all__ = ["find_deltas"]
