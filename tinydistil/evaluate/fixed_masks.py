"""The masks that models are examined with: drawn from a sequence's own tokens, so the same in every run and order.

Letters: B sequences, T tokens, R masked rows.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinydistil.base.errors import require
from tinydistil.batches.masking import MaskConfig, mask_tokens
from tinydistil.tokenizer.tokenizer import Tokenizer

# Devlin et al. 2019, 3.1: 15 % of the tokens, of these 80 % hidden, 10 % replaced, 10 % left.
EXAMINED = MaskConfig()
# Sequences are sorted by length inside a window of this many batches: little padding, bounded memory.
WINDOW_BATCHES = 32


class Sequences(Protocol):
    """Token sequences without special tokens, numbered from 0: token shards, or a list of arrays."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> NDArray[np.integer]: ...


@dataclass(frozen=True, slots=True)
class ExaminedBatch:
    """input_ids, attention_mask (B, T); rows (R,) into B * T and targets (R,); owners (R,): each row's sequence."""

    input_ids: Tensor
    attention_mask: Tensor
    rows: Tensor
    targets: Tensor
    owners: NDArray[np.int64]


def encode_sequences(texts: Sequence[str], tokenizer: Tokenizer, *, max_length: int = 128) -> list[NDArray[np.integer]]:
    """Each text as one sequence of token ids without special ones, cut so that with them it has `max_length`."""
    require(max_length >= 3, f"max_length must be >= 3 (two special tokens and one more), got {max_length}")
    encodings = tokenizer.encode_all(texts, add_special=False)
    return [np.array(encoding.ids[: max_length - 2], np.int64) for encoding in encodings]


def examined_batches(sequences: Sequences, tokenizer: Tokenizer, *, batch_size: int = 32) -> Iterator[ExaminedBatch]:
    """The sequences with their fixed masks, in batches of like length."""
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
) -> ExaminedBatch:
    lengths = np.array([len(row) for row in tokens])
    ids = np.full((len(tokens), lengths.max() + 2), tokenizer.pad_id, np.int64)  # (B, T)
    for row, sequence in zip(ids, tokens, strict=True):
        row[: len(sequence) + 2] = [tokenizer.cls_id, *sequence, tokenizer.sep_id]
    places = np.arange(ids.shape[1])
    ordinary = (places > 0) & (places <= lengths[:, None]) & (ids != tokenizer.unk_id)
    masked = mask_tokens(
        ids,
        ordinary,
        np.array([_key(sequence) for sequence in tokens], np.int64),
        EXAMINED,
        mask_id=tokenizer.mask_id,
        ordinary_ids=ordinary_ids,
        seed=0,
        epoch=0,
    )
    real = (places < lengths[:, None] + 2).astype(np.int64)
    return ExaminedBatch(
        torch.from_numpy(masked.input_ids),
        torch.from_numpy(real),
        torch.from_numpy(masked.rows),
        torch.from_numpy(masked.targets),
        np.array(numbers)[masked.rows // ids.shape[1]],
    )


def _key(sequence: NDArray[np.int64]) -> int:
    """63 bits of the hash of a sequence's ids: unlike its number, the same in whatever set it is examined."""
    digest = hashlib.blake2b(sequence.astype("<i8").tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
