"""How well a model guesses masked tokens. The masks are drawn from a sequence's own tokens, so they are the same in
every run, batch and order.

Shapes: B sequences, T tokens, D hidden size, M masked positions, V vocabulary, S sequences of the whole set.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from tinydistil.base.errors import require
from tinydistil.batches.masking import MaskConfig, mask_tokens
from tinydistil.evaluate.inference import WINDOW_BATCHES, check_match
from tinydistil.model.heads import BertForMaskedLM
from tinydistil.tokenizer.tokenizer import Tokenizer

# Devlin et al. 2019, 3.1: 15 % of the tokens, of these 80 % hidden, 10 % replaced, 10 % left.
EVALUATION_MASK = MaskConfig()
# Logits in memory at a time: 16 MiB in float32, whatever the vocabulary. Larger blocks are no faster on a CPU.
LOGITS_AT_ONCE = 2**22


class Sequences(Protocol):
    """Token sequences without special tokens, numbered from 0: token shards, or a list of arrays."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> NDArray[np.integer]: ...


@dataclass(frozen=True, slots=True)
class EvaluationBatch:
    """input_ids, attention_mask (B, T); positions (M,) into B * T with their targets (M,), and the number of the
    sequence that each is of, sequences (M,)."""

    input_ids: Tensor
    attention_mask: Tensor
    positions: Tensor
    targets: Tensor
    sequences: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class MaskedLMScores:
    """sums (S, 4) over each sequence's masked tokens: losses in nats, first guesses that are right, targets among the
    first five guesses, and their number. They are what an interval resamples."""

    sums: NDArray[np.float64]

    @property
    def loss(self) -> float:
        """Cross-entropy per masked token, in nats."""
        return mean_of(self.sums, 0)

    @property
    def perplexity(self) -> float:
        """exp(loss), infinite where that overflows."""
        return math.exp(self.loss) if self.loss < 709 else math.inf

    @property
    def accuracy_1(self) -> float:
        """Share of masked tokens that were the first guess."""
        return mean_of(self.sums, 1)

    @property
    def accuracy_5(self) -> float:
        """Share of masked tokens among the first five guesses."""
        return mean_of(self.sums, 2)


def mean_of(sums: NDArray[np.float64], column: int) -> float:
    """A column's sum per masked token: the statistic to resample for an interval."""
    return float(sums[:, column].sum() / sums[:, -1].sum())


def encode_sequences(texts: Sequence[str], tokenizer: Tokenizer, *, max_length: int = 128) -> list[NDArray[np.integer]]:
    """Each text as one sequence of token ids without special ones, cut so that with them it has `max_length`."""
    require(max_length >= 3, f"max_length must be >= 3 (two special tokens and one more), got {max_length}")
    encodings = tokenizer.encode_all(texts, add_special=False)
    return [np.array(encoding.ids[: max_length - 2], np.int64) for encoding in encodings]


def evaluation_batches(
    sequences: Sequences, tokenizer: Tokenizer, *, batch_size: int = 32
) -> Iterator[EvaluationBatch]:
    """The sequences with their fixed masks, in batches of similar length."""
    require(batch_size >= 1, f"batch_size must be >= 1, got {batch_size}")
    special = {tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id, tokenizer.mask_id, tokenizer.unk_id}
    ordinary_ids = np.array([i for i in range(tokenizer.vocab_size) if i not in special])
    window = batch_size * WINDOW_BATCHES
    for start in range(0, len(sequences), window):
        numbers = range(start, min(start + window, len(sequences)))
        tokens = {number: np.asarray(sequences[number]).astype(np.int64) for number in numbers}
        order = sorted((number for number in numbers if len(tokens[number])), key=lambda i: len(tokens[i]))
        for first in range(0, len(order), batch_size):
            chosen = order[first : first + batch_size]
            yield _batch(chosen, [tokens[i] for i in chosen], tokenizer, ordinary_ids)


def _batch(
    numbers: list[int], tokens: list[NDArray[np.int64]], tokenizer: Tokenizer, ordinary_ids: NDArray[np.int64]
) -> EvaluationBatch:
    lengths = np.array([len(sequence) for sequence in tokens])[:, None]  # (B, 1)
    ids = np.full((len(tokens), lengths.max() + 2), tokenizer.pad_id, np.int64)  # (B, T)
    for row, sequence in zip(ids, tokens, strict=True):
        row[: len(sequence) + 2] = [tokenizer.cls_id, *sequence, tokenizer.sep_id]
    columns = np.arange(ids.shape[1])
    masked = mask_tokens(
        ids,
        (columns > 0) & (columns <= lengths) & (ids != tokenizer.unk_id),
        np.array([_key(sequence) for sequence in tokens], np.int64),
        EVALUATION_MASK,
        mask_id=tokenizer.mask_id,
        ordinary_ids=ordinary_ids,
        seed=0,
        epoch=0,
    )
    return EvaluationBatch(
        torch.from_numpy(masked.input_ids),
        torch.from_numpy((columns < lengths + 2).astype(np.int64)),
        torch.from_numpy(masked.rows),
        torch.from_numpy(masked.targets),
        np.array(numbers)[masked.rows // ids.shape[1]],
    )


def _key(sequence: NDArray[np.int64]) -> int:
    """63 bits of the hash of a sequence's ids: unlike its number, the same in whatever set it stands."""
    digest = hashlib.blake2b(sequence.astype("<i8").tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@torch.inference_mode()
def masked_lm_scores(
    model: BertForMaskedLM, tokenizer: Tokenizer, sequences: Sequences, *, batch_size: int = 32
) -> MaskedLMScores:
    """Loss, accuracy@1 and @5 over the fixed masks of `sequences` (token ids without special ones).

    The model is used as it stands: call `.eval()` first. Memory does not grow with the vocabulary times the tokens.
    Raises InputError where nothing can be masked, or tokenizer and model do not belong together.
    """
    check_match(model, tokenizer)
    device = next(model.parameters()).device
    sums = np.zeros((len(sequences), 4))
    for batch in evaluation_batches(sequences, tokenizer, batch_size=batch_size):
        hidden = model(batch.input_ids.to(device), batch.attention_mask.to(device)).last_hidden  # (B, T, D)
        for part, logits in logit_parts(model, hidden, batch.positions):
            targets = batch.targets[part].to(device)
            losses = F.cross_entropy(logits, targets, reduction="none")
            hits = logits.topk(min(5, logits.shape[1])).indices == targets.unsqueeze(1)  # (M, 5)
            columns = [losses.double(), hits[:, 0].double(), hits.any(1).double(), torch.ones_like(losses.double())]
            np.add.at(sums, batch.sequences[part], torch.stack(columns, 1).cpu().numpy())
    require(sums[:, 3].sum() > 0, "no token to mask: the sequences are empty, or too few and short for a rate of 15 %")
    return MaskedLMScores(sums)


def logit_parts(model: BertForMaskedLM, hidden: Tensor, positions: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Logits (M', V) in float32 of hidden (B, T, D) at `positions` (M,), a slice of them at a time."""
    size = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    for start in range(0, len(positions), size):
        part = slice(start, min(start + size, len(positions)))
        yield part, model.logits_at(hidden, positions[part].to(hidden.device)).float()
