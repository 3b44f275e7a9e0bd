"""What fine-tuning needs of a task, whatever its form.

Shapes: N examples, K numbers of evidence on each, T tokens, C classes.
"""

import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from tinydistil.base.config import nearest
from tinydistil.base.errors import InputError, Interrupted, require, stop_asked
from tinydistil.batches.sampling import by_length
from tinydistil.model.heads import SpanLogits
from tinydistil.tasks.examples import Example, ExampleT
from tinydistil.tasks.task_batches import EncodedExample, TaskModel, collate
from tinydistil.tokenizer.tokenizer import Tokenizer

Evidence = NDArray[np.float64]
# The first of each kind's figures: what chooses weights and settings.
PRIMARY = {"classify": "f1_macro", "regress": "pearson", "tag": "entity_f1", "answer": "word_f1"}
# How long a prediction is silent, in seconds.
SAY_EVERY_S = 20.0
Prediction = TypeVar("Prediction")


@dataclass(frozen=True)
class Task(ABC, Generic[ExampleT, Prediction]):
    """A form of task with its labels, tokenizer and limits: from examples to tokens, and from logits to figures.

    kind: classify, regress, tag or answer. labels: the classes or tags in their order; one name for a number, none for
    answers. max_length: tokens of an encoded example at most.
    """

    kind: str
    labels: tuple[str, ...]
    tokenizer: Tokenizer
    max_length: int

    @property
    def changes(self) -> dict[str, object]:
        """What the task changes in the model's configuration."""
        return {"labels": self.labels} if self.labels else {}

    def labels_of(self, examples: Sequence[ExampleT]) -> list[str]:
        """Every class or tag of `examples`; none for numbers and answers."""
        return []

    def check(self, examples: Sequence[ExampleT]) -> None:
        """Raise InputError where no figure can be computed of `examples`."""

    @abstractmethod
    def encode(self, examples: Sequence[ExampleT], *, labelled: bool = True) -> list[EncodedExample]:
        """The examples as the model learns them, or without labels as it reads them; a long one may become several.

        Raises InputError for a label that training did not have.
        """

    @abstractmethod
    def decode(
        self,
        examples: Sequence[ExampleT],
        encoded: Sequence[EncodedExample],
        logits: Sequence[NDArray[np.float32]],
    ) -> list[Prediction]:
        """The prediction for each example, from the logits of what it was encoded to."""

    def predict(self, model: TaskModel, examples: Sequence[ExampleT], *, batch_size: int = 64) -> list[Prediction]:
        """The model's prediction for each example, in order. Labels and answers of the examples are not looked at."""
        encoded = self.encode(examples, labelled=False)
        logits = logits_of(model, encoded, pad_id=self.tokenizer.pad_id, batch_size=batch_size)
        return self.decode(examples, encoded, logits)

    @abstractmethod
    def evidence(self, examples: Sequence[ExampleT], predictions: Sequence[Prediction]) -> Evidence:
        """What figures are computed from, and resampled, (N, K)."""

    @abstractmethod
    def figures(self, evidence: Evidence) -> Mapping[str, float]:
        """The task's figures by name, the primary metric first."""

    def details(self, examples: Sequence[ExampleT], predictions: Sequence[Prediction]) -> dict[str, object]:
        """What lies behind the figures, as JSON: each class or type of entity by itself; empty for other tasks."""
        return {}


# Whichever form: a type checker cannot tie the examples of a run to its task.
AnyTask: TypeAlias = Task[Any, Any]


def primary_metric(figures: Mapping[str, float]) -> float:
    """The figure that chooses weights and settings."""
    return next(iter(figures.values()))


def check_examples(task: AnyTask, examples: Sequence[Example], name: str, remedy: str) -> None:
    """Raise InputError, which begins with `name` and ends with `remedy`, where `task` cannot be measured on `examples`,
    or knows none of their labels: then it is another column, or another task.

    Labels that training lacks are printed on standard error.
    """
    try:
        task.check(examples)
        counts = Counter(task.labels_of(examples))
        unseen = {label: count for label, count in counts.most_common() if label not in task.labels}
        named = ", ".join(f"{label!r} ({count:,})" for label, count in list(unseen.items())[:5])
        named += f" and {len(unseen) - 5} more" if len(unseen) > 5 else ""
        named += nearest(next(iter(unseen)), task.labels) if unseen else ""
        require(not unseen or len(unseen) < len(counts), f"training had none of its labels: {named}")
    except InputError as error:
        raise InputError(f"{name}: {error}{remedy}") from None
    if unseen:
        print(f"{name}: labels that training did not have count as wrong: {named}", file=sys.stderr)


class TimeLeft:
    """Says on standard error, where work is long, how much of it is done and how long the rest takes."""

    def __init__(self) -> None:
        self._began = self._printed = time.monotonic()

    def say(self, done: str, share: float) -> None:
        """`done`, and the time left when that is so great a `share` of all; at most every SAY_EVERY_S."""
        if (now := time.monotonic()) - self._printed > SAY_EVERY_S:
            self._printed, left_s = now, (now - self._began) * (1 / share - 1)
            print(f"{done}, {left_s:,.0f} s left", file=sys.stderr)


@torch.inference_mode()
def logits_of(
    model: TaskModel, examples: Sequence[EncodedExample], *, pad_id: int, batch_size: int = 64
) -> list[NDArray[np.float32]]:
    """The logits of each example, in order: (C,), for tagging (T, C), for answers (T, 2); computed in eval mode.

    The model is left in the mode it came in. Raises Interrupted between two batches where a loop around it was asked
    to stop, and InputError for logits that are not finite. What takes long says on standard error how long it will.
    """
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    lengths, found = {i: len(each.ids) for i, each in enumerate(examples)}, dict[int, NDArray[np.float32]]()
    tokens, time_left = 0, TimeLeft()
    for chosen in by_length(lengths, batch_size):
        if stop_asked():  # a pass over a large development set may take minutes
            raise Interrupted
        batch = collate([examples[i] for i in chosen], pad_id).to(device)
        output = model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        if isinstance(output, SpanLogits):
            output = torch.stack([output.first, output.last], -1)
        # Before a class or an answer is made of them: NaN would be class 0.
        require(
            bool(output.isfinite().all()),
            "the model's predictions are not finite; lower learning_rate to tune it, or choose a model that is sound",
        )
        for i, logits in zip(chosen, output.float().cpu().numpy(), strict=True):
            found[i] = logits if logits.ndim == 1 else logits[: lengths[i]]
        tokens += sum(lengths[i] for i in chosen)
        time_left.say(f"predicted {len(found):,} of {len(examples):,} examples", tokens / sum(lengths.values()))
    model.train(was_training)
    return [found[i] for i in range(len(examples))]
