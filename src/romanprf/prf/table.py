"""The prf table."""

from __future__ import annotations

import json
from typing import Any

from romanprf import schemas
from romanprf.io.tables import read_metadata, read_table
from romanprf.prf import PRF, LogPolarPRF, TensorPRF


def read_prf(path: str) -> PRF:
    """Read the model of a ``prf`` table."""
    table = read_table(path, schemas.PRF)
    columns = {name: table[name].to_numpy() for name in schemas.PRF.names}
    metadata = read_metadata(path, schemas.PRF)
    kinds: dict[str, Any] = {"log-polar": LogPolarPRF, "tensor": TensorPRF}
    return kinds[json.loads(metadata["model"])["kind"]].from_table(columns, metadata)
