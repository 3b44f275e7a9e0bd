"""One class, or one number, per text or pair of texts. Shapes: N examples, C classes."""

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
from tinydistil.tasks.examples import LabelledText
from tinydistil.tasks.task import Evidence, Task
from tinydistil.tasks.task_batches import EncodedExample
from tinydistil.tokenizer.tokenizer import Tokenizer

NUMBER = "number"  # the one label of a regression
LARGEST = 1e15  # its square, summed over a batch, is a float32 still


@dataclass(frozen=True)
class TextTask(Task[LabelledText, NDArray[np.float64]]):
    """Classification ("classify") or regression ("regress"); `labels` are the classes in order, or the one NUMBER.

    A prediction is the probabilities of the classes, (C,), or the number, (1,).
    """

    paired: bool

    @classmethod
    def of(cls, kind: str, examples: Sequence[LabelledText], tokenizer: Tokenizer, max_length: int) -> "TextTask":
        """The task that training examples make: its classes are their labels, sorted.

        Raises InputError for one class only, for about as many classes as examples, and for pairs and single texts.
        """
        paired = {example.second is not None for example in examples}
        require(len(paired) == 1, "some rows have a second text and some have none; give pairs or single texts")
        labels = (NUMBER,) if kind == "regress" else tuple(sorted({example.label for example in examples}))
        if kind == "classify" and len(labels) < 2:
            raise InputError(f"all training rows have the label {labels[0]!r}; a classifier needs at least two")
        require(
            len(labels) <= max(2, len(examples) // 2),
            f"{len(labels)} different labels in {len(examples)} training rows; are they numbers (a regression), or is "
            "it another column?",
        )
        return cls(kind, labels, tokenizer, max_length, paired.pop())

    @property
    def changes(self) -> dict[str, object]:
        problem = "regression" if self.kind == "regress" else "single_label_classification"
        return {**super().changes, "problem_type": problem}

    def labels_of(self, examples: Sequence[LabelledText]) -> list[str]:
        return [example.label for example in examples] if self.kind == "classify" else []

    def check(self, examples: Sequence[LabelledText]) -> None:
        """Raise InputError for pairs instead of texts, or the reverse, and for too few numbers for a correlation."""
        self._check_form(examples)
        if self.kind == "regress":
            numbers = {float(example.label) for example in examples}
            if len(numbers) < 2:
                count = len(examples)
                what = "1 row" if count == 1 else f"{count:,} rows, all with the number {numbers.pop():g}"
                raise InputError(f"{what}: a correlation needs at least two rows with different numbers")
            greatest = max(numbers, key=abs)
            require(abs(greatest) <= LARGEST, f"the number {greatest:g} is beyond {LARGEST:g}; scale the numbers down")

    def encode(self, examples: Sequence[LabelledText], *, labelled: bool = True) -> list[EncodedExample]:
        """Each as one encoded example, cut to `max_length` tokens, the longer text first."""
        targets = self._targets(examples, known_only=True) if labelled else np.zeros(len(examples), np.int64)
        self._check_form(examples)
        seconds = [example.second or "" for example in examples] if self.paired else None
        texts = [example.text for example in examples]
        encodings = self.tokenizer.encode_all(texts, seconds, max_length=self.max_length)
        return [
            EncodedExample(np.array(each.ids, np.int64), np.array(each.type_ids, np.int64), target)
            for each, target in zip(encodings, targets, strict=True)
        ]

    def decode(
        self,
        examples: Sequence[LabelledText],
        encoded: Sequence[EncodedExample],
        logits: Sequence[NDArray[np.float32]],
    ) -> list[NDArray[np.float64]]:
        numbers = [each.astype(np.float64) for each in logits]
        return [softmax(each) for each in numbers] if self.kind == "classify" else numbers

    def evidence(self, examples: Sequence[LabelledText], predictions: Sequence[NDArray[np.float64]]) -> Evidence:
        """Gold and predicted class or number, (N, 2); a gold class that training did not have is below 0."""
        found = [float(each.argmax() if self.kind == "classify" else each[0]) for each in predictions]
        return np.column_stack([self._targets(examples, known_only=False).astype(np.float64), found])

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

    def details(
        self, examples: Sequence[LabelledText], predictions: Sequence[NDArray[np.float64]]
    ) -> dict[str, object]:
        """Precision, recall, F1 and count of each class, mean AUC, and the confusion matrix; nothing for numbers.

        The matrix has a line for each label in gold and a column for each predicted; labels that training did not have
        come last.
        """
        if self.kind == "regress":
            return {}
        counts = Counter(example.label for example in examples)
        names = [*self.labels, *sorted(counts.keys() - set(self.labels))]
        gold = np.array([names.index(example.label) for example in examples])
        probabilities = np.stack(predictions)
        found = probabilities.argmax(1)
        auc = metrics.roc_auc_of_classes(gold, probabilities)
        scores = zip(names, metrics.scores_by_class(gold, found, range(len(names))), strict=True)
        return {
            "classes": {name: {**asdict(each), "count": counts[name]} for name, each in scores},
            "auc": None if math.isnan(auc) else auc,
            "labels": names,
            "confusion": metrics.confusion_matrix(gold, found, len(names)).tolist(),
        }

    def _check_form(self, examples: Sequence[LabelledText]) -> None:
        for number, example in enumerate(examples, start=1):
            if (example.second is not None) != self.paired:
                raise InputError(f"row {number} must be {'a pair of texts' if self.paired else 'a single text'}")

    def _targets(self, examples: Sequence[LabelledText], *, known_only: bool) -> NDArray[np.generic]:
        """Classes or numbers. A label that training did not have is an error, or else a class of its own, below 0."""
        if self.kind == "regress":
            return np.array([float(example.label) for example in examples], np.float32)
        numbers = {name: i for i, name in enumerate(self.labels)}
        for number, example in enumerate(examples if known_only else (), start=1):
            if example.label not in numbers:
                hint = nearest(example.label, numbers)
                raise InputError(f"row {number} has the label {example.label!r}, which training did not have{hint}")
        unseen = sorted({example.label for example in examples} - numbers.keys())
        numbers |= {name: -i for i, name in enumerate(unseen, start=1)}
        return np.array([numbers[example.label] for example in examples], np.int64)
