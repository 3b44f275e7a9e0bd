"""The teacher: frozen, in eval mode, outside DistributedDataParallel and outside autograd.

Letters: B sequences, T tokens, T' tokens of the teacher's own, E width, R rows, V vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tinydistil.distill.recipe import Recipe
from tinydistil.distill.vocabulary_loss import TopTokens
from tinydistil.model.batch import MaskedBatch
from tinydistil.model.bert import BertModel
from tinydistil.model.heads import BertForMaskedLM, Decoding


@dataclass(frozen=True, slots=True)
class TeacherSignal:
    """What the teacher says of a batch.

    hidden (B, T', E): its last hidden states, None where they come from a cache; T' is T where teacher and student have
    one vocabulary. words: its distribution at R rows, those of `soft_rows`, where that is asked for: the whole of it,
    by what makes its logits, or its top tokens. vectors: prepared already (see `Projection.prepare`), by term.
    """

    hidden: Tensor | None
    words: Decoding | TopTokens | None
    vectors: Mapping[str, Tensor] | None = None


class LiveTeacher:
    """A model that answers batch by batch: with `recipe.soft` a masked language model, else any encoder."""

    def __init__(self, model: BertForMaskedLM | BertModel, recipe: Recipe) -> None:
        self.model, self.recipe = model.eval().requires_grad_(False), recipe

    @torch.no_grad()
    def __call__(self, batch: MaskedBatch) -> TeacherSignal:
        """The signal for `batch`, on the model's device."""
        assert not self.model.training, "the teacher must stay in eval mode"
        view = batch.teacher_view
        ids = view.input_ids if self.recipe.teacher_sees == "masked" else view.original_ids
        hidden = self.model(ids, view.attention_mask).last_hidden
        if self.recipe.soft == 0:
            return TeacherSignal(hidden, None)
        assert isinstance(self.model, BertForMaskedLM) and batch.teacher is None, "see build.check_pair"
        return TeacherSignal(hidden, self.model.decoding_at(hidden, soft_rows(self.recipe, batch)))


def soft_rows(recipe: Recipe, batch: MaskedBatch) -> Tensor:
    """The flattened tokens (R,) at which the teacher's distribution is compared."""
    return batch.rows if recipe.soft_positions == "masked" else batch.counted.flatten().nonzero().squeeze(1)
