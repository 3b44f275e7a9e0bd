"""One vector a sequence, from the vectors of its tokens.

Letters: B sequences, T tokens, D hidden size.
"""

import torch
from torch import Tensor

POOLINGS = ("pooler", "cls", "mean", "max")
# Those of sentence-transformers; the last three are read from its folders only.
REDUCTIONS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")


def pool(hidden: Tensor, attention_mask: Tensor | None, pooling: str, *, first: int = 0) -> Tensor:
    """Pool `hidden` (B, T, D) to (B, D): "cls" the first token, "mean" and "max" over real tokens only.

    "mean_sqrt_len_tokens" divides the sum by the root of the count; "weightedmean" weighs token i by i + 1; "lasttoken"
    is the last real one. `first`: tokens before it are left out, whatever the pooling. A sequence without a real token
    gives zeros (means) or the dtype's least number ("max"), never NaN. "pooler" is a layer of the encoder, not a
    reduction: see `BertModel`.
    """
    assert pooling in REDUCTIONS, pooling
    hidden = hidden[:, first:]
    if pooling == "cls":
        return hidden[:, 0]
    mask = torch.ones(hidden.shape[:2], device=hidden.device) if attention_mask is None else attention_mask[:, first:]
    if pooling == "lasttoken":
        return hidden[torch.arange(len(hidden), device=hidden.device), (mask.sum(1) - 1).clamp(min=0).long()]
    real = mask.unsqueeze(-1).to(hidden.dtype)  # (B, T, 1)
    if pooling == "max":
        return hidden.masked_fill(real == 0, torch.finfo(hidden.dtype).min).amax(1)
    if pooling == "weightedmean":
        real = real * torch.arange(first + 1, first + 1 + real.shape[1], device=real.device)[:, None]
    count = real.sum(1).clamp(min=1)
    return (hidden * real).sum(1) / (count.sqrt() if pooling == "mean_sqrt_len_tokens" else count)
