"""Last hidden states, token by token or word by word. Shapes: B sequences, T tokens, W words, D width, N vectors."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from tinydistil.base.config import OneOf
from tinydistil.batches.batch import MaskedBatch, TeacherView
from tinydistil.distill.losses import word_means
from tinydistil.distill.states import CacheConfig
from tinydistil.distill.terms.base import Needs, Shapes, register
from tinydistil.distill.terms.representation import Representation, RepresentationOptions


@dataclass(frozen=True)
class HiddenOptions(RepresentationOptions, table="recipe"):
    """unit: what is compared, each "token" or "word" (the mean of its tokens, which needs no common vocabulary)."""

    unit: Annotated[str, OneOf(("token", "word"))] = "token"

    @property
    def needs(self) -> Needs:
        return Needs(tokens=self.unit == "token")

    def reason(self, name: str) -> str:
        return f"recipe.unit is {self.unit!r}"

    def bound(self, cache: CacheConfig, shapes: Shapes) -> dict[str, object]:
        return {"recipe.unit": self.unit, **super().bound(cache, shapes)}


@register("hidden")
class Hidden(Representation):
    """The distance per token, or per word."""

    Options = HiddenOptions
    options: HiddenOptions

    def vectors(self, hidden: Tensor, view: MaskedBatch | TeacherView, num_words: int) -> Tensor:
        """N = B * T tokens, or B * W words with W = `num_words`."""
        if self.options.unit == "word":
            return word_means(hidden, view.word_index, num_words)[0].flatten(0, 1)
        return hidden.flatten(0, 1)

    def present(self, view: MaskedBatch | TeacherView, num_words: int) -> Tensor:
        """Tokens of text, or words that exist."""
        if self.options.unit == "token":
            return view.valid_mask.flatten()
        # Words are numbered without gaps, so a sequence's last number tells which exist.
        numbers = torch.arange(num_words, device=view.word_index.device)
        return (numbers <= view.word_index.amax(1, keepdim=True)).flatten()
