"""What fine-tuning asks of a task, whatever its form. Letters: N rows, K what is known of each."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from tinydistil.tasks.examples import TaskExample
from tinydistil.tasks.task_objective import TaskModel
from tinydistil.tasks.task_records import LabelledText, Question, TaggedSentence

Evidence = NDArray[np.float64]
# The first of each kind's figures: what chooses weights and settings.
PRIMARY = {"classify": "f1_macro", "regress": "pearson", "tag": "entity_f1", "answer": "word_f1"}
Row = TypeVar("Row", LabelledText, TaggedSentence, Question, contravariant=True)
Prediction = TypeVar("Prediction")


class Task(Protocol[Row, Prediction]):
    """A form of task with its labels, tokenizer and limits: from rows to examples, and from logits to figures."""

    @property
    def kind(self) -> str:
        """classify, regress, tag or answer."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes or tags in their order; one name for a number, none for answers."""

    @property
    def changes(self) -> dict[str, object]:
        """What the task changes in the model's configuration (labels, form of the problem)."""

    def examples(self, rows: Sequence[Row]) -> list[TaskExample]:
        """The rows as the model learns them; a long row may become several examples."""

    def predict(self, model: TaskModel, rows: Sequence[Row], *, batch_size: int = 64) -> list[Prediction]:
        """What the model says of each row, in order. Labels and answers of the rows are not looked at."""

    def evidence(self, rows: Sequence[Row], predictions: Sequence[Prediction]) -> Evidence:
        """What is known of each prediction, (N, K): what figures are computed from, and resampled."""

    def figures(self, evidence: Evidence) -> Mapping[str, float]:
        """The task's figures by name, the one that counts first."""


def headline(figures: Mapping[str, float]) -> float:
    """The figure that counts."""
    return next(iter(figures.values()))
