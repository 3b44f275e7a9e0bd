"""Floor 1: the product of rows and a weight matrix, by the faster of PyTorch's two libraries where no gradient is kept.

Letters: N rows, D and F widths.
"""

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinydistil.model.activations import activate

# Narrower ones gain nothing: 128 x 512 takes as long either way, and twice as long where there are 16 rows.
WIDE = 100_000


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

    def forward(self, rows: Tensor) -> Tensor:
        """(..., D) to (..., F)."""
        return linear(rows, self.weight, self.bias)
