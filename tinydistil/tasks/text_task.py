"""One class, or one number, per text or pair of texts. Shapes: N rows, C classes, T tokens."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from tinydistil.base.config import nearest
from tinydistil.base.errors import InputError, require
from tinydistil.evaluate import metrics
from tinydistil.tasks.examples import TaskExample
from tinydistil.tasks.predict import predict
from tinydistil.tasks.task import Evidence
from tinydistil.tasks.task_objective import TaskModel
from tinydistil.tasks.task_records import LabelledText
from tinydistil.tokenizer.tokenizer import Tokenizer

NUMBER = "number"  # the one label of a regression
LARGEST = 1e15  # its square, summed over a batch, is a float32 still


@dataclass(frozen=True)
class TextTask:
    """Classification ("classify") or regression ("regress"); `labels` are the classes in order, or the one NUMBER."""

    kind: str
    labels: tuple[str, ...]
    paired: bool
    tokenizer: Tokenizer
    max_length: int

    @classmethod
    def of(cls, kind: str, rows: Sequence[LabelledText], tokenizer: Tokenizer, max_length: int) -> "TextTask":
        """The task that training rows make: its classes are their labels, sorted.

        Raises InputError for one class only, for about as many classes as rows, and where some rows are pairs and some
        are not.
        """
        paired = {row.second is not None for row in rows}
        require(len(paired) == 1, "some rows have a second text and some have none; give pairs or single texts")
        labels = (NUMBER,) if kind == "regress" else tuple(sorted({row.label for row in rows}))
        if kind == "classify" and len(labels) < 2:
            raise InputError(f"all training rows have the label {labels[0]!r}; a classifier needs at least two")
        require(
            len(labels) <= max(2, len(rows) // 2),
            f"{len(labels)} different labels in {len(rows)} training rows; are they numbers (a regression), or is it "
            "another column?",
        )
        return cls(kind, labels, paired.pop(), tokenizer, max_length)

    @property
    def changes(self) -> dict[str, object]:
        problem = "regression" if self.kind == "regress" else "single_label_classification"
        return {"labels": self.labels, "problem_type": problem}

    def labels_of(self, rows: Sequence[LabelledText]) -> list[str]:
        return [row.label for row in rows] if self.kind == "classify" else []

    def examples(self, rows: Sequence[LabelledText]) -> list[TaskExample]:
        """Each row as one example, cut to `max_length` tokens, the longer text first.

        Raises InputError for a label that training did not have, and for pairs where single texts are needed.
        """
        return self._encoded(rows, self._targets(rows, known_only=True))

    def check(self, rows: Sequence[LabelledText]) -> None:
        """Raise InputError where `rows` cannot be measured: pairs for texts, or too few numbers for a correlation."""
        self._check_form(rows)
        if self.kind == "regress":
            numbers = {float(row.label) for row in rows}
            if len(numbers) < 2:
                what = "1 row" if len(rows) == 1 else f"{len(rows):,} rows, all with the number {numbers.pop():g}"
                raise InputError(f"{what}: a correlation needs at least two rows with different numbers")
            greatest = max(numbers, key=abs)
            require(abs(greatest) <= LARGEST, f"the number {greatest:g} is beyond {LARGEST:g}; scale the numbers down")

    def predict(
        self, model: TaskModel, rows: Sequence[LabelledText], *, batch_size: int = 64
    ) -> list[NDArray[np.float64]]:
        """The probabilities of the classes, (C,), or the number, (1,), for each row."""
        examples = self._encoded(rows, np.zeros(len(rows), np.int64))
        logits = predict(model, examples, pad_id=self.tokenizer.pad_id, batch_size=batch_size)
        numbers = [each.astype(np.float64) for each in logits]
        return [softmax(each) for each in numbers] if self.kind == "classify" else numbers

    def evidence(self, rows: Sequence[LabelledText], predictions: Sequence[NDArray[np.float64]]) -> Evidence:
        """Gold and predicted class or number, (N, 2); a gold class that training did not have is below 0."""
        found = [float(each.argmax() if self.kind == "classify" else each[0]) for each in predictions]
        return np.column_stack([self._targets(rows, known_only=False).astype(np.float64), found])

    def figures(self, evidence: Evidence) -> Mapping[str, float]:
        """Macro F1, accuracy, weighted F1, macro precision and recall; or Pearson, Spearman and mean squared error."""
        gold, found = evidence.T
        if self.kind == "regress":
            error = metrics.mean_squared_error(gold, found)
            return {"pearson": metrics.pearson(gold, found), "spearman": metrics.spearman(gold, found), "mse": error}
        macro = metrics.precision_recall_f1(gold, found, average="macro")
        return {
            "f1_macro": macro.f1,
            "accuracy": metrics.accuracy(gold, found),
            "f1_weighted": metrics.precision_recall_f1(gold, found, average="weighted").f1,
            "precision_macro": macro.precision,
            "recall_macro": macro.recall,
        }

    def details(self, rows: Sequence[LabelledText], predictions: Sequence[NDArray[np.float64]]) -> dict[str, object]:
        """Precision, recall, F1 and count of each class, mean AUC, and the confusion matrix; nothing for numbers.

        The matrix has a row for each label in gold and a column for each predicted; labels that training did not have
        come last.
        """
        if self.kind == "regress":
            return {}
        counts = Counter(row.label for row in rows)
        names = [*self.labels, *sorted(counts.keys() - set(self.labels))]
        gold = np.array([names.index(row.label) for row in rows])
        probabilities = np.stack(predictions)
        found = probabilities.argmax(1)
        auc = metrics.roc_auc_of_classes(gold, probabilities)
        scores = zip(names, metrics.scores_by_class(gold, found, len(names)), strict=True)
        return {
            "classes": {name: {**asdict(each), "count": counts[name]} for name, each in scores},
            "auc": None if math.isnan(auc) else auc,
            "labels": names,
            "confusion": metrics.confusion_matrix(gold, found, len(names)).tolist(),
        }

    def _encoded(self, rows: Sequence[LabelledText], targets: NDArray[np.generic]) -> list[TaskExample]:
        self._check_form(rows)
        seconds = [row.second or "" for row in rows] if self.paired else None
        encodings = self.tokenizer.encode_all([row.text for row in rows], seconds, max_length=self.max_length)
        return [
            TaskExample(np.array(each.ids, np.int64), np.array(each.type_ids, np.int64), target)
            for each, target in zip(encodings, targets, strict=True)
        ]

    def _check_form(self, rows: Sequence[LabelledText]) -> None:
        for number, row in enumerate(rows, start=1):
            if (row.second is not None) != self.paired:
                raise InputError(f"row {number} must be {'a pair of texts' if self.paired else 'a single text'}")

    def _targets(self, rows: Sequence[LabelledText], *, known_only: bool) -> NDArray[np.generic]:
        """Classes or numbers. A label that training did not have is an error, or else a class of its own, below 0."""
        if self.kind == "regress":
            return np.array([float(row.label) for row in rows], np.float32)
        numbers = {name: i for i, name in enumerate(self.labels)}
        unseen = sorted({row.label for row in rows} - numbers.keys())
        if unseen and known_only:
            number, label = next((i, row.label) for i, row in enumerate(rows, start=1) if row.label not in numbers)
            hint = nearest(label, numbers)
            raise InputError(f"row {number} has the label {label!r}, which training did not have{hint}")
        numbers |= {name: -i for i, name in enumerate(unseen, start=1)}
        return np.array([numbers[row.label] for row in rows], np.int64)
