"""DeBERTa v2, v3 (He et al. 2021, arXiv:2006.03654, arXiv:2111.09543): attention to what tokens are and, apart from it,
to how far apart they are (the first paper, 3.1, eq. 4):

    A(i, j) = (Q_i K_j + Q_i KP_d + K_j QP_d) / sqrt(n K)       d = bucket(i - j), n: how many of the terms there are
               c2c       c2p        p2c

KP, QP are what matrices make of one table that all layers share, a row for each bucket of distances; `share_att_key`:
the matrices are the layer's for keys and queries. The paper has bucket(j - i) in p2c; its code, so every checkpoint,
has this. Shapes: (...) as in `model.bert`; G sequences, L tokens, H heads, K head size, P rows that their buckets need.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, cast

import torch
from torch import Tensor, nn

from tinydistil.base.config import OneOf, Positive, Range
from tinydistil.base.errors import require
from tinydistil.model.bert import BERT, Embeddings, Layer, SelfAttention
from tinydistil.model.config import ACTIVATIONS, BertConfig, Family, Weights
from tinydistil.model.families.distances import Relative
from tinydistil.model.layers import Attention, PackedAttention, PaddedAttention, activate, drop


@dataclass(frozen=True)
class DebertaV2Config(BertConfig):
    """Defaults are those of `transformers`, whose `legacy` changes only what files call the masked LM head."""

    model_type: ClassVar[str] = "deberta-v2"
    class_prefix: ClassVar[str] = "DebertaV2"
    file_names: ClassVar[dict[str, str]] = {"classifier_dropout": "cls_dropout"}
    computes: ClassVar[dict[str, Any]] = {"conv_groups": 1}

    vocab_size: Annotated[int, Range(1, 10_000_000)] = 128_100
    hidden_size: Annotated[int, Range(1, 65_536)] = 1536
    num_hidden_layers: Annotated[int, Range(1, 1000)] = 24
    num_attention_heads: Annotated[int, Range(1, 65_536)] = 24
    intermediate_size: Annotated[int, Range(1, 1_000_000)] = 6144
    type_vocab_size: Annotated[int, Range(0, 65_536)] = 0
    layer_norm_eps: Positive = 1e-7
    embedding_size: Annotated[int, Range(1, 65_536)] | None = None
    relative_attention: bool = False
    max_relative_positions: Annotated[int, Range(-1, 1_000_000)] = -1
    position_buckets: Annotated[int, Range(-1, 1_000_000)] = -1
    position_biased_input: bool = True
    pos_att_type: tuple[Annotated[str, OneOf(("c2p", "p2c"))], ...] = ()
    share_att_key: bool = False
    norm_rel_ebd: Annotated[str, OneOf(("none", "layer_norm"))] = "none"
    conv_kernel_size: Annotated[int, Range(0, 99)] = 0
    conv_act: Annotated[str, OneOf(("tanh", *ACTIVATIONS))] = "tanh"

    def __post_init__(self) -> None:
        super().__post_init__()
        terms, buckets, farthest = list(self.pos_att_type), self.position_buckets, self.farthest
        require(len(set(terms)) == len(terms), f"pos_att_type must name each term once, got {terms}")
        for name, value, none in (("pos_att_type", terms, []), ("norm_rel_ebd", self.norm_rel_ebd, "none")):
            remedy = f"{none!r} without relative_attention, got {value!r}; set relative_attention to true"
            require(self.relative_attention or value == none, f"{name} must be {remedy}")
        # The logarithm's base is (farthest - 1) / (buckets // 2), which must be > 1.
        fits = buckets < 1 or 2 <= buckets < 2 * (farthest - 1)
        remedy = f"got {buckets}; lower it, or raise max_relative_positions ({farthest}), or -1 for a bucket a distance"
        require(fits, f"position_buckets must be in 2..{2 * (farthest - 1) - 1}, {remedy}")
        odd = self.conv_kernel_size == 0 or self.conv_kernel_size % 2 == 1
        require(odd, f"conv_kernel_size must be odd, or 0 for no convolution, got {self.conv_kernel_size}")

    @property
    def embedding_width(self) -> int:
        return self.embedding_size or self.hidden_size

    @property
    def farthest(self) -> int:
        """Distances from here on are as good as this one."""
        return self.max_relative_positions if self.max_relative_positions > 0 else self.max_position_embeddings

    @property
    def span(self) -> int:
        """The table has a row for each bucket in -span .. span - 1."""
        return self.position_buckets if self.position_buckets > 0 else self.farthest

    @property
    def parameters(self) -> int:
        width, rows = self.hidden_size, self.vocab_size + self.max_position_embeddings + self.type_vocab_size
        own = 0 if self.share_att_key else len(self.pos_att_type) * self.num_hidden_layers
        more = 2 * self.span * self.relative_attention + width * (own + self.conv_kernel_size)
        return super().parameters + width * more + (self.embedding_width - width) * rows

    @classmethod
    def from_file(cls, values: Any) -> dict[str, Any]:
        known = super().from_file(values)
        if "pos_att_type" in known:  # "p2c|c2p" or null in files of the authors
            terms = known["pos_att_type"] or ()
            known["pos_att_type"] = terms.lower().replace("|", " ").split() if isinstance(terms, str) else terms
        return known

    def to_file(self) -> dict[str, Any]:
        values = super().to_file()
        if self.embedding_size is None:
            del values["embedding_size"]  # null would be no width to transformers
        return values


class _ProjectedNorm(nn.LayerNorm):
    """Of vectors that a matrix widens first."""

    def __init__(self, narrow: int, width: int, eps: float) -> None:
        super().__init__(width, eps=eps)
        self.project = nn.Linear(narrow, width, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        return super().forward(self.project(hidden))


class DebertaEmbeddings(Embeddings):
    """Without `position_biased_input` a word's vector does not tell where it stands; attention does."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__(config)
        if not config.position_biased_input:
            self.position = None
        if config.embedding_width != config.hidden_size:
            self.norm = _ProjectedNorm(config.embedding_width, config.hidden_size, config.layer_norm_eps)


