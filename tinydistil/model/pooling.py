"""One vector a sequence, from the vectors of its tokens.

Letters: B sequences, T tokens, D hidden size.
"""

import torch
from torch import Tensor

POOLINGS = ("pooler", "cls", "mean", "max")


def pool(hidden: Tensor, attention_mask: Tensor | None, pooling: str) -> Tensor:
    """Pool `hidden` (B, T, D) to (B, D): "cls" the first token, "mean" and "max" over real tokens only.

    A sequence without a real token gives zeros ("mean") or the dtype's least number ("max"), never NaN.
    "pooler" is a layer of the encoder, not a reduction: see `BertModel`.
    """
    assert pooling in ("cls", "mean", "max"), pooling
    if pooling == "cls":
        return hidden[:, 0]
    if attention_mask is None:
        return hidden.mean(1) if pooling == "mean" else hidden.amax(1)
    real = attention_mask.unsqueeze(-1).to(hidden.dtype)  # (B, T, 1)
    if pooling == "mean":
        return (hidden * real).sum(1) / real.sum(1).clamp(min=1)
    return hidden.masked_fill(real == 0, torch.finfo(hidden.dtype).min).amax(1)
