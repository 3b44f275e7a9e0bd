"""The teacher: frozen, in eval mode, outside DistributedDataParallel and outside autograd.

Letters: B sequences, T tokens, D width, R rows, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tinydistil.model.batch import MaskedBatch
from tinydistil.model.heads import BertForMaskedLM


@dataclass(frozen=True, slots=True)
class TeacherSignal:
    """What the teacher says of a batch: last hidden states (B, T, D), and logits (R, V) where they are asked for."""

    hidden: Tensor
    logits: Tensor | None


class LiveTeacher:
    """A model that answers batch by batch. `sees_masked` chooses the masked text (else the original)."""

    def __init__(self, model: BertForMaskedLM, *, wants_logits: bool, sees_masked: bool = True) -> None:
        self.model = model.eval().requires_grad_(False)
        self.wants_logits, self.sees_masked = wants_logits, sees_masked

    @torch.no_grad()
    def __call__(self, batch: MaskedBatch, rows: Tensor) -> TeacherSignal:
        """The signal for `batch`, with logits at `rows` (R,) of its flattened tokens."""
        assert not self.model.training, "the teacher must stay in eval mode"
        ids = batch.input_ids if self.sees_masked else batch.original_ids
        hidden = self.model(ids, batch.attention_mask).last_hidden
        return TeacherSignal(hidden, self.model.logits_at(hidden, rows) if self.wants_logits else None)