class DisentangledAttention(SelfAttention):
    """Self-attention with c2p and p2c (3.1)."""

    def __init__(self, config: DebertaV2Config, relative: Relative | None) -> None:
        super().__init__(config)
        self.relative = (relative,)  # in a tuple it is not a part: the first layer owns it
        self.terms, width = config.pos_att_type, config.hidden_size
        # Not layers' `Linear`: in int8 these would overwrite what they read.
        own = () if config.share_att_key else self.terms
        self.pos_key = nn.Linear(width, width) if "c2p" in own else None
        self.pos_query = nn.Linear(width, width) if "p2c" in own else None

    def forward(self, hidden: Tensor, attend: Attention) -> Tensor:
        """hidden (..., D) to (..., D)."""
        qkv, scores = self.qkv(hidden).unflatten(-1, (3, self.num_heads, -1)), None  # (..., 3, H, K)
        (relative,) = self.relative
        if relative is not None and self.terms:
            # `attend` divides by sqrt(K), and n terms are divided by sqrt(n K).
            scale = (1 + len(self.terms)) ** -0.5
            qkv[..., 0, :, :].mul_(scale)
            longest = attend.groups[-1][0] if isinstance(attend, PackedAttention) else hidden.shape[-2]
            key, query = self._of_distances(relative(longest))
            root = key.shape[-1] ** -0.5
            scores = partial(self._scores, relative, key * root, query * (scale * root))
        return self.output(attend(qkv, dropout=self.dropout_prob if self.training else 0.0, scores=scores))  # type: ignore[no-any-return]

    def _of_distances(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and queries (H, P, K) of rows (P, D); of no meaning where a term is absent."""
        if self.pos_key is None and self.pos_query is None:
            # Values come too, of at most 2 L rows: int8 has no weights of which two thirds could be taken.
            key_query = self.qkv(rows).chunk(3, -1)[1::-1]  # key, query
        else:
            key_query = tuple(rows if matrix is None else matrix(rows) for matrix in (self.pos_key, self.pos_query))
        key, query = (each.unflatten(-1, (self.num_heads, -1)).transpose(0, 1) for each in key_query)
        return key, query

    def _scores(self, relative: Relative, pos_key: Tensor, pos_query: Tensor, query: Tensor, key: Tensor) -> Tensor:
        """c2p + p2c (G, H, L, L) of queries and keys (G, H, L, K) and of those of distances (H, P, K)."""
        length = query.shape[-2]
        found, parts = relative.places(length), []
        count, index = found.counts[length - 1], found.index[:length, :length].expand(*query.shape[:-1], length)
        if "c2p" in self.terms:
            parts.append((query @ pos_key[:, :count].transpose(-2, -1)).gather(-1, index))
        if "p2c" in self.terms:  # row j, column i
            by_key = (key @ pos_query[:, :count].transpose(-2, -1)).gather(-1, index.transpose(-2, -1))
            parts.append(by_key.transpose(-2, -1))
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]


class ConvolvedLayer(Layer):
    """Layer 0 where there is a convolution over embeddings, which is added to its output: v2-xlarge, Albertina."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__(config)
        width, size = config.hidden_size, config.conv_kernel_size
        self.conv, self.conv_act = nn.Conv1d(width, width, size, padding=size // 2), config.conv_act
        self.conv_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)

    def forward(self, hidden: Tensor, attend: Attention) -> Tensor:
        """hidden (..., D) to (..., D)."""
        if isinstance(attend, PackedAttention):
            parts = torch.split(hidden, [length * count for length, count in attend.groups])
            groups = zip(parts, attend.groups, strict=True)
            near = torch.cat([self._near(part.view(count, length, -1)) for part, (length, count) in groups])
        else:
            bias = cast(PaddedAttention, attend).bias
            near = self._near(hidden if bias is None else hidden.masked_fill(bias[:, 0, 0, :, None] < 0, 0))
        near = drop(near.view_as(hidden), self.dropout_prob if self.training else 0.0)
        near = near.tanh() if self.conv_act == "tanh" else activate(self.conv_act, near)
        return self.conv_norm(super().forward(hidden, attend) + near)  # type: ignore[no-any-return]

    def _near(self, sequences: Tensor) -> Tensor:
        """(G, L, D) to (G * L, D)."""
        return self.conv(sequences.transpose(1, 2)).transpose(1, 2).flatten(0, 1)  # type: ignore[no-any-return]


def _layers(config: DebertaV2Config) -> nn.ModuleList:
    """All layers; the first holds what is there once."""
    layers = BERT.layers(config)
    if config.conv_kernel_size:
        layers[0] = ConvolvedLayer(config)
    relative = Relative(config) if config.relative_attention else None
    for layer in layers:
        layer.attention = DisentangledAttention(config, relative)
    layers[0].relative = relative
    return cast(nn.ModuleList, layers)


def _from_file(weights: Weights, config: DebertaV2Config) -> Weights:
    """The authors' head, where there is no other, as BERT's; without a table of positions that nobody reads."""
    theirs, found = "lm_predictions.lm_head.", dict(weights)
    if not config.position_biased_input:
        found.pop("embeddings.position_embeddings.weight", None)
    if not any(name.startswith("cls.") for name in found):
        for name in [name for name in found if name.startswith(theirs)]:
            part = name.removeprefix(theirs)
            found[f"cls.predictions.{part if part == 'bias' else f'transform.{part}'}"] = found.pop(name)
    return found


_NAMES = (
    ("embeddings.LayerNorm.project.", "embeddings.embed_proj."),
    ("attention.self.query.", "attention.self.query_proj."),
    ("attention.self.key.", "attention.self.key_proj."),
    ("attention.self.value.", "attention.self.value_proj."),
    ("attention.pos_key.", "attention.self.pos_key_proj."),
    ("attention.pos_query.", "attention.self.pos_query_proj."),
    ("encoder.layer.0.relative.table.", "encoder.rel_embeddings."),
    ("encoder.layer.0.relative.norm.", "encoder.LayerNorm."),
    ("encoder.layer.0.conv_norm.", "encoder.conv.LayerNorm."),
    ("encoder.layer.0.conv.", "encoder.conv.conv."),
)
FAMILIES = {
    "deberta-v2": Family(
        DebertaV2Config, DebertaEmbeddings, _layers, BERT.masked_lm, prefix="deberta.", names=_NAMES,
        from_file=_from_file,
    )
}  # fmt: skip
