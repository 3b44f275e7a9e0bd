"""What masked words teach, from hidden rows and the vocabulary matrices: the eager form, which explains the fused one.

Letters: R rows, V vocabulary, N tokens that tell of a distribution, M of them drawn.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tinydistil.base.errors import require
from tinydistil.distill.losses import IGNORED, SumCount, masked_lm, soft_targets
from tinydistil.model.heads import Decoding


@dataclass(frozen=True, slots=True)
class SparseTargets:
    """A distribution at the temperature of the recipe, told by N of its tokens: the likeliest, and some of the rest.

    ids (R, N), log_probs (R, N): the logarithms of their probabilities; weights (R, N): the probability itself of a
    token that is kept for it, an even share of all the rest's for one that was drawn from the rest, by its probability
    and with repetition. Averaged over draws the weights are the whole distribution, so a divergence from it that is
    linear in it, and its gradient, have no bias; of the likeliest tokens alone they would have (Anshumann et al. 2025,
    Sparse Logit Sampling).
    """

    ids: Tensor
    log_probs: Tensor
    weights: Tensor


def sparse_targets(teacher: Decoding, top: int, temperature: float, uniform: Tensor) -> SparseTargets:
    """The `top` likeliest tokens of softmax(logits / T) at each row, and one of the rest for each number in `uniform`
    (R, M), which are drawn evenly from [0, 1)."""
    log_probs = (teacher.logits() / temperature).log_softmax(-1)
    best = log_probs.topk(top)
    # In float64 from here: what the likeliest leave may be little, and is summed over the whole vocabulary.
    cumulated = log_probs.double().exp().scatter(1, best.indices, 0.0).cumsum(-1)
    rest = cumulated[:, -1:]
    # The first token whose sum is above the drawn height; a kept one, which adds nothing to it, never is.
    drawn = torch.searchsorted(cumulated, uniform.double() * rest, right=True).clamp(max=log_probs.shape[1] - 1)
    ids = torch.cat([best.indices, drawn], 1)
    shares = (rest / uniform.shape[1]).expand(drawn.shape).to(log_probs.dtype)
    return SparseTargets(ids, log_probs.gather(1, ids), torch.cat([best.values.exp(), shares], 1))


@dataclass(frozen=True, slots=True)
class VocabularyLosses:
    """The terms "hard" and "soft", each None where its weight is 0."""

    hard: SumCount | None
    soft: SumCount | None


def vocabulary_losses(
    student: Decoding,
    targets: Tensor,
    teacher: Decoding | SparseTargets | None,
    *,
    hard: float,
    soft: float,
    temperature: float = 2.0,
    divergence: str = "forward",
) -> VocabularyLosses:
    """Cross-entropy with targets (R,) and divergence from the teacher, both summed over the rows that are not IGNORED.

    hard, soft: the weights of the two in the loss; 0 leaves a term out. Of sparse targets only the forward divergence
    is known: the sum of weight * (log p - log q) over their tokens. Formulas and sources: `losses.masked_lm`,
    `losses.soft_targets`. Holds some seven matrices (R, V). Raises InputError as `losses.soft_targets` does.
    """
    logits, valid = student.logits(), targets != IGNORED
    hard_part = masked_lm(logits, targets) if hard > 0 else None
    if soft == 0:
        return VocabularyLosses(hard_part, None)
    assert teacher is not None, "soft targets need a teacher"
    if isinstance(teacher, SparseTargets):
        soft_part = sparse_soft_targets(logits, teacher, valid, temperature=temperature, divergence=divergence)
    else:
        taught = teacher.logits()
        soft_part = soft_targets(logits, taught, valid, temperature=temperature, divergence=divergence)
    return VocabularyLosses(hard_part, soft_part)


def sparse_soft_targets(
    logits: Tensor, teacher: SparseTargets, valid: Tensor, *, temperature: float, divergence: str
) -> SumCount:
    """`losses.soft_targets` of a distribution that is told by some of its tokens; forward only."""
    check_sparse(divergence)
    log_q = (logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature).log_softmax(-1)
    rows = (teacher.weights * (teacher.log_probs - log_q.gather(1, teacher.ids))).sum(-1)
    return SumCount(temperature**2 * torch.where(valid, rows, 0.0).sum(), valid.sum())


def check_sparse(divergence: str) -> None:
    """Raise InputError for a divergence that is not linear in the teacher's distribution."""
    require(
        divergence == "forward",
        f"recipe.divergence {divergence!r} needs the teacher's whole distribution, of which cache.words=top keeps a "
        "sample; choose cache.words=hidden, or the forward divergence",
    )
