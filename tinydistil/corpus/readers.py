"""From files to records to documents.

`read_records` only cuts files into records, so that one process can feed many; `parse_record` does the decoding and
runs in the workers. Nothing holds more than one document and one block of a file.

BrWaC's vertical format has one token a line between <doc>, <p> and <s> tags. It is not well-formed XML (no root
element, attributes of any text, damaged tags), so whatever is not recognised as a tag is a token.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Annotated, TypeAlias

from tinydistil.base.config import Checked, OneOf, Range, shown
from tinydistil.base.errors import InputError, require
from tinydistil.corpus.records import (
    BLOCK_BYTES,
    ENDINGS,
    BadRecord,
    Cut,
    DamagedFile,
    Document,
    Record,
    Stream,
    kind_of,
    lines,
    open_stream,
)
from tinydistil.corpus.tables import (
    column_name,
    json_object,
    listed,
    missing_column,
    open_table,
    parquet_rows,
    table_fields,
)

Sentences: TypeAlias = tuple[tuple[str, ...], ...]

_SURROGATE = re.compile("[\ud800-\udfff]")
# A document begins at "<doc" and also right after "</doc>", should the next opening tag be damaged.
_BOUNDARY = re.compile(rb"<[ \t]*(?:(?P<opening>doc\b)|/[ \t]*doc\b[^\n]*\n)", re.IGNORECASE)
# A damaged tag may have lost its ">", so a tag runs to the end of its line.
_PARAGRAPH = re.compile(r"\n[ \t]*<[ \t]*/?[ \t]*(?:p|doc)\b[^\n]*", re.IGNORECASE)
_SENTENCE = re.compile(r"\n[ \t]*<[ \t]*/?[ \t]*s\b[^\n]*", re.IGNORECASE)
# Written <g/> throughout brWaC; other corpora have <g /> and <g>.
_GLUE = re.compile(r"\n[ \t]*<[ \t]*/?[ \t]*g\b[^\n]*\n", re.IGNORECASE)
# Left-overs of HTML on lines of their own; a token such as <3 or < has no ">" and stays.
_OTHER_TAG = re.compile(r"\n[ \t]*</?[a-z!?][^<>\n]*>[ \t]*(?=\n)", re.IGNORECASE)


@dataclass(frozen=True)
class ReadConfig(Checked, table="read"):
    """How files are read. `encoding` may be any of Python's; a UTF-8 byte order mark is always skipped."""

    text_field: str = "text"
    # Of the other fields none is used; of a Parquet file these two columns are read, and count as raw bytes, as ever.
    id_field: str = "id"
    source_field: str = "source"
    csv_delimiter: str = ","  # Portuguese spreadsheets often write ";"
    table_quotes: bool = True  # False for files whose fields hold quotes as they are: with True, "a" is a
    txt_mode: Annotated[str, OneOf(("lines", "blocks"))] = "lines"  # what a document is; blank lines end a block
    encoding: str = "utf-8"
    on_bad_bytes: Annotated[str, OneOf(("replace", "skip"))] = "replace"
    # brWaC's documents are some 5 KB; 16 MB lets whole books pass and still bounds memory.
    max_document_bytes: Annotated[int, Range(1, 10**9)] = 16_000_000

    def __post_init__(self) -> None:
        super().__post_init__()
        encoding, delimiter = self.encoding, self.csv_delimiter
        require(bool(self.text_field), "text_field is empty; name the field or column that holds the text")
        one = len(delimiter) == 1 and delimiter not in '"\r\n'
        require(one, f"csv_delimiter must be one character and no quote, got {shown(delimiter)}")
        known = "encoding must be 'utf-8' or another superset of ASCII such as 'cp1252'"
        require(keeps_ascii(encoding), f"{known}, got {shown(encoding)}")
        fits = _encoded(delimiter, encoding) is not None
        require(fits, f"csv_delimiter {delimiter!r} is no character of {encoding!r}")


