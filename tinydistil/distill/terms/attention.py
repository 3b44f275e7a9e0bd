"""Whom tokens attend to, and how alike they are in what attention compares: the terms `attention` and `relations`.

Shapes: B sequences, T tokens, P pairs of layers, D student width, E teacher width, H heads, K head size.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from tinydistil.base.config import OneOf, Range
from tinydistil.base.errors import require
from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.distill.options import CacheConfig, Needs, Shapes, TermOptions
from tinydistil.distill.terms.base import LastHidden, Loss, ModelStates, State, Term, register
from tinydistil.distill.terms.layerwise import pairs_of

RELATIONS = ("query", "key", "value")
# Their attention scores hold more than queries and keys.
_BY_POSITIONS = ("deberta-v2", "modernbert")


class _Compared(LastHidden):
    """Of the teacher's `layers` what attention compares and carries, those of `parts` (numbers of RELATIONS), each
    token's side by side, (B, T, layers * parts * E)."""

    shared = False

    def __init__(self, layers: tuple[int, ...], parts: tuple[int, ...], width: int) -> None:
        super().__init__(len(layers) * len(parts) * width)
        self.layers, self.compares, self.parts = layers, layers, parts

    def take(self, teacher: ModelStates, batch: MaskedBatch) -> Tensor:
        return torch.cat([teacher.compared[i][:, :, part].flatten(2) for i in self.layers for part in self.parts], -1)


class _TokenPairs(Term):
    """What every token has to do with every other of its sequence; one sum per token."""

    parts: tuple[int, ...] = (0, 1)
    pairs: tuple[tuple[int, int], ...]

    def count(self, batch: MaskedBatch) -> int:
        return int(batch.valid_mask.sum())

    def states(self) -> Mapping[str, State]:
        assert self.shapes.teacher is not None
        layers = tuple(theirs for _, theirs in self.pairs)
        return {"compared": _Compared(layers, self.parts, self.shapes.teacher.hidden_size)}


@dataclass(frozen=True)
class AttentionOptions(TermOptions, table="recipe.terms.attention"):
    """layers: see `pairs_of`. distance: "kl" of the weights, or "mse" of the scores before the softmax. heads: compared
    "each" with its like, or their "mean", where there are others."""

    layers: str = "uniform"
    distance: Annotated[str, OneOf(("kl", "mse"))] = "kl"
    heads: Annotated[str, OneOf(("each", "mean"))] = "each"

    @property
    def needs(self) -> Needs:
        return Needs(("compared",), ("compared",), tokens=True, reason="attention is of tokens to tokens")

    def check(self, name: str, shapes: Shapes, cache: CacheConfig | None = None) -> None:
        super().check(name, shapes, cache)
        if shapes.teacher is None:
            return
        pairs_of(self.layers, f"recipe.terms.{name}.layers", shapes, least=1)
        for side in (shapes.student, shapes.teacher):
            plain = side.model_type not in _BY_POSITIONS
            remedy = "choose recipe.terms.relations or layers"
            require(plain, f"recipe.terms.{name}: attention of {side.model_type} also goes by positions; {remedy}")
        own, theirs = shapes.student.num_attention_heads, shapes.teacher.num_attention_heads
        remedy = f"heads must be 'mean' where there are {own} (student) and {theirs}, got {self.heads!r}"
        require(self.heads == "mean" or own == theirs, f"recipe.terms.{name}.{remedy}")

    def bound(self, cache: CacheConfig, shapes: Shapes) -> dict[str, object]:
        # The teacher's, which "uniform" and "last" find by the student's depth.
        layers = [theirs for _, theirs in pairs_of(self.layers, "recipe.layers", shapes, least=1)]
        return {"cache.vector_bits": cache.vector_bits, "recipe.layers": layers}


@register("attention")
class AttentionMaps(_TokenPairs):
    """Whom each token attends to: KL(teacher || student) of the weights, in the mean over heads (Wang et al. 2020,
    MiniLM, eq. 5), or the squared difference of scores, in the mean over heads and tokens (Jiao et al. 2020, eq. 7);
    in the mean over pairs of layers. Padding is attended to by nobody.
    """

    Options = AttentionOptions

    def __init__(self, options: AttentionOptions, shapes: Shapes) -> None:
        super().__init__(options, shapes)
        self.options = options
        self.pairs = pairs_of(options.layers, "recipe.terms.attention.layers", shapes, least=1)
        self.compares = tuple(own for own, _ in self.pairs)
        self.depth = max(self.compares) - 1

    def forward(self, student: ModelStates, teacher: Mapping[str, Any], batch: MaskedBatch) -> Loss:
        assert self.shapes.teacher is not None
        heads, losses = self.shapes.teacher.num_attention_heads, []
        kept = teacher["compared"].unflatten(-1, (len(self.pairs), 2, heads, -1))  # (B, T, P, 2, H, K)
        for number, (own, _) in enumerate(self.pairs):
            ours, theirs = (
                self._scores(each[:, :, 0], each[:, :, 1]) for each in (student.compared[own], kept[:, :, number])
            )  # (B, H, T, T)
            if self.options.distance == "mse":
                losses.append(_mean_square(ours - theirs, batch.valid_mask))
            else:
                losses.append(_kl_of_tokens(self._weights(theirs, batch), self._weights(ours, batch), batch.valid_mask))
        return Loss(torch.stack(losses).mean())

    def _scores(self, query: Tensor, key: Tensor) -> Tensor:
        scores = _products(query, key)
        averaged = self.options.heads == "mean" and self.options.distance == "mse"
        return scores.mean(1, keepdim=True) if averaged else scores

    def _weights(self, scores: Tensor, batch: MaskedBatch) -> Tensor:
        """Logarithms (B, H, T, T), or of the mean weights (B, 1, T, T)."""
        weights = _log_softmax(scores, batch.valid_mask)
        if self.options.heads == "each":
            return weights
        return weights.logsumexp(1, keepdim=True) - math.log(weights.shape[1])


