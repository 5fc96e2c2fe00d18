"""The prf table."""

from __future__ import annotations

import json
from pathlib import Path

from romanprf import schemas
from romanprf.io.tables import read_metadata, read_table
from romanprf.prf import PRF, LogPolarPRF, TensorPRF

#: Models by the kind that their tables state.
_KINDS: dict[str, type[PRF]] = {model.kind: model for model in (LogPolarPRF, TensorPRF)}


def read_prf(path: str | Path) -> PRF:
    """Read the model of a ``prf`` table."""
    table = read_table(path, schemas.PRF)
    columns = {name: table[name].to_numpy() for name in schemas.PRF.names}
    metadata = read_metadata(path, schemas.PRF)
    return _KINDS[json.loads(metadata["model"])["kind"]].from_table(columns, metadata)
