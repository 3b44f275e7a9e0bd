"""The work on one document, from raw bytes to token sequences: pure, picklable, the same on any machine."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from tinydistil.batches.sampling import FIRST, STEP, splitmix64
from tinydistil.batches.shards import DocumentSequences, Size, Tokens, TokenShards
from tinydistil.corpus.clean import clean_document
from tinydistil.corpus.duplicates import EvaluationNgrams, exact_key, signature
from tinydistil.corpus.language import split_sentences
from tinydistil.corpus.prepare_config import PrepareConfig
from tinydistil.corpus.readers import parse_record
from tinydistil.corpus.records import BadRecord, Document, Record
from tinydistil.tokenizer.tokenizer import Tokenizer
from tinydistil.tokenizer.word_encoder import WordEncoder

PHRASE = (3, 10)  # words, marks not counted
# Different words, by hash, ascending: how often each is there, and shard and index of the first.
_TYPES = np.dtype([("hash", np.uint64), ("count", np.int64), ("shard", np.int64), ("index", np.int64)])


@dataclass(frozen=True, slots=True)
class Kept:
    """A document that passed every rule that looks at one document alone.

    removed: the characters that each rule took out. key: 16 bytes, equal for equal normalised texts. signature: the
    MinHash (P), None where near-duplicates are not looked for.
    """

    characters: int
    removed: tuple[tuple[str, int], ...]
    key: bytes
    signature: NDArray[np.uint32] | None
    sequences: DocumentSequences


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one record: `kept`, or dropped by a rule; `characters` is the length it came with."""

    characters: int
    dropped_by: str | None = None
    bad: BadRecord | None = None
    replaced: int = 0
    kept: Kept | None = None


class DocumentStep:
    """Reads, cleans, hashes, signs, checks, tokenizes and cuts one document."""

    def __init__(
        self, config: PrepareConfig, tokenizers: Sequence[Tokenizer], evaluation: EvaluationNgrams | None
    ) -> None:
        self.config, self.evaluation = config, evaluation
        self.encoder = WordEncoder(tokenizers, config.capacity)

    def __call__(self, item: Record | BadRecord) -> Outcome:
        """The outcome of one record. Pure: the same for the same record, in any order and any process."""
        document = parse_record(item, self.config.read)
        if isinstance(document, BadRecord):
            return Outcome(0, dropped_by="unreadable", bad=document)
        # Counted as it came, before any rule: so the table's rows add up to what was read.
        characters, replaced = len(document.text), document.replaced
        document, dropped_by, removed = clean_document(document, self.config.clean)
        # The cleaned text, as the evaluation sets are text without markup; and only of what is still there.
        if dropped_by is None and self.evaluation is not None and self.evaluation.hit(document.text):
            dropped_by = "evaluation_overlap"
        if dropped_by is not None:
            return Outcome(characters, dropped_by=dropped_by, replaced=replaced)
        duplicates = self.config.duplicates
        kept = Kept(
            characters=len(document.text),
            removed=removed,
            key=exact_key(document.text),
            signature=signature(document.text, duplicates) if duplicates.near else None,
            sequences=build_sequences(
                sentences_of(document), self.encoder, packed=self.config.pack, phrases=self.config.phrases
            ),
        )
        if not kept.sequences.sizes:
            return Outcome(characters, dropped_by="no_tokens", replaced=replaced)
        return Outcome(characters, replaced=replaced, kept=kept)


def sentences_of(document: Document) -> list[str]:
    """A document's sentences: as its format marks them, else found in each paragraph."""
    return split_sentences(document.text) if document.sentences is None else list(chain(*document.sentences))


