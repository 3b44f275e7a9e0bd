"""The losses over the vocabulary, written out: each the sum over what it is about, never a mean.

A sum is divided once, by its term's count over all ranks and micro-batches (see `step`), so that one process, many, and
gradient accumulation give the same gradient however uneven the masks. Everything is computed in float32 at least.
Shapes: R positions, V vocabulary, N tokens of sparse targets, M of them drawn.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tinydistil.distill.recipe import check_divergence
from tinydistil.model.bert import Decoding

IGNORED = -100  # the target of a position that is filled in, as in torch's cross-entropy


def masked_lm(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy -log q(target) (Devlin et al. 2019, 3.1) of logits (R, V); targets (R,), IGNORED where filled."""
    return F.cross_entropy(_precise(logits), targets, ignore_index=IGNORED, reduction="sum")


def soft_targets(
    student_logits: Tensor,
    teacher_logits: Tensor,
    valid_mask: Tensor,
    *,
    temperature: float | Tensor,
    divergence: str = "forward",
) -> Tensor:
    """T^2 times the divergence of softmax(student / T) from softmax(teacher / T), both (R, V), where `valid_mask` (R,).

    forward         KL(p || q) = sum p (log p - log q)           p the teacher, q the student (Hinton et al. 2015)
    reverse         KL(q || p)                                   keeps to the teacher's modes (Gu et al. 2024)
    jensen-shannon  (KL(p || m) + KL(q || m)) / 2, m = (p + q) / 2

    Raises InputError for a temperature that is not positive or an unknown divergence.
    """
    check_divergence(divergence, temperature)
    log_p = F.log_softmax(_precise(teacher_logits) / temperature, dim=-1)
    log_q = F.log_softmax(_precise(student_logits) / temperature, dim=-1)
    if divergence == "forward":
        losses = _kl(log_p, log_q)
    elif divergence == "reverse":
        losses = _kl(log_q, log_p)
    else:
        log_m = torch.logaddexp(log_p, log_q) - torch.log(log_p.new_tensor(2.0))
        losses = (_kl(log_p, log_m) + _kl(log_q, log_m)) / 2
    # times T^2: soft-target gradients shrink as 1 / T^2 (Hinton et al. 2015, sec. 2)
    # where, not a product: a position that is filled in may hold anything, and 0 * inf is NaN
    return torch.where(valid_mask, losses * temperature**2, 0.0).sum()


@dataclass(frozen=True, slots=True)
class SparseTargets:
    """A distribution at the temperature of the recipe by N of its tokens: the likeliest, and a sample of the tail.

    ids (R, N); log_probs (R, N): the logarithms of their probabilities, of drawn ones the mean of all the rest's;
    weights (R, N): the probability itself of a token that is kept for it, an even share of all the rest's for one that
    was drawn from the rest, by its probability and with repetition. Averaged over draws the weights are the whole
    distribution, so a divergence that is linear in them, and its gradient, have no bias; of the likeliest tokens alone
    they would have (Anshumann et al. 2025, Sparse Logit Sampling).
    """

    ids: Tensor
    log_probs: Tensor
    weights: Tensor


def sparse_targets(teacher: Decoding, top: int, temperature: float, uniform: Tensor) -> SparseTargets:
    """The `top` likeliest tokens of softmax(logits / T) at each position, and one of the rest for each number in
    `uniform` (R, M), which are drawn evenly from [0, 1)."""
    log_probs = (teacher.logits() / temperature).log_softmax(-1)
    best = log_probs.topk(top)
    # In float64 from here: what the likeliest leave may be little, and is summed over the whole vocabulary.
    tail = log_probs.double().exp().scatter(1, best.indices, 0.0)
    cumulated = tail.cumsum(-1)
    rest = cumulated[:, -1:]
    # The first token whose sum is above the drawn height; a kept one, which adds nothing to it, never is.
    drawn = torch.searchsorted(cumulated, uniform.double() * rest, right=True).clamp(max=log_probs.shape[1] - 1)
    ids = torch.cat([best.indices, drawn], 1)
    shares = (rest / uniform.shape[1]).expand(drawn.shape).to(log_probs.dtype)
    mean = ((tail * log_probs).sum(-1, keepdim=True) / rest.clamp(min=1e-300)).expand(shares.shape).to(log_probs.dtype)
    return SparseTargets(ids, torch.cat([best.values, mean], 1), torch.cat([best.values.exp(), shares], 1))


def sparse_soft_targets(
    logits: Tensor, teacher: SparseTargets, valid_mask: Tensor, *, temperature: float | Tensor
) -> Tensor:
    """`soft_targets` of a distribution by some of its tokens: the sum of weight * (log p - log q), forward only."""
    log_q = (_precise(logits) / temperature).log_softmax(-1)
    losses = (teacher.weights * (teacher.log_probs - log_q.gather(1, teacher.ids))).sum(-1)
    return temperature**2 * torch.where(valid_mask, losses, 0.0).sum()


@dataclass(frozen=True, slots=True)
class VocabularyLoss:
    """hard * cross-entropy + soft * divergence, and both sums without their weights, None where one is left out."""

    total: Tensor
    hard: Tensor | None
    soft: Tensor | None


def vocabulary_loss(
    student: Decoding,
    targets: Tensor,
    teacher: Decoding | SparseTargets | None,
    *,
    hard: float | Tensor,
    soft: float | Tensor,
    temperature: float | Tensor = 2.0,
    divergence: str = "forward",
) -> VocabularyLoss:
    """Cross-entropy with targets (R,) and divergence from the teacher at the positions that are not IGNORED.

    hard, soft: the weights of the two; the number 0 leaves one out. The eager form, which explains `fused`: it holds
    some seven matrices (R, V). Raises InputError for a temperature that is not positive, an unknown divergence, and
    of sparse targets any but the forward one.
    """
    check_divergence(divergence, temperature, sparse=isinstance(teacher, SparseTargets))
    logits, valid_mask = student.logits(), targets != IGNORED
    total, hard_sum, soft_sum = logits.new_zeros(()), None, None
    if isinstance(hard, Tensor) or hard > 0:
        hard_sum = masked_lm(logits, targets)
        total = total + hard * hard_sum
    if isinstance(soft, Tensor) or soft > 0:
        assert teacher is not None, "soft targets need a teacher"
        if isinstance(teacher, SparseTargets):
            soft_sum = sparse_soft_targets(logits, teacher, valid_mask, temperature=temperature)
        else:
            soft_sum = soft_targets(
                logits, teacher.logits(), valid_mask, temperature=temperature, divergence=divergence
            )
        total = total + soft * soft_sum
    return VocabularyLoss(total, *(None if each is None else each.detach() for each in (hard_sum, soft_sum)))


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) at each position (R,), from log-probabilities (R, V)."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def _precise(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
