"""What is trained: the student and its projections, and the terms of a recipe that they are trained on.

Letters: B sequences, T tokens, D student width, E teacher width, R rows, V vocabulary, N vectors.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tinydistil.distill import losses
from tinydistil.distill.losses import SumCount
from tinydistil.distill.projection import Projection
from tinydistil.distill.recipe import Recipe
from tinydistil.distill.representation import there, vectors_of
from tinydistil.distill.teacher import TeacherSignal, soft_rows
from tinydistil.model.batch import MaskedBatch
from tinydistil.model.heads import BertForMaskedLM

_DISTANCE = {"cosine": losses.cosine, "mse": losses.mean_squared_error}


class Learner(nn.Module):
    """The student, and a projection for each term that compares vectors: what DistributedDataParallel wraps.

    Calling it computes the terms of `recipe` whose weight is not 0, each a sum and a count, by name: "hard" (masked
    words), "soft" (the teacher's distribution), "hidden" and "pooled" (the teacher's representation).
    """

    def __init__(self, student: BertForMaskedLM, recipe: Recipe, projections: Mapping[str, Projection]) -> None:
        super().__init__()
        compared = {name for name in ("hidden", "pooled") if name in recipe.weights}
        assert projections.keys() == compared, f"one projection each for {compared}, got {projections.keys()}"
        self.student, self.recipe = student, recipe
        self.projections = nn.ModuleDict(projections)
        if recipe.hard == 0 and recipe.soft == 0:
            # No term reaches the head. DistributedDataParallel would wait for its gradients and average no others.
            student.masked_lm.requires_grad_(False)

    @property
    def weights(self) -> Mapping[str, float]:
        """The weight of each term of the recipe; only those above 0."""
        return self.recipe.weights

    def counts(self, batch: MaskedBatch) -> Mapping[str, int]:
        """What each term is divided by: the counts that the losses return, without computing the losses."""
        return {name: self._count(name, batch) for name in self.weights}

    def _count(self, term: str, batch: MaskedBatch) -> int:
        if term == "hard":
            return int((batch.targets != losses.IGNORED).sum())
        if term == "soft":
            return len(soft_rows(self.recipe, batch))
        return int(there(term, self.recipe.unit, batch, batch.num_words).sum())

    def forward(self, batch: MaskedBatch, taught: TeacherSignal | None) -> dict[str, SumCount]:
        """The recipe's terms for one micro-batch. `taught` is what the teacher says of it, None without one."""
        hidden = self.student(batch.input_ids, batch.attention_mask).last_hidden  # (B, T, D)
        parts: dict[str, SumCount] = {}
        logits = None
        if self.recipe.hard > 0:
            logits = self.student.logits_at(hidden, batch.rows)  # (R, V)
            parts["hard"] = losses.masked_lm(logits, batch.targets)
        if self.recipe.soft > 0:
            assert taught is not None and taught.logits is not None, "soft targets need the teacher's logits"
            if logits is None or self.recipe.soft_positions == "all":
                logits = self.student.logits_at(hidden, soft_rows(self.recipe, batch))
            parts["soft"] = losses.soft_targets(
                logits,
                taught.logits,
                torch.ones(len(logits), dtype=torch.bool, device=logits.device),
                temperature=self.recipe.temperature,
                divergence=self.recipe.divergence,
            )
        for term in self.projections:
            assert taught is not None, "representations need a teacher"
            parts[term] = self._distance(term, hidden, taught.hidden, batch)
        return parts

    def _distance(self, term: str, student: Tensor, teacher: Tensor, batch: MaskedBatch) -> SumCount:
        """The distance of representations a token, a word or a sequence; from (B, T, D) and (B, T', E)."""
        unit, words = self.recipe.unit, batch.num_words
        student, teacher = self.projections[term](
            vectors_of(term, unit, student, batch, words),  # (N, D)
            vectors_of(term, unit, teacher, batch.teacher_view, words),  # (N, E)
        )
        return _DISTANCE[self.recipe.distance](student, teacher, there(term, unit, batch, words))