def build_sequences(
    sentences: Sequence[str], encoder: WordEncoder, *, packed: bool = True, phrases: float = 0.0
) -> DocumentSequences:
    """Encode the sentences of one document and pack them into sequences of at most `encoder.capacity` tokens.

    Not `packed`, each sentence is a sequence of its own, and of a share of them each of their `phrases`. Concatenated,
    the sequences are the document's tokens.
    """
    split, ids = encoder.encode(sentences)
    pieces = encoder.pieces(split) if len(ids) == 2 else []
    dtypes = (*encoder.token_dtypes, encoder.piece_dtype)
    # With two sides a third column counts the words, by the pieces of either side.
    sides = zip([*ids, *pieces[:1]], dtypes, strict=False)
    columns = [[len(each) // dtype.itemsize for each in column] for column, dtype in sides]
    stretches = _cut_long(columns, split, encoder, phrases)
    sizes = pack(stretches, encoder.capacity) if packed else _with_tokens(zip(*stretches, strict=True))
    return DocumentSequences(tuple(map(b"".join, ids)), tuple(map(b"".join, pieces)), tuple(sizes))


def pack(columns: Sequence[Sequence[int]], capacity: int) -> list[Size]:
    """Join neighbouring stretches of text greedily while no summed size passes `capacity`.

    columns: the sizes of all stretches on one side, then on the other, none above `capacity`; and their words, which
    never outnumber their pieces, so they never decide. Greedy is best, as sequences hold consecutive stretches.
    """
    # With running totals the end of each sequence is one binary search a column, not a step a sentence.
    totals = [[0, *accumulate(column)] for column in columns]
    bounds = [0]
    while bounds[-1] < len(columns[0]):
        start = bounds[-1]
        bounds.append(min(bisect_right(total, total[start] + capacity, start + 1) - 1 for total in totals))
    sizes = [[total[end] - total[start] for start, end in pairwise(bounds)] for total in totals]
    return _with_tokens(zip(*sizes, strict=True))


def _with_tokens(sizes: Iterable[Size]) -> list[Size]:
    """The sizes but those of sentences without tokens, which would be sequences of none."""
    return [size for size in sizes if size[0]]


def _cut_long(
    columns: list[list[int]], split: Sequence[list[str]], encoder: WordEncoder, phrases: float
) -> Sequence[Sequence[int]]:
    """The columns, each sentence longer than a sequence, and a share `phrases` of all, replaced by parts that end where
    words do."""
    if phrases == 0 and max(chain.from_iterable(columns), default=0) <= encoder.capacity:
        return columns
    sizes: list[Size] = []
    for parts, size in zip(split, zip(*columns, strict=True), strict=True):
        # Which and how is the sentence's own: the same in any document, order and process.
        drawn = crc32(" ".join(parts).encode("utf-8", "replace")) if phrases else 0
        is_cut = phrases > (drawn >> 3) / 2**29
        if max(size) <= encoder.capacity and not is_cut:
            sizes.append(size)
            continue
        # Without phrases rare, one sentence in 700 of mixed Portuguese, so plain lists do.
        words = [np.frombuffer(each, encoder.piece_dtype).tolist() for (each,) in encoder.pieces([parts])]
        words += [[1] * len(words[0])] * (len(words) - 1)
        bounds = [0, len(words[0])]
        if is_cut:
            bounds = _phrases(parts, encoder, PHRASE[0] + drawn % (PHRASE[1] - PHRASE[0] + 1))
        for start, stop in pairwise(bounds):
            sizes += pack([column[start:stop] for column in words], encoder.capacity)
    return list(zip(*sizes, strict=True))


def _phrases(parts: list[str], encoder: WordEncoder, length: int) -> list[int]:
    """Where a sentence is cut into phrases of `length` words: before a word, and no rest shorter than a phrase is left.

    Bounds count what the tokenizers take for words, marks among them.
    """
    pieces = encoder.pieces([[part] for part in parts])[0]
    ends = [0, *accumulate(len(each) // encoder.piece_dtype.itemsize for each in pieces)]
    words = [ends[i] for i, part in enumerate(parts) if any(map(str.isalnum, part))]
    inner = [words[i] for i in range(length, len(words) - PHRASE[0] + 1, length)]
    return [0, *inner, ends[-1]]


def single_words(shards: TokenShards, at_least: int) -> DocumentSequences:
    """Each different word that `shards`, of two tokenizations, hold `at_least` times, by first occurrence.

    Words are different that differ on either side, so "Casa" and "casa" are two where one tokenizer is cased.
    """
    found = np.empty(0, _TYPES)
    for number, arrays in enumerate(shards.word_arrays()):
        unique, first, counts = np.unique(_word_hashes(arrays), return_index=True, return_counts=True)
        new = np.empty(len(unique), _TYPES)
        new["hash"], new["count"], new["shard"], new["index"] = unique, counts, number, first
        every = np.concatenate([found, new])
        # Of equal ones the first: that of an earlier shard.
        _, kept, inverse = np.unique(every["hash"], return_index=True, return_inverse=True)
        found = every[kept]
        found["count"] = np.bincount(inverse, every["count"], len(kept))
    found = found[found["count"] >= at_least]
    ids: tuple[list[bytes], list[bytes]] = [], []
    pieces: tuple[list[bytes], list[bytes]] = [], []
    sizes = []
    for number, arrays in enumerate(shards.word_arrays()):
        mine = np.sort(found["index"][found["shard"] == number])
        for side, (tokens, lengths) in enumerate(arrays):
            starts = _starts(lengths)
            ids[side].extend(tokens[starts[index] : starts[index] + lengths[index]].tobytes() for index in mine)
            pieces[side].append(lengths[mine].tobytes())
        both = zip(*(lengths[mine].tolist() for _, lengths in arrays), strict=True)
        sizes += [(teacher, student, 1) for teacher, student in both]
    return DocumentSequences(tuple(map(b"".join, ids)), tuple(map(b"".join, pieces)), tuple(sizes))


def _word_hashes(arrays: tuple[tuple[Tokens, Tokens], ...]) -> NDArray[np.uint64]:
    """64 bits of each word (W,), of its pieces on both sides and their order."""
    total = np.zeros(len(arrays[0][1]), np.uint64)
    for side, (tokens, lengths) in enumerate(arrays):
        starts = _starts(lengths)
        inside = np.arange(len(tokens)) - np.repeat(starts, lengths)  # a piece's position in its word
        mixed = (tokens.astype(np.uint64) * np.uint64(2) + np.uint64(side)) * STEP + inside.astype(np.uint64) * FIRST
        # Sums of its outputs tell sequences of pieces apart.
        total += np.add.reduceat(splitmix64(mixed), starts)
    return total


def _starts(lengths: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
    return np.cumsum(lengths, dtype=np.int64) - lengths
