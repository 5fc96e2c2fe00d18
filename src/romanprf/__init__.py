"""PRF photometry of crowded Roman Space Telescope images."""

from importlib.metadata import version

__version__ = version("romanprf")
