"""What describes a table: columns with types, units, meaning and rounding."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

#: Bits kept of the 23-bit mantissa of rounded float32 values: relative errors of at most 2.4e-4.
KEPT_BITS = 11


@dataclass(frozen=True)
class Column:
    """One column.

    ``unit`` is an astropy unit string, empty for none.  A float32 column that is ``rounded`` keeps
    `KEPT_BITS` bits (2.4e-4): more digits would be noise that does not compress.
    """

    name: str
    type: pa.DataType
    unit: str
    meaning: str
    nullable: bool = False
    rounded: bool = False


@dataclass(frozen=True)
class TableSchema:
    """One kind of table; its files are read in groups of ``row_group`` rows at least."""

    name: str
    version: int
    meaning: str
    columns: tuple[Column, ...]
    row_group: int | None = None

    @property
    def names(self) -> list[str]:
        """Column names, in order."""
        return [column.name for column in self.columns]

    def arrow(self) -> pa.Schema:
        """Arrow schema with unit and meaning in the metadata of each field."""
        return pa.schema(
            [
                pa.field(c.name, c.type, c.nullable, {"unit": c.unit, "description": c.meaning})
                for c in self.columns
            ]
        )


#: Types of columns.
I4, I8, F4, F8 = pa.int32(), pa.int64(), pa.float32(), pa.float64()
STRING, BOOL = pa.string(), pa.bool_()
