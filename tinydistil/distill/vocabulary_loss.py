"""What masked words teach, from hidden rows and the vocabulary matrices: the eager form, which explains the fused one.

Letters: R rows, V vocabulary, K tokens kept.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tinydistil.distill.losses import IGNORED, SumCount, masked_lm, soft_targets
from tinydistil.model.heads import Decoding


@dataclass(frozen=True, slots=True)
class TopTokens:
    """A distribution cut to its K likeliest tokens and one mass for all others, at the temperature of the recipe.

    log_probs (R, K), ids (R, K); log_rest (R,): the logarithm of the mass of the V - K others.
    """

    log_probs: Tensor
    ids: Tensor
    log_rest: Tensor

    def outcomes(self) -> Tensor:
        """The logarithms of K + 1 probabilities that sum to one (R, K + 1), the last that of all other tokens."""
        return torch.cat([self.log_probs, self.log_rest.unsqueeze(1)], 1).log_softmax(-1)

    def outcomes_of(self, logits: Tensor, temperature: float) -> Tensor:
        """The same K + 1 outcomes of logits (R, V), as logits: their softmax has the masses of softmax(logits / T)."""
        scaled = logits / temperature
        others = scaled.scatter(1, self.ids, float("-inf")).logsumexp(-1, keepdim=True)
        return torch.cat([scaled.gather(1, self.ids), others], 1)


def top_tokens(teacher: Decoding, count: int, temperature: float) -> TopTokens:
    """The `count` likeliest tokens of softmax(logits / T) at each row, and the mass of all others."""
    log_probs = (teacher.logits() / temperature).log_softmax(-1)
    best = log_probs.topk(count)
    # Not 1 - the sum of the best, which rounds to nothing where they hold nearly all.
    rest = log_probs.scatter(1, best.indices, float("-inf")).logsumexp(-1)
    return TopTokens(best.values, best.indices, rest)


@dataclass(frozen=True, slots=True)
class VocabularyLosses:
    """The terms "hard" and "soft", each None where its weight is 0."""

    hard: SumCount | None
    soft: SumCount | None


def vocabulary_losses(
    student: Decoding,
    targets: Tensor,
    teacher: Decoding | TopTokens | None,
    *,
    hard: float,
    soft: float,
    temperature: float = 2.0,
    divergence: str = "forward",
) -> VocabularyLosses:
    """Cross-entropy with targets (R,) and divergence from the teacher, both summed over the rows that are not IGNORED.

    hard, soft: the weights of the two in the loss; 0 leaves a term out. A teacher that is cut to its top tokens is
    compared over these and the rest taken together, which is less than the whole divergence, and 0 at its optimum too.
    Formulas and sources: `losses.masked_lm`, `losses.soft_targets`. Holds some seven matrices (R, V).
    """
    logits = student.logits()
    hard_part = masked_lm(logits, targets) if hard > 0 else None
    if soft == 0:
        return VocabularyLosses(hard_part, None)
    assert teacher is not None, "soft targets need a teacher"
    if isinstance(teacher, TopTokens):
        # outcomes are at the temperature already; times T undoes the division in soft_targets
        learned = teacher.outcomes_of(logits, temperature) * temperature
        taught = teacher.outcomes() * temperature
    else:
        learned, taught = logits, teacher.logits()
    soft_part = soft_targets(learned, taught, targets != IGNORED, temperature=temperature, divergence=divergence)
    return VocabularyLosses(hard_part, soft_part)
