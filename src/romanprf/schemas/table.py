"""What describes a table: columns with types, units, meaning and rounding."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

#: Values of `Column.rounded` beside names of columns.
RELATIVE, ABSOLUTE = "relative", "absolute"
#: Values are rounded to multiples of 2**-bits of the power of two at or below the value itself, or
#: 1; or its error: so by at most 2**-9 of the value or of 1, or by 1/64 of the error.
KEPT_BITS, ERROR_BITS = 8, 5


@dataclass(frozen=True)
class Column:
    """One column.

    ``unit`` is an astropy unit string, empty for none.  ``rounded`` says to what a float32 column
    is rounded, as further digits would be noise that does not compress: `RELATIVE`, to a part of
    the value; `ABSOLUTE`, to one of 1; a column's name, to one of the 1 sigma that it holds.
    """

    name: str
    type: pa.DataType
    unit: str
    meaning: str
    nullable: bool = False
    rounded: str = ""

    @property
    def rounding(self) -> str:
        """How the column is rounded, in words; empty if it is not."""
        if self.rounded == RELATIVE:
            return f"rounded to {KEPT_BITS + 1} significant bits"
        if self.rounded == ABSOLUTE:
            return f"rounded within 2^-{KEPT_BITS + 1}"
        if self.rounded:
            return f"rounded within 1/{2 ** (ERROR_BITS + 1)} of `{self.rounded}`"
        return ""


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
        """Arrow schema with unit, meaning and rounding in the metadata of each field."""
        texts = [
            {"unit": c.unit, "description": c.meaning, "rounding": c.rounding} for c in self.columns
        ]
        return pa.schema(
            [
                pa.field(c.name, c.type, c.nullable, text)
                for c, text in zip(self.columns, texts, strict=True)
            ]
        )


#: Types of columns.
I4, I8, F4, F8 = pa.int32(), pa.int64(), pa.float32(), pa.float64()
STRING, BOOL = pa.string(), pa.bool_()
