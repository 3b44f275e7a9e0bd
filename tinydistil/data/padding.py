"""Sequences of one tokenization as padded arrays, with the number of each token's word.

Letters: B sequences, T tokens, R rows, V vocabulary, W words of a sequence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinydistil.text.tokenizer import Tokenizer

Tokens = NDArray[np.unsignedinteger]


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


def continues_word(tokenizer: Tokenizer) -> NDArray[np.bool_]:
    """Which tokens (V,) of a WordPiece vocabulary go on with the word before."""
    return np.array([tokenizer.token(i).startswith("##") for i in range(tokenizer.vocab_size)])


def pad_pieces(tokenizer: Tokenizer, sequences: Sequence[Tokens], continues: NDArray[np.bool_]) -> Padded:
    """Sequences of WordPiece tokens, words as "##" tells; `continues` (V,) is `continues_word(tokenizer)`."""
    ids, real, text = _pad(tokenizer, sequences)
    # A word that was cut at the sequence's start belongs to no word of it: -1.
    words = np.where(text, np.cumsum(text & ~continues[ids], 1) - 1, -1)
    return Padded(ids, real, text, words)


def pad_words(tokenizer: Tokenizer, sequences: Sequence[tuple[Tokens, Tokens]]) -> Padded:
    """Sequences of (tokens (T), pieces of each word (W)) of any tokenizer."""
    ids, real, text = _pad(tokenizer, [tokens for tokens, _ in sequences])
    words = np.full(ids.shape, -1, np.int64)
    for row, (tokens, pieces) in enumerate(sequences):
        words[row, 1 : len(tokens) + 1] = np.repeat(np.arange(len(pieces)), pieces)
    return Padded(ids, real, text, words)


def _pad(
    tokenizer: Tokenizer, sequences: Sequence[Tokens]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    lengths = np.array([len(tokens) for tokens in sequences])[:, None]  # (B, 1)
    places = np.arange(lengths.max() + 2)
    ids = np.full((len(sequences), len(places)), tokenizer.pad_id, np.int64)
    ids[:, 0] = tokenizer.cls_id
    for row, tokens in enumerate(sequences):
        ids[row, 1 : len(tokens) + 1] = tokens
        ids[row, len(tokens) + 1] = tokenizer.sep_id
    return ids, places < lengths + 2, (places > 0) & (places <= lengths)
