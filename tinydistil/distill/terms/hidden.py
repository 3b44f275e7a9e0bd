"""Last hidden states, token by token or word by word. Shapes: B sequences, T tokens, W words, D width, N vectors."""

import torch
from torch import Tensor

from tinydistil.batches.batch import MaskedBatch, TeacherView
from tinydistil.distill.losses import word_means
from tinydistil.distill.options import HiddenOptions
from tinydistil.distill.terms.base import register
from tinydistil.distill.terms.representation import Representation


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
