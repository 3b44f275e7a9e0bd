"""Labelled texts and pairs from CSV, TSV, JSON lines, Parquet and ASSIN's XML."""

import csv
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import TypeAlias
from xml.parsers import expat

from tinydistil.base.config import nearest, shown
from tinydistil.base.errors import InputError, require
from tinydistil.corpus.readers import ReadConfig
from tinydistil.corpus.records import BadRecord, DamagedFile, kind_of, open_stream, plain_name
from tinydistil.corpus.tables import column_name, json_object, listed, table_fields
from tinydistil.tasks.examples import LabelledText, ScoredText, TaskData, data_of, existing, is_sound, records_of

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".xml")
# Of a class; normalising a million accents, one over the other, would take minutes.
LONGEST_LABEL = 1000
# What such columns are called elsewhere, for a hint.
_USUAL = {
    "--text-column": "texto sentence sentence1 premise sentenca sentença frase content conteudo conteúdo tweet".split(),
    "--second-column": "sentence2 sentence_b hypothesis hipotese hipótese texto_b".split(),
    "--label-column": "rotulo rótulo sentiment sentimento polarity classe class nota score".split(),
}
# What ASSIN calls the two sentences of a pair: texto and hipótese.
_ASSIN_TEXTS = {"t": "text", "h": "second"}
# As pandas, spreadsheets and databases write what is missing.
_MISSING = {"", "nan", "none", "null", "n/a", "na", "<na>", "#n/a", "#na", "-nan"}
_WHOLE = re.compile(r"([+-]?[0-9]+)\.0+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_OTHER_SIGN = {".": (",", "comma"), ",": (".", "point")}
# A row's line, its number of lines, and its fields or why they cannot be read.
_Row: TypeAlias = tuple[int, int, Mapping[str, object] | str]


@dataclass(frozen=True)
class Columns:
    """Column names of tables and keys of JSON lines (ASSIN's XML has names of its own), and how fields are written.

    label: of a number and a class both names, with a comma between; None looks at none. second: None takes "text_b"
    where the file has it. quotes: whether a field in quotes is what stands between them. decimal: the decimal sign, "."
    or ",".
    """

    text: str = "text"
    second: str | None = None
    label: str | None = "label"
    delimiter: str = ","
    encoding: str = "utf-8"
    quotes: bool = True
    decimal: str = "."

    def __post_init__(self) -> None:
        ReadConfig(encoding=self.encoding)  # refuses what it cannot read with


def read_labelled(
    path: Path, columns: Columns, *, numbers: bool, classes: bool | None = None
) -> TaskData[LabelledText]:
    """What `path` holds; with `numbers` labels must be finite numbers (of ASSIN the similarity, else the entailment).

    classes: whether labels are classes, by default where they are no numbers; with both the examples are ScoredText.
    Set aside, with their lines: rows without text or label, or with what stands for none (NaN, null, N/A), bytes that
    are not of the encoding, rows that do not fit the header. Noted: labels of two spellings, rows of several lines.
    Raises InputError for an unknown format or column, where nothing is left, and where what is left is no sample of the
    file: whole numbers, as fractions have the other decimal sign, or texts without accents, as the encoding is another.
    """
    name = plain_name(existing(path))
    require(name.endswith(ENDINGS), f"{str(path)!r} is of no known task format; known endings: {', '.join(ENDINGS)}")
    classes = not numbers if classes is None else classes
    if assin := name.endswith(".xml"):
        label = columns.label and ",".join(["similarity"] * numbers + ["entailment"] * classes)
        columns = replace(columns, text="text", second="second", label=label)
    else:
        columns = replace(columns, text=column_name(columns.text), label=columns.label and column_name(columns.label),
                          second=columns.second and column_name(columns.second))  # fmt: skip
    labels: list[str | None] = [columns.label]
    if columns.label is not None and numbers and classes:
        labels = [*columns.label.split(",")]
    require(
        len(labels) == numbers + classes,
        f"{str(path)!r}: a number and a class stand in two columns; name both, as in --label-column nota,classe "
        f"(finetune.py), got {columns.label!r}",
    )
    found: list[tuple[int, LabelledText | str]] = []
    long: list[int] = []
    for line, lines, fields in _assin(path) if assin else _table(path, columns, labels):
        example = fields if isinstance(fields, str) else _labelled(fields, columns, labels, numbers, assin)
        found.append((line, example))
        if lines > 1 and isinstance(example, LabelledText):
            long.append(line)
    examples = [each for _, each in found if isinstance(each, LabelledText)]
    bad = [(line, each) for line, each in found if isinstance(each, str)]
    notes: list[str] = []
    sign, sign_name = _OTHER_SIGN[columns.decimal]
    if classes:
        notes = spelling_notes(example.label for example in examples)
        found = [(n, e if isinstance(e, str) else replace(e, label=class_name(e.label))) for n, e in found]
    if fractions := [line for line, reason in bad if reason.endswith(f"decimal {sign_name}")]:
        text = (
            f"numbers of column {labels[0]!r} with a decimal {sign_name}: {len(fractions)}, the first in line "
            f"{fractions[0]}; read them with --decimal {sign!r} (finetune.py)"
        )
        scores = (each.number if isinstance(each, ScoredText) else each.label for each in examples)
        require(any("." in score for score in scores), f"{str(path)!r}: {text}")
        notes.append(text)
    if long:
        notes.append(
            f"rows that run over several lines, in quotes: {len(long)}, the first from line {long[0]}; "
            "if quotes are ordinary characters there, say --no-quotes (finetune.py)"
        )
    alien = [line for line, reason in bad if reason.startswith(f"not {columns.encoding} ")]
    require(
        not examples or 20 * len(alien) <= len(found) or not all(example.text.isascii() for example in examples),
        f"{str(path)!r}: {len(alien)} rows, and every one with accents, are not {columns.encoding}, the first in line "
        f"{alien[0] if alien else 0}; name the encoding with --encoding, perhaps cp1252 (finetune.py)",
    )
    return data_of(path, found, notes)


def _labelled(
    fields: Mapping[str, object], columns: Columns, labels: Sequence[str | None], numbers: bool, assin: bool
) -> LabelledText | str:
    """The example with the label or, the number's first, both labels; or why there is none."""
    first = _example(fields, replace(columns, label=labels[0]), numbers, assin)
    if isinstance(first, str) or len(labels) == 1:
        return first
    other = _example(fields, replace(columns, label=labels[1]), False, assin)
    return other if isinstance(other, str) else ScoredText(other.text, other.second, other.label, first.label)


def _example(fields: Mapping[str, object], columns: Columns, numbers: bool, assin: bool) -> LabelledText | str:
    """The example, or why there is none; a class is spelled as in the file."""
    second = columns.second or ("text_b" if "text_b" in fields else None)
    for name in filter(None, (columns.text, second)):
        text = fields.get(name)
        if not isinstance(text, str) or not is_sound(text) or is_missing(text):
            return _missing(name, fields, "--text-column" if name == columns.text else "--second-column")
    if columns.label is None:
        return LabelledText(str(fields[columns.text]), second and str(fields[second]), "")
    label = fields.get(columns.label)
    if isinstance(label, bool):
        label = None if numbers else str(label).lower()  # as JSON spells them
    spelled = str(label).strip()
    # ASSIN calls a class None.
    missing = not is_sound(spelled) or (is_missing(spelled) and not assin)
    if missing or not isinstance(label, str | int | float):
        return _missing(columns.label, fields, "--label-column")
    if numbers:
        # JSON has its own spelling of numbers.
        value = number(spelled, columns.decimal if isinstance(label, str) else ".")
        if value is None:
            sign, sign_name = _OTHER_SIGN[columns.decimal]
            hint = f", but one with a decimal {sign_name}" if sign in spelled and number(spelled, sign) else ""
            return f"{columns.label!r} is {shown(label)}, no finite number{hint}"
        spelled = value
    elif len(spelled) > LONGEST_LABEL:
        return f"{columns.label!r} is longer than {LONGEST_LABEL} characters; is it the text? (--label-column)"
    return LabelledText(str(fields[columns.text]), second and str(fields[second]), spelled)


def _missing(name: str, fields: Mapping[str, object], flag: str) -> str:
    """Why a field holds nothing of use."""
    value = fields.get(name)
    if name not in fields:
        return f"{name!r} is missing; name the field (finetune.py: {flag}); fields: {listed(fields)}"
    if value is None or (isinstance(value, str) and not value.strip()):
        return f"{name!r} is empty"
    if not isinstance(value, str):
        return f"{name!r} is no text"
    what = "stands for no value; a class needs another name" if is_sound(value) else "no tokenizer takes"
    return f"{name!r} is {shown(value)}, which {what}"


def _table(path: Path, columns: Columns, labels: Sequence[str | None]) -> Iterator[_Row]:
    """The rows of a table or of JSON lines, whose labels stand in these columns."""
    encoding, wanted = columns.encoding, (columns.text, columns.second or "text_b", *filter(None, labels))
    config = ReadConfig(columns.text, csv_delimiter=columns.delimiter, table_quotes=columns.quotes, encoding=encoding)
    names_seen = kind_of(path) == "jsonl"
    for record in records_of(path, config):
        if isinstance(record, BadRecord):
            yield record.line, 1, record.reason
            continue
        try:
            data, header = record.data.decode(encoding), record.header.decode(encoding)
            if record.kind in ("jsonl", "parquet"):
                fields = json_object(data)
            else:
                delimiter = "\t" if record.kind == "tsv" else columns.delimiter
                fields = {**table_fields(data, header, delimiter, columns.quotes, wanted, record.file)}
        except InputError:
            raise
        except UnicodeDecodeError as error:
            where = f"byte {error.start}: {error.reason}"
            yield record.line, 1, f"not {encoding} ({where}); name it (finetune.py --encoding), perhaps cp1252"
        except (ValueError, csv.Error, RecursionError) as error:
            yield record.line, 1, f"cannot be read: {error}"
        else:
            if not names_seen:
                for label in labels:
                    _check_names(path, list(fields), replace(columns, label=label))
                names_seen = True
            yield record.line, 1 + record.data.count(b"\n"), fields


def _check_names(path: Path, names: list[str], columns: Columns) -> None:
    chosen = {"--text-column": columns.text, "--second-column": columns.second, "--label-column": columns.label}
    for flag, wanted in chosen.items():
        if wanted is not None and wanted not in names:
            usual = [name for name in names if name.casefold() in _USUAL[flag]]
            hint = f"; did you mean {usual[0]!r}?" if usual else nearest(wanted, [name[:80] for name in names[:50]])
            hint += "; is the delimiter right?" if len(names) == 1 else ""
            raise InputError(
                f"{str(path)!r} has no column {wanted!r}{hint}; name columns and delimiter as the file has them "
                f"(finetune.py: {flag} {usual[0] if usual else 'NAME'}, --delimiter)"
            )


def _assin(path: Path) -> list[_Row]:
    """The pairs of an ASSIN file, each with the line where it begins. Raises InputError where it is no XML."""
    pairs: list[tuple[int, int, dict[str, object]]] = []
    text: list[str] = []
    parser = expat.ParserCreate()

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "pair":
            pairs.append((parser.CurrentLineNumber, 1, dict(attributes)))
        elif name in _ASSIN_TEXTS:  # marks inside a sentence, such as <b>, do not divide it
            text.clear()

    def end(name: str) -> None:
        if name in _ASSIN_TEXTS and pairs:
            pairs[-1][2][_ASSIN_TEXTS[name]] = "".join(text).strip()

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = text.append
    try:
        with open_stream(path, text=False) as stream:
            parser.ParseFile(stream)
    # LookupError and ValueError: an encoding that Python does not know, or one of several bytes a character.
    except (expat.ExpatError, LookupError, ValueError, DamagedFile) as error:
        raise InputError(f"{str(path)!r} is no whole XML file in a known encoding: {error}") from None
    require(bool(pairs), f"{str(path)!r} holds no <pair>; is it an ASSIN file?")
    return [*pairs]


def is_missing(text: str) -> bool:
    """Whether `text` stands for a missing value; "na", in small letters, is a word of Portuguese."""
    return (text := text.strip()).casefold() in _MISSING and text not in ("na", "Na")


def class_name(label: str) -> str:
    """One spelling of a class: composed (NFC), and 1 for 1.0, which pandas makes of 1 beside a missing value."""
    label = unicodedata.normalize("NFC", label).strip()
    whole = _WHOLE.fullmatch(label)
    return whole[1] if whole else label


def number(text: str, decimal: str = ".") -> str | None:
    """A finite number in ASCII digits, with `decimal` before its fraction, as Python spells it; None for anything else.

    No 1_000 and no other digits, which Python would take; nor 1.000,5, whose point may mean either.
    """
    if decimal != ".":
        text = text.replace(".", "?").replace(decimal, ".")
    return text if _NUMBER.fullmatch(text := text.strip()) and isfinite(float(text)) else None


def spelling_notes(labels: Iterable[str]) -> list[str]:
    """What to say of raw `labels`: spellings taken as one class, and classes that look alike."""
    spellings: dict[str, set[str]] = {}
    for label in set(labels):
        spellings.setdefault(class_name(label), set()).add(label.strip())
    alike: dict[object, list[str]] = {}
    for name in sorted(spellings):
        alike.setdefault(_rough(name), []).append(name)
    notes = [
        f"class {name!r} is also spelled {', '.join(sorted(map(ascii, found - {name})))}"
        for name, found in sorted(spellings.items())
        if found != {name}
    ]
    notes += [
        f"classes {', '.join(map(repr, names))} are told apart; spell them alike if they are one"
        for names in alike.values()
        if len(names) > 1
    ]
    # A column of texts, taken for labels by mistake, may have thousands.
    return notes if len(notes) <= 10 else [*notes[:10], f"and {len(notes) - 10} more such classes"]


def _rough(label: str) -> object:
    """What is left of a label without case, accents, spaces and the spelling of numbers."""
    plain = unicodedata.normalize("NFKD", label.casefold())
    plain = "".join(each for each in plain if unicodedata.category(each)[0] not in "MZC")
    found = number(plain.replace(",", "."))
    return float(found) if found else plain.replace("_", "")
