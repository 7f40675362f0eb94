"""Tables from arrays, without a Python object for each value."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa


def filled_table(schema: pa.Schema, arrays: Mapping[str, pa.Array], columns: Mapping[str, Any]) -> pa.Table:
    """A table of the schema from arrays of one length, and from columns that have the same value in every row."""
    rows = len(next(iter(arrays.values())))
    values = [
        arrays[field.name] if field.name in arrays else pa.repeat(pa.scalar(columns[field.name], field.type), rows)
        for field in schema
    ]
    return pa.Table.from_arrays(values, schema=schema)


def texts(rows: Sequence[Mapping[str, Any]], name: str) -> pa.Array:
    """A column of rows."""
    return pa.array([row[name] for row in rows], pa.string())
