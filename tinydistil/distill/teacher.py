"""The teacher: frozen, in eval mode, outside DistributedDataParallel and outside autograd.

Letters: B sequences, T tokens, T' tokens of the teacher's own, E width, R rows, V vocabulary.
"""

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
    """What the teacher says of a batch: last hidden states (B, T', E), and words at R rows where they are asked for.

    T' is T where teacher and student have one vocabulary. The R rows are those of `soft_rows`; words: the whole
    distribution, by what makes its logits, or its top tokens.
    """

    hidden: Tensor
    words: Decoding | TopTokens | None


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
