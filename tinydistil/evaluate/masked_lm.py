"""How well a model guesses masked tokens, and how far it agrees with its teacher.

Letters: B sequences, T tokens, D hidden size, R masked rows, V vocabulary, S sequences of the whole set.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from tinydistil.base.errors import InputError, require
from tinydistil.evaluate.fixed_masks import ExaminedBatch, Sequences, examined_batches
from tinydistil.evaluate.inference import check_match
from tinydistil.evaluate.metrics import perplexity
from tinydistil.model.heads import BertForMaskedLM
from tinydistil.tokenizer.tokenizer import Tokenizer

# Logits in memory at a time: 16 MiB in float32, whatever the vocabulary. Larger blocks are no faster on a CPU.
LOGITS_AT_ONCE = 2**22


@dataclass(frozen=True, slots=True)
class MaskedLMScores:
    """What came of S sequences; `rows` (S, 4): sum of losses in nats, guesses right, right within five, masked tokens.

    The rows are what `intervals` resamples.
    """

    rows: NDArray[np.float64]

    @property
    def tokens(self) -> int:
        """Masked tokens."""
        return int(self.rows[:, 3].sum())

    @property
    def loss(self) -> float:
        """Cross-entropy a masked token, in nats."""
        return mean_of(self.rows, 0)

    @property
    def perplexity(self) -> float:
        """exp(loss)."""
        return perplexity(self.loss)

    @property
    def accuracy_1(self) -> float:
        """Share of masked tokens that were the first guess."""
        return mean_of(self.rows, 1)

    @property
    def accuracy_5(self) -> float:
        """Share of masked tokens among the first five guesses."""
        return mean_of(self.rows, 2)


@dataclass(frozen=True, slots=True)
class Agreement:
    """A student beside its teacher at the same masked tokens: mean KL(teacher || student) in nats, and how often both
    guess the same first."""

    divergence: float
    same_first: float


def mean_of(rows: NDArray[np.float64], column: int) -> float:
    """A column's sum a masked token: the statistic to resample for an interval."""
    return float(rows[:, column].sum() / rows[:, -1].sum())


@torch.inference_mode()
def masked_lm_scores(
    model: BertForMaskedLM, tokenizer: Tokenizer, sequences: Sequences, *, batch_size: int = 32
) -> MaskedLMScores:
    """Loss, accuracy@1 and @5 over the fixed masks of `sequences` (token ids without special ones).

    The model is used as it stands: call `.eval()` first. Memory does not grow with the vocabulary times the tokens.
    Raises InputError where nothing can be masked, or tokenizer and model do not belong together.
    """
    check_match(model, tokenizer)
    sums = np.zeros((len(sequences), 4))
    for batch, hidden in _encoded(model, tokenizer, sequences, batch_size):
        for part, logits in logit_parts(model, hidden, batch.rows):
            targets = batch.targets[part].to(logits.device)
            losses = F.cross_entropy(logits, targets, reduction="none")
            hits = logits.topk(min(5, logits.shape[1])).indices == targets.unsqueeze(1)  # (R, 5)
            columns = [losses.double(), hits[:, 0].double(), hits.any(1).double(), torch.ones_like(losses.double())]
            np.add.at(sums, batch.owners[part], torch.stack(columns, 1).cpu().numpy())
    require(sums[:, 3].sum() > 0, "no token to mask: the sequences are empty, or too few and short for a rate of 15 %")
    return MaskedLMScores(sums)


@torch.inference_mode()
def teacher_agreement(
    student: BertForMaskedLM,
    teacher: BertForMaskedLM,
    tokenizer: Tokenizer,
    sequences: Sequences,
    *,
    batch_size: int = 32,
) -> Agreement:
    """How far `student` guesses like `teacher` at the fixed masks of `sequences`; both share the vocabulary.

    Raises InputError where they do not, or where nothing can be masked.
    """
    check_match(student, tokenizer)
    check_match(teacher, tokenizer)
    if student.config.vocab_size != teacher.config.vocab_size:
        raise InputError(
            f"student and teacher must share a vocabulary to be compared word by word, got vocab_size "
            f"{student.config.vocab_size} and {teacher.config.vocab_size}; compare their bits a character instead"
        )
    divergence = same = count = 0.0
    for batch, hidden in _encoded(student, tokenizer, sequences, batch_size):
        device = next(teacher.parameters()).device
        taught = teacher(batch.input_ids.to(device), batch.attention_mask.to(device)).last_hidden
        both = zip(logit_parts(student, hidden, batch.rows), logit_parts(teacher, taught, batch.rows), strict=True)
        for (_, ours), (_, theirs) in both:
            log_q, log_p = ours.log_softmax(-1), theirs.to(ours.device).log_softmax(-1)
            divergence += float(F.kl_div(log_q, log_p, reduction="sum", log_target=True))
            same += float((log_q.argmax(-1) == log_p.argmax(-1)).sum())
            count += len(log_q)
    require(count > 0, "no token to mask: the sequences are empty, or too few and short for a rate of 15 %")
    return Agreement(divergence / count, same / count)


def logit_parts(model: BertForMaskedLM, hidden: Tensor, rows: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Logits (R', V) in float32 of hidden (B, T, D) at `rows` (R,), a slice of the rows at a time."""
    size = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    for start in range(0, len(rows), size):
        part = slice(start, min(start + size, len(rows)))
        yield part, model.logits_at(hidden, rows[part].to(hidden.device)).float()


def _encoded(
    model: BertForMaskedLM, tokenizer: Tokenizer, sequences: Sequences, batch_size: int
) -> Iterator[tuple[ExaminedBatch, Tensor]]:
    """Each batch and the model's hidden states (B, T, D) of it."""
    device = next(model.parameters()).device
    for batch in examined_batches(sequences, tokenizer, batch_size=batch_size):
        yield batch, model(batch.input_ids.to(device), batch.attention_mask.to(device)).last_hidden
