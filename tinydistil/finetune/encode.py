"""Texts with labels to examples of token ids. Letters: T tokens, N examples."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tinydistil.errors import InputError
from tinydistil.evaluate.metrics import class_numbers
from tinydistil.finetune.examples import TaskExample
from tinydistil.text.tasks.records import LabelledText
from tinydistil.text.tokenizer import Tokenizer


def encode_texts(
    rows: Sequence[LabelledText], tokenizer: Tokenizer, *, labels: Sequence[str] | None, max_length: int
) -> list[TaskExample]:
    """Texts, or pairs of texts, cut to `max_length` tokens, the longer text first.

    labels: the classes' names, numbered in this order; None for numbers. Raises InputError for a label that is not
    among them, or is no number.
    """
    targets = _numbers(rows) if labels is None else class_numbers([row.label for row in rows], labels)
    return encode_inputs(rows, tokenizer, targets, max_length=max_length)


def encode_inputs(
    rows: Sequence[LabelledText], tokenizer: Tokenizer, targets: NDArray[np.generic], *, max_length: int
) -> list[TaskExample]:
    """The same with targets (N,) given."""
    paired = [row.second is not None for row in rows]
    if any(paired) and not all(paired):
        raise InputError(f"row {1 + paired.index(False)} has no second text, others do; give pairs or single texts")
    seconds = [row.second or "" for row in rows] if any(paired) else None
    encodings = tokenizer.encode_all([row.text for row in rows], seconds, max_length=max_length)
    return [
        TaskExample(np.array(each.ids, np.int64), np.array(each.type_ids, np.int64), target)
        for each, target in zip(encodings, targets, strict=True)
    ]


def _numbers(rows: Sequence[LabelledText]) -> NDArray[np.float32]:
    numbers = np.empty(len(rows), np.float32)
    for place, row in enumerate(rows):
        try:
            numbers[place] = float(row.label)
        except ValueError:
            raise InputError(f"label {row.label!r} is no number; for classes choose a classification task") from None
    return numbers
