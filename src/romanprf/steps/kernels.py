"""Step ``kernels``: compile the Numba kernels before jobs share their cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from romanprf.io.atomic import replacing
from romanprf.warm import compile_all


def run(inputs: Mapping[str, Any], outputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Compile the kernels and list them.

    Parameters
    ----------
    inputs : mapping
        Empty.
    outputs : mapping
        ``kernels``: text file.
    params : mapping
        ``versions``: packages that a compiled kernel depends on, with their versions.
    """
    del inputs
    lines = [*params["versions"], *compile_all()]
    with replacing(outputs["kernels"]) as temporary:
        temporary.write_text("\n".join(lines) + "\n")
