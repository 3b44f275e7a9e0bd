"""Words and their pieces, for one tokenizer or for two side by side.

A *word* is what BERT's pre-tokenizer makes: text between white space, with each punctuation mark on its own.
Both tokenizers see the same text, so their words correspond one to one, whatever pieces each makes of a word.

Tokenizing word by word gives what tokenizing the sentence gives, because WordPiece never looks past a word; and
a language repeats its words, so pieces are looked up, not computed: 9 to 18 MB/s where the tokenizer does 2.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from tokenizers import Encoding, Tokenizer, pre_tokenizers

# Punctuation on which every BERT pre-tokenizer splits. It need not be complete: what is not listed stays inside a
# chunk and is split by the tokenizer itself; listing the common marks makes "casa," and "casa" share an entry.
_MARKS = r"!-/:-@\[-`{-~“”‘’–—…«»"
_split_marks = re.compile(f"[{_MARKS}]|[^{_MARKS}]+").findall

# About 110 MB of entries a process at most; a full table is emptied, which changes speed, never results.
_MAX_ENTRIES = 1 << 18
_MAX_CACHED_CHARACTERS = 48

_bert_words = pre_tokenizers.BertPreTokenizer()

# One word: for each side, the ids of its pieces.
Word = tuple[tuple[int, ...], ...]
# A chunk's fields, all as bytes: for each side the ids, then for each side the number of pieces of each word.
Fields = tuple[bytes, ...]


def narrowest(largest: int) -> np.dtype[np.unsignedinteger]:
    """The smallest little-endian unsigned type that holds `largest`."""
    return np.dtype(next(code for code in ("<u1", "<u2", "<u4", "<u8") if largest <= np.iinfo(code).max))


def token_dtype(vocab_size: int) -> np.dtype[np.unsignedinteger]:
    """uint16 where the vocabulary fits, else uint32."""
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


@dataclass(frozen=True, slots=True)
class Side:
    """One tokenizer, and the id it gives to what it does not know."""

    tokenizer: Tokenizer
    unknown_id: int


@dataclass(frozen=True, slots=True)
class EncodedSentence:
    """The words of a sentence. `ids` and `pieces` have one entry a side.

    `ids[side]` are the piece ids, in the side's token type; `pieces[side]` the pieces of each word.
    """

    words: int
    sizes: tuple[int, ...]
    ids: tuple[bytes, ...]
    pieces: tuple[bytes, ...]


class WordEncoder:
    """Encodes sentences with one tokenizer or two; `capacity` is the most tokens a sequence holds.

    No word it returns has more than `capacity` pieces on any side: a longer one is cut into several words
    with at least one piece on each side. Where a side has too few pieces for that (or none: an accent on its own,
    which one tokenizer strips and the other keeps), the word is unknown on both.
    """

    def __init__(self, sides: Sequence[Side], capacity: int) -> None:
        self.capacity = capacity
        self.piece_dtype = narrowest(capacity)
        self.token_dtypes = tuple(token_dtype(side.tokenizer.get_vocab_size()) for side in sides)
        self._sides = tuple(sides)
        self._tokenizers = [_literal(side.tokenizer) for side in sides]
        # Marks are words of their own only to BERT's pre-tokenizer; others may join them to their neighbours.
        self._splits_marks = all(
            isinstance(each.pre_tokenizer, pre_tokenizers.BertPreTokenizer) for each in self._tokenizers
        )
        self._chunks = _Table(self._encode_chunk)
        self._parts = _Table(self._encode_part)

    def __reduce__(self) -> tuple[type["WordEncoder"], tuple[tuple[Side, ...], int]]:
        return WordEncoder, (self._sides, self.capacity)  # the tables stay behind

    def encode(self, sentence: str) -> EncodedSentence:
        """The pieces of `sentence` on every side, without special tokens."""
        sides = len(self._sides)
        columns = zip(*map(self._chunks.__getitem__, sentence.split()), strict=True)
        fields = [b"".join(column) for column in columns] or [b""] * (2 * sides)
        return EncodedSentence(
            words=len(fields[-1]) // self.piece_dtype.itemsize,
            sizes=tuple(
                len(ids) // dtype.itemsize
                for ids, dtype in zip(fields[:sides], self.token_dtypes, strict=True)
            ),
            ids=tuple(fields[:sides]),
            pieces=tuple(fields[sides:]),
        )

    def _encode_chunk(self, chunk: str) -> Fields:
        if not self._splits_marks:
            return self._encode_part(chunk)
        columns = zip(*map(self._parts.__getitem__, _split_marks(chunk)), strict=True)
        return tuple(b"".join(column) for column in columns)

    def _encode_part(self, part: str) -> Fields:
        encodings = [each.encode(part, add_special_tokens=False) for each in self._tokenizers]
        words: list[Word] = []
        for word in _common_words(part, encodings):
            words += self._cut(word)
        ids = tuple(
            np.array(list(chain.from_iterable(word[side] for word in words)), dtype).tobytes()
            for side, dtype in enumerate(self.token_dtypes)
        )
        pieces = tuple(
            np.array([len(word[side]) for word in words], self.piece_dtype).tobytes()
            for side in range(len(encodings))
        )
        return ids + pieces

    def _cut(self, word: Word) -> list[Word]:
        longest, shortest = max(map(len, word)), min(map(len, word))
        if shortest and longest <= self.capacity:
            return [word]
        parts = -(-longest // self.capacity)
        if shortest < parts:
            return [tuple((side.unknown_id,) for side in self._sides)]
        cuts = [[len(ids) * part // parts for part in range(parts + 1)] for ids in word]
        return [
            tuple(ids[cut[part] : cut[part + 1]] for ids, cut in zip(word, cuts, strict=True))
            for part in range(parts)
        ]


class _Table(dict[str, Fields]):
    """A bounded memory of `compute`'s results."""

    def __init__(self, compute: Callable[[str], Fields]) -> None:
        super().__init__()
        self._compute = compute

    def __missing__(self, key: str) -> Fields:
        fields = self._compute(key)
        if len(key) <= _MAX_CACHED_CHARACTERS:
            if len(self) >= _MAX_ENTRIES:
                self.clear()
            self[key] = fields
        return fields


def _literal(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that reads "[MASK]" in a text as five letters in brackets, and neither truncates nor pads."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.encode_special_tokens = True
    copy.no_truncation()
    copy.no_padding()
    return copy


def _common_words(part: str, encodings: Sequence[Encoding]) -> list[Word]:
    """The finest division of `part` into words that cuts no piece of any side.

    Candidates are the words of BERT's pre-tokenizer and those of each side's own (which adds Chinese characters).
    """
    candidates = {start for _, (start, _) in _bert_words.pre_tokenize_str(part)}
    for encoding in encodings:
        pieces = list(zip(encoding.word_ids, encoding.offsets, strict=True))
        candidates |= set({word: start for word, (start, _) in reversed(pieces)}.values())
    for encoding in encodings:
        candidates &= {start for start, _ in encoding.offsets}
        candidates -= {inside for start, end in encoding.offsets for inside in range(start + 1, end)}
    bounds = sorted(candidates | {0})
    words: list[tuple[list[int], ...]] = [tuple([] for _ in encodings) for _ in bounds]
    for side, encoding in enumerate(encodings):
        for token, (start, _) in zip(encoding.ids, encoding.offsets, strict=True):
            words[bisect_right(bounds, start) - 1][side].append(token)
    return [tuple(map(tuple, word)) for word in words if any(word)]
