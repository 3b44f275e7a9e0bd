"""Rows of Parquet files."""

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from tinydistil.base.errors import InputError, optional
from tinydistil.corpus.delimited import column_name, missing_column, repeated_column
from tinydistil.corpus.document import BadRecord, Record

# Rows of a row group turned to Python at once: at most some MB of documents.
PARQUET_BATCH_ROWS = 256


def parquet_rows(
    path: Path, columns: Sequence[str] | None, required: str | None, encoding: str
) -> Iterator[Record | BadRecord]:
    """The rows of a Parquet file as one-line JSON objects of `columns` (those that it has, None for all).

    Binary columns are text in `encoding`. Raises InputError if pyarrow or the `required` column is missing or holds no
    text, if a column occurs twice, or the file is damaged.
    """
    parquet = optional("pyarrow.parquet", needed_by=f"reading {str(path)!r}", extra="formats")
    arrow = optional("pyarrow", needed_by=f"reading {str(path)!r}", extra="formats")
    try:
        with parquet.ParquetFile(path) as table:
            schema = table.schema_arrow
            names = {column_name(name): name for name in schema.names}
            present = [name for name in (names if columns is None else map(column_name, columns)) if name in names]
            for name in present:
                if [column_name(each) for each in schema.names].count(name) > 1:
                    raise repeated_column(str(path), name)
            if required is not None:
                if required not in present:
                    raise missing_column(str(path), required, schema.names)
                kind = schema.field(names[required]).type
                if not _may_hold_text(kind, arrow):
                    raise InputError(
                        f"column {required!r} of {str(path)!r} holds {kind}, not text; "
                        "name the column of the text (text_field)"
                    )
            number = 0
            for batch in table.iter_batches(batch_size=PARQUET_BATCH_ROWS, columns=[names[each] for each in present]):
                cells = [_values(batch.column(names[each]), arrow) for each in present]
                for row in zip(*cells, strict=True):
                    number += 1
                    yield _record(str(path), number, dict(zip(present, row, strict=True)), required, encoding)
    # Damaged pages are OSErrors without a file's name.
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"Parquet file {str(path)!r} cannot be read: {str(error).splitlines()[0]}") from None


def _may_hold_text(kind: Any, arrow: Any) -> bool:
    of = kind.value_type if arrow.types.is_dictionary(kind) else kind
    # Lists and structures may hold paragraphs, null nothing at all: decided row by row.
    known = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view", "null")
    return str(of) in known or arrow.types.is_nested(of) or arrow.types.is_fixed_size_binary(of)


def _values(column: Any, arrow: Any) -> list[object]:
    """The values of a column; an exception in place of one that Python cannot hold (a date of the year 20000)."""

    def value(scalar: Any) -> object:
        try:
            return scalar.as_py()
        except (ValueError, OverflowError) as error:
            return error

    if arrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if arrow.types.is_string(column.type) or arrow.types.is_large_string(column.type):
        # As bytes, so that one damaged string does not cost the file.
        column = column.cast(arrow.large_binary())
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        return list(map(value, column))


def _record(file: str, number: int, row: dict[str, object], required: str | None, encoding: str) -> Record | BadRecord:
    """A row as JSON, so that it needs no reader of its own in the workers."""

    def plain(value: object) -> object:
        if isinstance(value, bytes):
            # What is not of the encoding becomes lone surrogates, which are replaced and counted as in other formats.
            return value.decode(encoding, "surrogateescape")
        if isinstance(value, Exception):
            return None
        if isinstance(value, Decimal):
            return float(value)
        # A date may identify a document; where any column may be the text, it must not look like one.
        return str(value) if required else {type(value).__name__: str(value)}

    if required and isinstance(error := row[required], Exception):
        return BadRecord(file, number, f"{required!r} cannot be read: {error}")
    return Record(file, number, "parquet", json.dumps(row, default=plain).encode())
