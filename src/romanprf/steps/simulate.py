"""Step ``simulate``: the demo field, its catalogue, truth and exposures, or a cube of them.

``params["simulate"]`` is the section of the configuration; keys that are left out have their
defaults.  Only the truth and the cube depend on ``exposures``: jobs of other files leave it out, so
that a new exposure does not change them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from romanprf.config import Simulate, load_config
from romanprf.io.simulated import write_catalogue, write_cube, write_frame, write_truth
from romanprf.io.tables import provenance
from romanprf.simulate import make_exposure, make_field


def run_field(inputs: Mapping, outputs: Mapping, params: Mapping[str, Any]) -> None:
    """Write the ``catalogue``, the ``truth``, or both: those that ``outputs`` names."""
    settings = _settings(params)
    field = make_field(settings)
    if "catalogue" in outputs:
        write_catalogue(outputs["catalogue"], field, settings)
    if "truth" in outputs:
        write_truth(outputs["truth"], field, settings, provenance(inputs, params))


def run_exposure(inputs: Mapping, outputs: Mapping, params: Mapping[str, Any]) -> None:
    """Write exposure ``params["exposure"]`` to ``outputs["frame"]``."""
    settings = _settings(params)
    exposure = make_exposure(make_field(settings), settings, params["exposure"])
    write_frame(outputs["frame"], exposure)


def run_cube(inputs: Mapping, outputs: Mapping, params: Mapping[str, Any]) -> None:
    """Write all exposures to ``outputs["cube"]``."""
    settings = _settings(params)
    field = make_field(settings)
    exposures = [make_exposure(field, settings, n) for n in range(settings.exposures)]
    write_cube(outputs["cube"], exposures)


def _settings(params: Mapping[str, Any]) -> Simulate:
    # Not `Simulate(**...)`: users call these functions, and a bad value is to be one line.
    return load_config({"simulate": params["simulate"]}).simulate
