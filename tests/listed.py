"""The kernels that reductions use.

``python tests/listed.py > src/romanprf/steps/kernels.json`` lists them anew.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from small import TINY

#: Reduces a field with a kind of PRF and prints the kernels that it loads.
_PROGRAM = """
import json, sys, tempfile
from romanprf.config import load_config
from romanprf.core.compile import compiled
from romanprf.reduce import reduce

settings = json.loads(sys.argv[1])
with tempfile.TemporaryDirectory() as folder:
    reduce(load_config({**settings, "results": folder}))
print(json.dumps(compiled()))
"""


def loaded(model: str, folder: Path | None = None) -> list[str]:
    """Kernels that a small reduction of simulated images uses.

    Parameters
    ----------
    model : str
        ``tensor`` or ``log-polar``, the PRF.
    folder : Path, optional
        Where they are stored, if not in the usual place.  One that is not stored is compiled, and
        those that it calls are then listed as well.
    """
    settings: dict[str, Any] = {**TINY, "shape": {**TINY["shape"], "model": model}}
    environment = {**os.environ, **({"NUMBA_CACHE_DIR": str(folder)} if folder else {})}
    command = [sys.executable, "-c", _PROGRAM, json.dumps(settings)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def listed(folder: Path | None = None) -> dict[str, list[str]]:
    """All that reductions use, by what they are needed for."""
    tensor, logpolar = (set(loaded(model, folder)) for model in ("tensor", "log-polar"))
    demo = {entry for entry in tensor & logpolar if entry.startswith("romanprf.simulate.")}
    parts = {
        "all": (tensor & logpolar) - demo,
        "tensor": tensor - logpolar,
        "log-polar": logpolar - tensor,
        "demo": demo,
    }
    return {name: sorted(entries) for name, entries in parts.items()}


if __name__ == "__main__":
    listed()  # compiles what is not stored
    print(json.dumps(listed(), indent=1))
