"""What lies behind a task's figures: each class or type of entity by itself, and which are taken for which."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from tinydistil.evaluate.entities import entities_of, entity_scores_by_type
from tinydistil.evaluate.metrics import Scores, confusion_matrix, roc_auc_of_classes, scores_by_class
from tinydistil.finetune.forms import AnyRow, AnyTask
from tinydistil.text.tasks.records import LabelledText, TaggedSentence

Details: TypeAlias = dict[str, object]
# A larger matrix does not fit a terminal; the file has it.
_WIDEST_MATRIX = 10


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


def detail_lines(details: Mapping[str, object]) -> Iterator[str]:
    """The same for a person: a table of classes or types, and the matrix where it is not too wide."""
    for part, title in (("classes", "class"), ("types", "entity type")):
        if table := cast(dict[str, dict[str, float]], details.get(part, {})):
            width = max(len(title), *map(len, table))
            yield f"{title:<{width}}  precision  recall      f1    count"
            for name, each in table.items():
                yield (
                    f"{name:<{width}}  {each['precision']:9.4f} {each['recall']:7.4f} {each['f1']:7.4f} "
                    f"{int(each['count']):8,}"
                )
    if isinstance(auc := details.get("auc"), float):
        yield f"area under the ROC curve, mean over classes: {auc:.4f}"
    names, matrix = cast(list[str], details.get("labels", [])), cast(list[list[int]], details.get("confusion", []))
    if 0 < len(names) <= _WIDEST_MATRIX:
        width = max(8, *map(len, names))
        yield "gold below, predicted right".ljust(27) + " ".join(name.rjust(width) for name in names)
        yield from (
            f"{name:<27}" + " ".join(f"{n:>{width},}" for n in row) for name, row in zip(names, matrix, strict=True)
        )
