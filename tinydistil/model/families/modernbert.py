"""ModernBERT (Warner et al. 2024, sec. 2.1): layers that normalise first, rotate queries and keys instead of adding
positions, mostly look no further than a window, and gate their feed-forward layer.

A layer is h' = h + A(norm(h)), then h' + F(norm(h')); the first has no norm before A, as the embeddings end in one; a
last norm follows all layers. F is GeGLU (Shazeer 2020, eq. 6): F(x) = W_down (act(a) * g), a and g halves of W_up x.
A turns queries and keys (Su et al. 2021, eq. 34): of the K numbers of a head, i < K/2 and i + K/2 are coordinates of a
point that turns, at position m, by the angle m theta^(-2i/K). Scores then depend on distances only. Local layers have a
theta of their own, and in them a token sees those at most local_attention // 2 away. Shapes: those of `model.bert`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from tinydistil.base.config import Checked, OneOf, Positive, Range, shown, table_of
from tinydistil.base.errors import require
from tinydistil.model.bert import CHUNK, Embeddings, MaskedLMHead
from tinydistil.model.config import ACTIVATIONS, BertConfig, Dropout, Family, Weights
from tinydistil.model.layers import Attention, Linear, PackedAttention, activate, drop
from tinydistil.model.pretrained import DECODER_BIAS, HEAD_BIAS

GLOBAL, LOCAL = "full_attention", "sliding_attention"
_PARTS = ("query", "key", "value")


@dataclass(frozen=True)
class Rope(Checked):
    rope_theta: Positive
    rope_type: Annotated[str, OneOf(("default",))] = "default"  # others scale the angles


@dataclass(frozen=True)
class Ropes(Checked):
    full_attention: Rope = Rope(160_000.0)
    sliding_attention: Rope = Rope(10_000.0)


@dataclass(frozen=True)
class ModernBertConfig(BertConfig):
    """Defaults are those of `transformers` (ModernBERT-base). Two forms of config.json are read: of published models
    (global_attn_every_n_layers, global_rope_theta, local_rope_theta) and of `transformers` 5, which is written."""

    model_type: ClassVar[str] = "modernbert"
    class_prefix: ClassVar[str] = "ModernBert"
    file_names: ClassVar[dict[str, str]] = {
        "hidden_act": "hidden_activation",
        "hidden_dropout_prob": "mlp_dropout",
        "attention_probs_dropout_prob": "attention_dropout",
        "layer_norm_eps": "norm_eps",
    }
    computes: ClassVar[dict[str, Any]] = {"rope_scaling": None}

    vocab_size: Annotated[int, Range(1, 10_000_000)] = 50368
    num_hidden_layers: Annotated[int, Range(1, 1000)] = 22
    intermediate_size: Annotated[int, Range(1, 1_000_000)] = 1152
    hidden_dropout_prob: Dropout = 0.0
    attention_probs_dropout_prob: Dropout = 0.0
    embedding_dropout: Dropout = 0.0
    max_position_embeddings: Annotated[int, Range(1, 1_000_000)] = 8192
    type_vocab_size: Annotated[int, Range(0, 0)] = 0
    layer_norm_eps: Positive = 1e-5
    pad_token_id: int | None = 50283
    norm_bias: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    decoder_bias: bool = True
    classifier_bias: bool = False
    classifier_activation: Annotated[str, OneOf(ACTIVATIONS)] = "gelu"
    global_attn_every_n_layers: Annotated[int, Range(1, 1000)] = 3
    local_attention: Annotated[int, Range(1, 1_000_000)] = 128
    rope_parameters: Ropes = Ropes()

    def __post_init__(self) -> None:
        super().__post_init__()
        width, heads = self.hidden_size, self.num_attention_heads
        require(width // heads % 2 == 0, f"hidden_size / num_attention_heads must be even, got {width} / {heads}")

    @property
    def parameters(self) -> int:
        layer = 4 * self.hidden_size + 3 * self.intermediate_size
        return self.hidden_size * (self.vocab_size + self.num_hidden_layers * layer)

    @classmethod
    def from_file(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        # Published files hold some keys under BERT's names too, which nothing reads.
        known = {key: value for key, value in values.items() if key not in (*cls.file_names, "type_vocab_size")}
        ropes, theta = dict(table_of(known.get("rope_parameters") or {}, "rope_parameters")), 160_000.0
        for kind, name, usual in ((GLOBAL, "global_rope_theta", theta), (LOCAL, "local_rope_theta", 10_000.0)):
            said = known.get(name, usual)
            theta = theta if said is None else said  # without its own, a local layer has the global ones'
            ropes[kind] = {"rope_theta": theta, **table_of(ropes.get(kind) or {}, f"rope_parameters.{kind}")}
        known["rope_parameters"] = ropes
        if (kinds := known.get("layer_types")) is not None:
            layers = known.get("num_hidden_layers", cls.num_hidden_layers)
            kinds = kinds if isinstance(kinds, list) and len(kinds) == layers else []
            steps = known.get("global_attn_every_n_layers", 3), [*kinds[1:], GLOBAL].index(GLOBAL) + 1
            fitting = [step for step in steps if type(step) is int and step > 0 and kinds == _kinds(step, len(kinds))]
            regular = f"layer_types must be {GLOBAL!r} in every n-th of {shown(layers)} layers, else {LOCAL!r}"
            require(kinds != [] and fitting != [], f"{regular}, got {shown(values['layer_types'])}")
            known["global_attn_every_n_layers"] = fitting[0]
        return super().from_file(known)

    def to_file(self) -> dict[str, Any]:
        return super().to_file() | {"layer_types": _kinds(self.global_attn_every_n_layers, self.num_hidden_layers)}


def _kinds(step: int, layers: int) -> list[str]:
    return [LOCAL if layer % step else GLOBAL for layer in range(layers)]


def _norm(config: ModernBertConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps, bias=config.norm_bias)


# Both are asked for by few lengths, and cut. Not in inference mode, whose tensors training could not use.
@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _rotations(theta: float, size: int, length: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """cos and sin (length, 1, 1, K/2) of the angles, which are float32 whatever `dtype` is: so models were trained."""
    turns = 1.0 / theta ** (torch.arange(0, size, 2, dtype=torch.float32, device=device) / size)
    angles = torch.arange(length, dtype=torch.float32, device=device)[:, None, None, None] * turns
    return angles.cos().to(dtype), angles.sin().to(dtype)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _window(reach: int, length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(length, length): 0 for tokens at most `reach` apart, else half the least number, so that no sum is -inf."""
    positions = torch.arange(length, device=device)
    far = (positions[:, None] - positions).abs() > reach
    return torch.zeros(far.shape, dtype=dtype, device=device).masked_fill_(far, torch.finfo(dtype).min / 2)


