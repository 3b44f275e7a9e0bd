"""The loss on held-out text, the same masks every time, shared out over the ranks.

Both functions leave the mode of what they evaluate as it was, give every rank the same number, and raise Interrupted on
every rank where one was asked to stop before the end.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from tinydistil.base.ranks import Ranks
from tinydistil.base.stop import Interrupted, stop_asked
from tinydistil.batches.masked_batches import MaskedBatch, MaskedBatches
from tinydistil.distill.fused import fused_vocabulary_loss
from tinydistil.distill.learner import Learner
from tinydistil.distill.terms.base import TeacherStates
from tinydistil.model.bert import BertForMaskedLM

# The epoch whose masks validation uses: none that training reaches.
VALIDATION_EPOCH = 2**32 - 1


def masked_lm_loss(student: BertForMaskedLM, batches: MaskedBatches, ranks: Ranks, *, sequences: int) -> float:
    """Loss per masked token, in nats, over `sequences` of a split."""
    sums = torch.zeros(2, dtype=torch.float64, device=ranks.device)
    with _evaluating(student):
        for batch in _share(batches, ranks, sequences):
            hidden = student(batch.input_ids, batch.attention_mask).last_hidden
            # In chunks of positions: all logits of a batch would take more memory than a step of training.
            decoding = student.decoding_at(hidden, batch.positions)
            found = fused_vocabulary_loss(decoding, batch.targets, None, hard=1.0, soft=0.0, compiled=False)
            sums[0] += found.total
            sums[1] += len(batch.positions)
    total, tokens = ranks.sum_(sums).tolist()
    return float(total / max(tokens, 1))


def objective_loss(
    learner: Learner,
    teacher: Callable[[MaskedBatch], TeacherStates],
    batches: MaskedBatches,
    ranks: Ranks,
    *,
    sequences: int,
) -> float:
    """The recipe's terms by their weights at the end of the run, for recipes that train no masked language model."""
    weights = learner.at(1.0)
    sums = torch.zeros(len(weights), 2, dtype=torch.float64, device=ranks.device)
    with _evaluating(learner):
        for batch in _share(batches, ranks, sequences):
            counts, losses = learner.counts(batch), learner(batch, teacher(batch))
            for number, name in enumerate(weights):
                sums[number, 0] += losses[name].total
                sums[number, 1] += counts[name]
    totals, counted = ranks.sum_(sums).T
    means = (totals / counted.clamp(min=1)).tolist()
    return float(sum(weight * mean for weight, mean in zip(weights.values(), means, strict=True)))


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(was_training)


def _share(batches: MaskedBatches, ranks: Ranks, sequences: int) -> Iterator[MaskedBatch]:
    """This rank's part of `sequences` ones, on its device."""
    found = len(batches.sequences)
    count = min(sequences, found)
    # Spread over the whole split: shards follow the files of the corpus, and the first would be of one kind of text.
    ids = torch.split(torch.arange(count) * found // count, batches.batch_size)
    for first in range(0, len(ids), ranks.world_size):
        # Every rank asks as often, also one that has no batch left.
        if not ranks.all_agree(not stop_asked()):
            raise Interrupted
        if first + ranks.rank < len(ids):
            yield batches.collate(ids[first + ranks.rank].numpy(), VALIDATION_EPOCH).to(ranks.device)
