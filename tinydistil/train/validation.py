"""Masked-LM loss on held-out text, the same masks every time, shared out over the ranks."""

import torch

from tinydistil.data.masked_batches import MaskedBatches
from tinydistil.distill.losses import masked_lm
from tinydistil.model.heads import BertForMaskedLM
from tinydistil.ranks import Ranks

# The epoch whose masks validation uses: none that training reaches.
VALIDATION_EPOCH = 2**32 - 1


@torch.no_grad()
def masked_lm_loss(student: BertForMaskedLM, batches: MaskedBatches, ranks: Ranks, *, sequences: int) -> float:
    """Loss a masked token, in nats, over the first `sequences` of a split; every rank gets the same number.

    `student` computes in eval mode and is left in the mode it came in.
    """
    was_training = student.training
    student.eval()
    sums = torch.zeros(2, dtype=torch.float64, device=ranks.device)
    ids = torch.arange(min(sequences, len(batches.sequences)))
    for chosen in torch.split(ids, batches.batch_size)[ranks.rank :: ranks.world_size]:
        batch = batches.collate(chosen.numpy(), VALIDATION_EPOCH).to(ranks.device)
        hidden = student(batch.input_ids, batch.attention_mask).last_hidden
        part = masked_lm(student.logits_at(hidden, batch.rows), batch.targets)
        sums += torch.stack([part.total.double(), part.count.double()])
    student.train(was_training)
    total, tokens = ranks.sum_(sums).tolist()
    return float(total / max(tokens, 1))