class RotarySelfAttention(nn.Module):
    """Multi-head self-attention over rotated queries and keys, in local layers among near tokens only."""

    def __init__(self, config: ModernBertConfig, kind: str) -> None:
        super().__init__()
        self.num_heads, self.dropout_prob = config.num_attention_heads, config.attention_probs_dropout_prob
        width, biased = config.hidden_size, config.attention_bias
        self.qkv, self.output = Linear(width, 3 * width, bias=biased), Linear(width, width, bias=biased)
        self.theta = getattr(config.rope_parameters, kind).rope_theta
        self.reach = config.local_attention // 2 if kind == LOCAL else config.longest

    def forward(self, hidden: Tensor, attend: Attention) -> Tensor:
        """hidden (..., D) to (..., D)."""
        qkv = self.qkv(hidden).unflatten(-1, (3, self.num_heads, -1))  # (..., 3, H, K)
        longest = attend.groups[-1][0] if isinstance(attend, PackedAttention) else qkv.shape[1]
        length, dtype = max(64, 1 << (longest - 1).bit_length()), torch.promote_types(qkv.dtype, torch.float32)
        tables, ids = _rotations(self.theta, qkv.shape[-1], length, dtype, qkv.device), attend.position_ids
        cos, sin = (table[:longest] if ids is None else table[ids] for table in tables)
        left, right = qkv[..., :2, :, :].to(dtype).chunk(2, -1)  # each (..., 2, H, K/2)
        turned = torch.cat([left * cos - right * sin, right * cos + left * sin], -1)
        qkv = torch.cat([turned.to(qkv.dtype), qkv[..., 2:, :, :]], -3)

        def near(query: Tensor, key: Tensor) -> Tensor:
            mask = _window(self.reach, length, query.dtype, query.device)
            return mask[: query.shape[-2], : query.shape[-2]]

        probability, scores = self.dropout_prob if self.training else 0.0, near if longest > self.reach + 1 else None
        return drop(self.output(attend(qkv, dropout=probability, scores=scores)), probability, in_place=True)


