"""What the one step asks of those it trains: an objective, and batches. Distillation is one, fine-tuning another."""

from collections.abc import Mapping, Sequence
from typing import Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from tinydistil.distill.terms.base import Loss


class Batch(Protocol):
    """One rank's share of a step, or a part of that share."""

    @property
    def tokens(self) -> int:
        """Tokens that are neither padding nor put there to keep a rank in step: what throughput and budgets count."""

    def to(self, device: torch.device) -> Self:
        """The batch on `device`."""


BatchT = TypeVar("BatchT", bound=Batch)
TeacherT = TypeVar("TeacherT")
_BatchIn = TypeVar("_BatchIn", contravariant=True)
_TeacherIn = TypeVar("_TeacherIn", contravariant=True)
_BatchOut = TypeVar("_BatchOut", bound=Batch, covariant=True)


class Objective(Protocol[_BatchIn, _TeacherIn]):
    """A torch module whose forward pass gives the terms of a loss by name, each as a sum."""

    @property
    def reports(self) -> Mapping[str, str]:
        """The numbers that are reported, each with the term whose count divides it."""

    def at(self, progress: float, /) -> Mapping[str, float]:
        """Follow all schedules to the share of the steps that are done; the weight of each term there."""

    def counts(self, batch: _BatchIn, /) -> Mapping[str, int]:
        """What each term of this micro-batch is divided by, known before any pass and without a device's help."""

    def __call__(self, batch: _BatchIn, teacher: _TeacherIn | None, /) -> Mapping[str, Loss]:
        """The terms of one micro-batch. `teacher` is what the teacher has computed of it, None without one."""


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
