"""Replaced-token detection: a small generator fills in what is masked, the student tells for each token whether it is
the text's own (ELECTRA, Clark et al. 2020).

Shapes: B sequences, T tokens, R masked positions, V vocabulary, D width, E width of word vectors, G of the generator.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinydistil.base.config import Range
from tinydistil.base.errors import require
from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.distill.fused import fused_vocabulary_loss
from tinydistil.distill.options import CacheConfig, Needs, Shapes, TermOptions
from tinydistil.distill.terms import vocabulary
from tinydistil.distill.terms.base import Loss, ModelStates, Term, register
from tinydistil.model.bert import BERT, BertForMaskedLM, BertModel, Decoding, Embeddings, MaskedLMHead
from tinydistil.model.config import BertConfig, new_shape
from tinydistil.model.layers import Linear, attention_over
from tinydistil.model.pretrained import init_weights

# Logits that are drawn from at once: 32 MiB.
_CELLS = 2**23


@dataclass(frozen=True)
class ReplacedTokensOptions(TermOptions, table="recipe.terms.replaced_tokens"):
    """generator_layers, generator_width: its shape, beside word vectors that it shares with the student. discriminator:
    the weight of its loss against the generator's, lambda in the paper's section 2."""

    generator_layers: Annotated[int, Range(1, 100)] = 1
    generator_width: Annotated[int, Range(8, 65_536)] = 64
    discriminator: Annotated[float, Range(0, 1e7, without=(0,))] = 50.0

    @property
    def needs(self) -> Needs:
        return Needs((), (), masks=True, family="electra")

    def check(self, name: str, shapes: Shapes, cache: CacheConfig | None = None) -> None:
        super().check(name, shapes, cache)
        self.shape(shapes.student)

    def shape(self, student: BertConfig) -> BertConfig:
        """That of the generator, with the student's word vectors."""
        layers, width = self.generator_layers, self.generator_width
        require(
            width % 2 == 0,
            f"recipe.terms.replaced_tokens.generator_width must be even, for its heads, got {width}",
        )
        shape = new_shape(layers, width, student.vocab_size, student.embedding_width)
        dropout = {name: getattr(student, name) for name in ("hidden_dropout_prob", "attention_probs_dropout_prob")}
        return shape.replace(initializer_range=student.initializer_range, **dropout)


class Generator(nn.Module):
    """A masked language model that has all embeddings from the student, and layers and a head of its own."""

    def __init__(self, shape: BertConfig) -> None:
        super().__init__()
        self.project = Linear(shape.embedding_width, shape.hidden_size)
        self.layers: nn.ModuleList = BERT.layers(shape)
        self.head = MaskedLMHead(shape)
        init_weights(self, shape)

    def forward(self, student: BertModel, batch: MaskedBatch) -> Decoding:
        """What its logits at the masked positions (R, V) are made of."""
        own = student.embeddings
        attend = attention_over(batch.attention_mask, "sdpa", own.norm.weight.dtype)
        hidden = self.project(Embeddings.forward(own, batch.input_ids, None))  # (B, T, G)
        for layer in self.layers:
            hidden = layer(hidden, attend)
        rows = hidden.flatten(0, 1).index_select(0, batch.positions)
        return self.head(rows, own.word.weight)  # type: ignore[no-any-return]


@register("replaced_tokens")
class ReplacedTokens(Term):
    """The generator's cross-entropy per masked token, and `discriminator` times the student's binary one per token.

    A masked token becomes what is drawn from the generator, without a gradient; where that is the text's own token it
    is no replacement. accuracy: of all tokens; original: the share of tokens that are their own, which is the accuracy
    of always saying so.
    """

    Options = ReplacedTokensOptions

    def __init__(self, options: ReplacedTokensOptions, shapes: Shapes) -> None:
        super().__init__(options, shapes)
        of_all = dict.fromkeys(("discriminator", "accuracy", "original"), "discriminator")
        self.reports = {"generator": "generator", **of_all}
        student, width, self.weight = shapes.student, shapes.student.hidden_size, options.discriminator
        self.generator = Generator(options.shape(student))
        self.dense, self.prediction = nn.Linear(width, width), nn.Linear(width, 1)
        for each in (self.dense, self.prediction):
            init_weights(each, student)

    def count(self, batch: MaskedBatch) -> Mapping[str, int]:
        return {"generator": len(batch.positions), "discriminator": int(batch.valid_mask.sum())}

    def forward(self, student: ModelStates, teacher: Mapping[str, Any], batch: MaskedBatch) -> Mapping[str, Loss]:
        encoder = student.model.encoder
        decoding = self.generator(encoder, batch)
        generated = fused_vocabulary_loss(decoding, batch.targets, None, hard=1.0, soft=0.0)
        ids = batch.original_ids.flatten().clone()
        ids[batch.positions] = drawn(decoding, draws_of(batch).to(ids.device))
        ids = ids.view_as(batch.original_ids)
        hidden = encoder(ids, batch.attention_mask).last_hidden[batch.valid_mask]  # (N, D)
        logits = self.prediction(F.gelu(self.dense(hidden))).squeeze(1)  # (N,)
        replaced = (ids != batch.original_ids)[batch.valid_mask]
        loss = F.binary_cross_entropy_with_logits(logits, replaced.to(logits.dtype), reduction="sum")
        numbers = {"accuracy": ((logits > 0) == replaced).sum(), "original": (~replaced).sum()}
        return {"generator": Loss(generated.total), "discriminator": Loss(loss, numbers, self.weight)}

    def written_with(self, student: BertForMaskedLM) -> tuple[str, dict[str, Tensor]]:
        layers = (("dense", self.dense), ("dense_prediction", self.prediction))
        named = {f"discriminator_predictions.{n}.{key}": t for n, of in layers for key, t in of.state_dict().items()}
        return "BertForPreTraining", named


def draws_of(batch: MaskedBatch) -> Tensor:
    """A number in [0, 1) for each masked position (R,)."""
    rows = batch.positions // batch.input_ids.shape[1]
    return vocabulary.draws_of(batch, torch.bincount(rows, minlength=len(batch.sequence_ids)), 1).squeeze(1)


@torch.no_grad()
def drawn(decoding: Decoding, draws: Tensor) -> Tensor:
    """Ids (R,) from the distributions of `decoding` by uniform `draws` (R,): the first token at which the sum of
    probabilities passes the draw."""
    found = [torch.empty(0, dtype=torch.int64, device=draws.device)]
    size = max(1, _CELLS // len(decoding.weight))
    for rows, part in zip(torch.split(decoding.rows, size), torch.split(draws, size), strict=True):
        logits = Decoding(rows, decoding.weight, decoding.bias).logits()
        sums = logits.softmax(1, dtype=torch.promote_types(logits.dtype, torch.float32)).cumsum(1)  # (n, V)
        ids = torch.searchsorted(sums, (part.to(sums.dtype) * sums[:, -1])[:, None], right=True).squeeze(1)
        found.append(ids.clamp(max=len(decoding.weight) - 1))
    return torch.cat(found)
