"""Words and their pieces, for one tokenizer or for two side by side.

A *word* is what BERT's pre-tokenizer makes: text between white space, with each punctuation mark on its own.
Both tokenizers see the same text, so their words correspond one to one, whatever pieces each makes of a word.

Tokenizing word by word gives what tokenizing the sentence gives, because WordPiece never looks past a word;
and a language repeats its words, so pieces are looked up, not computed.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress, pairwise

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer, pre_tokenizers

# Punctuation on which every BERT pre-tokenizer splits. It need not be complete: what is not listed stays
# inside a part and is split by the tokenizer itself; listing the common marks lets "casa," and "casa" share
# an entry.
_MARKS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~“”‘’–—…«»"
# One word to every BERT tokenizer, and none without a piece: a mark, or plain Latin letters and digits.
_is_plain = re.compile(rf"[0-9A-Za-zÀ-ÖØ-öø-ÿ]+|[{re.escape(_MARKS)}]").fullmatch

# Characters of the parts remembered, some 270,000 parts: full tables are emptied before the next document,
# which changes speed, never results.
_MAX_CHARACTERS = 2_500_000

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
    one piece on each side. Where a side has too few pieces for that, the word is unknown on both; so is one between
    spaces that a side has no piece of (an accent on its own, which one tokenizer strips and the other keeps): one
    sentence in 10,000 of mixed Portuguese.
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
        # For each side what a part becomes: the ids of its pieces, and how many pieces each word has.
        self._ids: list[dict[str, bytes]] = [{} for _ in sides]
        self._pieces: list[dict[str, bytes]] = [{} for _ in sides]
        self._characters = 0

    def __reduce__(self) -> tuple[type["WordEncoder"], tuple[tuple[Side, ...], int]]:
        return WordEncoder, (self._sides, self.capacity)  # the tables stay behind

    def encode(self, sentences: Sequence[str]) -> tuple[list[list[str]], list[list[bytes]]]:
        """The parts of each sentence; and for each side and sentence the ids of its pieces, in the side's
        token type, without special tokens."""
        if self._characters > _MAX_CHARACTERS:
            for each in (*self._ids, *self._pieces):
                each.clear()
            self._characters = 0
        # The first side's table decides what is new: all tables are filled, and emptied, together.
        split, known = self._split(sentences), self._ids[0]
        ids, rows = _look_up(known, split)
        if rows:
            self._learn(list({part for row in rows for part in split[row] if part not in known}))
            for row, late in zip(rows, _look_up(known, [split[row] for row in rows])[0], strict=True):
                ids[row] = late
        return split, [ids, *(_look_up(table, split)[0] for table in self._ids[1:])]

    def pieces(self, split: Sequence[list[str]]) -> list[list[bytes]]:
        """For each side and sentence, the number of pieces of each word, as `piece_dtype`.

        `split` are sentences of the latest call of `encode`, as it split them.
        """
        return [_look_up(table, split)[0] for table in self._pieces]

    def _split(self, sentences: Sequence[str]) -> list[list[str]]:
        text = "\n".join([sentence.replace("\n", " ") for sentence in sentences])
        if self._splits_marks:
            # Some dozen passes of str.replace take two thirds of the time of one regular expression.
            for mark in _MARKS:
                if mark in text:
                    text = text.replace(mark, f" {mark} ")
        return [line.split() for line in text.split("\n")]

    def _learn(self, parts: list[str]) -> None:
        """Enter new parts into the tables, all plain ones by one call of the tokenizer."""
        self._characters += sum(map(len, parts))
        plain = list(filter(_is_plain, parts)) if self._splits_marks else []
        if plain:
            self._learn_plain(plain)
        for part in parts:
            if part not in self._ids[0]:
                self._learn_part(part)

    def _learn_plain(self, parts: list[str]) -> None:
        """Enter parts that are one word each; those of more than `capacity` pieces are left out."""
        text, fits = " ".join(parts), np.ones(len(parts), bool)
        ids: list[list[bytes]] = []
        pieces: list[list[bytes]] = []
        for tokenizer, dtype in zip(self._tokenizers, self.token_dtypes, strict=True):
            encoding = tokenizer.encode(text, add_special_tokens=False)
            counts = np.bincount(np.array(encoding.word_ids, np.int64))
            if len(counts) != len(parts):
                return  # a token that was added to the vocabulary stands inside a word
            fits &= counts <= self.capacity
            ids.append(_slices(np.array(encoding.ids, dtype), counts))
            pieces.append(_slices(counts.astype(self.piece_dtype), np.ones_like(counts)))
        for table, column in zip((*self._ids, *self._pieces), (*ids, *pieces), strict=True):
            table.update(compress(zip(parts, column, strict=True), fits.tolist()))

    def _learn_part(self, part: str) -> None:
        encodings = [each.encode(part, add_special_tokens=False) for each in self._tokenizers]
        words = [piece for word in _common_words(part, encodings) for piece in self._cut(word)]
        for side, dtype in enumerate(self.token_dtypes):
            ids = [token for word in words for token in word[side]]
            self._ids[side][part] = np.array(ids, dtype).tobytes()
            pieces = np.array([len(word[side]) for word in words], self.piece_dtype)
            self._pieces[side][part] = pieces.tobytes()

    def _cut(self, word: Word) -> list[Word]:
        longest, shortest = max(map(len, word)), min(map(len, word))
        if shortest and longest <= self.capacity:
            return [word]
        parts = -(-longest // self.capacity)
        # WordPiece itself gives up on a word of more than 100 characters in this way.
        if shortest < parts:
            return [tuple((side.unknown_id,) for side in self._sides)]
        cuts = [[len(ids) * part // parts for part in range(parts + 1)] for ids in word]
        return [
            tuple(ids[cut[part] : cut[part + 1]] for ids, cut in zip(word, cuts, strict=True)) for part in range(parts)
        ]


def _look_up(table: dict[str, bytes], split: Sequence[list[str]]) -> tuple[list[bytes], list[int]]:
    """The joined entries of each sentence's parts, and the sentences (left empty) that have unknown parts."""
    look_up, join = table.__getitem__, b"".join
    found: list[bytes] = []
    unknown: list[int] = []
    for row, parts in enumerate(split):
        # Asking first whether all parts are known would look each up twice, and most sentences are known.
        try:
            found.append(join(map(look_up, parts)))
        except KeyError:
            found.append(b"")
            unknown.append(row)
    return found, unknown


