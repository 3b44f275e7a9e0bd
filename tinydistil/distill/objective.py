"""What the one loop asks of those it trains: an objective, and batches. Distillation is one, fine-tuning another."""

from collections.abc import Mapping, Sequence
from typing import Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from tinydistil.distill.losses import SumCount


class Batch(Protocol):
    """One rank's share of a step, or a part of that share."""

    @property
    def tokens(self) -> int:
        """Tokens that are neither padding nor put there to keep a rank in step: what throughput and budgets count."""

    def to(self, device: torch.device) -> Self:
        """The batch on `device`."""


BatchT = TypeVar("BatchT", bound=Batch)
SignalT = TypeVar("SignalT")
_BatchIn = TypeVar("_BatchIn", contravariant=True)
_SignalIn = TypeVar("_SignalIn", contravariant=True)
_BatchOut = TypeVar("_BatchOut", bound=Batch, covariant=True)


class Objective(Protocol[_BatchIn, _SignalIn]):
    """A torch module whose forward pass gives loss terms by name, each a sum and a count."""

    @property
    def weights(self) -> Mapping[str, float]:
        """The weight of each term in the loss; only those above 0."""

    def counts(self, batch: _BatchIn, /) -> Mapping[str, int]:
        """What each term of this micro-batch is divided by, known before any pass and without a device's help."""

    def __call__(self, batch: _BatchIn, taught: _SignalIn | None, /) -> dict[str, SumCount]:
        """The terms of one micro-batch. `taught` is what the teacher says of it, None without one."""


class Batches(Protocol[_BatchOut]):
    """The batches of a run: pure functions of the cursor, the same global batch for any number of ranks."""

    batches_per_epoch: int
    """Global batches in one pass over the corpus."""

    @property
    def mean_tokens(self) -> float:
        """Tokens of a global batch on average; what a budget in tokens is first planned with."""

    def global_batch(self, cursor: int) -> tuple[int, NDArray[np.int64]]:
        """The epoch and the sequence numbers of the `cursor`-th batch since the start of the run."""

    def micro_batches(self, cursor: int, *, rank: int, world_size: int, accumulation: int) -> Sequence[_BatchOut]:
        """This rank's share of the `cursor`-th global batch, in `accumulation` parts; some may be empty."""
