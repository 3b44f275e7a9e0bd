"""What fine-tuning needs of a task, whatever its form; examples as the model reads them, in padded batches.

Shapes: N examples, K numbers of evidence on each, B examples of a batch, T tokens, C classes.
"""

import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinydistil.base.config import nearest
from tinydistil.base.errors import InputError, Interrupted, require, stop_asked
from tinydistil.batches.sampling import by_length, pad
from tinydistil.distill.losses import IGNORED
from tinydistil.model import heads
from tinydistil.model.pairs import BertForCosine, BertForPairs
from tinydistil.tasks.examples import Example, ExampleT, portions
from tinydistil.tokenizer.tokenizer import Tokenizer

TaskModel = (
    heads.BertForSequenceClassification
    | heads.BertForTokenClassification
    | heads.BertForQuestionAnswering
    | BertForCosine
    | BertForPairs
)
Logits = Sequence[NDArray[np.float32]]
Evidence = NDArray[np.float64]
Prediction = TypeVar("Prediction")
# A number and a class of each text, learnt together.
JOINT = "regress,classify"
# The first of each kind's figures: what chooses weights and settings.
PRIMARY = {
    "classify": "f1_macro", "regress": "pearson", JOINT: "pearson_and_f1", "tag": "entity_f1", "answer": "word_f1"
}  # fmt: skip
# How long a prediction is silent, in seconds.
SAY_EVERY_S = 20.0


@dataclass(frozen=True, slots=True)
class EncodedExample:
    """An example, or a part of a long one, as the model reads it: ids and type_ids (T,), special tokens included.

    target: () a class or a number, (2,) a number and a class, (T,) a class per token (IGNORED where there is none),
    (2,) the positions where an answer begins and ends. soft: a fine-tuned teacher's logits: (C,), for tags (T, C), for
    answers (T, 2).
    source: which of the examples it is, or is a part of; spans: what each token is there, for tags the number of the
    word that it begins, (T,), for answers its first and last characters, (T, 2); -1 for nothing.
    made_of: of an example without a label, which only `soft` labels, the training rows that it was made of; its target
    says where `soft` counts.
    """

    ids: NDArray[np.int64]
    type_ids: NDArray[np.int64]
    target: NDArray[np.generic]
    soft: NDArray[np.float32] | None = None
    source: int = 0
    spans: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    made_of: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class TaskBatch:
    """B examples padded to T tokens; input_ids, attention_mask, token_type_ids (B, T); targets and soft as in
    EncodedExample with B in front. counted (B,): False for an example that only keeps a rank in step; labelled (B,)."""

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor
    targets: Tensor
    soft: Tensor | None
    counted: Tensor
    labelled: Tensor

    @property
    def tokens(self) -> int:
        """Tokens that are not padding."""
        return int(self.attention_mask[self.counted].sum())

    def to(self, device: torch.device) -> "TaskBatch":
        """The batch on `device`."""
        tensors = (getattr(self, field.name) for field in fields(self))
        return TaskBatch(*(None if tensor is None else tensor.to(device) for tensor in tensors))  # type: ignore[arg-type]


def collate(examples: Sequence[EncodedExample], pad_id: int, *, counted: bool = True) -> TaskBatch:
    """The examples as one batch, padded to the longest."""
    soft = [example.soft for example in examples if example.soft is not None]
    return TaskBatch(
        input_ids=torch.from_numpy(pad([example.ids for example in examples], pad_id)),
        attention_mask=torch.from_numpy(pad([np.ones_like(example.ids) for example in examples], 0)),
        token_type_ids=torch.from_numpy(pad([example.type_ids for example in examples], 0)),
        targets=torch.from_numpy(pad([example.target for example in examples], IGNORED)),
        soft=torch.from_numpy(pad(soft, 0)) if soft else None,
        counted=torch.full((len(examples),), counted),
        labelled=torch.tensor([example.made_of is None for example in examples]),
    )


@dataclass(frozen=True)
class Task(ABC, Generic[ExampleT, Prediction]):
    """A form of task with its labels, tokenizer and limits: from examples to tokens, and from logits to figures.

    kind: classify, regress, both (JOINT), tag or answer. labels: the classes or tags in their order; one name for a
    number, before the classes; none for answers. max_length: tokens of an encoded example at most.
    """

    batch_size: ClassVar[int] = 64  # of predictions

    kind: str
    labels: tuple[str, ...]
    tokenizer: Tokenizer
    max_length: int

    @property
    def changes(self) -> dict[str, object]:
        """What the task changes in the model's configuration."""
        return {"labels": self.labels} if self.labels else {}

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each label."""
        return {label: number for number, label in enumerate(self.labels)}

    def require_known(self, label: str, where: str) -> None:
        """Raise InputError, which begins with `where`, for a label that training did not have."""
        if label not in self.numbers:
            raise InputError(f"{where} {label!r}, which training did not have{nearest(label, self.labels)}")

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
        self, examples: Sequence[ExampleT], encoded: Sequence[EncodedExample], logits: Logits
    ) -> list[Prediction]:
        """The prediction for each example, from the logits of what it was encoded to."""

    def predict(
        self, model: TaskModel, examples: Sequence[ExampleT], *, batch_size: int | None = None
    ) -> list[Prediction]:
        """The model's prediction for each example, in order. Labels and answers of the examples are not looked at."""
        found: list[Prediction] = []
        time_left, batch_size = TimeLeft(), batch_size or self.batch_size
        for some in portions(examples, len(examples)):
            encoded = self.encode(some, labelled=False)
            logits = logits_of(model, encoded, pad_id=self.tokenizer.pad_id, batch_size=batch_size)
            found += self.decode(some, encoded, logits)
            if len(found) < len(examples):
                time_left.say(f"predicted {len(found):,} of {len(examples):,} examples", len(found) / len(examples))
        return found

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


def check_examples(task: AnyTask, examples: Sequence[Example], name: str, remedy: str) -> None:
    """Raise InputError, which begins with `name` and ends with `remedy`, where `task` cannot be measured on `examples`,
    or knows none of their labels: then it is another column, or another task.

    Labels that training lacks are printed on standard error.
    """
    counts = Counter(task.labels_of(examples))
    unseen = [(label, count) for label, count in counts.most_common() if label not in task.numbers]
    named = ", ".join(f"{label!r} ({count:,})" for label, count in unseen[:5])
    named += f" and {len(unseen) - 5} more" if len(unseen) > 5 else ""
    named += nearest(unseen[0][0], task.labels) if unseen else ""
    try:
        task.check(examples)
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
    model: TaskModel, examples: Sequence[EncodedExample], *, pad_id: int, batch_size: int = Task.batch_size
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
        if isinstance(output, heads.SpanLogits):
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
