"""Parquet tables: checked against their schema, with units and provenance, written whole."""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from romanprf.core.rounding import rounded
from romanprf.errors import InputError
from romanprf.io.atomic import replacing
from romanprf.schemas.table import (
    ABSOLUTE,
    ERROR_BITS,
    KEPT_BITS,
    RELATIVE,
    Column,
    TableSchema,
)

#: Level 3 writes as fast as level 1; level 5 saves 2 % and takes twice as long.
_COMPRESSION: Mapping[str, Any] = {"compression": "zstd", "compression_level": 3}


def provenance(
    inputs: Mapping[str, str | Path] | None = None, params: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """Origin of a table: package version, commit, hashes of the parameters and of the input files.

    It does not depend on when or where the step runs: the same inputs give the same bytes.
    """
    settings = json.dumps(params or {}, sort_keys=True, default=str)
    return {
        "romanprf": version("romanprf"),
        "git": _git_describe(),
        "config": hashlib.blake2b(settings.encode(), digest_size=16).hexdigest(),
        "inputs": json.dumps({name: file_hash(path) for name, path in (inputs or {}).items()}),
    }


def file_hash(path: str | Path) -> str:
    """BLAKE2 hash of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


@functools.cache
def _git_describe() -> str:
    folder = Path(__file__).resolve().parents[3]
    if not (folder / ".git").exists():
        return "not a checkout"
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--tags"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "no commit"


#: A DataFrame, a mapping of column name to values, or an Arrow table.
Rows: TypeAlias = Any


class TableWriter:
    """Writes a table in pieces; get one from `writing`."""

    def __init__(self, writer: pq.ParquetWriter, schema: TableSchema):
        self._writer, self._schema = writer, schema

    def write(self, rows: Rows) -> None:
        """Check and append rows."""
        table = _checked(rows, self._schema).replace_schema_metadata(self._writer.schema.metadata)
        size = self._schema.row_group or max(len(table), 1)
        for start in range(0, max(len(table), 1), size):  # rounding needs memory
            part = _rounded(table.slice(start, size), self._schema)
            self._writer.write_table(part, self._schema.row_group)


@contextmanager
def writing(
    path: str | Path,
    schema: TableSchema,
    origin: Mapping[str, str],
    metadata: Mapping[str, str] | None = None,
) -> Iterator[TableWriter]:
    """Open a table for writing; the file appears only when the block succeeds.

    Parameters
    ----------
    path : path
        File to write.
    schema : TableSchema
        Its columns.
    origin : mapping
        `provenance` of the table.
    metadata : mapping of str to str, optional
        Further entries of the file's metadata.
    """
    head = {"table": schema.name, "table_version": str(schema.version), **origin}
    arrow = schema.arrow().with_metadata({**head, **(metadata or {})})
    with (
        replacing(path) as temporary,
        pq.ParquetWriter(temporary, arrow, **_COMPRESSION, **_encodings(arrow)) as writer,
    ):
        yield TableWriter(writer, schema)


def _encodings(schema: pa.Schema) -> dict[str, list[str]]:
    """Options of the writer: byte streams for float32 columns, dictionaries for all others.

    Float32 values are measurements: hardly one occurs twice, but their exponents are alike.
    """
    flat = {
        f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name: (
            field.type.value_type if pa.types.is_list(field.type) else field.type
        )
        for field in schema
    }
    measured = [name for name, kind in flat.items() if kind == pa.float32()]
    return {
        "use_byte_stream_split": measured,
        "use_dictionary": [name for name in flat if name not in measured],
    }


def write_table(
    path: str | Path,
    rows: Rows,
    schema: TableSchema,
    origin: Mapping[str, str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Check rows against a schema and write them as one table (see `writing`)."""
    with writing(path, schema, origin, metadata) as table:
        table.write(rows)


def _checked(rows: Rows, schema: TableSchema) -> pa.Table:
    """Rows as an Arrow table of exactly this schema."""
    names = list(rows.column_names if isinstance(rows, pa.Table) else rows.keys())
    if set(names) != set(schema.names):
        missing, extra = set(schema.names) - set(names), set(names) - set(schema.names)
        raise ValueError(
            f"table {schema.name}: missing columns {sorted(missing)}, unknown {sorted(extra)}"
        )
    arrow = schema.arrow()
    if isinstance(rows, pa.Table):
        table = rows.select(schema.names).cast(arrow)
    else:
        arrays = [_array(rows[c.name], c.type, c.nullable) for c in schema.columns]
        table = pa.Table.from_arrays(arrays, schema=arrow)
    for column in schema.columns:
        if not column.nullable and table[column.name].null_count:
            raise ValueError(f"table {schema.name}: column {column.name} has empty entries")
    return table


def _rounded(table: pa.Table, schema: TableSchema) -> pa.Table:
    """The table with its columns rounded: errors first, by which others are rounded."""
    for column in sorted(schema.columns, key=lambda c: c.rounded not in (RELATIVE, ABSOLUTE)):
        if column.rounded:
            number, field = schema.names.index(column.name), table.schema.field(column.name)
            table = table.set_column(number, field, _rounded_column(table, column))
    return table


def _rounded_column(table: pa.Table, column: Column) -> pa.Array:
    """A float32 column, or one of lists, rounded as its schema says."""
    whole = table[column.name].combine_chunks()
    values = _numbers(whole)
    if column.rounded == RELATIVE:
        new = rounded(values, np.abs(values), KEPT_BITS)
    elif column.rounded == ABSOLUTE:
        new = rounded(values, np.float32(1.0), KEPT_BITS)
    else:
        new = rounded(values, _numbers(table[column.rounded].combine_chunks()), ERROR_BITS)
    if pa.types.is_list(whole.type):
        offsets = pc.subtract(whole.offsets, whole.offsets[0])
        return pa.ListArray.from_arrays(offsets, pa.array(new), whole.type)
    return pa.array(new, mask=whole.is_null().to_numpy(zero_copy_only=False))


def _numbers(column: pa.Array) -> np.ndarray:
    """Values of a float32 column, or of its lists; NaN where empty."""
    flat = column.flatten() if pa.types.is_list(column.type) else column
    return flat.to_numpy(zero_copy_only=False)


def _array(values: Any, kind: pa.DataType, nullable: bool) -> pa.Array:
    """An Arrow array; NaN becomes null where the column may be empty."""
    if isinstance(values, pd.Series):
        return pa.Array.from_pandas(values, type=kind)
    if isinstance(values, np.ndarray) and values.dtype.kind == "f" and nullable:
        return pa.array(values, type=kind, mask=np.isnan(values))
    return pa.array(values, type=kind)


def read_metadata(path: str | Path, schema: TableSchema) -> dict[str, str]:
    """Metadata of a table, after checking that it is one of this schema and version."""
    try:
        stored = pq.read_schema(path)
        types = dict(zip(stored.names, stored.types, strict=True))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, expected a romanprf {schema.name} table") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, schema, error) from None
    metadata = {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in (stored.metadata or {}).items()
    }
    found = (metadata.get("table"), metadata.get("table_version"))
    if found != (schema.name, str(schema.version)):
        raise InputError(
            f"{path}: expected table {schema.name} version {schema.version}, "
            f"found {found[0]} version {found[1]}; remove it and run again"
        )
    for column in schema.columns:
        if types.get(column.name) != column.type:
            raise _damaged(path, schema, f"no column {column.name} of type {column.type}")
    return metadata


def _damaged(path: str | Path, schema: TableSchema, reason: object) -> InputError:
    return InputError(
        f"{path}: not a readable Parquet file ({str(reason)[:200]}), expected a romanprf "
        f"{schema.name} table; remove it and run again"
    )


def read_table(
    path: str | Path,
    schema: TableSchema,
    columns: Sequence[str] | None = None,
    filters: Any = None,
) -> pd.DataFrame:
    """Read a table of this schema and version.

    Raises
    ------
    InputError
        If the file is not such a table.
    """
    read_metadata(path, schema)
    wanted = list(columns) if columns else None
    try:
        table = pq.read_table(path, columns=wanted, filters=filters, partitioning=None)
    except (pa.ArrowException, OSError) as error:  # damaged behind its metadata
        raise _damaged(path, schema, error) from None
    for column in schema.columns:
        if column.name in table.column_names and _has_nan(table[column.name], column):
            raise _damaged(path, schema, f"column {column.name} has entries that are no numbers")
    return table.to_pandas(integer_object_nulls=True)  # floats would change long identifiers


def _has_nan(values: pa.ChunkedArray, column: Column) -> bool:
    """Whether a column that is never empty holds a NaN, which nothing writes there."""
    if column.nullable or not pa.types.is_floating(values.type):
        return False
    return bool(pc.any(pc.is_nan(values)).as_py())


def count_rows(path: str | Path, schema: TableSchema) -> int:
    """Number of rows of a table, without reading them.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, schema, error) from None
