"""The documented class: PRF photometry of pixels in memory."""

from romanprf.machine.machine import Machine

__all__ = ["Machine"]
