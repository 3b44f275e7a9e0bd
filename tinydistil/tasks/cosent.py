"""Sentence vectors by the order of their cosines: CoSENT, over the pairs of a whole global batch.

Shapes: B pairs of texts in a micro-batch, N in the global batch.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from tinydistil.distill.terms.base import Loss
from tinydistil.distill.terms.batchwise import Gathering
from tinydistil.tasks.task import TaskBatch, TaskModel

SCALE = 20.0
LARGEST_BATCH = 8192  # whose comparisons take 256 MiB


def cosent(cosines: Tensor, gold: Tensor, counted: Tensor) -> Tensor:
    """log(1 + sum of exp(SCALE (cos_j - cos_i)) over all i, j with gold_i > gold_j) (Su 2022, kexue.fm/archives/8847).

    All (N,); counted: False for a pair that is left out. () without a loss where all `gold` are equal.
    """
    above = (gold.unsqueeze(1) > gold) & counted.unsqueeze(1) & counted  # [i, j]
    gaps = (SCALE * (cosines - cosines.unsqueeze(1))).masked_fill(~above, -torch.inf)
    return torch.cat([gaps.new_zeros(1), gaps.flatten()]).logsumexp(0)


class CosentObjective(Gathering):
    """CoSENT of the labels ("task") and of a teacher's numbers ("soft"), the same for any division of the global batch.

    Each micro-batch computes the whole loss, its own cosines attached and the others' constant, which a
    `GatheringTrainer` has gathered: the gradients add up to that of the whole.
    """

    def __init__(self, model: TaskModel, *, soft: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self.weights = {name: weight for name, weight in (("task", 1 - soft), ("soft", soft)) if weight > 0}
        self.reports = {name: name for name in self.weights}

    def counts(self, batch: TaskBatch) -> Mapping[str, int]:
        """Pairs of texts of a micro-batch, for each term."""
        return {name: int(self._counted(batch, name).sum()) for name in self.weights}

    def forward(self, batch: TaskBatch, teacher: None = None, progress: float = 0.0) -> dict[str, Loss]:
        """The whole loss from one micro-batch, times the count that divides it; what is reported adds up to it once."""
        mine = self._compared(batch)
        whole, start = self.together(mine)
        end = start + len(mine)
        cosines, parts = torch.cat([whole[:start, 0], mine[:, 0], whole[end:, 0]]), {}
        for (name, weight), gold, counted in zip(self.weights.items(), *whole[:, 1:].T.chunk(2), strict=True):
            loss = cosent(cosines, gold, counted > 0)
            reported = {name: loss.detach() * self._counted(batch, name).sum()}
            parts[name] = Loss(loss * counted.sum(), weight=weight, numbers=reported)
        return parts

    def _counted(self, batch: TaskBatch, term: str) -> Tensor:
        """Which pairs (B,) a term compares."""
        return batch.counted & batch.labelled if term == "task" else batch.counted

    def _compared(self, batch: TaskBatch) -> Tensor:
        """Each pair's cosine, what every term compares it by, and whether every term does, (B, 1 + 2 terms)."""
        cosines = self.model(batch.input_ids, batch.attention_mask, batch.token_type_ids)  # (B, 1)
        gold = {"task": batch.targets, "soft": batch.targets if batch.soft is None else batch.soft.squeeze(1)}
        assert batch.soft is not None or "soft" not in self.weights, "soft targets need a teacher"
        columns = [*(gold[name] for name in self.weights), *(self._counted(batch, name) for name in self.weights)]
        return torch.cat([cosines, torch.stack([each.to(cosines.dtype) for each in columns], 1)], 1)
