"""The record that travels from the data to teacher and student.

Shapes: B sequences, T tokens, T' tokens of the teacher's own, R masked positions.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class TeacherView:
    """The B sequences of a batch in the tokens of a teacher with another vocabulary; all (B, T').

    input_ids: the text in which every word that the student is asked about is masked whole. original_ids,
    attention_mask, valid_mask, word_index: as in `MaskedBatch`; word w is the same word of the text on both sides.
    """

    input_ids: Tensor
    original_ids: Tensor
    attention_mask: Tensor
    valid_mask: Tensor
    word_index: Tensor

    def each(self, change: Callable[[Tensor], Tensor]) -> "TeacherView":
        """The view with `change` made to every tensor."""
        return TeacherView(*(change(getattr(self, field.name)) for field in fields(self)))


@dataclass(frozen=True, slots=True)
class MaskedBatch:
    """What teacher and student see of B sequences, and what is asked of the student.

    input_ids, attention_mask (B, T): the masked text. original_ids (B, T): the text before. valid_mask (B, T): tokens
    whose hidden states are compared, False at padding. word_index (B, T): each token's word, negative at special
    tokens and padding. positions (R,): the masked tokens among the flattened B * T; targets (R,): their ids.
    sequence_ids (B,): the sequences' numbers. epoch: of its masks. teacher: what a teacher with another vocabulary
    sees, None where both read the same tokens: what the teacher reads is `batch.teacher or batch`.
    """

    input_ids: Tensor
    original_ids: Tensor
    attention_mask: Tensor
    valid_mask: Tensor
    word_index: Tensor
    positions: Tensor
    targets: Tensor
    sequence_ids: Tensor
    teacher: TeacherView | None = None
    epoch: int = 0

    @property
    def tokens(self) -> int:
        """Tokens that are compared: all but padding."""
        return int(self.valid_mask.sum())

    @property
    def num_words(self) -> int:
        """Words of a sequence at most: no more than tokens on either side."""
        return min(self.input_ids.shape[1], (self.teacher or self).input_ids.shape[1])

    def to(self, device: torch.device) -> "MaskedBatch":
        """The batch on `device`."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> "MaskedBatch":
        """The batch in memory that an accelerator copies from while the processor goes on."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "MaskedBatch":
        view = None if self.teacher is None else self.teacher.each(change)
        names = [field.name for field in fields(self) if field.name not in ("teacher", "epoch")]
        return MaskedBatch(**{name: change(getattr(self, name)) for name in names}, teacher=view, epoch=self.epoch)
