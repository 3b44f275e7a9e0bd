"""One class, or one number, per text or pair of texts. Shapes: N examples, C classes."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from tinydistil.base.errors import require
from tinydistil.evaluate import metrics
from tinydistil.tasks.examples import LabelledText, ScoredText
from tinydistil.tasks.task import JOINT, EncodedExample, Evidence, Logits, Task, TaskModel
from tinydistil.tokenizer.tokenizer import Tokenizer

NUMBER = "number"  # the one label of a regression
LARGEST = 1e15  # its square, summed over a batch, is a float32 still


@dataclass(frozen=True)
class TextTask(Task[LabelledText, NDArray[np.float64]]):
    """Classification ("classify"), regression ("regress") or both (JOINT); `labels` are the classes in order, the one
    NUMBER, or NUMBER and the classes.

    A prediction is the probabilities of the classes, (C,), the number, (1,), or both, the number first, (1 + C,).
    form: whether the texts of a pair are read together ("cross") or each by itself, and then how they are compared.
    line: slope and offset from cosines to numbers.
    """

    paired: bool
    form: str = "cross"
    line: tuple[float, float] = (1.0, 0.0)

    @property
    def num_numbers(self) -> int:
        """Numbers of an example, before its classes: 1 or 0."""
        return int(self.kind != "classify")

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in order; none of a regression."""
        return self.labels[self.num_numbers :]

    @cached_property
    def numbers(self) -> dict[str, int]:
        return {label: number for number, label in enumerate(self.classes)}

    @classmethod
    def of(cls, kind: str, examples: Sequence[LabelledText], tokenizer: Tokenizer, max_length: int) -> "TextTask":
        """The task that training examples make: its classes are their labels, sorted.

        Raises InputError for one class only, for about as many classes as examples, and for pairs and single texts.
        """
        paired = {example.second is not None for example in examples}
        require(len(paired) == 1, "some rows have a second text and some have none; give pairs or single texts")
        labels = tuple(sorted({example.label for example in examples})) if kind != "regress" else ()
        only = f"all training rows have the label {examples[0].label!r}; a classifier needs at least two"
        require(kind == "regress" or len(labels) > 1, only)
        require(kind != JOINT or NUMBER not in labels, f"a class is called {NUMBER!r}, as numbers are; rename it")
        require(
            len(labels) <= max(2, len(examples) // 2),
            f"{len(labels)} different labels in {len(examples)} training rows; are they numbers (a regression), or is "
            "it another column?",
        )
        return cls(kind, labels if kind == "classify" else (NUMBER, *labels), tokenizer, max_length, paired.pop())

    @property
    def changes(self) -> dict[str, object]:
        problem = {"regress": "regression", "classify": "single_label_classification"}.get(self.kind)
        return {**super().changes, "problem_type": problem}

    def labels_of(self, examples: Sequence[LabelledText]) -> list[str]:
        return [example.label for example in examples] if self.classes else []

    def check(self, examples: Sequence[LabelledText]) -> None:
        """Raise InputError for pairs instead of texts, or the reverse, and for too few numbers for a correlation."""
        self._check_form(examples)
        if self.num_numbers:
            numbers, rows = sorted(set(self._numbers(examples)), key=abs), f"{len(examples):,} rows"
            rows = "1 row" if len(examples) == 1 else f"{rows}, all with the number {numbers[0]:g}"
            require(len(numbers) > 1, f"{rows}: a correlation needs at least two rows with different numbers")
            most = numbers[-1]
            require(abs(most) <= LARGEST, f"the number {most:g} is beyond {LARGEST:g}; scale the numbers down")

    def encode(self, examples: Sequence[LabelledText], *, labelled: bool = True) -> list[EncodedExample]:
        """Each as one encoded example, cut to `max_length` tokens, the longer text first.

        Of a pair that is read apart each text is cut by itself: [CLS] a [SEP] [CLS] b [SEP], of types 0 and 1.
        """
        for number, label in enumerate(self.labels_of(examples) if labelled else (), start=1):
            self.require_known(label, f"row {number} has the label")
        shape = (len(examples), 2) if self.kind == JOINT else (len(examples),)
        none = np.zeros(shape, np.float32 if self.num_numbers else np.int64)
        targets = self._targets(examples) if labelled else none
        self._check_form(examples)
        firsts = [example.text for example in examples]
        seconds = [example.second or "" for example in examples] if self.paired else None
        if self.form != "cross":
            sides = [self.tokenizer.encode_all(each, max_length=self.max_length) for each in (firsts, seconds or ())]
            return [
                EncodedExample(np.array(a.ids + b.ids, np.int64), np.repeat([0, 1], [len(a.ids), len(b.ids)]), target)
                for a, b, target in zip(*sides, targets, strict=True)
            ]
        encodings = self.tokenizer.encode_all(firsts, seconds, max_length=self.max_length)
        return [
            EncodedExample(np.array(each.ids, np.int64), np.array(each.type_ids, np.int64), target)
            for each, target in zip(encodings, targets, strict=True)
        ]

    def decode(
        self, examples: Sequence[LabelledText], encoded: Sequence[EncodedExample], logits: Logits
    ) -> list[NDArray[np.float64]]:
        outputs, count = [each.astype(np.float64) for each in logits], self.num_numbers
        if self.kind == "regress":
            slope, offset = self.line
            return [slope * each + offset for each in outputs]
        return [np.concatenate([each[:count], softmax(each[count:])]) for each in outputs]

    def with_line(self, model: TaskModel, examples: Sequence[LabelledText]) -> "TextTask":
        """With the line of least squares from the cosines of `examples` to their labels; as it is where it has none.

        It always rises: where labels fall with the cosines it is almost level, so that the order stays the model's.
        """
        if self.form != "cosine":
            return self
        cosines = np.concatenate(replace(self, line=(1.0, 0.0)).predict(model, examples))
        gold = np.array(self._numbers(examples))
        covariance, variance = np.mean((cosines - cosines.mean()) * (gold - gold.mean())), cosines.var()
        slope = max(float(covariance / variance) if variance > 0 else 0.0, 1e-6)
        return replace(self, line=(slope, float(gold.mean() - slope * cosines.mean())))

    def evidence(self, examples: Sequence[LabelledText], predictions: Sequence[NDArray[np.float64]]) -> Evidence:
        """Gold and predicted number, gold and predicted class, (N, 2) or (N, 4); a gold class that training did not
        have is below 0."""
        gold, found = self._targets(examples).reshape(len(examples), -1), np.stack(predictions)
        best = [found[:, self.num_numbers :].argmax(1)] if self.classes else []
        both = np.stack([gold, np.column_stack([found[:, : self.num_numbers], *best])], 2)
        return both.reshape(len(found), -1).astype(np.float64)

    def figures(self, evidence: Evidence) -> Mapping[str, float]:
        """Macro F1, accuracy, weighted F1, macro precision and recall; or Pearson, Spearman and mean squared error.

        Of both tasks first the mean of Pearson and macro F1.
        """
        if self.kind == JOINT:
            both: dict[str, float] = {}
            for kind, columns in (("regress", evidence[:, :2]), ("classify", evidence[:, 2:])):
                both |= replace(self, kind=kind).figures(columns)
            return {"pearson_and_f1": (both["pearson"] + both["f1_macro"]) / 2} | both
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

        The matrix has a line per label in gold and a column per predicted one; labels that training lacks come last.
        """
        if self.kind == "regress":
            return {}
        counts = Counter(example.label for example in examples)
        names = [*self.classes, *sorted(counts.keys() - set(self.classes))]
        gold = np.array([names.index(example.label) for example in examples])
        probabilities = np.stack(predictions)[:, self.num_numbers :]
        found, auc = probabilities.argmax(1), metrics.roc_auc_of_classes(gold, probabilities)
        scores = zip(names, metrics.scores_by_class(gold, found, range(len(names))), strict=True)
        return {
            "classes": {name: {**asdict(each), "count": counts[name]} for name, each in scores},
            "auc": None if math.isnan(auc) else auc,
            "labels": names,
            "confusion": metrics.confusion_matrix(gold, found, len(names)).tolist(),
        }

    def _check_form(self, examples: Sequence[LabelledText]) -> None:
        form = "a pair of texts" if self.paired else "a single text"
        for number, example in enumerate(examples, start=1):
            require((example.second is not None) == self.paired, f"row {number} must be {form}")

    def _numbers(self, examples: Sequence[LabelledText]) -> list[float]:
        return [float(each.number if isinstance(each, ScoredText) else each.label) for each in examples]

    def _targets(self, examples: Sequence[LabelledText]) -> NDArray[np.generic]:
        """Classes or numbers, (N,), or numbers and classes, (N, 2); classes that training did not have are below 0."""
        scores = np.array(self._numbers(examples), np.float32) if self.num_numbers else np.empty(0, np.float32)
        if self.kind == "regress":
            return scores
        unseen = sorted({example.label for example in examples} - self.numbers.keys())
        numbers = self.numbers | {name: -i for i, name in enumerate(unseen, start=1)}
        found = np.array([numbers[example.label] for example in examples], np.int64)
        return np.column_stack([scores, found]).astype(np.float32) if self.kind == JOINT else found
