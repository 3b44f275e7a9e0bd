"""Where words begin, from the spelling of tokens. Shapes: B sequences, T tokens, V vocabulary."""

import string
import unicodedata

import numpy as np
from numpy.typing import NDArray
from tokenizers import models

from tinydistil.tokenizer.tokenizer import Tokenizer

# What begins a word's first piece: SentencePiece's space, and that of GPT-2's bytes.
_OPENERS = ("\u2581", "\u0120")


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


def _is_mark(character: str, only_ascii: bool) -> bool:
    """Whether BERT's pre-tokenizer makes a word of this character."""
    if character.isascii():
        return character != "" and character in string.punctuation
    return not only_ascii and unicodedata.category(character).startswith("P")
