"""The record that travels from the data to teacher and student.

Shapes: B sequences, T tokens, T' tokens of the teacher's own, R masked positions.
"""

import string
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import models
from torch import Tensor

from tinydistil.base.errors import InputError, require
from tinydistil.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class TeacherView:
    """The B sequences of a batch in the tokens of a teacher with another vocabulary; all (B, T').

    input_ids: the text in which every word that the student is asked about is masked whole. original_ids,
    attention_mask, valid_mask, word_index: as in `MaskedBatch`; word w is the same word of the text on both sides.
    """

    input_ids: Tensor
    original_ids: Tensor
    attention_mask: Tensor
    valid_mask: Tensor
    word_index: Tensor

    def each(self, change: Callable[[Tensor], Tensor]) -> "TeacherView":
        """The view with `change` made to every tensor."""
        return TeacherView(*(change(getattr(self, field.name)) for field in fields(self)))


@dataclass(frozen=True, slots=True)
class MaskedBatch:
    """What teacher and student see of B sequences, and what is asked of the student.

    input_ids, attention_mask (B, T): the masked text. original_ids (B, T): the text before. valid_mask (B, T): tokens
    whose hidden states are compared, False at padding. word_index (B, T): each token's word, negative at special
    tokens and padding. positions (R,): the masked tokens among the flattened B * T; targets (R,): their ids.
    sequence_ids (B,): the sequences' numbers. epoch: of its masks. teacher: what a teacher with another vocabulary
    sees, None where both read the same tokens: what the teacher reads is `batch.teacher or batch`.
    """

    input_ids: Tensor
    original_ids: Tensor
    attention_mask: Tensor
    valid_mask: Tensor
    word_index: Tensor
    positions: Tensor
    targets: Tensor
    sequence_ids: Tensor
    teacher: TeacherView | None = None
    epoch: int = 0

    @property
    def tokens(self) -> int:
        """Tokens that are compared: all but padding."""
        return int(self.valid_mask.sum())

    @property
    def num_words(self) -> int:
        """Words of a sequence at most: no more than tokens on either side."""
        return min(self.input_ids.shape[1], (self.teacher or self).input_ids.shape[1])

    def to(self, device: torch.device) -> "MaskedBatch":
        """The batch on `device`."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> "MaskedBatch":
        """The batch in memory that an accelerator copies from while the processor goes on."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "MaskedBatch":
        view = None if self.teacher is None else self.teacher.each(change)
        names = [field.name for field in fields(self) if field.name not in ("teacher", "epoch")]
        return MaskedBatch(**{name: change(getattr(self, name)) for name in names}, teacher=view, epoch=self.epoch)


Tokens = NDArray[np.unsignedinteger]
Number = TypeVar("Number", bound=np.generic)


def pad(arrays: Sequence[NDArray[Number]], fill: int) -> NDArray[Number]:
    """Arrays that differ in their first dimension as one (B, T, ...), padded on the right with `fill`.

    Arrays without dimensions are stacked: (B,).
    """
    if arrays[0].ndim == 0:
        return np.stack(arrays)
    padded = np.full((len(arrays), max(map(len, arrays)), *arrays[0].shape[1:]), fill, arrays[0].dtype)
    for target, array in zip(padded, arrays, strict=True):
        target[: len(array)] = array
    return padded


