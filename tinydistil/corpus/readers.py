"""From paths to records to documents.

`read_records` only cuts files into records, so that one process can feed many; `parse_record` does the
decoding and runs in the workers. Nothing holds more than one document and one block of a file.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Annotated, TypeAlias

from tinydistil.base.config import Checked, Range, shown
from tinydistil.base.errors import InputError, require
from tinydistil.corpus.document import BadRecord, Document, Record
from tinydistil.corpus.record_stream import PROBE_BYTES, Cut, DamagedFile, Line, Stream, lines, open_stream
from tinydistil.corpus.tables import (
    column_name,
    json_object,
    listed,
    missing_column,
    open_table,
    parquet_rows,
    table_fields,
)
from tinydistil.corpus.text_files import ENDINGS, kind_of
from tinydistil.corpus.vertical import vertical_attributes, vertical_paragraphs, vertical_records

_SURROGATE = re.compile("[\ud800-\udfff]")
Sentences: TypeAlias = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ReadConfig(Checked, table="read"):
    """How files are read. `encoding` may be any of Python's; a UTF-8 byte order mark is always skipped."""

    text_field: str = "text"
    id_field: str = "id"
    source_field: str = "source"
    # Portuguese spreadsheets often write ";".
    csv_delimiter: str = ","
    # False for files whose fields hold quotes as they are: with True, "a" is a.
    table_quotes: bool = True
    txt_mode: str = "lines"
    encoding: str = "utf-8"
    on_bad_bytes: str = "replace"
    # brWaC's documents are some 5 KB; 16 MB lets whole books pass and still bounds memory.
    max_document_bytes: Annotated[int, Range(1, 10**9)] = 16_000_000

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.text_field), "text_field is empty; name the field or column that holds the text")
        require(
            len(self.csv_delimiter) == 1 and self.csv_delimiter not in '"\r\n',
            f"csv_delimiter must be one character and no quote, got {shown(self.csv_delimiter)}",
        )
        require(
            self.txt_mode in ("lines", "blocks"),
            f"txt_mode must be 'lines' (one document per line) or 'blocks' (blank lines between them), "
            f"got {shown(self.txt_mode)}",
        )
        require(
            self.on_bad_bytes in ("replace", "skip"),
            f"on_bad_bytes must be 'replace' or 'skip', got {shown(self.on_bad_bytes)}",
        )
        require(
            keeps_ascii(self.encoding),
            f"encoding must be 'utf-8' or another superset of ASCII such as 'cp1252', got {shown(self.encoding)}",
        )
        try:
            self.csv_delimiter.encode(self.encoding)
        except UnicodeEncodeError:
            raise InputError(f"csv_delimiter {self.csv_delimiter!r} is no character of {self.encoding!r}") from None


def keeps_ascii(encoding: str) -> bool:
    """Whether lines, quotes and tags can be found in undecoded bytes (not so in UTF-16)."""
    try:
        return '\n"<,\t{'.encode(encoding) == b'\n"<,\t{'
    except (LookupError, ValueError):  # ValueError: a NUL in the name, too
        return False


def read_records(path: Path, config: ReadConfig) -> Iterator[Record | BadRecord]:
    """The records of `path` in file order; damage ends the file with a BadRecord, never an exception.

    Raises InputError if the file's kind is unknown, a package or a table's text column is missing.
    """
    kind, file, last_line = kind_of(path), str(path), 0
    if kind is None:
        raise InputError(f"{file!r} is of no known format; {ENDINGS}")
    if kind == "parquet":
        names = (config.id_field, config.source_field, config.text_field)
        yield from parquet_rows(path, names, column_name(config.text_field), config.encoding)
        return
    try:
        with open_stream(path) as stream:
            header, cuts = _cuts(stream, kind, config)
            # Should the file be damaged, the last line is the last known to be good.
            for last_line, data in cuts:
                if isinstance(data, str):
                    yield BadRecord(file, last_line, data)
                else:
                    yield Record(file, last_line, kind, data, header)
    except DamagedFile as error:
        yield BadRecord(file, last_line + 1, str(error))


def read_items(files: Sequence[Path], config: ReadConfig) -> Iterator[Record | BadRecord]:
    """Every record of `files`, one file after the other: of two duplicates the first in this order is kept."""
    return chain.from_iterable(read_records(path, config) for path in files)


def _cuts(stream: Stream, kind: str, config: ReadConfig) -> tuple[bytes, Iterator[Cut]]:
    """The header that the records need to be parsed, and the records."""
    limit = config.max_document_bytes
    if kind in ("csv", "tsv"):
        return open_table(stream, kind, _delimiter(kind, config).encode(config.encoding), config.table_quotes, limit)
    if kind == "vert":
        return b"", vertical_records(stream, limit)
    blocks = kind == "txt" and config.txt_mode == "blocks"
    return b"", _blocks(stream, limit) if blocks else _lines(stream, limit)


def _delimiter(kind: str, config: ReadConfig) -> str:
    return "\t" if kind == "tsv" else config.csv_delimiter


def _lines(stream: Stream, limit: int) -> Iterator[Cut]:
    for number, data in lines(stream, limit):
        if data is None:
            yield number, f"line is longer than {limit} bytes"
        elif data and not data.isspace():
            yield number, data


def _blocks(stream: Stream, limit: int) -> Iterator[Cut]:
    """Documents separated by blank lines; one that grows past `limit` is counted and skipped to its end."""
    block: list[bytes] = []
    first, size = 1, 0
    for number, data in chain(lines(stream, limit), [Line(0, b"")]):
        if data == b"" or (data is not None and data.isspace()):
            if block or size > limit:
                yield first, f"block is longer than {limit} bytes" if size > limit else b"\n".join(block)
            block, size = [], 0
            continue
        first = first if size else number
        # A line that was skipped counts as more than the limit, and so does its block.
        size += limit + 1 if data is None else len(data) + 1
        if size > limit:
            block.clear()
        elif data is not None:
            block.append(data)


