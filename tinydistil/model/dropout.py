"""Dropout (Srivastava et al. 2014), with masks that cost a CPU less than PyTorch's."""

import torch
from torch import Tensor
from torch.nn import functional as F


def dropout(hidden: Tensor, probability: float, *, in_place: bool = False) -> Tensor:
    """Zero each number with `probability` and scale the rest so that the mean stays; any shape.

    `in_place` overwrites `hidden`: right where autograd does not keep it, as after a linear layer or LayerNorm.
    On a CPU the probability is rounded to a multiple of 2^-16.
    """
    if probability == 0:
        return hidden
    if hidden.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(hidden, probability, inplace=in_place)
    mask = _scaled_mask(hidden, probability)
    return hidden.mul_(mask) if in_place else hidden * mask


def _scaled_mask(hidden: Tensor, probability: float) -> Tensor:
    """0 where a number is dropped, 1 / (1 - p) where it is kept."""
    # PyTorch draws one number an element, serially: a fifth of a training step of bert-tiny. Four 16-bit
    # numbers from each draw are as random and as many times cheaper.
    words = torch.empty((hidden.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    draws = words.view(torch.int16)[: hidden.numel()].view(hidden.shape)  # uniform in -2^15 .. 2^15 - 1
    dropped = min(round(probability * 2**16), 2**16 - 1)  # of the 2^16 values a draw can take, never all
    return (draws >= dropped - 2**15).to(hidden.dtype).mul_(2**16 / (2**16 - dropped))
