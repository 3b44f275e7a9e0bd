"""The record that travels from the data to teacher and student.

Letters: B sequences, T tokens, R masked rows.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class MaskedBatch:
    """What teacher and student see of B sequences, and what is asked of the student.

    input_ids, attention_mask (B, T): the masked text. original_ids (B, T): the text before. counted (B, T): tokens
    whose hidden states are compared, False at padding. word_index (B, T): each token's word, negative at special
    tokens and padding. rows (R,): the masked tokens among the flattened B * T; targets (R,): their ids.
    sequence_ids (B,): the sequences' numbers.
    """

    input_ids: Tensor
    original_ids: Tensor
    attention_mask: Tensor
    counted: Tensor
    word_index: Tensor
    rows: Tensor
    targets: Tensor
    sequence_ids: Tensor

    @property
    def tokens(self) -> int:
        """Tokens that are compared: all but padding."""
        return int(self.counted.sum())

    @property
    def num_words(self) -> int:
        """Words of a sequence at most: no more than tokens."""
        return self.input_ids.shape[1]

    def to(self, device: torch.device) -> "MaskedBatch":
        """The batch on `device`."""
        return MaskedBatch(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))
