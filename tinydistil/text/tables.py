"""Floor 1: rows of .csv and .tsv files, whose quoted fields may run over many lines; rows of Parquet."""

import csv
import io
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Literal

from tinydistil.errors import InputError
from tinydistil.text.document import BadRecord, Record
from tinydistil.text.optional import optional
from tinydistil.text.record_stream import Line, Stream, lines

# Rows of a Parquet row group turned to Python at once: at most some MB of documents.
PARQUET_BATCH_ROWS = 256
INSIDE_QUOTES = rb'(?:[^"]++|"")*+("?)'


@lru_cache(maxsize=8)
def _quoted_field(delimiter: bytes) -> re.Pattern[bytes]:
    # A quote opens a field only at its beginning; elsewhere (5" de tela) it is an ordinary character.
    return re.compile(rb'(?:^|' + re.escape(delimiter) + rb')"' + INSIDE_QUOTES)


_CONTINUED = re.compile(INSIDE_QUOTES)


def ends_inside_quotes(line: bytes, delimiter: bytes, inside: bool) -> bool:
    """Whether a quoted field is still open after `line`; `inside` tells if one was open before it."""
    start = 0
    if inside:
        match = _CONTINUED.match(line)
        assert match is not None  # every part of the pattern is optional
        if not match.group(1):
            return True
        start = match.end()
    if b'"' not in line[start:]:
        return False
    # The anchor ^ must not match in the middle of a continued line, so the rest keeps its first delimiter.
    return any(not match.group(1) for match in _quoted_field(delimiter).finditer(line, start))


def table_rows(stream: Stream, file: str, kind: str, delimiter: str,
               quotes: bool, max_bytes: int) -> Iterator[Record | BadRecord]:
    """The rows below the header, each with the header's bytes, so that it can be parsed by itself.

    A quote that never closes costs the rows up to `max_bytes` after it, counted as one bad record.
    """
    source = lines(stream, max_bytes)
    separator = delimiter.encode()
    header = _row(source, separator, quotes, max_bytes)
    if header is None:
        return
    if header.data is None:
        yield BadRecord(file, header.number, f"header row is not closed within {max_bytes} bytes")
        return
    while row := _row(source, separator, quotes, max_bytes):
        if row.data is None:
            reason = f"row is longer than {max_bytes} bytes, or a quote never closes"
            yield BadRecord(file, row.number, reason)
        elif row.data.strip():
            yield Record(file, row.number, kind, row.data, header.data)


def _row(source: Iterator[Line], delimiter: bytes, quotes: bool, max_bytes: int) -> Line | None:
    parts: list[bytes] = []
    size, first, inside = 0, 0, False
    for number, data in source:
        first = first or number
        if data is None or size + len(data) > max_bytes:
            return Line(first, None)
        parts.append(data)
        size += len(data) + 1
        inside = quotes and ends_inside_quotes(data, delimiter, inside)
        if not inside:
            return Line(first, b"\n".join(parts))
    return Line(first, None) if parts else None


def table_fields(row: str, header: str, delimiter: str, quotes: bool) -> dict[str, str]:
    """One row as column name -> value. Raises csv.Error or ValueError where it does not fit the header."""
    # A field may be as long as a document, well over csv's default of 128 KiB.
    csv.field_size_limit(max(csv.field_size_limit(), len(row) + 1))
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    names, values = (
        next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting))
        for text in (header, row)
    )
    if len(values) != len(names):
        raise ValueError(f"row has {len(values)} fields where the header has {len(names)}")
    return dict(zip(names, values, strict=True))


def parquet_rows(path: Path, columns: tuple[str, ...], required: str) -> Iterator[Record]:
    """The rows of a Parquet file as one-line JSON objects of `columns` (those that it has).

    Raises InputError if pyarrow or the `required` column is missing, or the file is damaged.
    """
    parquet = optional("pyarrow.parquet", needed_by=f"reading {str(path)!r}", extra="formats")
    arrow = optional("pyarrow", needed_by=f"reading {str(path)!r}", extra="formats")
    try:
        with parquet.ParquetFile(path) as table:
            present = [name for name in columns if name in table.schema_arrow.names]
            if required not in present:
                raise missing_column(str(path), required, table.schema_arrow.names)
            number = 0
            for batch in table.iter_batches(batch_size=PARQUET_BATCH_ROWS, columns=present):
                for row in batch.to_pylist():
                    number += 1
                    yield Record(str(path), number, "parquet", json.dumps(row, default=str).encode())
    except arrow.ArrowException as error:
        raise InputError(f"Parquet file {str(path)!r} cannot be read: {error}") from None


def missing_column(file: str, column: str, names: list[str]) -> InputError:
    """The error for a table without the column that was asked for."""
    return InputError(f"{file!r} has no column {column!r}; its columns: {', '.join(map(repr, names))}. "
                      "Set the text field (or the delimiter) to fit")
