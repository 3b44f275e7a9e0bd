"""What is trained: the student and its projections, and the terms of a recipe that they are trained on.

Letters: B sequences, T tokens, D student width, E teacher width, R rows, V vocabulary, N vectors.
"""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from tinydistil.batches.batch import MaskedBatch
from tinydistil.distill import losses
from tinydistil.distill.fused import fused_vocabulary_losses
from tinydistil.distill.losses import SumCount
from tinydistil.distill.projection import Projection
from tinydistil.distill.recipe import Recipe
from tinydistil.distill.representation import there, vectors_of
from tinydistil.distill.teacher import TeacherSignal, soft_rows
from tinydistil.distill.vocabulary_loss import SparseTargets, vocabulary_losses
from tinydistil.model.heads import BertForMaskedLM, Decoding

_DISTANCE = {"cosine": losses.cosine, "mse": losses.mean_squared_error}


class Learner(nn.Module):
    """The student, and a projection for each term that compares vectors: what DistributedDataParallel wraps.

    Calling it computes the terms of `recipe` whose weight is not 0, each a sum and a count, by name: "hard" (masked
    words), "soft" (the teacher's distribution), "hidden" and "pooled" (the teacher's representation).
    fused: words' terms without their matrices (R, V), see `distill.fused`. teacher_pooling: "mean" or "cls", which
    vector of the teacher stands for a sequence.
    """

    def __init__(
        self,
        student: BertForMaskedLM,
        recipe: Recipe,
        projections: Mapping[str, Projection],
        *,
        fused: bool = True,
        teacher_pooling: str = "mean",
    ) -> None:
        super().__init__()
        compared = {name for name in ("hidden", "pooled") if name in recipe.weights}
        assert projections.keys() == compared, f"one projection each for {compared}, got {projections.keys()}"
        self.student, self.recipe, self.teacher_pooling = student, recipe, teacher_pooling
        self.compare_words = fused_vocabulary_losses if fused else vocabulary_losses
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
        parts = self._word_terms(hidden, batch, None if taught is None else taught.words)
        for term in self.projections:
            assert taught is not None, "representations need a teacher"
            parts[term] = self._distance(term, hidden, self.teacher_vectors(term, taught, batch), batch)
        return parts

    def _word_terms(
        self, hidden: Tensor, batch: MaskedBatch, words: Decoding | SparseTargets | None
    ) -> dict[str, SumCount]:
        """ "hard" and "soft", as far as the recipe has them; in one sweep where both look at the masked rows."""
        recipe, found = self.recipe, {}
        compare = partial(self.compare_words, temperature=recipe.temperature, divergence=recipe.divergence)
        apart = recipe.soft > 0 and recipe.soft_positions == "all"
        at_masks = 0.0 if apart else recipe.soft
        if recipe.hard > 0 or at_masks > 0:
            decoding = self.student.decoding_at(hidden, batch.rows)
            masked = compare(decoding, batch.targets, words, hard=recipe.hard, soft=at_masks)
            found = {"hard": masked.hard, "soft": masked.soft}
        if apart:
            rows = soft_rows(recipe, batch)
            decoding = self.student.decoding_at(hidden, rows)
            found["soft"] = compare(decoding, torch.zeros_like(rows), words, hard=0.0, soft=recipe.soft).soft
        return {name: part for name, part in found.items() if part is not None}

    def teacher_vectors(self, term: str, taught: TeacherSignal, batch: MaskedBatch) -> Tensor:
        """What `term` compares the student's vectors with, (N, F), before any map that is learned."""
        if taught.vectors is not None:
            return taught.vectors[term]
        assert taught.hidden is not None, "a live teacher has hidden states"
        unit, view, words = self.recipe.unit, batch.teacher_view, batch.num_words
        vectors = vectors_of(term, unit, taught.hidden, view, words, pooling=self.teacher_pooling)  # (N, E)
        return self.projection(term).prepare(vectors)

    def projection(self, term: str) -> Projection:
        """Of a term that compares vectors."""
        found = self.projections[term]
        assert isinstance(found, Projection)
        return found

    def _distance(self, term: str, student: Tensor, teacher: Tensor, batch: MaskedBatch) -> SumCount:
        """The distance of representations a token, a word or a sequence; from (B, T, D) and (N, F)."""
        unit, words = self.recipe.unit, batch.num_words
        student, teacher = self.projection(term).compare(vectors_of(term, unit, student, batch, words), teacher)
        return _DISTANCE[self.recipe.distance](student, teacher, there(term, unit, batch, words))