def parse_record(record: Record | BadRecord, config: ReadConfig) -> Document | BadRecord:
    """Decode `record` into a document, or give the reason why it cannot be. Pure; raises only InputError."""
    if isinstance(record, BadRecord):
        return record
    try:
        text, replaced = _decode(record.data, config)
        document = _document(record, text, config)
    except InputError:
        # A ValueError too, but the user's to mend: a table without the wanted column.
        raise
    except json.JSONDecodeError as error:
        return BadRecord(record.file, record.line, f"not valid JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError, csv.Error) as error:
        return BadRecord(record.file, record.line, str(error) or type(error).__name__)
    # Looked for only where the bytes hold an escape: in the corpus at hand one document in a thousand.
    if b"\\u" in record.data and (lone := len(_SURROGATE.findall(document.text))):
        # JSON may escape half a surrogate pair; such a string cannot be written as UTF-8.
        document = replace(document, text=_SURROGATE.sub("\ufffd", document.text))
        replaced += lone
    if config.on_bad_bytes == "skip" and replaced:
        return BadRecord(record.file, record.line, f"{replaced} undecodable sequences")
    return replace(document, replaced=replaced) if replaced else document


def _decode(data: bytes, config: ReadConfig) -> tuple[str, int]:
    """The text of `data`, and how many undecodable sequences in it became U+FFFD."""
    try:
        return data.decode(config.encoding), 0
    except UnicodeDecodeError:
        text = data.decode(config.encoding, errors="replace")
        # U+FFFD that the file holds itself is not our replacement.
        return text, text.count("\ufffd") - data.count("\ufffd".encode())


def _document(record: Record, text: str, config: ReadConfig) -> Document:
    identifier: object = None
    source: object = None
    sentences: Sentences | None = None
    if record.kind == "txt":
        text = _newlines(text)
    elif record.kind == "vert":
        text = _newlines(text)
        attributes, sentences = vertical_attributes(text), vertical_paragraphs(text)
        identifier, source = attributes.get("docid"), attributes.get("uri")
        text = "\n".join(map(" ".join, sentences))
    else:
        wanted = column_name(config.text_field), column_name(config.id_field), column_name(config.source_field)
        fields = json_object(text) if record.kind in ("jsonl", "parquet") else _table_row(record, text, wanted, config)
        value = fields.get(wanted[0], {"paragraphs": fields["paragraphs"]} if "paragraphs" in fields else None)
        if value is None:
            raise ValueError(f"no field {config.text_field!r}; fields: {listed(fields)} (option read.text_field)")
        content, sentences = _content(value)
        if content is None:
            raise ValueError(f"field {config.text_field!r} is no text but {type(value).__name__}")
        text = _newlines(content)
        # Numbers are welcome as identifiers; an empty one gives way to the line in the file.
        identifier, source = fields.get(wanted[1]), fields.get(wanted[2])
    return Document(
        identifier=f"{Path(record.file).name}:{record.line}" if identifier in (None, "") else str(identifier),
        source=Path(record.file).name.partition(".")[0] if source in (None, "") else str(source),
        text=text,
        sentences=sentences,
    )


def _table_row(record: Record, row: str, wanted: Sequence[str], config: ReadConfig) -> Mapping[str, object]:
    header = record.header.decode(config.encoding, errors="replace")
    fields = table_fields(row, header, _delimiter(record.kind, config), config.table_quotes, wanted, record.file)
    if wanted[0] not in fields:
        raise missing_column(record.file, config.text_field, list(fields))
    return fields


def _content(value: object) -> tuple[str | None, Sentences | None]:
    """The text of a field, and its sentences where it has them: brWaC on the hub is {"paragraphs": [["Um.", "Dois."]]}.

    None where it is no text.
    """
    if isinstance(value, str):
        return value, None
    paragraphs = value.get("paragraphs") if isinstance(value, dict) else value
    if not isinstance(paragraphs, list):
        return None, None
    if isinstance(value, dict) and all(isinstance(each, str) for each in paragraphs):
        return "\n".join(paragraphs), None
    if not all(isinstance(each, list) and all(isinstance(sentence, str) for sentence in each) for each in paragraphs):
        return None, None
    # A line end inside a sentence would look like one between paragraphs.
    split = (tuple(joined for part in each if (joined := " ".join(part.split()))) for each in paragraphs)
    sentences = tuple(paragraph for paragraph in split if paragraph)
    return "\n".join(map(" ".join, sentences)), sentences


def _newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def looks_wrapped(path: Path) -> bool:
    """Whether lines of a .txt file, by its first 64 KiB, are parts of paragraphs: of one length, going on in small."""
    try:
        with open_stream(path) as stream:
            head = stream.peek(PROBE_BYTES)[:PROBE_BYTES].decode(errors="ignore")
    except DamagedFile:
        return False
    blocks = [block.strip().split("\n") for block in re.split(r"\n\s*\n", _newlines(head))]
    broken = [len(line) for block in blocks for line in block[:-1]]
    going_on = [line.lstrip()[:1].islower() for block in blocks for line in block[1:]]
    longest = max(broken, default=0)
    alike = sum(length > 0.6 * longest for length in broken)
    return 30 < longest < 200 and len(broken) >= 3 and alike > 0.8 * len(broken) and sum(going_on) > 0.5 * len(broken)
