"""How far apart tokens are, in buckets, and what layers are told of it (DeBERTa, He et al. 2021, 3.1).

Shapes: L tokens, P rows that their buckets need, D width.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tinydistil.model.layers import drop

if TYPE_CHECKING:  # which imports this file
    from tinydistil.model.families.deberta_v2 import DebertaV2Config


@dataclass(frozen=True, slots=True)
class Places:
    """Which row is for which pair of tokens, in sequences of up to L.

    Rows are ordered by distance, buckets 0, -1, 1, -2 ..., so that a short sequence needs only the first and one index
    serves all. order (2 * span,): of rows of the table. index (L, L): of row i, column j. counts: how many are needed
    for 1, 2 ... L tokens.
    """

    order: Tensor
    index: Tensor
    counts: list[int]


@lru_cache(maxsize=16)  # lengths are powers of two
@torch.inference_mode(False)  # they serve training too
def places(length: int, span: int, buckets: int, farthest: int, device: torch.device) -> Places:
    """With `buckets`, distances up to m = buckets // 2 have one each, and d beyond it, as in the paper's code,
    bucket(d) = m + ceil(log(d / m) / log((farthest - 1) / m) * (m - 1))."""
    away = tokens = torch.arange(length, device="cpu")
    if buckets > 0:
        middle = buckets // 2
        base = torch.tensor((farthest - 1) / middle, device="cpu").log()  # float32's roundings decide at borders
        far = ((tokens.clamp(min=middle) / middle).log() / base * (middle - 1)).ceil().long() + middle
        away = torch.where(tokens <= middle, tokens, far)
    ahead, behind = 2 * away.clamp(max=span - 1), 2 * away.clamp(max=span) - 1  # d >= 0, d < 0
    index = torch.cat([behind[1:].flip(0), ahead])[tokens[:, None] - tokens + length - 1]
    rows = torch.arange(2 * span, device="cpu")
    order = span + torch.where(rows % 2 == 0, rows, -rows - 1) // 2
    return Places(order.to(device), index.to(device), (2 * away + 1).clamp(max=2 * span).tolist())


class Relative(nn.Module):
    """The table of distances, which all layers share."""

    def __init__(self, config: "DebertaV2Config") -> None:
        super().__init__()
        self.table = nn.Embedding(2 * config.span, config.hidden_size)
        layer_norm = config.norm_rel_ebd == "layer_norm"
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if layer_norm else None
        self.dropout_prob = config.hidden_dropout_prob
        self.buckets = config.span, config.position_buckets, config.farthest

    def places(self, length: int) -> Places:
        """For sequences of `length` tokens and fewer."""
        return places(1 << (length - 1).bit_length(), *self.buckets, self.table.weight.device)

    def forward(self, length: int) -> Tensor:
        """The rows (P, D) that sequences of `length` tokens need; each layer drops others."""
        found = self.places(length)
        rows = self.table(found.order[: found.counts[length - 1]])
        rows = rows if self.norm is None else self.norm(rows)
        return drop(rows, self.dropout_prob if self.training else 0.0)
