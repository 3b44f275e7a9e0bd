"""Words and their pieces, for one tokenizer or for two side by side.

A *word* is what BERT's pre-tokenizer makes: text between white space, with each punctuation mark on its own.
Both tokenizers see the same text, so their words correspond one to one, whatever pieces each makes of a word.

Tokenizing word by word gives what tokenizing the sentence gives, because WordPiece never looks past a word;
and a language repeats its words, so pieces are looked up, not computed.
"""

import json
import re
from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence

import numpy as np
from tokenizers import Encoding, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from tinydistil.tokenizer.tokenizer import Tokenizer

# Punctuation on which every BERT pre-tokenizer splits, so that "casa," and "casa" share an entry. What is not listed
# stays inside a part and is split by the tokenizer itself.
_MARKS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~“”‘’–—…«»"
# One word to every BERT tokenizer, and none without a piece: a mark, or plain Latin letters and digits.
_LETTERS = "".join(filter(str.isalnum, map(chr, [*range(128), *range(0xC0, 0x100)])))
_is_plain = re.compile(rf"[{_LETTERS}]+|[{re.escape(_MARKS)}]").fullmatch

# Characters of the parts remembered, some 270,000 parts: full tables are emptied before the next document,
# which changes speed, never results.
_MAX_CHARACTERS = 2_500_000

_bert_words = pre_tokenizers.BertPreTokenizer()
Word = tuple[tuple[int, ...], ...]  # for each side, the ids of its pieces


def token_dtype(vocab_size: int) -> np.dtype[np.unsignedinteger]:
    """uint16 where the vocabulary fits, else uint32."""
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


