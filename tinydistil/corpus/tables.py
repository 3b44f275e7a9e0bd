"""Rows of .csv and .tsv files, whose quoted fields may run over many lines; JSON objects; rows of Parquet files."""

import csv
import json
import re
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from tinydistil.base.errors import InputError, optional, require
from tinydistil.corpus.records import BadRecord, Cut, Line, Record, Stream, lines

# The rest of a quoted field, and whether it is closed.
_QUOTED = re.compile(rb'(?:[^"]++|"")*+("?)')
# The first line that Excel reads and writes to name the delimiter.
_SEPARATOR = re.compile(r'"?sep=([\t !#-~])"?(?:\n|$)', re.IGNORECASE)
_OPEN_QUOTE = (
    "a quote opens a field here and does not close as RFC 4180 has it; if quotes are ordinary characters, "
    "set table_quotes=false (finetune.py: --no-quotes)"
)
# Rows of a row group turned to Python at once: at most some MB of documents.
PARQUET_BATCH_ROWS = 256


def cells_in(line: bytes, delimiter: bytes, inside: bool) -> tuple[int, bool] | None:
    """How many cells end in `line`, and whether a quoted one is still open; None where quotes are not RFC 4180's.

    inside: whether one was open before. A quote opens a cell only at its beginning; elsewhere (5" de tela) it is an
    ordinary character. A closing one stands at the end of its cell.
    """
    at = count = 0
    while True:
        if inside or line.startswith(b'"', at):
            match = _QUOTED.match(line, at if inside else at + 1)
            assert match is not None  # every part of the pattern is optional
            if not match[1]:
                return count, True
            inside, at = False, match.end()
            if at < len(line) and not line.startswith(delimiter, at):
                return None
        else:
            end = line.find(delimiter, at)
            at = end if end >= 0 else len(line)
        count += 1
        if at == len(line):
            return count, False
        at += len(delimiter)


def open_table(
    stream: Stream, kind: str, delimiter: bytes, quotes: bool, max_bytes: int
) -> tuple[bytes, Iterator[Cut]]:
    """The header, and the rows below it. Each can be parsed by itself, with the header's bytes.

    Lines are joined only where quotes are as in RFC 4180, in a .tsv only to a row of the header's width. Any other
    opening quote costs its own line at most: it is text in a .tsv, since most have no quoting, else a bad record.
    """
    source = lines(stream, max_bytes)
    first, mark = next((line for line in source if line.data is None or line.data.strip()), Line(1, b"")), b""
    if first.data and (match := _SEPARATOR.fullmatch(first.data.decode("latin-1"))):
        mark, delimiter = first.data + b"\n", match[1].encode()
        first = next(source, Line(2, b""))
    if first.data is None:
        return b"", iter([(first.number, f"header row is longer than {max_bytes} bytes")])
    header, taken, width = _joined(first, source, delimiter, None, max_bytes) if quotes else (None, [first], 0)
    waiting: deque[Line] = deque()
    if header is None:
        waiting.extend(taken[1:])
        header, width = first.data, first.data.count(delimiter) + 1

    def take() -> Line | None:
        return waiting.popleft() if waiting else next(source, None)

    def alone(line: Line) -> bool:
        return line.data is not None and line.data.count(delimiter) == width - 1

    def rows() -> Iterator[Cut]:
        while line := take():
            row, reason = line.data, f"row is longer than {max_bytes} bytes"
            if row and quotes and b'"' in row and (cells := cells_in(row, delimiter, False)) and cells[1]:
                row, taken, count = _joined(line, iter(take, None), delimiter, width, max_bytes)
                # Lines of a .tsv that are rows each for themselves are no field of several lines.
                several = row is not None and count == width and not all(map(alone, taken))
                if row is None or (kind == "tsv" and not several and width > 1):
                    waiting.extendleft(reversed(taken[1:]))
                    row, reason = (line.data if kind == "tsv" and alone(line) else None), _OPEN_QUOTE
            if row is None:
                yield line.number, reason
            elif delimiter in row or row.strip():
                yield line.number, row

    return mark + header, rows()


def _joined(
    first: Line, more: Iterable[Line], delimiter: bytes, width: int | None, max_bytes: int
) -> tuple[bytes | None, list[Line], int]:
    """The row that begins with line `first`, the lines looked at for it, and the cells counted in them.

    No row where a quoted cell does not close within `max_bytes`, or is one more than `width` (None for any number): so
    lines that open quotes one after the other are looked at `width` times at most.
    """
    taken, cells, size, inside = [], 0, 0, False
    for line in chain([first], more):
        taken.append(line)
        size += len(line.data or b"") + 1
        found = None if line.data is None or size > max_bytes + 1 else cells_in(line.data, delimiter, inside)
        if found is None:
            break
        cells, inside = cells + found[0], found[1]
        if not inside:
            return b"\n".join(each.data or b"" for each in taken), taken, cells
        if width is not None and cells >= width:
            break
    return None, taken, cells


def table_fields(
    row: str, header: str, delimiter: str, quotes: bool, wanted: Iterable[str | None], file: str
) -> dict[str, str]:
    """One row as column name -> value. Raises csv.Error or ValueError where it does not fit the header.

    A row of one line whose quotes are not RFC 4180's has them as ordinary characters. Raises InputError where the
    header has two of a column that is `wanted`.
    """
    delimiter, names = _names(header, delimiter, quotes)
    values, fields = _cells(row, delimiter, quotes), dict.fromkeys(names, "")
    if len(fields) < len(names):
        _refuse_repeated(file, names, wanted)
    if len(values) != len(names):
        raise ValueError(f"row has {len(values)} fields where the header has {len(names)}")
    fields.update(zip(names, values, strict=True))
    return fields