def keeps_ascii(encoding: str) -> bool:
    """Whether lines, quotes and tags can be found in undecoded bytes (not so in UTF-16)."""
    return _encoded('\n"<,\t{', encoding) == b'\n"<,\t{'


def _encoded(text: str, encoding: str) -> bytes | None:
    try:
        return text.encode(encoding)
    except (LookupError, ValueError):  # ValueError: a NUL in the name, too
        return None


def read_items(files: Sequence[Path], config: ReadConfig) -> Iterator[Record | BadRecord]:
    """Every record of `files`, one file after the other: of two duplicates the first in this order is kept."""
    return chain.from_iterable(read_records(path, config) for path in files)


def read_records(path: Path, config: ReadConfig) -> Iterator[Record | BadRecord]:
    """The records of `path` in file order; damage ends the file with a BadRecord, never an exception.

    Raises InputError if the file's kind is unknown, a package or a table's text column is missing.
    """
    kind, file, last_line, header = kind_of(path), str(path), 0, b""
    if kind is None:
        raise InputError(f"{file!r} is of no known format; {ENDINGS}")
    if kind == "parquet":
        names = (config.id_field, config.source_field, config.text_field)
        yield from parquet_rows(path, names, column_name(config.text_field), config.encoding)
        return
    limit = config.max_document_bytes
    try:
        with open_stream(path) as stream:
            if kind in ("csv", "tsv"):
                delimiter = "\t" if kind == "tsv" else config.csv_delimiter
                header, cuts = open_table(stream, kind, delimiter.encode(config.encoding), config.table_quotes, limit)
            elif kind == "vert":
                cuts = _vertical(stream, limit)
            else:
                cuts = (_blocks if kind == "txt" and config.txt_mode == "blocks" else _lines)(stream, limit)
            # Should the file be damaged, the last line is the last known to be good.
            for last_line, data in cuts:
                if isinstance(data, str):
                    yield BadRecord(file, last_line, data)
                else:
                    yield Record(file, last_line, kind, data, header)
    except DamagedFile as error:
        yield BadRecord(file, last_line + 1, str(error))


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
    for number, data in chain(lines(stream, limit), [(0, b"")]):
        if data is not None and not data.strip():
            if size:
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


def _vertical(stream: Stream, limit: int) -> Iterator[Cut]:
    """The documents of a .vert stream, tags included. Memory is bounded by `limit` and a block."""
    buffer, line, too_long = b"", 1, False
    reason = f"document is longer than {limit} bytes"
    while True:
        block = stream.read1(BLOCK_BYTES)
        *whole, buffer = _cut(buffer + block)
        for piece in whole if block else [*whole, buffer]:
            # The piece after a document given up is that document's own end.
            if not too_long and (len(piece) > limit or _is_document(piece)):
                yield line, reason if len(piece) > limit else piece
            too_long = False
            line += piece.count(b"\n")
        if not block:
            return
        if len(buffer) > limit:
            if not too_long:
                yield line, reason
            too_long = True
            line += buffer.count(b"\n")
            # The unfinished last line may hold half a tag, but not one that is longer than a block; the dot keeps what
            # follows from looking like the beginning of a line.
            last = buffer[buffer.rfind(b"\n") + 1 :]
            buffer = last if len(last) < BLOCK_BYTES else b"."


def _cut(data: bytes) -> list[bytes]:
    """`data` cut where documents begin; the last piece may be unfinished, and is all of it if none is."""
    cuts = [0]
    for match in _BOUNDARY.finditer(data):
        line_start = data.rfind(b"\n", 0, match.start()) + 1
        position = line_start if match["opening"] else match.end()
        # Inside a line stands a token that looks like a tag.
        if position > cuts[-1] and not data[line_start : match.start()].strip(b" \t"):
            cuts.append(position)
    return [data[start:end] for start, end in zip(cuts, [*cuts[1:], len(data)], strict=True)]


def _is_document(data: bytes) -> bool:
    """Whether `data` is more than blank lines and stray tags; a document without tokens is to be counted as empty."""
    tokens = (line for line in data.split(b"\n") if line.strip() and not line.lstrip().startswith(b"<"))
    return data.lstrip()[:4].lower() == b"<doc" or any(tokens)


