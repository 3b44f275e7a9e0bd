"""Next-sentence and sentence-order prediction: whether the second of two texts follows the first.

Shapes: P pairs, T tokens, D width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.batches.pairs import NEXT, ORDER
from tinydistil.distill.options import Needs, Shapes, TermOptions
from tinydistil.distill.terms.base import Loss, ModelStates, Term, register
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.model.pretrained import init_weights

# Families that have an encoder with a masked LM head and this one in `transformers`, and what files call its layers.
_WRITTEN = {
    "bert": ("bert.pooler.dense", "cls.seq_relationship"),
    "albert": ("albert.pooler", "sop_classifier.classifier"),
}


@dataclass(frozen=True)
class NextOptions(TermOptions, table="recipe.terms.next_sentence"):
    """There are none."""

    kind: ClassVar[str] = NEXT

    @property
    def needs(self) -> Needs:
        return Needs((), (), pairs=(self.kind,))


@dataclass(frozen=True)
class OrderOptions(NextOptions, table="recipe.terms.sentence_order"):
    """There are none."""

    kind: ClassVar[str] = ORDER


class _Sentences(Term):
    """Cross-entropy of two classes by BERT's pooler and a linear layer, in a pass of its own over pairs of texts."""

    def __init__(self, options: NextOptions, shapes: Shapes) -> None:
        super().__init__(options, shapes)
        width, self.kind = shapes.student.hidden_size, options.kind
        self.pooler, self.classifier = nn.Linear(width, width), nn.Linear(width, 2)
        for each in (self.pooler, self.classifier):
            init_weights(each, shapes.student)
        self.reports = (self.kind, f"{self.kind}_accuracy")

    def count(self, batch: MaskedBatch) -> int:
        return int((batch.pairs[self.kind].labels >= 0).sum())

    def forward(self, student: ModelStates, teacher: Mapping[str, Any], batch: MaskedBatch) -> Loss:
        view = batch.pairs[self.kind]
        encoder = student.model.encoder
        hidden = encoder(view.input_ids, view.attention_mask, view.token_type_ids).last_hidden  # (P, T, D)
        logits = self.classifier(torch.tanh(self.pooler(hidden[:, 0])))  # (P, 2)
        loss = F.cross_entropy(logits, view.labels, ignore_index=-100, reduction="sum")
        right = (logits.argmax(1) == view.labels).sum()
        return Loss(loss, {self.kind: loss, f"{self.kind}_accuracy": right})

    def written_with(self, student: BertForMaskedLM) -> tuple[str, dict[str, Tensor]] | None:
        if student.config.model_type not in _WRITTEN:
            return None
        layers = zip(_WRITTEN[student.config.model_type], (self.pooler, self.classifier), strict=True)
        return "BertForPreTraining", {
            f"{name}.{key}": each for name, of in layers for key, each in of.state_dict().items()
        }


@register(NEXT)
class NextSentence(_Sentences):
    """Whether the second text follows the first in the corpus or is another's (Devlin et al. 2019, 3.1)."""

    Options = NextOptions


@register(ORDER)
class SentenceOrder(_Sentences):
    """Whether two neighbouring texts are in their order or the other way round (ALBERT, Lan et al. 2020, 3.1)."""

    Options = OrderOptions
