"""A fine-tuned model on a stream of new text. Letters: N rows."""

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from tinydistil.errors import InputError
from tinydistil.finetune.objective import TaskModel
from tinydistil.finetune.task import Task
from tinydistil.text.tasks.records import LabelledText, Question, TaggedSentence

# Rows are sorted by length inside a window of this many batches: little padding, bounded memory.
WINDOW_BATCHES = 16
_WORD = re.compile(r"\w+|[^\w\s]")

RowT = TypeVar("RowT", LabelledText, TaggedSentence, Question)
Prediction = TypeVar("Prediction")


def stream(
    task: Task[RowT, Prediction], model: TaskModel, rows: Iterable[RowT], *, batch_size: int
) -> Iterator[tuple[RowT, Prediction]]:
    """Each row with what the model says of it, in order; at most 16 batches of rows are held at a time."""
    rows = iter(rows)
    while window := list(islice(rows, batch_size * WINDOW_BATCHES)):
        yield from zip(window, task.predict(model, window, batch_size=batch_size), strict=True)


def text_rows(lines: Iterable[str], *, paired: bool) -> Iterator[LabelledText]:
    """Lines as rows without labels; of a pair the two texts stand with a tab between.

    Raises InputError, by number, for a line that is empty or has not as many texts as the model was tuned for.
    """
    for number, line in enumerate(lines, start=1):
        first, tab, second = line.partition("\t")
        if not first.strip() or bool(tab) != paired:
            wanted = "two texts with a tab between" if paired else "one text, without tabs"
            raise InputError(f"text {number} must be {wanted}, got {line[:80]!r}")
        yield LabelledText(first, second if paired else None, "")


def sentence_rows(lines: Iterable[str]) -> Iterator[TaggedSentence]:
    """Lines as words without tags: runs of letters and digits, and each other mark by itself, as CoNLL files have."""
    for line in lines:
        yield TaggedSentence(tuple(_WORD.findall(line)), ())


def question_rows(lines: Iterable[str], context: str | None) -> Iterator[Question]:
    """Lines as questions on `context`, or where that is None each with its own behind a tab.

    Raises InputError, by number, for a line without question or context.
    """
    for number, line in enumerate(lines, start=1):
        question, _, own = line.partition("\t")
        text = own if context is None else context
        if not question.strip() or not text.strip():
            raise InputError(f"text {number} must be a question, a tab and its context (or give --context)")
        yield Question(str(number), question, text, ())
