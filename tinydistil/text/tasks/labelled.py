"""Labelled texts and pairs from CSV, TSV, JSON lines and ASSIN's XML."""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from xml.parsers import expat

from tinydistil.config import nearest
from tinydistil.errors import InputError
from tinydistil.text.document import BadRecord, Record
from tinydistil.text.files import kind_of
from tinydistil.text.readers import ReadConfig, read_records
from tinydistil.text.tables import table_fields
from tinydistil.text.tasks.records import LabelledText, TaskData, checked, existing, is_sound

ENDINGS = (".csv", ".tsv", ".jsonl", ".xml")
# What ASSIN calls the two sentences of a pair: texto and hipótese.
_ASSIN_TEXTS = {"t": "text", "h": "second"}


@dataclass(frozen=True)
class Columns:
    """Where a file keeps what: column names of tables, keys of JSON lines; ASSIN's XML has names of its own.

    second: the column of the second text; None takes "text_b" where the file has it.
    """

    text: str = "text"
    second: str | None = None
    label: str = "label"
    delimiter: str = ","
    encoding: str = "utf-8"


def read_labelled(path: Path, columns: Columns, *, numbers: bool) -> TaskData[LabelledText]:
    """The rows of `path`; with `numbers` labels must be finite numbers (of ASSIN the similarity, else the entailment).

    Set aside, with their lines: rows without text or label, NaN, bytes that are not of the encoding, rows that do not
    fit the header. Raises InputError for an unknown format or column, and where no row is left.
    """
    existing(path)
    suffix = path.name.lower().removesuffix(".gz").removesuffix(".zst")
    if not suffix.endswith(ENDINGS):
        raise InputError(f"{str(path)!r} is of no known task format; known endings: {', '.join(ENDINGS)}")
    if suffix.endswith(".xml"):
        label = "similarity" if numbers else "entailment"
        columns = replace(columns, text="text", second="second", label=label)
        found = _assin(path)
    else:
        found = _table(path, columns)
    rows: list[LabelledText] = []
    bad: list[BadRecord] = []
    for line, fields in found:
        row = fields if isinstance(fields, str) else _row(fields, columns, numbers)
        if isinstance(row, str):
            bad.append(BadRecord(str(path), line, row))
        else:
            rows.append(row)
    return checked(path, rows, bad)


def _row(fields: Mapping[str, object], columns: Columns, numbers: bool) -> LabelledText | str:
    """The row, or why there is none."""
    names = [columns.text, columns.second or "text_b"]
    paired = columns.second is not None or names[1] in fields
    texts = [fields.get(name) for name in names[: 1 + paired]]
    for name, text in zip(names, texts, strict=False):
        if not isinstance(text, str) or not is_sound(text):
            return f"{name!r} is {'missing' if text is None else 'empty or no text'}"
    label = fields.get(columns.label)
    if isinstance(label, bool) and not numbers:
        label = "true" if label else "false"  # as JSON spells them
    if isinstance(label, bool) or not isinstance(label, str | int | float) or str(label).strip().lower() in ("", "nan"):
        return f"{columns.label!r} is {'missing' if label is None else 'empty, NaN or no label'}"
    if numbers and not _is_number(str(label)):
        return f"{columns.label!r} is {label!r}, no finite number"
    first, *second = (str(text) for text in texts)
    return LabelledText(first, second[0] if second else None, str(label).strip())


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _table(path: Path, columns: Columns) -> Iterator[tuple[int, dict[str, object] | str]]:
    """Each row with its line: its fields, or why it cannot be read."""
    config = ReadConfig(text_field=columns.text, csv_delimiter=columns.delimiter, encoding=columns.encoding)
    kind = kind_of(path)
    delimiter = "\t" if kind == "tsv" else columns.delimiter
    names_seen = False
    for record in read_records(path, config):
        if isinstance(record, BadRecord):
            yield record.line, record.reason
            continue
        fields = _fields(record, delimiter, columns.encoding)
        if kind != "jsonl" and not names_seen and not isinstance(fields, str):
            _check_names(path, list(fields), columns)
            names_seen = True
        yield record.line, fields


def _fields(record: Record, delimiter: str, encoding: str) -> dict[str, object] | str:
    try:
        data, header = record.data.decode(encoding), record.header.decode(encoding)
    except UnicodeDecodeError as error:
        return f"not {encoding} (byte {error.start}: {error.reason}); name the file's encoding, perhaps cp1252"
    try:
        if record.kind != "jsonl":
            return dict(table_fields(data, header, delimiter, True))
        fields = json.loads(data)
    except (ValueError, csv.Error, RecursionError) as error:
        return f"cannot be read: {error}"
    return fields if isinstance(fields, dict) else "is no JSON object"


def _check_names(path: Path, names: list[str], columns: Columns) -> None:
    for wanted in (columns.text, columns.second, columns.label):
        if wanted is not None and wanted not in names:
            hint = "; is the delimiter right?" if len(names) == 1 else ""
            raise InputError(
                f"{str(path)!r} has no column {wanted!r}{nearest(wanted, names)}{hint}; "
                "name columns and delimiter as the file has them"
            )


def _assin(path: Path) -> Iterator[tuple[int, dict[str, object] | str]]:
    """The pairs of an ASSIN file, each with the line where it begins. Raises InputError where it is no XML."""
    found: list[tuple[int, dict[str, object] | str]] = []
    pair: dict[str, object] = {}
    text: list[str] = []
    parser = expat.ParserCreate()
    starts: list[int] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        text.clear()
        if name == "pair":
            pair.clear()
            pair.update(attributes)
            starts.append(parser.CurrentLineNumber)

    def end(name: str) -> None:
        if name in _ASSIN_TEXTS:
            pair[_ASSIN_TEXTS[name]] = "".join(text).strip()
        elif name == "pair":
            found.append((starts[-1], dict(pair)))

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = text.append
    try:
        with path.open("rb") as stream:
            parser.ParseFile(stream)
    except expat.ExpatError as error:
        raise InputError(f"{str(path)!r} is no whole XML file: {error}") from None
    if not found:
        raise InputError(f"{str(path)!r} holds no <pair>; is it an ASSIN file?")
    return iter(found)
