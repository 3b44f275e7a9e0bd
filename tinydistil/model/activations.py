"""Activation functions under the names that config.json uses."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,  # exact, with erf (Hendrycks & Gimpel 2016); the tanh form differs by up to 5e-4
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
}

_IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": torch.ops.aten.gelu_,
    "gelu_new": partial(torch.ops.aten.gelu_, approximate="tanh"),
    "gelu_pytorch_tanh": partial(torch.ops.aten.gelu_, approximate="tanh"),
    "relu": F.relu_,
    "silu": partial(F.silu, inplace=True),
    "swish": partial(F.silu, inplace=True),
}


def activate(name: str, hidden: Tensor) -> Tensor:
    """Activation `name` of `hidden`, any shape, which is overwritten where no gradient will ask for it.

    At 32 x 128 tokens fresh memory for the widest tensor of bert-tiny costs more than computing its GELU.
    """
    return (ACTIVATIONS if torch.is_grad_enabled() and hidden.requires_grad else _IN_PLACE)[name](hidden)
