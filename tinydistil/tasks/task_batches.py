"""Encoded examples as padded batches, and the models that read them. Shapes: B examples, T tokens, C classes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinydistil.base.errors import InputError, require
from tinydistil.batches.sampling import epoch_order, pad
from tinydistil.distill.losses import IGNORED
from tinydistil.model import heads

TaskModel = heads.BertForSequenceClassification | heads.BertForTokenClassification | heads.BertForQuestionAnswering

# Examples of like length are dealt into one batch within windows of so many batches: on ASSIN 2 padding falls from
# 26 % of the tokens to 2 %, and batches still differ from epoch to epoch.
WINDOW_BATCHES = 20


@dataclass(frozen=True, slots=True)
class EncodedExample:
    """An example, or a part of a long one, as the model reads it: ids and type_ids (T,), special tokens included.

    target: () a class or a number, (T,) a class per token (IGNORED where there is none), (2,) the positions where an
    answer begins and ends. soft: a fine-tuned teacher's logits: (C,), for tags (T, C), for answers (T, 2).
    source: which of the examples it is, or is a part of; spans: what each token is there, for tags the number of the
    word that it begins, (T,), for answers its first and last characters, (T, 2); -1 for nothing.
    """

    ids: NDArray[np.int64]
    type_ids: NDArray[np.int64]
    target: NDArray[np.generic]
    soft: NDArray[np.float32] | None = None
    source: int = 0
    spans: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True, slots=True)
class TaskBatch:
    """B examples padded to T tokens; input_ids, attention_mask, token_type_ids (B, T); targets and soft as in
    EncodedExample with B in front. counted (B,): False for an example that only keeps a rank in step."""

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor
    targets: Tensor
    soft: Tensor | None
    counted: Tensor

    @property
    def tokens(self) -> int:
        """Tokens that are not padding."""
        return int(self.attention_mask[self.counted].sum())

    def to(self, device: torch.device) -> "TaskBatch":
        """The batch on `device`."""
        tensors = (getattr(self, field.name) for field in fields(self))
        return TaskBatch(*(None if tensor is None else tensor.to(device) for tensor in tensors))  # type: ignore[arg-type]


class TaskBatches:
    """The batches of a training set: pure functions of (seed, cursor), examples of like length together."""

    def __init__(self, examples: Sequence[EncodedExample], *, pad_id: int, batch_size: int, seed: int) -> None:
        require(len(examples) >= 1, "no training example is left")
        self.examples, self.pad_id, self.seed = examples, pad_id, seed
        self.batch_size = min(batch_size, len(examples))
        self.batches_per_epoch = len(examples) // self.batch_size
        self._lengths = np.array([len(example.ids) for example in examples])
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    @property
    def mean_tokens(self) -> float:
        """Tokens of a global batch on average."""
        return float(self._lengths.mean() * self.batch_size)

    def global_batch(self, cursor: int) -> tuple[int, NDArray[np.int64]]:
        """The epoch and the numbers of the examples of the `cursor`-th batch since the start of the run."""
        epoch, index = divmod(cursor, self.batches_per_epoch)
        if self._order[0] != epoch:
            everyone = np.arange(len(self.examples))
            order = epoch_order(everyone, self._lengths, self.batch_size, WINDOW_BATCHES, seed=self.seed, epoch=epoch)
            self._order = (epoch, order)
        return epoch, self._order[1][index * self.batch_size : (index + 1) * self.batch_size]

    def micro_batches(self, cursor: int, *, rank: int, world_size: int, accumulation: int) -> list[TaskBatch]:
        """This rank's share of the `cursor`-th global batch, in `accumulation` parts; some may count no example."""
        _, ids = self.global_batch(cursor)
        parts = world_size * accumulation
        shares = [ids[rank * accumulation + part :: parts] for part in range(accumulation)]
        return [
            collate([self.examples[i] for i in (share if len(share) else ids[:1])], self.pad_id, counted=len(share) > 0)
            for share in shares
        ]


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
    )


def class_weights(targets: Sequence[NDArray[np.generic]], labels: Sequence[str]) -> Tensor:
    """Inverse shares of the C classes `labels`, (C,) float32, of mean 1 over the training set.

    Raises InputError for a class that no training example has: it could not be learnt.
    """
    every = np.concatenate([np.atleast_1d(target) for target in targets]).astype(np.int64)
    counts = np.bincount(every[every != IGNORED], minlength=len(labels))
    if (counts == 0).any():
        raise InputError(
            f"class_weights 'balanced' needs every class in training; {labels[int(counts.argmin())]!r} is not there"
        )
    return torch.from_numpy((counts.sum() / (len(labels) * counts)).astype(np.float32))
