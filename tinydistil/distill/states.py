"""What a term reads off a model: states, as the model makes them and as a cache keeps them.

Shapes: B sequences, T tokens, D width, N vectors, F width of a kept vector, R positions.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tinydistil.batches.batch import MaskedBatch
from tinydistil.distill.options import CacheConfig
from tinydistil.model.bert import BertModel
from tinydistil.model.heads import BertForMaskedLM, Decoding

# By the name of a term, then of a state that it needs.
TeacherStates = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class ModelStates:
    """What `model` has computed of a batch: its last hidden states (B, T, D); its logits only where they are read."""

    model: BertForMaskedLM | BertModel
    hidden: Tensor

    def decoding_at(self, positions: Tensor) -> Decoding:
        """What logits are made of, at `positions` (R,) of the flattened B * T."""
        assert isinstance(self.model, BertForMaskedLM), "see TermOptions.check"
        return self.model.decoding_at(self.hidden, positions)


class State(ABC):
    """A state of the teacher: how it is taken from the model, kept in a cache and restored from there.

    A cache keeps tensors by kind, each with any number of items per sequence.
    """

    @abstractmethod
    def take(self, teacher: ModelStates, batch: MaskedBatch) -> Any:
        """The state as the term reads it."""

    @abstractmethod
    def kinds(self, cache: CacheConfig) -> tuple[str, ...]:
        """The names of what is kept."""

    @abstractmethod
    def lengths(self, batch: MaskedBatch) -> Tensor:
        """Items of each sequence (B,)."""

    @abstractmethod
    def keep(self, state: Any, batch: MaskedBatch, cache: CacheConfig) -> dict[str, Tensor]:
        """What of `state` is written, by kind, sequence after sequence."""

    @abstractmethod
    def restore(self, kept: Mapping[str, Tensor], batch: MaskedBatch, cache: CacheConfig, model: Any) -> Any:
        """The state from what was kept, empty where the batch has no sequence; `model` is the teacher."""


class Vectors(State):
    """Vectors (N, F), each of one sequence, in 16 or 8 bits: codes times steps.

    take: makes them. present: which of them (N,) stand for something; the others are restored as zeros.
    """

    def __init__(
        self,
        width: int,
        take: Callable[[ModelStates, MaskedBatch], Tensor],
        present: Callable[[MaskedBatch], Tensor],
    ) -> None:
        self.width, self._take, self.present = width, take, present

    def take(self, teacher: ModelStates, batch: MaskedBatch) -> Tensor:
        return self._take(teacher, batch)

    def kinds(self, cache: CacheConfig) -> tuple[str, ...]:
        return ("vectors", "steps") if cache.vector_bits == 8 else ("vectors",)

    def lengths(self, batch: MaskedBatch) -> Tensor:
        return self.present(batch).view(len(batch.sequence_ids), -1).sum(1)

    def keep(self, state: Tensor, batch: MaskedBatch, cache: CacheConfig) -> dict[str, Tensor]:
        vectors = state[self.present(batch)]
        if cache.vector_bits == 16:
            return {"vectors": vectors.half()}
        steps = vectors.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / 127
        return {"vectors": (vectors / steps).round().to(torch.int8), "steps": steps}

    def restore(self, kept: Mapping[str, Tensor], batch: MaskedBatch, cache: CacheConfig, model: Any) -> Tensor:
        present = self.present(batch)
        vectors = torch.zeros(len(present), self.width, device=present.device)
        if kept:
            vectors[present] = kept["vectors"].float() * kept.get("steps", 1.0)
        return vectors


class LastHidden(Vectors):
    """The teacher's last hidden states (B, T', E) as they are; zeros at padding."""

    def __init__(self, width: int) -> None:
        super().__init__(width, lambda teacher, _: teacher.hidden.flatten(0, 1), positions_with_text)

    def take(self, teacher: ModelStates, batch: MaskedBatch) -> Tensor:
        return teacher.hidden

    def keep(self, state: Tensor, batch: MaskedBatch, cache: CacheConfig) -> dict[str, Tensor]:
        return super().keep(state.flatten(0, 1), batch, cache)

    def restore(self, kept: Mapping[str, Tensor], batch: MaskedBatch, cache: CacheConfig, model: Any) -> Tensor:
        return super().restore(kept, batch, cache, model).view(*batch.teacher_view.input_ids.shape, self.width)


def positions_with_text(batch: MaskedBatch) -> Tensor:
    """Which of the teacher's tokens (B * T') are no padding."""
    return batch.teacher_view.valid_mask.flatten()
