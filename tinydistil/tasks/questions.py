"""Questions with answers in their contexts: SQuAD's JSON, and questions one by one as `datasets` has them."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from tinydistil.base.errors import InputError, require
from tinydistil.corpus.document import BadRecord
from tinydistil.corpus.parquet import parquet_rows
from tinydistil.corpus.text_files import kind_of
from tinydistil.tasks.examples import LONGEST_TEXT, Question, TaskData, content_of, data_of, existing, is_sound

# An entry and its context, or why there is none.
_Entry: TypeAlias = tuple[object, Mapping[str, object]] | str
_WHOLE = re.compile(r"\s*(\d{1,15})(?:\.0*)?\s*", re.ASCII)


def read_squad(path: Path) -> TaskData[Question]:
    """The questions of `path`: SQuAD's JSON, or entries with question, context and answers in a list, as JSON lines or
    in Parquet. Answers that do not stand where the file says are left out.

    Set aside, by their line or else their number in the file: questions without text, without context or without
    an answer that is left. Raises InputError where the file is no such JSON, or no question is left.
    """
    entries = list(_entries(existing(path)))
    require(bool(entries), f"{str(path)!r} is not laid out as SQuAD 1.1 (data, paragraphs, qas): no question")
    return data_of(path, ((n, each if isinstance(each, str) else _question(*each, str(n))) for n, each in entries))


def _entries(path: Path) -> Iterator[tuple[int, _Entry]]:
    """The entries of a file, each with its number. Raises InputError where it is neither JSON nor Parquet."""
    if kind_of(path) == "parquet":
        for record in parquet_rows(path, ("id", "question", "context", "answers"), "question", "utf-8"):
            entry = record.reason if isinstance(record, BadRecord) else next(_nested(json.loads(record.data)))
            yield record.line, entry
        return
    content = content_of(path, ("",), "format")
    try:
        yield from enumerate(_nested(json.loads(content.decode())), start=1)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is one
        found = list(_lines(content))
        if all(isinstance(entry, str) for _, entry in found):
            raise InputError(f"{str(path)!r} is no UTF-8 JSON: {error}") from None
        yield from found


def _lines(content: bytes) -> Iterator[tuple[int, _Entry]]:
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            found = list(_nested(json.loads(line.decode()))) if line.strip() else []
        except (ValueError, RecursionError) as error:
            found = [f"is no UTF-8 JSON: {error}"]
        yield from ((number, entry) for entry in found)


def _nested(node: object, context: object = None, depth: int = 0) -> Iterator[_Entry]:
    """The entries in articles, paragraphs and lists, however they are nested."""
    if isinstance(node, dict):
        parts = next((node[name] for name in ("data", "paragraphs", "qas") if name in node), None)
        context = node.get("context", context)
        if parts is None and ("question" in node or "answers" in node):
            yield context, node
            return
        node = parts
    if not isinstance(node, list) or depth > 8:
        yield "is not laid out as SQuAD 1.1 (data, paragraphs, qas), nor a question with its context and answers"
        return
    for part in node:
        yield from _nested(part, context, depth + 1)


def _question(context: object, entry: Mapping[str, object], number: str) -> Question | str:
    """The question, or why there is none."""
    text = entry.get("question")
    for name, value in (("context", context), ("question", text)):
        if not isinstance(value, str) or not is_sound(value):
            return f"{name} is missing or empty"
        if len(value) > LONGEST_TEXT:
            return f"{name} has {len(value):,} characters; cut it to at most {LONGEST_TEXT:,}"
    if not (answers := list(_answers(entry.get("answers")))):
        return f"has no answer{' (is_impossible)' if entry.get('is_impossible') else ''}"
    found = [(spelling, start) for spelling, start in answers if _stands(str(context), spelling, start)]
    if not found:
        return "no answer stands in the context where answer_start says"
    identifier = entry.get("id")
    return Question(
        number if identifier is None else str(identifier), str(text), str(context), (*dict.fromkeys(found),)
    )


def _answers(answers: object) -> Iterator[tuple[str, int]]:
    """Text and first character of each answer: of {text, answer_start}, alone, in a list, or with a list in each."""
    for answer in answers if isinstance(answers, list) else [answers]:
        if isinstance(answer, dict):
            columns = (answer.get("text"), answer.get("answer_start"))
            texts, starts = (column if isinstance(column, list) else [column] for column in columns)
            for text, start in zip(texts, starts, strict=False):
                yield text if isinstance(text, str) else "", _whole(start)


def _whole(start: object) -> int:
    """A position as a number, 61.0 or "61" too; -1 for anything else."""
    found = _WHOLE.fullmatch(str(start)) if isinstance(start, int | float | str) else None
    return int(found[1]) if found else -1


def _stands(context: str, spelling: str, start: int) -> bool:
    return bool(spelling.strip()) and start >= 0 and context[start : start + len(spelling)] == spelling
