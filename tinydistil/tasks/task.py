"""What fine-tuning needs of a task, whatever its form. Shapes: N rows, K numbers of evidence on each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from tinydistil.base.config import nearest
from tinydistil.base.errors import require
from tinydistil.tasks.examples import TaskExample
from tinydistil.tasks.task_objective import TaskModel
from tinydistil.tasks.task_records import LabelledText, Question, TaggedSentence
from tinydistil.tokenizer.tokenizer import Tokenizer

Evidence = NDArray[np.float64]
# The first of each kind's figures: what chooses weights and settings.
PRIMARY = {"classify": "f1_macro", "regress": "pearson", "tag": "entity_f1", "answer": "word_f1"}
RowT = TypeVar("RowT", LabelledText, TaggedSentence, Question, contravariant=True)
Prediction = TypeVar("Prediction")


class Task(Protocol[RowT, Prediction]):
    """A form of task with its labels, tokenizer and limits: from rows to examples, and from logits to figures.

    kind: classify, regress, tag or answer. labels: the classes or tags in their order; one name for a number, none for
    answers. max_length: tokens of an example at most. changes: what the task changes in the model's configuration.
    """

    @property
    def kind(self) -> str: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def max_length(self) -> int: ...
    @property
    def changes(self) -> dict[str, object]: ...

    def labels_of(self, rows: Sequence[RowT]) -> list[str]:
        """Every class or tag of `rows`; none for numbers and answers."""

    def examples(self, rows: Sequence[RowT]) -> list[TaskExample]:
        """The rows as the model learns them; a long row may become several examples."""

    def predict(self, model: TaskModel, rows: Sequence[RowT], *, batch_size: int = 64) -> list[Prediction]:
        """The model's prediction for each row, in order. Labels and answers of the rows are not looked at."""

    def evidence(self, rows: Sequence[RowT], predictions: Sequence[Prediction]) -> Evidence:
        """What figures are computed from, and resampled, (N, K)."""

    def figures(self, evidence: Evidence) -> Mapping[str, float]:
        """The task's figures by name, the primary metric first."""

    def details(self, rows: Sequence[RowT], predictions: Sequence[Prediction]) -> dict[str, object]:
        """What lies behind the figures, as JSON: each class or type of entity by itself; empty for other tasks."""


# Whichever form: a type checker cannot tie the rows of a run to its task.
AnyTask: TypeAlias = Task[Any, Any]
Row: TypeAlias = LabelledText | TaggedSentence | Question


def primary_metric(figures: Mapping[str, float]) -> float:
    """The figure that chooses weights and settings."""
    return next(iter(figures.values()))


def unseen_labels(task: AnyTask, rows: Sequence[Row]) -> str:
    """What to say of labels of `rows` that training did not have; "" for none.

    Raises InputError where no label is known: then it is another column, or another task.
    """
    counts = Counter(task.labels_of(rows))
    unseen = {label: count for label, count in counts.most_common() if label not in task.labels}
    if not unseen:
        return ""
    named = ", ".join(f"{label!r} ({count:,})" for label, count in list(unseen.items())[:5])
    named += f" and {len(unseen) - 5} more" if len(unseen) > 5 else ""
    named += nearest(next(iter(unseen)), task.labels)
    require(len(unseen) < len(counts), f"training had none of its labels: {named}")
    return f"labels that training did not have count as wrong: {named}"
