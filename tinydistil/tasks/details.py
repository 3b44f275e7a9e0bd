"""What lies behind a task's figures: each class or type of entity by itself, and which are taken for which."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from tinydistil.base.errors import InputError
from tinydistil.base.files import read_json
from tinydistil.evaluate.metrics import (
    Scores,
    confusion_matrix,
    entities_of,
    entity_scores_by_type,
    roc_auc_of_classes,
    scores_by_class,
)
from tinydistil.tasks.forms import AnyRow, AnyTask
from tinydistil.tasks.task_records import LabelledText, TaggedSentence

Details: TypeAlias = dict[str, object]
# More does not fit a terminal.
_WIDEST_MATRIX, _LONGEST_TABLE = 10, 40


def details_of(task: AnyTask, rows: Sequence[AnyRow], predictions: Sequence[object]) -> Details:
    """For classes and entities, precision, recall, F1 and count of each; for classes also AUC and confusion matrix.

    The matrix has a row for each label in gold and a column for each predicted; labels that training did not have come
    last. Nothing for numbers and answers. All is JSON.
    """
    if task.kind == "tag":
        gold = [row.tags for row in cast(Sequence[TaggedSentence], rows)]
        counts = Counter(entity.kind for tags in gold for entity in entities_of(tags))
        types = entity_scores_by_type(gold, cast(Sequence[Sequence[str]], predictions))
        return {"types": {kind: _values(each, counts[kind]) for kind, each in types.items()}}
    if task.kind != "classify":
        return {}
    labels = [row.label for row in cast(Sequence[LabelledText], rows)]
    counts = Counter(labels)
    names = [*task.labels, *sorted(counts.keys() - set(task.labels))]
    numbers = np.array([names.index(label) for label in labels])
    probabilities = np.stack(cast(Sequence[NDArray[np.float64]], predictions))
    found = probabilities.argmax(1)
    scores = scores_by_class(numbers, found, len(names))
    auc = roc_auc_of_classes(numbers, probabilities)
    return {
        "classes": {name: _values(each, counts[name]) for name, each in zip(names, scores, strict=True)},
        "auc": None if math.isnan(auc) else auc,
        "labels": names,
        "confusion": confusion_matrix(numbers, found, len(names)).tolist(),
    }


def _values(scores: Scores, count: int) -> dict[str, float]:
    return {"precision": scores.precision, "recall": scores.recall, "f1": scores.f1, "count": count}


def shown_details(path: Path) -> list[str]:
    """For a person, what the file of details says of each set of rows; nothing where it is missing or damaged."""
    try:
        found = cast(dict[str, Details], read_json(path))
        return [f"{split:>5} {line}" for split, details in found.items() for line in detail_lines(details)]
    except (InputError, LookupError, TypeError, ValueError, AttributeError):
        return []


def detail_lines(details: Details) -> Iterator[str]:
    """A table of classes or types, and the matrix; of what is too long or too wide, the file has the rest."""
    for part, title in (("classes", "class"), ("types", "entity type")):
        table = cast(dict[str, dict[str, float]], details.get(part, {}))
        often = sorted(table, key=lambda name: -table[name]["count"])[:_LONGEST_TABLE]
        if often:
            width = max(len(title), *(len(_printable(name)) for name in often))
            yield f"{title:<{width}}  precision  recall      f1    count"
        for name in (name for name in table if name in often):
            each = table[name]
            scores = f"{each['precision']:9.4f} {each['recall']:7.4f} {each['f1']:7.4f}"
            yield f"{_printable(name):<{width}}  {scores} {int(each['count']):8,}"
    if isinstance(auc := details.get("auc"), float):
        yield f"area under the ROC curve, mean over classes: {auc:.4f}"
    names = [_printable(name) for name in cast(list[str], details.get("labels", []))]
    if 0 < len(names) <= _WIDEST_MATRIX:
        width, title = max(8, *map(len, names)), "gold below, predicted right"
        yield f"{title:<{max(width, len(title))}} " + " ".join(f"{name:>{width}}" for name in names)
        for name, row in zip(names, cast(list[list[int]], details["confusion"]), strict=True):
            yield f"{name:<{max(width, len(title))}} " + " ".join(f"{count:>{width},}" for count in row)


def _printable(name: str) -> str:
    return name if name.isprintable() else repr(name)