@dataclass(frozen=True)
class RelationsOptions(TermOptions, table="recipe.terms.relations"):
    """heads: into so many each side's vectors are cut, whatever heads its attention has; 0 for as many as the teacher.
    student_layer, teacher_layer: the two that are compared, 0 for the last. relations: of which vectors."""

    heads: Annotated[int, Range(0, 4096)] = 16
    student_layer: Annotated[int, Range(0, 1000)] = 0
    teacher_layer: Annotated[int, Range(0, 1000)] = 0
    relations: tuple[Annotated[str, OneOf(RELATIONS)], ...] = RELATIONS

    @property
    def needs(self) -> Needs:
        return Needs(("compared",), ("compared",), tokens=True, reason="relations are of tokens to tokens")

    def pair(self, shapes: Shapes) -> tuple[int, int]:
        """The two layers."""
        assert shapes.teacher is not None
        own, theirs = shapes.student.num_hidden_layers, shapes.teacher.num_hidden_layers
        return self.student_layer or own, self.teacher_layer or theirs

    def count(self, shapes: Shapes) -> int:
        """How many heads."""
        return self.heads or (shapes.teacher or shapes.student).num_attention_heads

    def check(self, name: str, shapes: Shapes, cache: CacheConfig | None = None) -> None:
        super().check(name, shapes, cache)
        where = f"recipe.terms.{name}"
        given = 0 < len(self.relations) == len(set(self.relations))
        require(given, f"{where}.relations must be some of {', '.join(RELATIONS)}, each once, got {[*self.relations]}")
        if shapes.teacher is None:
            return
        for side, layer, whose in zip((shapes.student, shapes.teacher), self.pair(shapes), ("student", "teacher"),
                                      strict=True):  # fmt: skip
            there, width = layer <= side.num_hidden_layers, side.hidden_size
            require(there, f"{where}.{whose}_layer must be in 0..{side.num_hidden_layers}, got {layer}")
            heads = self.count(shapes)
            remedy = f"got {heads}; choose such as {math.gcd(width, 16)}"
            require(width % heads == 0, f"{where}.heads must divide the {whose}'s width {width}, {remedy}")

    def bound(self, cache: CacheConfig, shapes: Shapes) -> dict[str, object]:
        chosen = {"recipe.teacher_layer": self.pair(shapes)[1], "recipe.relations": list(self.relations)}
        return {"cache.vector_bits": cache.vector_bits, **chosen}


@register("relations")
class Relations(_TokenPairs):
    """How alike each two tokens' queries, keys and values are: softmax(X X^T / sqrt(width of a relation head)), by
    KL(teacher || student) in the mean over relation heads, summed over queries, keys and values (Wang et al. 2021,
    MiniLMv2, eq. 3 to 5). One pair of layers, any widths and heads.
    """

    Options = RelationsOptions

    def __init__(self, options: RelationsOptions, shapes: Shapes) -> None:
        super().__init__(options, shapes)
        self.heads, self.pairs = options.count(shapes), (options.pair(shapes),)
        self.compares = (self.pairs[0][0],)
        self.depth = self.compares[0] - 1
        self.parts = tuple(map(RELATIONS.index, options.relations))

    def forward(self, student: ModelStates, teacher: Mapping[str, Any], batch: MaskedBatch) -> Loss:
        kept, total = teacher["compared"].chunk(len(self.parts), -1), []
        for part, theirs in zip(self.parts, kept, strict=True):
            ours = student.compared[self.pairs[0][0]][:, :, part].flatten(2)  # (B, T, D)
            one, other = (
                _log_softmax(_products(each, each), batch.valid_mask)
                for each in (side.unflatten(-1, (self.heads, -1)) for side in (ours, theirs))
            )
            total.append(_kl_of_tokens(other, one, batch.valid_mask))
        return Loss(torch.stack(total).sum())


def _products(query: Tensor, key: Tensor) -> Tensor:
    """Q K^T / sqrt(K) of (B, T, H, K), (B, H, T, T), in float32 at least."""
    query, key = (each.to(torch.promote_types(each.dtype, torch.float32)).transpose(1, 2) for each in (query, key))
    return (query / math.sqrt(query.shape[-1])) @ key.transpose(-2, -1)


def _log_softmax(scores: Tensor, valid_mask: Tensor) -> Tensor:
    """Over valid tokens (B, T) alone; the least number, not infinity, at padding."""
    least = torch.finfo(scores.dtype).min
    return scores.masked_fill(~valid_mask[:, None, None, :], least).log_softmax(-1)


def _kl_of_tokens(log_p: Tensor, log_q: Tensor, valid_mask: Tensor) -> Tensor:
    """KL(p || q) of each valid token's weights, in the mean over heads, summed."""
    inside = valid_mask[:, None, None, :]
    losses = torch.where(inside, log_p.exp() * (log_p - log_q), 0.0).sum(-1).mean(1)  # (B, T)
    return torch.where(valid_mask, losses, 0.0).sum()


def _mean_square(differences: Tensor, valid_mask: Tensor) -> Tensor:
    """Each valid token's squared differences, in the mean over heads and over the valid tokens it looks at, summed."""
    squares = torch.where(valid_mask[:, None, None, :], differences.square(), 0.0).sum(-1).mean(1)  # (B, T)
    squares = squares / valid_mask.sum(1, keepdim=True).clamp(min=1)
    return torch.where(valid_mask, squares, 0.0).sum()
