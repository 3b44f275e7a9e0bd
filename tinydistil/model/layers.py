"""Operations in the form that costs a CPU the least: products, activations, dropout; and pooling.

Shapes: B sequences, T tokens, N rows, D and F widths.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Narrower matrices gain nothing by oneDNN: 128 x 512 takes as long either way, twice as long where there are 16 rows.
WIDE = 100_000
_gelu_ = torch.ops.aten.gelu_
# By the names of config.json, each also in place.
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "gelu": (F.gelu, _gelu_),  # exact, with erf (Hendrycks & Gimpel 2016); the tanh form differs by up to 5e-4
    "gelu_new": (partial(F.gelu, approximate="tanh"), partial(_gelu_, approximate="tanh")),
    "relu": (F.relu, F.relu_),
    "silu": (F.silu, partial(F.silu, inplace=True)),
}
ACTIVATIONS |= {"gelu_pytorch_tanh": ACTIVATIONS["gelu_new"], "swish": ACTIVATIONS["silu"]}
# Those of sentence-transformers; the last three are read from its folders only.
REDUCTIONS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")


def activate(name: str, hidden: Tensor) -> Tensor:
    """Activation `name` of `hidden`, any shape, which is overwritten where no gradient will ask for it.

    At 32 x 128 tokens fresh memory for the widest tensor of bert-tiny costs more than computing its GELU.
    """
    plain, in_place = ACTIVATIONS[name]
    return (plain if torch.is_grad_enabled() and hidden.requires_grad else in_place)(hidden)


@cache
def _prefers_onednn() -> bool:
    """Whether oneDNN's product is at hand, and known to be the faster: on processors with AVX-512.

    Measured on two cores of an AMD EPYC, whose AVX-512 the default library (MKL) leaves unused: 900 x 768 to 3072 with
    GELU 21.7 ms against 30.8, 64 x 768 to 29,794 words 18.2 against 37.2. A rule, not a trial at run time: two runs on
    one machine must round alike.
    """
    return (
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for it; on AVX2 it takes 5 to 7 times the time of float32."""
    has: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # which torch 2.10 may lack
    return device.type == "cuda" or bool(has.get("avx512_bf16") or has.get("amx_bf16"))


def by_onednn(rows: Tensor, weight: Tensor) -> bool:
    """Whether `linear` takes oneDNN for these: float32 on a CPU, bfloat16 on one that has instructions for it, a wide
    matrix, no gradient, no autocast, no graph."""
    return (
        not torch.is_grad_enabled()
        and rows.device.type == "cpu"
        and rows.dtype == weight.dtype
        and (rows.dtype == torch.float32 or (rows.dtype == torch.bfloat16 and has_bfloat16(rows.device)))
        and weight.numel() >= WIDE
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and _prefers_onednn()
    )


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None, *, gelu: bool = False) -> Tensor:
    """rows (..., D) @ weight (F, D).T + bias (F,), and with `gelu` the exact GELU of it: (..., F)."""
    if by_onednn(rows, weight):
        activation, approximation = ("gelu", "none") if gelu else ("none", "")
        by_library = torch.ops.mkldnn._linear_pointwise
        return by_library(rows, weight, bias, activation, [], approximation)  # type: ignore[no-any-return]
    product = F.linear(rows, weight, bias)
    return activate("gelu", product) if gelu else product


class Linear(nn.Linear):
    """`nn.Linear` by `linear`."""

    def forward(self, rows: Tensor, *, gelu: bool = False) -> Tensor:  # (..., D) to (..., F)
        return linear(rows, self.weight, self.bias, gelu=gelu)


