"""Words and their pieces, for one tokenizer or for two side by side.

A *word* is what BERT's pre-tokenizer makes: text between white space, with each punctuation mark on its own.
Both tokenizers see the same text, so their words correspond one to one, whatever pieces each makes of a word.

Tokenizing word by word gives what tokenizing the sentence gives, because WordPiece never looks past a word;
and a language repeats its words, so pieces are looked up, not computed.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from typing import cast

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer, pre_tokenizers

# Punctuation on which every BERT pre-tokenizer splits. It need not be complete: what is not listed stays
# inside a part and is split by the tokenizer itself; listing the common marks lets "casa," and "casa" share
# an entry.
_MARKS = r"!-/:-@\[-`{-~“”‘’–—…«»"
_split_at_marks = re.compile(rf"[^\s{_MARKS}]+|[{_MARKS}]").findall

# About 60 MB of entries a process at most; a full table is emptied, which changes speed, never results.
_MAX_ENTRIES = 1 << 18
_MAX_CACHED_CHARACTERS = 48

_bert_words = pre_tokenizers.BertPreTokenizer()

# One word: for each side, the ids of its pieces.
Word = tuple[tuple[int, ...], ...]


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


class WordEncoder:
    """Encodes sentences with one tokenizer or two; `capacity` is the most tokens a sequence holds.

    No word has more than `capacity` pieces on any side: a longer one counts as several words with at least
    one piece on each side. Where a side has too few pieces for that (or none: an accent on its own, which one
    tokenizer strips and the other keeps), the word is unknown on both.
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
        tables = [_Table(partial(self._encode_part, field)) for field in range(2 * len(sides))]
        self._ids, self._pieces = tables[: len(sides)], tables[len(sides) :]

    def __reduce__(self) -> tuple[type["WordEncoder"], tuple[tuple[Side, ...], int]]:
        return WordEncoder, (self._sides, self.capacity)  # the tables stay behind

    def split(self, sentence: str) -> list[str]:
        """Parts that are tokenized apart: words and marks or, for tokenizers that may join these, white-space
        separated chunks."""
        return _split_at_marks(sentence) if self._splits_marks else sentence.split()

    def learn(self, parts: set[str]) -> None:
        """Enter new `parts` into the tables by one call of the tokenizer: a third of the time of meeting them
        one by one. Changes no result."""
        # No set difference: with a subclass of dict that walks through all of the table.
        new = [part for part in parts if part not in self._ids[0] and _is_cached(part)]
        if new and self._splits_marks:
            self._encode_parts(new)

    def ids(self, sentences: Sequence[list[str]]) -> list[list[bytes]]:
        """For each side and split sentence, the ids of its pieces, in the side's token type."""
        return [_look_up(table, sentences) for table in self._ids]

    def pieces(self, sentences: Sequence[list[str]]) -> list[list[bytes]]:
        """For each side and split sentence, the number of pieces of each word, as `piece_dtype`."""
        return [_look_up(table, sentences) for table in self._pieces]

    def _encode_parts(self, parts: list[str]) -> None:
        """Fill the tables; parts that are not one word of a usual length are left to `_encode_part`."""
        text, starts = " ".join(parts), [0, *accumulate(len(part) + 1 for part in parts)]
        ids: list[list[bytes]] = []
        counts = []
        usual = np.ones(len(parts), bool)
        for tokenizer, dtype in zip(self._tokenizers, self.token_dtypes, strict=True):
            encoding = tokenizer.encode(text, add_special_tokens=False)
            firsts = np.searchsorted([start for start, _ in encoding.offsets], starts)
            counts.append(np.diff(firsts))
            # Words are numbered in order, so a part whose number of words is one moves on by one.
            numbers = cast(list[int], encoding.word_ids)
            words = np.array([*numbers, numbers[-1] + 1 if numbers else 0])[firsts]
            usual &= (np.diff(words) == 1) & (counts[-1] <= self.capacity)
            ids.append(_slices(np.array(encoding.ids, dtype).tobytes(), firsts * dtype.itemsize))
        steps = np.arange(len(parts) + 1) * self.piece_dtype.itemsize
        pieces = [_slices(count.astype(self.piece_dtype).tobytes(), steps) for count in counts]
        for table, column in zip([*self._ids, *self._pieces], [*ids, *pieces], strict=True):
            table.enter({part: value for part, value, fits in zip(parts, column, usual, strict=True) if fits})

    def _encode_part(self, field: int, part: str) -> bytes:
        """An entry of the table of number `field`: first come the sides' ids, then their words' pieces."""
        encodings = [each.encode(part, add_special_tokens=False) for each in self._tokenizers]
        words = [piece for word in _common_words(part, encodings) for piece in self._cut(word)]
        sides = len(self._sides)
        if field < sides:
            ids = [token for word in words for token in word[field]]
            return np.array(ids, self.token_dtypes[field]).tobytes()
        return np.array([len(word[field - sides]) for word in words], self.piece_dtype).tobytes()

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


class _Table(dict[str, bytes]):
    """A bounded memory of `compute`'s results."""

    def __init__(self, compute: Callable[[str], bytes]) -> None:
        super().__init__()
        self._compute = compute

    def __missing__(self, key: str) -> bytes:
        value = self._compute(key)
        if _is_cached(key):
            self.enter({key: value})
        return value

    def enter(self, entries: dict[str, bytes]) -> None:
        """Remember `entries`, and nothing else where there is no room for more."""
        if len(self) + len(entries) > _MAX_ENTRIES:
            self.clear()
        self.update(entries)


def _is_cached(text: str) -> bool:
    return len(text) <= _MAX_CACHED_CHARACTERS


def _look_up(table: _Table, sentences: Sequence[list[str]]) -> list[bytes]:
    look_up, join = table.__getitem__, b"".join
    return [join(map(look_up, parts)) for parts in sentences]


def _slices(data: bytes, bounds: NDArray[np.int64]) -> list[bytes]:
    return [data[first:last] for first, last in pairwise(bounds.tolist())]


def _literal(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that reads "[MASK]" in a text as five letters in brackets, and neither truncates nor pads."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.encode_special_tokens = True
    copy.no_truncation()
    copy.no_padding()
    return copy


def _common_words(part: str, encodings: Sequence[Encoding]) -> list[Word]:
    """The finest division of `part` into words that cuts no piece of any side.

    Candidates are the words of BERT's pre-tokenizer and those of each side's own (which adds Chinese
    characters).
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