def _vertical_paragraphs(text: str) -> Sentences:
    """Paragraphs of sentences, tokens joined by a space except around <g/> glue; empty ones left out."""
    paragraphs = map(_SENTENCE.split, _PARAGRAPH.split(f"\n{text}\n"))
    return tuple(filter(None, (tuple(filter(None, map(_joined_tokens, parts))) for parts in paragraphs)))


def _joined_tokens(part: str) -> str:
    # The plain form first: it is thirteen times as fast as the tolerant one, which few sentences need.
    tokens = part.replace("\n<g/>\n", "")
    if "<" in tokens:
        tokens = _OTHER_TAG.sub("", _GLUE.sub("", f"{tokens}\n"))
    return " ".join(tokens.split())


def parse_record(record: Record | BadRecord, config: ReadConfig) -> Document | BadRecord:
    """Decode `record` into a document, or give the reason why it cannot be. Pure; raises only InputError."""
    if isinstance(record, BadRecord):
        return record
    replaced = 0
    try:
        try:
            text = record.data.decode(config.encoding)
        except UnicodeDecodeError:
            text = record.data.decode(config.encoding, errors="replace")
            # U+FFFD that the file holds itself is not our replacement.
            replaced = text.count("\ufffd") - record.data.count("\ufffd".encode())
        document = _document(record, text, config)
    except InputError:  # a ValueError, too
        raise
    except json.JSONDecodeError as error:
        return BadRecord(record.file, record.line, f"not valid JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError, csv.Error) as error:
        return BadRecord(record.file, record.line, str(error) or type(error).__name__)
    # JSON may escape half a surrogate pair, which cannot be written as UTF-8.
    if b"\\u" in record.data and (lone := len(_SURROGATE.findall(document.text))):
        document = replace(document, text=_SURROGATE.sub("\ufffd", document.text))
        replaced += lone
    if config.on_bad_bytes == "skip" and replaced:
        return BadRecord(record.file, record.line, f"{replaced} undecodable sequences")
    return replace(document, replaced=replaced) if replaced else document


def _document(record: Record, text: str, config: ReadConfig) -> Document:
    if record.kind == "txt":
        return Document(_newlines(text))
    if record.kind == "vert":
        return _of_sentences(_vertical_paragraphs(_newlines(text)))
    name = column_name(config.text_field)
    fields: Mapping[str, object]
    if record.kind in ("csv", "tsv"):
        delimiter = "\t" if record.kind == "tsv" else config.csv_delimiter
        header = record.header.decode(config.encoding, "replace")
        fields = table_fields(text, header, delimiter, config.table_quotes, [name], record.file)
        if name not in fields:
            raise missing_column(record.file, config.text_field, fields)
    else:
        fields = json_object(text)
    value = fields.get(name, {"paragraphs": fields["paragraphs"]} if "paragraphs" in fields else None)
    if value is None:
        raise ValueError(f"no field {config.text_field!r}; fields: {listed(fields)} (option read.text_field)")
    if isinstance(value, str):
        return Document(_newlines(value))
    # BrWaC on the hub is {"paragraphs": [["Um.", "Dois."]]}.
    paragraphs = value.get("paragraphs") if isinstance(value, dict) else value
    if isinstance(paragraphs, list):
        if isinstance(value, dict) and all(isinstance(each, str) for each in paragraphs):
            return Document(_newlines("\n".join(paragraphs)))
        if all(isinstance(each, list) and all(isinstance(part, str) for part in each) for each in paragraphs):
            # A line end inside a sentence would look like one between paragraphs.
            split = (tuple(joined for part in each if (joined := " ".join(part.split()))) for each in paragraphs)
            return _of_sentences(tuple(filter(None, split)))
    raise ValueError(f"field {config.text_field!r} is no text but {type(value).__name__}")


def _of_sentences(paragraphs: Sentences) -> Document:
    return Document("\n".join(map(" ".join, paragraphs)), paragraphs)


def _newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