def drop(hidden: Tensor, probability: float, *, in_place: bool = False) -> Tensor:
    """Zero each number with `probability` and scale the rest so that the mean stays; any shape.

    `in_place` overwrites `hidden`: right where autograd does not keep it, as after a linear layer or LayerNorm.
    On a CPU the probability is rounded to a multiple of 2^-16.
    """
    if probability == 0:
        return hidden
    if hidden.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(hidden, probability, inplace=in_place)
    # PyTorch draws one number an element, serially: a fifth of a training step of bert-tiny. Four 16-bit
    # numbers from each draw are as random and as many times cheaper.
    words = torch.empty((hidden.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    draws = words.view(torch.int16)[: hidden.numel()].view(hidden.shape)  # uniform in -2^15 .. 2^15 - 1
    dropped = min(round(probability * 2**16), 2**16 - 1)  # of the 2^16 values a draw can take, never all
    mask = (draws >= dropped - 2**15).to(hidden.dtype).mul_(2**16 / (2**16 - dropped))  # 0 or 1 / (1 - p)
    return hidden.mul_(mask) if in_place else hidden * mask


def pool(hidden: Tensor, attention_mask: Tensor | None, pooling: str, *, first: int = 0) -> Tensor:
    """Pool `hidden` (B, T, D) to (B, D): "cls" the first token, "mean" and "max" over valid tokens only.

    "mean_sqrt_len_tokens" divides the sum by the root of the count; "weightedmean" weighs token i by i + 1; "lasttoken"
    is the last valid one. `first`: tokens before it are left out, whatever the pooling. Without a valid token: zeros
    (means) or the dtype's least number ("max"), never NaN. "pooler" is a layer of the encoder, see `BertModel`.
    """
    assert pooling in REDUCTIONS, pooling
    hidden = hidden[:, first:]
    if pooling == "cls":
        return hidden[:, 0]
    mask = torch.ones(hidden.shape[:2], device=hidden.device) if attention_mask is None else attention_mask[:, first:]
    if pooling == "lasttoken":
        return hidden[torch.arange(len(hidden), device=hidden.device), (mask.sum(1) - 1).clamp(min=0).long()]
    valid = mask.unsqueeze(-1).to(hidden.dtype)  # (B, T, 1)
    if pooling == "max":
        return hidden.masked_fill(valid == 0, torch.finfo(hidden.dtype).min).amax(1)
    if pooling == "weightedmean":
        valid = valid * torch.arange(first + 1, first + 1 + valid.shape[1], device=valid.device)[:, None]
    count = valid.sum(1).clamp(min=1)
    return (hidden * valid).sum(1) / (count.sqrt() if pooling == "mean_sqrt_len_tokens" else count)


ATTENTIONS = ("eager", "sdpa", "packed")
# What queries and keys (B, H, T, K) of sequences add to their scores (..., T, T), beside Q K^T / sqrt(K).
Scores = Callable[[Tensor, Tensor], Tensor]


class Attention(Protocol):
    """Lets the tokens of each sequence look at one another or, where it is `causal`, at themselves and those before.

    From query, key and value of every token (..., 3, H, K) to its context (..., D). `dropout` is the probability with
    which a weight is dropped. position_ids (N,): each token's in its sequence; None for 0, 1, 2 ... of T.
    """

    @property
    def position_ids(self) -> Tensor | None: ...

    def __call__(self, qkv: Tensor, *, dropout: float, scores: Scores | None = None) -> Tensor: ...


def _causal(scores: Scores | None) -> Scores:
    """`scores` with the least number wherever a token would look at a later one."""

    def found(query: Tensor, key: Tensor) -> Tensor:
        more = query.new_zeros(query.shape[-2], key.shape[-2]) if scores is None else scores(query, key)
        later = torch.ones(more.shape[-2:], dtype=torch.bool, device=more.device).triu(1)
        return more.masked_fill(later, torch.finfo(more.dtype).min)

    return found


def attend_eager(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0
) -> Tensor:
    """softmax(Q K^T / sqrt(K)) V (Vaswani et al. 2017, eq. 1) of (B, H, T, K), written out.

    With the arguments of PyTorch's fused kernels (`scaled_dot_product_attention`), which never hold the (T, T) weights.
    On a CPU none of them drops weights: PyTorch would take this long way too, with dearer masks. Nor does any multiply
    16 bits faster than 32: 32 blocks of 128 tokens, 12 heads of 64, take 22.9 ms a layer in bfloat16, written out 15.3.
    """
    scores = (query / math.sqrt(query.shape[-1])) @ key.transpose(-2, -1)  # (B, H, T, T)
    if attn_mask is not None:
        scores = scores + attn_mask
    return drop(scores.softmax(-1), dropout_p) @ value


@dataclass(frozen=True, slots=True)
class PaddedAttention:
    """Over sequences padded to one length.

    `bias` (B, 1, 1, T) is added to the scores: 0 at valid tokens, the least finite number at padding; None where
    nothing is padded, which saves the kernels a pass. eager: written out.
    """

    bias: Tensor | None
    eager: bool
    position_ids: Tensor | None = None
    causal: bool = False

    def __call__(self, qkv: Tensor, *, dropout: float, scores: Scores | None = None) -> Tensor:
        """(B, T, 3, H, K) to (B, T, D)."""
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, H, T, K)
        eager = self.eager or (
            qkv.device.type == "cpu" and (dropout > 0 or (qkv.dtype == torch.bfloat16 and not qkv.requires_grad))
        )
        scores = _causal(scores) if self.causal else scores
        attend, mask = attend_eager if eager else F.scaled_dot_product_attention, self.bias
        if scores is not None:
            more = scores(query, key)
            mask = more if mask is None else _masked(more, mask)
        return attend(query, key, value, attn_mask=mask, dropout_p=dropout).transpose(1, 2).flatten(2)


def _masked(scores: Tensor, bias: Tensor) -> Tensor:
    """The least number at padding: a sum with it might be no number any more, and its softmax NaN."""
    return scores.masked_fill(bias < 0, torch.finfo(scores.dtype).min)


@dataclass(frozen=True, slots=True)
class PackedAttention:
    """Over the valid tokens (N), sequence after sequence, the shortest first.

    positions (N,): of each among the flattened B * T. position_ids (N,): in its own sequence.
    groups: each length there is, ascending, and how many sequences have it; those without a token are left out.
    bounds: the lengths of all sequences, added up, (B + 1,).
    """

    positions: Tensor
    position_ids: Tensor
    groups: tuple[tuple[int, int], ...]
    bounds: Tensor
    causal: bool = False

    @classmethod
    def of(cls, attention_mask: Tensor, causal: bool = False) -> "PackedAttention":
        """Where the tokens are that (B, T) marks with 1. One wait for the device, where there is one."""
        valid_mask = attention_mask != 0
        counts = valid_mask.sum(1)
        order = counts.argsort(stable=True)
        sequence, position_ids = valid_mask[order].nonzero(as_tuple=True)
        positions = order[sequence] * attention_mask.shape[1] + position_ids
        bounds = F.pad(counts[order].cumsum(0), (1, 0)).to(torch.int32)
        sizes = torch.bincount(counts).tolist()
        groups = tuple((length, size) for length, size in enumerate(sizes) if length > 0 and size > 0)
        return cls(positions, position_ids, groups, bounds, causal)

    def unpack(self, packed: Tensor, shape: torch.Size) -> Tensor:
        """(N, D) back to (B, T, D), zeros at padding; `shape` is (B, T)."""
        flat = packed.new_zeros(shape.numel(), packed.shape[-1]).index_copy(0, self.positions, packed)
        return flat.view(*shape, -1)

    def __call__(self, qkv: Tensor, *, dropout: float, scores: Scores | None = None) -> Tensor:
        """(N, 3, H, K) to (N, D)."""
        half, scores = qkv.dtype in (torch.float16, torch.bfloat16), _causal(scores) if self.causal else scores
        if qkv.device.type == "cuda" and half and dropout == 0 and scores is None:
            # All lengths in one call of flash attention, which knows 16 bits and no dropout.
            from torch.nn.attention.varlen import varlen_attn  # not in builds without CUDA

            longest, _ = self.groups[-1]
            query, key, value = qkv.unbind(1)  # each (N, H, K)
            context = varlen_attn(query, key, value, self.bounds, self.bounds, longest, longest)
            assert isinstance(context, Tensor), "no logsumexp was asked for"
            return context.flatten(1)
        eager = qkv.device.type == "cpu" and (dropout > 0 or (qkv.dtype == torch.bfloat16 and not qkv.requires_grad))
        attend = attend_eager if eager else F.scaled_dot_product_attention
        contexts, start = [], 0
        for length, count in self.groups:
            stop = start + length * count
            # A group of one length lies together, so it is a view: no padding, no mask, no copy.
            group = qkv[start:stop].view(count, length, *qkv.shape[1:])  # (G, L, 3, H, K)
            query, key, value = group.permute(2, 0, 3, 1, 4).unbind(0)
            mask = None if scores is None else scores(query, key)
            context = attend(query, key, value, attn_mask=mask, dropout_p=dropout)  # (G, H, L, K)
            contexts.append(context.transpose(1, 2).reshape(stop - start, -1))
            start = stop
        return torch.cat(contexts)


def attention_over(attention_mask: Tensor | None, form: str, dtype: torch.dtype, *, causal: bool = False) -> Attention:
    """The `form` of ATTENTIONS over sequences whose valid tokens (B, T) marks with 1; None: nothing is padded."""
    compiling = torch.compiler.is_compiling()
    # Looking costs a sync on an accelerator and a graph break under torch.compile, so only on the CPU.
    look = attention_mask is not None and attention_mask.device.type == "cpu" and not compiling
    if attention_mask is None or (look and bool(attention_mask.all())):
        return PaddedAttention(None, eager=form == "eager", causal=causal)
    if form == "packed" and not compiling:  # the number of valid tokens would be another graph each time
        packed = PackedAttention.of(attention_mask, causal)
        if packed.groups:
            return packed
    # Finite, not -inf: a sequence that is all padding then attends evenly instead of giving NaN.
    bias = torch.zeros(attention_mask.shape, dtype=dtype, device=attention_mask.device)
    bias = bias.masked_fill(attention_mask == 0, torch.finfo(dtype).min)[:, None, None, :]
    return PaddedAttention(bias, eager=form == "eager", causal=causal)


class Compiled:
    """`function` by torch.compile; as it is, after one warning, for the kinds of arguments with which compiling fails.

    Its last argument, `form`, holds the constants. name: of the whole, in the warning.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.plain, self.name = function, name
        self.compute: Callable[..., Any] = torch.compile(function, dynamic=False)
        self.compiles: dict[object, bool] = {}

    def __call__(self, *arguments: Any) -> Any:
        kind = arguments[-1], *map(type, arguments)  # each is compiled apart
        if self.compiles.get(kind, True):
            try:
                found = self.compute(*arguments)
            except Exception as error:  # torch raises another kind for each thing that may be missing
                if kind in self.compiles:
                    raise
                if False not in self.compiles.values():
                    reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                    known = "compiler" in reason.lower() or "triton" in reason.lower()
                    remedy = "; it needs a C++ compiler (Debian, Ubuntu: apt install g++), on CUDA the package triton"
                    said = f"runs uncompiled, and slower: torch.compile failed ({reason}){remedy if known else ''}"
                    warnings.warn(f"{self.name} {said}", stacklevel=2)
                self.compiles[kind] = False
            else:
                self.compiles[kind] = True
                return found
        return self.plain(*arguments)
