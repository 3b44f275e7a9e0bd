"""Whole sequences, each as one vector. Shapes: B sequences, T tokens, D width."""

import torch
from torch import Tensor

from tinydistil.batches.batch import MaskedBatch, TeacherView
from tinydistil.distill.losses import word_means
from tinydistil.distill.options import PooledOptions
from tinydistil.distill.states import ModelStates
from tinydistil.distill.terms.base import register
from tinydistil.distill.terms.representation import Representation


@register("pooled")
class Pooled(Representation):
    """The distance per sequence: of the mean over its tokens, special ones included, as most sentence encoders pool."""

    Options = PooledOptions

    def vectors(self, hidden: Tensor, view: MaskedBatch | TeacherView, num_words: int) -> Tensor:
        """The means (B, D)."""
        whole = torch.where(view.valid_mask, 0, -1)  # the sequence as one word
        return word_means(hidden, whole, 1)[0].flatten(0, 1)

    def teacher_vectors(self, teacher: ModelStates, batch: MaskedBatch) -> Tensor:
        """The same, or the first token's where the teacher's folder says so."""
        if self.shapes.teacher_pooling == "cls":
            return teacher.hidden[:, 0]
        return super().teacher_vectors(teacher, batch)

    def present(self, view: MaskedBatch | TeacherView, num_words: int) -> Tensor:
        """Sequences with text."""
        return view.valid_mask.any(1)
