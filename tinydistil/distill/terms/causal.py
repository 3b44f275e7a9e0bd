"""Causal language modelling: each token is guessed from those before it, by the encoder with a causal mask.

Shapes: B sequences, T tokens, D width, N tokens that are guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.distill.fused import fused_vocabulary_loss
from tinydistil.distill.options import Needs, TermOptions
from tinydistil.distill.terms.base import Loss, ModelStates, Term, register
from tinydistil.model.bert import BertForMaskedLM


@dataclass(frozen=True)
class CausalOptions(TermOptions, table="recipe.terms.causal"):
    """There are none: the text is read as it is, whatever is masked for other terms."""

    @property
    def needs(self) -> Needs:
        return Needs(("logits",), ())


@register("causal")
class Causal(Term):
    """Cross-entropy of the next token, in nats (Radford et al. 2018, eq. 1), in a pass of its own over the text.

    [CLS] guesses the first token, the last one [SEP].
    """

    Options = CausalOptions

    def count(self, batch: MaskedBatch) -> int:
        return int(batch.valid_mask[:, 1:].sum())

    def forward(self, student: ModelStates, teacher: Mapping[str, Any], batch: MaskedBatch) -> Loss:
        model = student.model
        assert isinstance(model, BertForMaskedLM), "the student, which is one"
        hidden = model.bert(batch.original_ids, batch.attention_mask, causal=True).last_hidden  # (B, T, D)
        positions, targets = following(batch)
        found = fused_vocabulary_loss(model.decoding_at(hidden, positions), targets, None, hard=1.0, soft=0.0)
        return Loss(found.total)


def following(batch: MaskedBatch) -> tuple[Tensor, Tensor]:
    """The tokens (N,) that another one follows, among the flattened B * T, and the ids of those that do."""
    followed = batch.valid_mask.clone()
    followed[:, :-1] &= batch.valid_mask[:, 1:]
    followed[:, -1] = False
    positions = followed.flatten().nonzero().squeeze(1)
    return positions, batch.original_ids.flatten()[positions + 1]