def _slices(values: NDArray[np.generic], counts: NDArray[np.int64]) -> list[bytes]:
    """The bytes of the first counts[0] values, those of the next counts[1], and so on."""
    data = values.tobytes()
    bounds = [0, *np.cumsum(counts * values.itemsize).tolist()]
    return [data[first:last] for first, last in pairwise(bounds)]


def _literal(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that reads "[MASK]" in a text as five letters in brackets, and neither truncates nor pads."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    # A crawled page that says "[MASK]" must not become a masked position of ours.
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
    # Where one side joins what another separates, the longer stretch is the word of both.
    bounds = sorted(candidates | {0})
    words: list[tuple[list[int], ...]] = [tuple([] for _ in encodings) for _ in bounds]
    for side, encoding in enumerate(encodings):
        for token, (start, _) in zip(encoding.ids, encoding.offsets, strict=True):
            words[bisect_right(bounds, start) - 1][side].append(token)
    return _none_lacking([tuple(map(tuple, word)) for word in words if any(word)])


def _none_lacking(words: list[Word]) -> list[Word]:
    """The words of a part, each that a side has no piece of joined to its neighbour, if it has one."""
    joined: list[Word] = []
    for word in words:
        if joined and not (all(word) and all(joined[-1])):
            joined[-1] = tuple(before + ids for before, ids in zip(joined[-1], word, strict=True))
        else:
            joined.append(word)
    return joined
