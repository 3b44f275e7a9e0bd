"""Attention: over padded sequences, written out or by fused kernels, and over the valid tokens only.

Shapes: B sequences, T tokens, N valid tokens (no padding) of all sequences, G sequences of one length, L that length,
D hidden size, H heads, K head size (D = H * K).
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from tinydistil.model.operations import dropout as drop

ATTENTIONS = ("eager", "sdpa", "packed")


class Attention(Protocol):
    """Lets the tokens of each sequence look at one another.

    From query, key and value of every token (..., 3, H, K) to its context (..., D). `dropout` is the probability with
    which a weight is dropped.
    """

    def __call__(self, qkv: Tensor, *, dropout: float) -> Tensor: ...


def attend_eager(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, *, dropout: float) -> Tensor:
    """softmax(Q K^T / sqrt(K)) V (Vaswani et al. 2017, eq. 1) of (B, H, T, K), written out."""
    scores = (query / math.sqrt(query.shape[-1])) @ key.transpose(-2, -1)  # (B, H, T, T)
    if bias is not None:
        scores = scores + bias
    return drop(scores.softmax(-1), dropout) @ value


def attend_sdpa(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, *, dropout: float) -> Tensor:
    """The same by PyTorch's fused kernels, which never hold the (T, T) weights."""
    if dropout > 0 and query.device.type == "cpu":
        # No fused CPU kernel drops weights: PyTorch would take the long way too, with dearer masks.
        return attend_eager(query, key, value, bias, dropout=dropout)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)


@dataclass(frozen=True, slots=True)
class PaddedAttention:
    """Over sequences padded to one length.

    `bias` (B, 1, 1, T) is added to the scores: 0 at valid tokens, the least finite number at padding; None where
    nothing is padded, which saves the kernels a pass. eager: written out.
    """

    bias: Tensor | None
    eager: bool

    def __call__(self, qkv: Tensor, *, dropout: float) -> Tensor:
        """(B, T, 3, H, K) to (B, T, D)."""
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, H, T, K)
        attend = attend_eager if self.eager else attend_sdpa
        return attend(query, key, value, self.bias, dropout=dropout).transpose(1, 2).flatten(2)


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

    @classmethod
    def of(cls, attention_mask: Tensor) -> "PackedAttention":
        """Where the tokens are that (B, T) marks with 1. One wait for the device, where there is one."""
        valid_mask = attention_mask != 0
        counts = valid_mask.sum(1)
        order = counts.argsort(stable=True)
        sequence, position_ids = valid_mask[order].nonzero(as_tuple=True)
        positions = order[sequence] * attention_mask.shape[1] + position_ids
        bounds = F.pad(counts[order].cumsum(0), (1, 0)).to(torch.int32)
        sizes = torch.bincount(counts).tolist()
        groups = tuple((length, size) for length, size in enumerate(sizes) if length > 0 and size > 0)
        return cls(positions, position_ids, groups, bounds)

    def unpack(self, packed: Tensor, shape: torch.Size) -> Tensor:
        """(N, D) back to (B, T, D), zeros at padding; `shape` is (B, T)."""
        flat = packed.new_zeros(shape.numel(), packed.shape[-1]).index_copy(0, self.positions, packed)
        return flat.view(*shape, -1)

    def __call__(self, qkv: Tensor, *, dropout: float) -> Tensor:
        """(N, 3, H, K) to (N, D)."""
        if qkv.device.type == "cuda" and qkv.dtype in (torch.float16, torch.bfloat16) and dropout == 0:
            # All lengths in one call of flash attention, which knows 16 bits and no dropout.
            from torch.nn.attention.varlen import varlen_attn  # not in builds without CUDA

            longest, _ = self.groups[-1]
            query, key, value = qkv.unbind(1)  # each (N, H, K)
            context = varlen_attn(query, key, value, self.bounds, self.bounds, longest, longest)
            assert isinstance(context, Tensor), "no logsumexp was asked for"
            return context.flatten(1)
        contexts, start = [], 0
        for length, count in self.groups:
            stop = start + length * count
            # A group of one length lies together, so it is a view: no padding, no mask, no copy.
            group = qkv[start:stop].view(count, length, *qkv.shape[1:])  # (G, L, 3, H, K)
            query, key, value = group.permute(2, 0, 3, 1, 4).unbind(0)
            context = attend_sdpa(query, key, value, None, dropout=dropout)  # (G, H, L, K)
            contexts.append(context.transpose(1, 2).reshape(stop - start, -1))
            start = stop
        return torch.cat(contexts)


def attention_over(attention_mask: Tensor | None, form: str, dtype: torch.dtype) -> Attention:
    """The `form` of ATTENTIONS over sequences whose valid tokens (B, T) marks with 1; None: nothing is padded."""
    compiling = torch.compiler.is_compiling()
    # Looking costs a sync on an accelerator and a graph break under torch.compile, so only on the CPU.
    look = attention_mask is not None and attention_mask.device.type == "cpu" and not compiling
    if attention_mask is None or (look and bool(attention_mask.all())):
        return PaddedAttention(None, eager=form == "eager")
    if form == "packed" and not compiling:  # the number of valid tokens would be another graph each time
        packed = PackedAttention.of(attention_mask)
        if packed.groups:
            return packed
    # Finite, not -inf: a sequence that is all padding then attends evenly instead of giving NaN.
    bias = torch.zeros(attention_mask.shape, dtype=dtype, device=attention_mask.device)
    bias = bias.masked_fill(attention_mask == 0, torch.finfo(dtype).min)[:, None, None, :]
    return PaddedAttention(bias, eager=form == "eager")
