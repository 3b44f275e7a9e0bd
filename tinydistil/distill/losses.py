"""The losses of distillation, written out: each a sum and a count.

A loss is never averaged here. Its sum is divided once, by its own count over all ranks and micro-batches (see
`average`), so that one process, many, and gradient accumulation give the same gradient however uneven the masks.
Everything is computed in float32 at least. Letters: R rows, V vocabulary, D width, N vectors, B sequences, T tokens,
W words.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tinydistil.base.config import nearest
from tinydistil.base.errors import InputError, require

IGNORED = -100  # the target of a row that fills a batch up to its fixed size, as in torch's cross-entropy
DIVERGENCES = ("forward", "reverse", "jensen-shannon")


@dataclass(frozen=True, slots=True)
class SumCount:
    """A loss before division: its sum (scalar, attached to the graph) and what it is to be divided by."""

    total: Tensor
    count: Tensor


def average(part: SumCount, count_everywhere: float, world_size: int) -> Tensor:
    """What one rank calls backward on: its sum over the count of all ranks and micro-batches.

    times `world_size`: DistributedDataParallel averages gradients over ranks, where we want their sum. A count of
    zero everywhere gives a loss of zero that is still attached.
    """
    return part.total * (world_size / max(count_everywhere, 1.0))


def masked_lm(logits: Tensor, targets: Tensor) -> SumCount:
    """Cross-entropy -log q(target) (Devlin et al. 2019, 3.1) of logits (R, V); targets (R,), IGNORED where filled."""
    total = F.cross_entropy(_precise(logits), targets, ignore_index=IGNORED, reduction="sum")
    return SumCount(total, (targets != IGNORED).sum())


def soft_targets(
    student_logits: Tensor,
    teacher_logits: Tensor,
    valid: Tensor,
    *,
    temperature: float,
    divergence: str = "forward",
) -> SumCount:
    """T^2 times the divergence of softmax(student / T) from softmax(teacher / T), both (R, V), at `valid` (R,) rows.

    forward         KL(p || q) = sum p (log p - log q)           p the teacher, q the student (Hinton et al. 2015)
    reverse         KL(q || p)                                   keeps to the teacher's modes (Gu et al. 2024)
    jensen-shannon  (KL(p || m) + KL(q || m)) / 2, m = (p + q) / 2

    Raises InputError for a temperature that is not positive or an unknown divergence.
    """
    require(temperature > 0, f"temperature must be > 0, got {temperature}")
    log_p = F.log_softmax(_precise(teacher_logits) / temperature, dim=-1)
    log_q = F.log_softmax(_precise(student_logits) / temperature, dim=-1)
    if divergence == "forward":
        rows = _kl(log_p, log_q)
    elif divergence == "reverse":
        rows = _kl(log_q, log_p)
    elif divergence == "jensen-shannon":
        log_m = torch.logaddexp(log_p, log_q) - torch.log(log_p.new_tensor(2.0))
        rows = (_kl(log_p, log_m) + _kl(log_q, log_m)) / 2
    else:
        raise InputError(f"divergence {divergence!r} is unknown{nearest(divergence, DIVERGENCES)}")
    # times T^2: soft-target gradients shrink as 1 / T^2 (Hinton et al. 2015, sec. 2)
    return _over(rows * temperature**2, valid)


def cosine(student: Tensor, teacher: Tensor, valid: Tensor) -> SumCount:
    """1 - cos(student, teacher) of vectors (N, D), at `valid` (N,) ones (Sanh et al. 2019, sec. 3)."""
    return _over(1 - F.cosine_similarity(_precise(student), _precise(teacher), dim=-1), valid)


def mean_squared_error(student: Tensor, teacher: Tensor, valid: Tensor) -> SumCount:
    """Squared difference of vectors (N, D), averaged over their numbers, at `valid` (N,) ones (Jiao et al. 2020)."""
    return _over((_precise(student) - _precise(teacher)).square().mean(-1), valid)


def word_means(hidden: Tensor, word_index: Tensor, num_words: int) -> tuple[Tensor, Tensor]:
    """The mean vector of each word's pieces, (B, W, D), and which words are there, (B, W).

    hidden (B, T, D); word_index (B, T) is the number of the piece's word in its sequence, below W = `num_words`, or
    negative for special tokens and padding.
    """
    # Pieces of no word go to an extra word W, dropped at the end: no shape depends on what the batch holds.
    index = torch.where(word_index < 0, num_words, word_index)
    sums = hidden.new_zeros(hidden.shape[0], num_words + 1, hidden.shape[2])
    sums = sums.scatter_add(1, index.unsqueeze(-1).expand_as(hidden), hidden)[:, :num_words]
    pieces = index.new_zeros(index.shape[0], num_words + 1).scatter_add(1, index, torch.ones_like(index))
    pieces = pieces[:, :num_words]
    return sums / pieces.clamp(min=1).unsqueeze(-1), pieces > 0


def weighted(parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The weighted sum of averaged terms."""
    return torch.stack([weights[name] * loss for name, loss in parts.items()]).sum()


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of each row (R,), from log-probabilities (R, V)."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def _over(rows: Tensor, valid: Tensor) -> SumCount:
    # where, not a product: a row that is filled in may hold anything, and 0 * inf is NaN
    return SumCount(torch.where(valid, rows, 0.0).sum(), valid.sum())


def _precise(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
