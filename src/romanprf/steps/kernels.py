"""Step ``kernels``: compile the Numba kernels before jobs share their cache.

``python -m romanprf.steps.kernels`` compiles those of all settings, for the processor it runs on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from romanprf.core.accelerate import get_threads
from romanprf.core.compile import compile_kernels
from romanprf.io.atomic import replacing

#: Kernels and the types of their arguments that reductions use: all of them, those with one kind of
#: PRF, those that simulate their images.  A test makes it anew and compares.
LISTED = Path(__file__).with_suffix(".json")


def run(inputs: Mapping[str, Any], outputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Compile the kernels and list them.

    Parameters
    ----------
    inputs : mapping
        Empty.
    outputs : mapping
        ``kernels``: text file.
    params : mapping
        ``versions``: packages that a compiled kernel depends on, with their versions; ``model``:
        that of `romanprf.config.Shape`; ``demo``: whether images are simulated; ``approximate``:
        whether fluxes are measured with a guess of the PRF first.
    """
    del inputs
    entries = needed(params["model"], params["demo"], params["approximate"])
    compile_kernels(entries, get_threads())
    with replacing(outputs["kernels"]) as temporary:
        temporary.write_text("\n".join([*params["versions"], *entries]) + "\n")


def needed(model: str, demo: bool, approximate: bool = False) -> list[str]:
    """The kernels that a reduction uses, as `romanprf.core.compile.compiled` names them.

    Parameters
    ----------
    model : str
        ``tensor`` or ``log-polar``, the PRF.
    demo : bool
        Whether its images are simulated.
    approximate : bool
        Whether its fluxes are first measured with a guess of the PRF, which is log-polar.
    """
    listed = json.loads(LISTED.read_text())
    models = dict.fromkeys([model, "log-polar"] if approximate else [model])
    entries = [entry for name in models for entry in listed[name]]
    return [*listed["all"], *entries, *(listed["demo"] if demo else ())]


if __name__ == "__main__":
    listed = json.loads(LISTED.read_text())
    compile_kernels([entry for entries in listed.values() for entry in entries], get_threads())