class GatedLayer(nn.Module):
    """Attention, then the gated feed-forward layer, each of its normalised input and added to it (pre-LayerNorm)."""

    def __init__(self, config: ModernBertConfig, index: int, kind: str) -> None:
        super().__init__()
        width, wide, biased = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.attention, self.attention_norm = RotarySelfAttention(config, kind), _norm(config) if index else None
        self.up, self.down = Linear(width, 2 * wide, bias=biased), Linear(wide, width, bias=biased)
        self.feed_forward_norm = _norm(config)
        self.hidden_act, self.dropout_prob = config.hidden_act, config.hidden_dropout_prob

    def forward(self, hidden: Tensor, attend: Attention) -> Tensor:
        """hidden (..., D) to (..., D); a sum with what autocast made narrower is as wide as `hidden`."""
        normed = hidden if self.attention_norm is None else self.attention_norm(hidden)
        hidden = hidden + self.attention(normed, attend)
        return hidden + self.feed_forward(self.feed_forward_norm(hidden))

    def feed_forward(self, hidden: Tensor) -> Tensor:
        """Each token by itself through the wide layer and back: (..., D) to (..., D)."""
        whole, outputs = torch.is_grad_enabled() or torch.compiler.is_compiling(), []
        for part in torch.split(hidden.flatten(0, -2), hidden.numel() if whole else CHUNK):
            value, gate = self.up(part).chunk(2, -1)  # each (N, F)
            product = activate(self.hidden_act, value) * gate
            outputs.append(self.down(drop(product, self.dropout_prob if self.training else 0.0)))
        return torch.cat(outputs).view_as(hidden)


def _embeddings(config: ModernBertConfig) -> Embeddings:
    made = Embeddings(config)
    made.position, made.norm, made.dropout_prob = None, _norm(config), config.embedding_dropout
    return made


def _masked_lm(config: ModernBertConfig) -> MaskedLMHead:
    head = MaskedLMHead(config)
    head.dense = Linear(config.hidden_size, config.hidden_size, bias=config.classifier_bias)
    head.hidden_act, head.norm = config.classifier_activation, _norm(config)
    head.bias.requires_grad_(config.decoder_bias)  # without one: zeros for good, which files do not hold
    return head


def _layers(config: ModernBertConfig) -> nn.ModuleList:
    kinds = _kinds(config.global_attn_every_n_layers, config.num_hidden_layers)
    return nn.ModuleList(GatedLayer(config, index, kind) for index, kind in enumerate(kinds))


def _split(weights: Weights, config: ModernBertConfig) -> Weights:
    """Query, key and value apart. A classifier that stands on a head of its own, which ours do not, is left over."""
    found, has_head = dict[str, Tensor](), "cls.predictions.transform.dense.weight" in weights
    for name, tensor in weights.items():
        if ".self.qkv." in name:
            found |= zip((name.replace("qkv", part) for part in _PARTS), tensor.tensor_split(3), strict=True)
        else:
            found[f"cls.{name}" if has_head and name.startswith("classifier.") else name] = tensor
    return found | ({HEAD_BIAS: torch.zeros(config.vocab_size)} if has_head and not config.decoder_bias else {})


def _join(weights: Weights, config: ModernBertConfig) -> Weights:
    found = {name: weights[name] for name in weights if config.decoder_bias or name not in (HEAD_BIAS, DECODER_BIAS)}
    for name in weights:
        if ".self.query." in name:
            found[name.replace("query", "qkv")] = torch.cat([found.pop(name.replace("query", part)) for part in _PARTS])
    return found


_NAMES = (
    ("embeddings.word_embeddings", "embeddings.tok_embeddings"),
    (".LayerNorm.", ".norm."),
    ("encoder.layer.", "layers."),
    ("encoder.final.", "final_norm."),
    ("attention.output.norm", "attn_norm"),
    ("attention.output.dense", "attn.Wo"),
    ("attention.self.qkv", "attn.Wqkv"),
    ("feed_forward_norm", "mlp_norm"),
    ("intermediate.dense", "mlp.Wi"),
    ("output.dense", "mlp.Wo"),
    ("cls.predictions.transform.", "head."),
    ("cls.predictions.decoder.", "decoder."),
    ("cls.predictions.bias", "decoder.bias"),
)
FAMILIES = {
    "modernbert": Family(ModernBertConfig, _embeddings, _layers, _masked_lm, _norm, "model.", _NAMES, _split, _join)
}
