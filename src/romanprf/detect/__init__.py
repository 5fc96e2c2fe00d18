"""Stars that the catalogue lacks."""

from romanprf.detect.find import Found, find_stars
from romanprf.detect.refine import Steps, refine_positions

__all__ = ["Found", "Steps", "find_stars", "refine_positions"]