class WordEncoder:
    """Encodes sentences with one tokenizer or two; `capacity` is the most tokens a sequence holds.

    No word has more than `capacity` pieces on any side: a longer one counts as several words with at least one piece on
    each side. Where a side has too few pieces for that, the word is unknown on both; so is one between spaces that a
    side has no piece of (an accent on its own, which one tokenizer strips and the other keeps): one sentence in 10,000
    of mixed Portuguese.
    """

    def __init__(self, tokenizers: Sequence[Tokenizer], capacity: int) -> None:
        self.capacity = capacity
        self.piece_dtype = np.min_scalar_type(capacity).newbyteorder("<")
        self.token_dtypes = tuple(token_dtype(each.vocab_size) for each in tokenizers)
        self._tokenizers = tuple(tokenizers)
        self._backends = [Backend.from_str(_spaced(each.backend.to_str())) for each in tokenizers]
        for backend in self._backends:
            # "[MASK]" in a text is four letters in brackets: a crawled page must mask nothing of ours.
            backend.encode_special_tokens = True
        self._splits_marks = all(map(_splits_marks, self._backends))
        # What is left of BERT's steps for a plain word; taken alone they cost a fifth of them all.
        self._plain_steps = [(_normaliser(each), each.model.tokenize) for each in self._backends]
        # A number of pieces as it is written.
        self._lengths = [np.array(length, self.piece_dtype).tobytes() for length in range(capacity + 1)]
        # For each side what a part becomes: the ids of its pieces, and how many pieces each word has.
        self._ids = [_Table(self._learn) for _ in tokenizers]
        self._pieces = [_Table(self._learn) for _ in tokenizers]
        self._characters = 0

    def __reduce__(self) -> tuple[type["WordEncoder"], tuple[tuple[Tokenizer, ...], int]]:
        return WordEncoder, (self._tokenizers, self.capacity)  # the tables stay behind

    def encode(self, sentences: Sequence[str]) -> tuple[list[list[str]], list[list[bytes]]]:
        """The parts of each sentence; and for each side and sentence the ids of its pieces, in the side's
        token type, without special tokens."""
        if self._characters > _MAX_CHARACTERS:
            for each in (*self._ids, *self._pieces):
                each.clear()
            self._characters = 0
        split = self._split(sentences)
        return split, _joined(self._ids, split)

    def pieces(self, split: Sequence[list[str]]) -> list[list[bytes]]:
        """For each side and sentence, the number of pieces of each word, as `piece_dtype`.

        `split` are sentences of the latest call of `encode`, as it split them.
        """
        return _joined(self._pieces, split)

    def _split(self, sentences: Sequence[str]) -> list[list[str]]:
        text = "\n".join([sentence.replace("\n", " ") for sentence in sentences])
        if self._splits_marks:
            # Some dozen passes of str.replace take two thirds of the time of one regular expression.
            for mark in _MARKS:
                if mark in text:
                    text = text.replace(mark, f" {mark} ")
        return [line.split() for line in text.split("\n")]

    def _learn(self, part: str) -> None:
        """Enter a new part into all tables."""
        self._characters += len(part)
        if self._splits_marks and _is_plain(part) and self._learn_plain(part):
            return
        encodings = [each.encode(part, add_special_tokens=False) for each in self._backends]
        words = [piece for word in _common_words(part, encodings) for piece in self._cut(word)]
        for side, dtype in enumerate(self.token_dtypes):
            ids = [token for word in words for token in word[side]]
            self._ids[side][part] = array(dtype.char, ids).tobytes()
            self._pieces[side][part] = b"".join(self._lengths[len(word[side])] for word in words)

    def _learn_plain(self, part: str) -> bool:
        """Enter a part that is one word; false if a tokenizer makes more of it, or more than `capacity` pieces."""
        for side, (normalise, tokenize) in enumerate(self._plain_steps):
            word = normalise(part)
            ids = [token.id for token in tokenize(word)]
            if len(ids) > self.capacity or not (word is part or _is_plain(word)):
                return False
            self._ids[side][part] = array(self.token_dtypes[side].char, ids).tobytes()
            self._pieces[side][part] = self._lengths[len(ids)]
        return True

    def _cut(self, word: Word) -> list[Word]:
        longest, shortest = max(map(len, word)), min(map(len, word))
        parts = -(-longest // self.capacity)
        # WordPiece itself gives up on a word of more than 100 characters in this way.
        if shortest < max(parts, 1):
            return [tuple((each.unk_id,) for each in self._tokenizers)]
        return [
            tuple(ids[len(ids) * part // parts : len(ids) * (part + 1) // parts] for ids in word)
            for part in range(parts)
        ]


def _spaced(rules: str) -> str:
    """A tokenizer.json whose byte-level steps take a text for what stands behind a space, as words mostly do."""
    if '"ByteLevel"' not in rules:
        return rules  # XLM-R's are 17 MB
    known = json.loads(rules)
    steps = [known["pre_tokenizer"] or {}, known["post_processor"] or {}]
    for step in steps:
        steps += [*step.get("pretokenizers", []), *step.get("processors", [])]
        if step.get("type") in ("ByteLevel", "RobertaProcessing"):
            step |= {"add_prefix_space": True, "trim_offsets": False}
    return json.dumps(known)


class _Table(dict[str, bytes]):
    """Looks parts up, and has those that are new learnt on the way: of 20 million, one in 84."""

    def __init__(self, learn: Callable[[str], None]) -> None:
        self._learn = learn

    def __missing__(self, part: str) -> bytes:
        self._learn(part)
        return self[part]


def _joined(tables: Sequence[_Table], split: Sequence[list[str]]) -> list[list[bytes]]:
    """For each table and sentence, the joined entries of its parts."""
    return [[b"".join(map(table.__getitem__, parts)) for parts in split] for table in tables]


def _splits_marks(backend: Backend) -> bool:
    """Whether marks are words of their own: to other pre-tokenizers than BERT's, and in tokens added to the
    vocabulary (but for special ones, which are read as text), they may belong to their neighbours."""
    added = backend.get_added_tokens_decoder().values()
    return isinstance(backend.pre_tokenizer, pre_tokenizers.BertPreTokenizer) and all(each.special for each in added)


def _normaliser(backend: Backend) -> Callable[[str], str]:
    """What `backend` does to a plain word before it looks for its pieces: nothing, if it keeps case and accents."""
    normalizer = backend.normalizer
    # BERT's goes letter by letter, so that it leaves a word alone if it leaves each letter alone.
    letters = isinstance(normalizer, normalizers.BertNormalizer) and normalizer.normalize_str(_LETTERS) == _LETTERS
    return str if normalizer is None or letters else normalizer.normalize_str


def _common_words(part: str, encodings: Sequence[Encoding]) -> list[Word]:
    """The finest division of `part` into words that cuts no piece of any side."""
    # The words of BERT's pre-tokenizer and those of each side's own (which adds Chinese characters).
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
    # A word that a side has no piece of is joined to its neighbour, if it has one.
    joined: list[Word] = []
    for word in (tuple(map(tuple, word)) for word in words if any(word)):
        if joined and not (all(word) and all(joined[-1])):
            joined[-1] = tuple(before + ids for before, ids in zip(joined[-1], word, strict=True))
        else:
            joined.append(word)
    return joined
