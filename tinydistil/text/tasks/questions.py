"""Questions with answers in their contexts, from SQuAD 1.1's JSON."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from tinydistil.errors import InputError
from tinydistil.text.document import BadRecord
from tinydistil.text.tasks.records import Question, TaskData, checked, existing, is_sound


def read_squad(path: Path) -> TaskData[Question]:
    """The questions of `path`; answers that do not stand where the file says are left out.

    Set aside, numbered by their place in the file: questions without text, without context or without an answer that
    is left. Raises InputError where the file is no such JSON, or no question is left.
    """
    try:
        content = json.loads(existing(path).read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is one
        raise InputError(f"{str(path)!r} is no UTF-8 JSON: {error}") from None
    rows: list[Question] = []
    bad: list[BadRecord] = []
    for number, (context, entry) in enumerate(_entries(content, path), start=1):
        question = _question(context, entry, number)
        if isinstance(question, str):
            bad.append(BadRecord(str(path), number, question))
        else:
            rows.append(question)
    return checked(path, rows, bad)


def _entries(content: object, path: Path) -> Iterator[tuple[object, Mapping[str, object]]]:
    """Each question's entry with its context. Raises InputError where the layout is another."""
    try:
        for article in content["data"]:  # type: ignore[index]
            for paragraph in article["paragraphs"]:
                for entry in paragraph["qas"]:
                    yield paragraph.get("context"), dict(entry)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"{str(path)!r} is not laid out as SQuAD 1.1 (data, paragraphs, qas): {type(error).__name__} {error}"
        ) from None


def _question(context: object, entry: Mapping[str, object], number: int) -> Question | str:
    """The question, or why there is none."""
    text = entry.get("question")
    for name, value in (("context", context), ("question", text)):
        if not isinstance(value, str) or not is_sound(value):
            return f"{name} is missing or empty"
    answers = entry.get("answers")
    if not isinstance(answers, list) or not answers:
        return "has no answer"
    found = []
    for answer in answers:
        spelling = answer.get("text") if isinstance(answer, dict) else None
        start = answer.get("answer_start") if isinstance(answer, dict) else None
        if isinstance(spelling, str) and isinstance(start, int) and spelling.strip():
            end = start + len(spelling)
            if start >= 0 and str(context)[start:end] == spelling:
                found.append((spelling, start))
    if not found:
        return "no answer stands in the context where answer_start says"
    return Question(str(entry.get("id", number)), str(text), str(context), tuple(dict.fromkeys(found)))
