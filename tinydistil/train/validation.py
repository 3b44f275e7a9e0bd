"""The loss on held-out text, the same masks every time, shared out over the ranks."""

from collections.abc import Callable, Iterator

import torch

from tinydistil.data.masked_batches import MaskedBatches
from tinydistil.distill.learner import Learner
from tinydistil.distill.losses import masked_lm
from tinydistil.distill.teacher import TeacherSignal
from tinydistil.model.batch import MaskedBatch
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
    for batch in _share(batches, ranks, sequences):
        hidden = student(batch.input_ids, batch.attention_mask).last_hidden
        part = masked_lm(student.logits_at(hidden, batch.rows), batch.targets)
        sums += torch.stack([part.total.double(), part.count.double()])
    student.train(was_training)
    total, tokens = ranks.sum_(sums).tolist()
    return float(total / max(tokens, 1))


@torch.no_grad()
def objective_loss(
    learner: Learner,
    teach: Callable[[MaskedBatch], TeacherSignal],
    batches: MaskedBatches,
    ranks: Ranks,
    *,
    sequences: int,
) -> float:
    """The weighted sum of the recipe's terms, for recipes that train no masked language model; else as above."""
    was_training = learner.training
    learner.eval()
    weights = learner.weights
    sums = torch.zeros(len(weights), 2, dtype=torch.float64, device=ranks.device)
    for batch in _share(batches, ranks, sequences):
        parts = learner(batch, teach(batch))
        sums += torch.stack([torch.stack([parts[name].total, parts[name].count]).double() for name in weights])
    learner.train(was_training)
    totals, counts = ranks.sum_(sums).T
    means = totals / counts.clamp(min=1)
    return float(sum(weight * mean for weight, mean in zip(weights.values(), means.tolist(), strict=True)))


def _share(batches: MaskedBatches, ranks: Ranks, sequences: int) -> Iterator[MaskedBatch]:
    """This rank's part of the first `sequences`, on its device."""
    ids = torch.arange(min(sequences, len(batches.sequences)))
    for chosen in torch.split(ids, batches.batch_size)[ranks.rank :: ranks.world_size]:
        yield batches.collate(chosen.numpy(), VALIDATION_EPOCH).to(ranks.device)