@lru_cache(maxsize=64)
def _names(header: str, delimiter: str, quotes: bool) -> tuple[str, tuple[str, ...]]:
    """The delimiter, and the names of the columns."""
    if match := _SEPARATOR.match(header):
        delimiter, header = match[1], header[match.end() :]
    return delimiter, tuple(map(column_name, _cells(header, delimiter, quotes)))


def _cells(row: str, delimiter: str, quotes: bool) -> list[str]:
    if quotes and '"' in row:
        # A field may be as long as a document, well over csv's default of 128 KiB.
        csv.field_size_limit(max(csv.field_size_limit(), len(row) + 1))
        try:
            return next(csv.reader([row], delimiter=delimiter, strict=True))
        except csv.Error:
            if "\n" in row:
                raise
    return row.split(delimiter)


def _refuse_repeated(file: str, names: Sequence[str], wanted: Iterable[str | None]) -> None:
    for name in filter(None, wanted):
        require(names.count(name) < 2, f"{file!r} has two columns {name!r}; rename one of them")


def column_name(name: str) -> str:
    """`name` as columns are compared: composed (NFC), without space around it."""
    return unicodedata.normalize("NFC", name).strip()


def json_object(text: str) -> dict[str, object]:
    """The object in `text`. Raises ValueError for anything else, also where two of its keys are one name."""
    values = json.loads(text, object_pairs_hook=_pairs)
    if not isinstance(values, dict):
        remedy = "; write one object a line, as `jq -c '.[]'` does" if isinstance(values, list) else ""
        raise ValueError(f"a JSON object is expected, got {type(values).__name__}{remedy}")
    return values


def _pairs(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    values = {key if key.isascii() else unicodedata.normalize("NFC", key): value for key, value in pairs}
    if len(values) != len(pairs):
        raise ValueError(f"two fields of one name among {listed(key for key, _ in pairs)}")
    return values


def listed(names: Iterable[str]) -> str:
    """`names` for a message, however many and long they are."""
    text = ", ".join(map(repr, names))
    return text if len(text) <= 400 else f"{text[:400]}..."


def missing_column(file: str, column: str, names: Iterable[str]) -> InputError:
    """The error for a table without `column`."""
    return InputError(
        f"{file!r} has no column {column!r}; its columns: {listed(names)}. "
        "Set the text field (or the delimiter) to fit: options read.text_field, read.csv_delimiter"
    )


def parquet_rows(
    path: Path, columns: Sequence[str] | None, required: str | None, encoding: str
) -> Iterator[Record | BadRecord]:
    """The rows of a Parquet file as one-line JSON objects of `columns` (those that it has, None for all).

    Binary columns are text in `encoding`. Raises InputError if pyarrow or the `required` column is missing or holds no
    text, if a column occurs twice, or the file is damaged.
    """
    file, number = str(path), 0
    parquet = optional("pyarrow.parquet", needed_by=f"reading {file!r}", extra="formats")
    arrow = optional("pyarrow", needed_by=f"reading {file!r}", extra="formats")
    try:
        with parquet.ParquetFile(path) as table:
            schema = table.schema_arrow
            names = list(map(column_name, schema.names))
            present = [name for name in (names if columns is None else map(column_name, columns)) if name in names]
            _refuse_repeated(file, names, present)
            if required is not None:
                if required not in present:
                    raise missing_column(file, required, schema.names)
                kind = schema.field(names.index(required)).type
                of = kind.value_type if arrow.types.is_dictionary(kind) else kind
                # Lists and structures may hold paragraphs, null nothing at all: decided row by row.
                known = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view", "null")
                text = str(of) in known or arrow.types.is_nested(of) or arrow.types.is_fixed_size_binary(of)
                remedy = "name the column of the text (text_field)"
                require(text, f"column {required!r} of {file!r} holds {kind}, not text; {remedy}")
            originals = [schema.names[names.index(name)] for name in present]
            for batch in table.iter_batches(batch_size=PARQUET_BATCH_ROWS, columns=originals):
                cells = [_values(batch.column(name), arrow) for name in originals]
                for row in zip(*cells, strict=True):
                    number += 1
                    yield _record(file, number, dict(zip(present, row, strict=True)), required, encoding)
    # Damaged pages are OSErrors without a file's name.
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"Parquet file {file!r} cannot be read: {str(error).splitlines()[0]}") from None


def _values(column: Any, arrow: Any) -> Iterator[object]:
    """The values of a column; an exception in place of one that Python cannot hold (a date of the year 20000)."""
    if arrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if arrow.types.is_string(column.type) or arrow.types.is_large_string(column.type):
        # As bytes, so that one damaged string does not cost the file.
        column = column.cast(arrow.large_binary())
    for scalar in column:
        try:
            yield scalar.as_py()
        except (ValueError, OverflowError) as error:
            yield error


def _record(file: str, number: int, row: dict[str, object], required: str | None, encoding: str) -> Record | BadRecord:
    """A row as JSON, so that it needs no reader of its own in the workers."""

    def plain(value: object) -> object:
        if isinstance(value, bytes):
            # What is not of the encoding becomes lone surrogates, which are replaced and counted as in other formats.
            return value.decode(encoding, "surrogateescape")
        if isinstance(value, Decimal):
            return float(value)
        if isinstance(value, Exception):
            return None
        # A date may identify a document; where any column may be the text, it must not look like one.
        return str(value) if required else {type(value).__name__: str(value)}

    if required and isinstance(error := row[required], Exception):
        return BadRecord(file, number, f"{required!r} cannot be read: {error}")
    return Record(file, number, "parquet", json.dumps(row, default=plain).encode())
