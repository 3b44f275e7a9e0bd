"""Operations in the form that costs a CPU the least: products, activations, dropout; and pooling.

Shapes: B sequences, T tokens, N rows, D and F widths.
"""

from collections.abc import Callable
from functools import cache, partial

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


def by_onednn(rows: Tensor, weight: Tensor) -> bool:
    """Whether `linear` takes oneDNN for these: float32 on a CPU, a wide matrix, no gradient, no autocast, no graph."""
    return (
        not torch.is_grad_enabled()
        and rows.device.type == "cpu"
        and rows.dtype == weight.dtype == torch.float32
        and weight.numel() >= WIDE
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and _prefers_onednn()
    )


def linear(rows: Tensor, weight: Tensor, bias: Tensor, *, gelu: bool = False) -> Tensor:
    """rows (..., D) @ weight (F, D).T + bias (F,), and with `gelu` the exact GELU of it: (..., F)."""
    if by_onednn(rows, weight):
        activation, approximation = ("gelu", "none") if gelu else ("none", "")
        by_library = torch.ops.mkldnn._linear_pointwise
        return by_library(rows, weight, bias, activation, [], approximation)  # type: ignore[no-any-return]
    product = F.linear(rows, weight, bias)
    return activate("gelu", product) if gelu else product


class Linear(nn.Linear):
    """`nn.Linear` by `linear`."""

    def forward(self, rows: Tensor) -> Tensor:  # (..., D) to (..., F)
        return linear(rows, self.weight, self.bias)


def dropout(hidden: Tensor, probability: float, *, in_place: bool = False) -> Tensor:
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
