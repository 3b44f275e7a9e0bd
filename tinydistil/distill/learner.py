"""What is trained: the student and its projection, and the terms of a recipe that they are trained on.

Letters: B sequences, T tokens, R rows, V vocabulary, N vectors.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tinydistil.distill import losses
from tinydistil.distill.losses import SumCount
from tinydistil.distill.projection import Projection
from tinydistil.distill.recipe import Recipe
from tinydistil.distill.teacher import TeacherSignal
from tinydistil.model.batch import MaskedBatch
from tinydistil.model.heads import BertForMaskedLM

_DISTANCE = {"cosine": losses.cosine, "mse": losses.mean_squared_error}


class Learner(nn.Module):
    """The student and, where its width differs from the teacher's, a projection: what DistributedDataParallel wraps.

    Calling it computes the terms of `recipe` whose weight is not 0, each a sum and a count, by name: "hard" (masked
    words), "soft" (the teacher's distribution), "hidden" (the teacher's representation).
    """

    def __init__(self, student: BertForMaskedLM, recipe: Recipe, projection: Projection | None) -> None:
        super().__init__()
        self.student, self.recipe, self.projection = student, recipe, projection

    @property
    def weights(self) -> Mapping[str, float]:
        """The weight of each term of the recipe; only those above 0."""
        weights = {name: getattr(self.recipe, name) for name in ("hard", "soft", "hidden")}
        return {name: weight for name, weight in weights.items() if weight > 0}

    def counts(self, batch: MaskedBatch) -> Mapping[str, int]:
        """What each term is divided by: the counts that the losses return, without computing the losses."""
        return {name: self._count(name, batch) for name in self.weights}

    def _count(self, term: str, batch: MaskedBatch) -> int:
        if term == "hard":
            return int((batch.targets != losses.IGNORED).sum())
        if term == "soft":
            return len(self.soft_rows(batch))
        if self.recipe.unit == "token":
            return int(batch.counted.sum())
        if self.recipe.unit == "pooled":
            return int(batch.counted.any(1).sum())
        return int((batch.word_index.amax(1) + 1).sum())

    def soft_rows(self, batch: MaskedBatch) -> Tensor:
        """The flattened tokens (R,) at which the teacher's distribution is compared."""
        if self.recipe.soft_positions == "masked":
            return batch.rows
        return batch.counted.flatten().nonzero().squeeze(1)

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
                logits = self.student.logits_at(hidden, self.soft_rows(batch))
            parts["soft"] = losses.soft_targets(
                logits,
                taught.logits,
                torch.ones(len(logits), dtype=torch.bool, device=logits.device),
                temperature=self.recipe.temperature,
                divergence=self.recipe.divergence,
            )
        if self.recipe.hidden > 0:
            assert taught is not None and self.projection is not None, "hidden states need a teacher"
            parts["hidden"] = self._hidden(hidden, taught.hidden, batch)
        return parts

    def _hidden(self, student: Tensor, teacher: Tensor, batch: MaskedBatch) -> SumCount:
        """The distance of representations a token, a word or a sentence; (B, T, D) and (B, T, E)."""
        if self.recipe.unit == "word":
            student, there = losses.word_means(student, batch.word_index, batch.num_words)
            teacher, _ = losses.word_means(teacher, batch.word_index, batch.num_words)
        elif self.recipe.unit == "pooled":
            whole = torch.where(batch.counted, 0, -1)  # the sentence as one word
            student, there = losses.word_means(student, whole, 1)
            teacher, _ = losses.word_means(teacher, whole, 1)
        else:
            there = batch.counted
        assert self.projection is not None
        student, teacher = self.projection(student, teacher)
        distance = _DISTANCE[self.recipe.distance]
        return distance(student.flatten(0, 1), teacher.flatten(0, 1), there.flatten())
