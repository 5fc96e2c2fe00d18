"""Compile every kernel, by reducing a tiny simulated exposure.

Numba compiles a kernel for the types it is called with and keeps the result on disk.  Running
the steps themselves gives exactly the types of a reduction.
"""

from __future__ import annotations

import sys
import tempfile
from typing import Any

from numba.core.dispatcher import Dispatcher

from romanprf.config import load_config
from romanprf.reduce import reduce

#: The smallest field with enough bright stars for a fit of the PRF.
_TINY: dict[str, Any] = {
    "simulate": {
        "exposures": 1,
        "size": 48,
        "draw_limit": 23.0,
        "catalogue_limit": 20.0,
        "microlensing": 0,
        "transits": 0,
        "eclipses": 0,
    },
    "shape": {
        "n_r_knots": 5,
        "n_phi_knots": 4,
        "iterations": 1,
        "contamination": 0.9,
        "rounds": 1,
        "search_rounds": 1,
        "reach": 5.0,
    },
    "metrics": {"subpixels": 1},
}


def compile_all() -> list[str]:
    """Compile the kernels of all steps and name those that are compiled now.

    Returns
    -------
    list of str
        ``module.kernel``, sorted.
    """
    with tempfile.TemporaryDirectory() as folder:
        reduce(load_config({**_TINY, "results": folder}))
    return compiled()


def compiled() -> list[str]:
    """Names of the kernels compiled or loaded in this process, once for each set of types."""
    return sorted(
        f"{module}.{name}{signature}"
        for module in list(sys.modules)
        if module.startswith("romanprf.") and module.endswith("_nb")
        for name, kernel in vars(sys.modules[module]).items()
        if isinstance(kernel, Dispatcher) and kernel.__module__ == module
        for signature in kernel.signatures
    )
