"""Masked-LM loss on held-out text, the same masks every time, shared out over the ranks."""

import torch
from torch import Tensor

from tinydistil.data.masked_batches import MaskedBatches
from tinydistil.distill.losses import masked_lm
from tinydistil.model.heads import BertForMaskedLM
from tinydistil.ranks import Ranks
from tinydistil.train.signals import Interrupted, stop_asked

# The epoch whose masks validation uses: none that training reaches.
VALIDATION_EPOCH = 2**32 - 1


@torch.no_grad()
def masked_lm_loss(student: BertForMaskedLM, batches: MaskedBatches, ranks: Ranks, *, sequences: int) -> float:
    """Loss a masked token, in nats, over the first `sequences` of a split; every rank gets the same number.

    `student` computes in eval mode and is left in the mode it came in. Raises Interrupted on every rank where one was
    asked to stop before the end.
    """
    was_training = student.training
    student.eval()
    sums = torch.zeros(2, dtype=torch.float64, device=ranks.device)
    ids = torch.arange(min(sequences, len(batches.sequences)))
    shares = [torch.split(share, batches.batch_size) for share in torch.tensor_split(ids, ranks.world_size)]
    try:
        # The first share is the longest; every rank takes part in as many questions.
        for place in range(len(shares[0])):
            if not ranks.all_agree(not stop_asked()):
                raise Interrupted
            if place < len(shares[ranks.rank]):
                sums += _sums(student, batches, shares[ranks.rank][place], ranks.device)
    finally:
        student.train(was_training)
    total, tokens = ranks.sum_(sums).tolist()
    return float(total / max(tokens, 1))


def _sums(student: BertForMaskedLM, batches: MaskedBatches, ids: Tensor, device: torch.device) -> Tensor:
    """The summed loss and the masked tokens of these sequences, (2,)."""
    batch = batches.collate(ids.numpy(), VALIDATION_EPOCH).to(device)
    hidden = student(batch.input_ids, batch.attention_mask).last_hidden
    part = masked_lm(student.logits_at(hidden, batch.rows), batch.targets)
    return torch.stack([part.total.double(), part.count.double()])