@dataclass(frozen=True, slots=True)
class Padded:
    """B sequences with special tokens, padded to the longest; all (B, T).

    ids; real: False at padding; text: False at padding and special tokens; words: each token's word in its sequence,
    -1 where there is no text.
    """

    ids: NDArray[np.int64]
    real: NDArray[np.bool_]
    text: NDArray[np.bool_]
    words: NDArray[np.int64]

    def words_at(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which words (B, W) have one of the tokens at `rows` (R,) of the flattened B * T; W is T."""
        hit = np.zeros(self.ids.shape, bool)
        hit[rows // self.ids.shape[1], self.words.reshape(-1)[rows]] = True
        return hit

    def words_in(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which tokens (B, T) are of the words `chosen` (B, W)."""
        found = np.take_along_axis(chosen, np.clip(self.words, 0, chosen.shape[1] - 1), 1)
        return found & self.text


class WordStarts:
    """Where words begin, from the spelling of tokens: WordPiece marks the pieces that go on with a word ("##"),
    SentencePiece and byte-level BPE the one that begins it ("\u2581", "\u0120"). Punctuation is a word of its own."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        model, tokens = tokenizer.backend.model, [tokenizer.token(i) for i in range(tokenizer.vocab_size)]
        # A token of bytes is spelled in characters that stand for them: beyond ASCII they are not what they look like.
        in_bytes = any(token.startswith(_OPENERS[1]) for token in tokens)
        marks = [(_is_mark(token[:1], in_bytes), _is_mark(token[-1:], in_bytes)) for token in tokens]
        suffix = (isinstance(model, models.BPE) and model.end_of_word_suffix) or None
        if isinstance(model, models.WordLevel):
            prefix = None
            opens = [True] * len(tokens)
        elif prefix := getattr(model, "continuing_subword_prefix", None):
            opens = [not token.startswith(prefix) for token in tokens]
        else:
            opens = [token.startswith(_OPENERS) or first for token, (first, _) in zip(tokens, marks, strict=True)]
        # After "##," the word goes on only where "##" says so; elsewhere nothing but the mark itself tells.
        closes = [prefix is None and (last or (suffix is not None and token.endswith(suffix)))
                  for token, (_, last) in zip(tokens, marks, strict=True)]  # fmt: skip
        self._opens, self._closes = np.array(opens), np.array(closes)  # (V,)
        self._lone = np.array([token in _OPENERS for token in tokens])  # what follows it is its word

    def __call__(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which tokens of ids (B, T) begin a word; of special ones and padding the answer means nothing."""
        starts, before = self._opens[ids], ids[:, :-1]
        starts[:, 1:] = (starts[:, 1:] | self._closes[before]) & ~self._lone[before]
        return starts


# What begins a word's first piece: SentencePiece's space, and that of GPT-2's bytes.
_OPENERS = ("\u2581", "\u0120")


def _is_mark(character: str, only_ascii: bool) -> bool:
    """Whether BERT's pre-tokenizer makes a word of this character."""
    if character.isascii():
        return character != "" and character in string.punctuation
    return not only_ascii and unicodedata.category(character).startswith("P")


def pad_pieces(tokenizer: Tokenizer, sequences: Sequence[Tokens], starts: WordStarts) -> Padded:
    """Sequences of tokens in one tokenization, words as their spelling tells."""
    ids, real, text = pad_with_special(tokenizer, sequences)
    # A word that was cut at the sequence's start belongs to no word of it: -1.
    words = np.where(text, np.cumsum(text & starts(ids), 1) - 1, -1)
    return Padded(ids, real, text, words)


def pad_words(tokenizer: Tokenizer, sequences: Sequence[tuple[Tokens, Tokens]]) -> Padded:
    """Sequences of (tokens (T), pieces of each word (W)) of any tokenizer."""
    ids, real, text = pad_with_special(tokenizer, [tokens for tokens, _ in sequences])
    words = np.full(ids.shape, -1, np.int64)
    for row, (tokens, pieces) in enumerate(sequences):
        require(int(pieces.sum()) == len(tokens), f"a sequence's words do not add up to its tokens; {_DAMAGED}")
        words[row, 1 : len(tokens) + 1] = np.repeat(np.arange(len(pieces)), pieces)
    return Padded(ids, real, text, words)


_DAMAGED = "the shards are damaged: check them with scripts/prepare.py --verify, or prepare the corpus again"


def pad_with_special(
    tokenizer: Tokenizer, sequences: Sequence[NDArray[np.integer]]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Ids between [CLS] and [SEP], padded to the longest; which are no padding, which are text: all (B, T).

    Raises InputError for ids beyond the tokenizer's vocabulary.
    """
    lengths = np.array([len(tokens) for tokens in sequences])[:, None]  # (B, 1)
    positions = np.arange(lengths.max() + 2)
    ids = np.full((len(sequences), len(positions)), tokenizer.pad_id, np.int64)
    ids[:, 0] = tokenizer.cls_id
    for row, tokens in enumerate(sequences):
        ids[row, 1 : len(tokens) + 1] = tokens
        ids[row, len(tokens) + 1] = tokenizer.sep_id
    # Beyond its vocabulary a model may still have embeddings (tables are filled up), of which nothing was ever learnt.
    most = int(ids.max())
    if most >= tokenizer.vocab_size:
        raise InputError(
            f"a sequence holds id {most}, the vocabulary that reads it ends at {tokenizer.vocab_size - 1}; {_DAMAGED}"
        )
    return ids, positions < lengths + 2, (positions > 0) & (positions <= lengths)
