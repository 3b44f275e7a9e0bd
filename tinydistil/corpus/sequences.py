"""Sequences: whole sentences of one document, packed up to a maximum length; and the words of a corpus, each alone.

Sentences show a student its rare words a few times, among others. The vector that a sentence encoder gives to a word by
itself shows it each one, and cheaply: a word has three tokens or four.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, pairwise

import numpy as np
from numpy.typing import NDArray

from tinydistil.base.splitmix import FIRST, STEP, splitmix64
from tinydistil.batches.shards import DocumentSequences, Size, Tokens, TokenShards
from tinydistil.tokenizer.word_encoder import WordEncoder

Numbers = NDArray[np.uint64]
# Different words, by hash, ascending: how often each is there, and shard and index of the first.
_TYPES = np.dtype([("hash", np.uint64), ("count", np.int64), ("shard", np.int64), ("index", np.int64)])


def build_sequences(sentences: Sequence[str], encoder: WordEncoder, *, packed: bool = True) -> DocumentSequences:
    """Encode the sentences of one document and pack them into sequences of at most `encoder.capacity` tokens.

    Not `packed`, each sentence is a sequence of its own. Concatenated, the sequences are the document's tokens,
    every one, in order.
    """
    split, ids = encoder.encode(sentences)
    pieces = encoder.pieces(split) if len(ids) == 2 else []
    dtypes = (*encoder.token_dtypes, encoder.piece_dtype)
    # With two sides a third column counts the words, by the pieces of either side.
    columns = [
        [len(each) // dtype.itemsize for each in column]
        for column, dtype in zip([*ids, *pieces[:1]], dtypes, strict=False)
    ]
    stretches = _cut_long(columns, split, encoder)
    return DocumentSequences(
        ids=tuple(map(b"".join, ids)),
        pieces=tuple(map(b"".join, pieces)),
        sizes=tuple(pack(stretches, encoder.capacity) if packed else _with_tokens(zip(*stretches, strict=True))),
    )


def pack(columns: Sequence[Sequence[int]], capacity: int) -> list[Size]:
    """Join neighbouring stretches of text greedily while no summed size passes `capacity`.

    `columns` holds the sizes of all stretches on one side, then on the other, and so on; none is above
    `capacity`. Greedy is best here: sequences hold consecutive stretches, so filling each as far as it goes
    leaves the fewest. Words ride along as a column: they never outnumber their pieces, so they never decide.
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


def _cut_long(columns: list[list[int]], split: Sequence[list[str]], encoder: WordEncoder) -> Sequence[Sequence[int]]:
    """The columns, each sentence longer than a sequence replaced by parts that end where words do."""
    if max(chain.from_iterable(columns), default=0) <= encoder.capacity:
        return columns
    rows: list[Size] = []
    for parts, row in zip(split, zip(*columns, strict=True), strict=True):
        if max(row) <= encoder.capacity:
            rows.append(row)
            continue
        # Rare, one sentence in 700 of mixed Portuguese, so plain lists do.
        words = [np.frombuffer(each, encoder.piece_dtype).tolist() for (each,) in encoder.pieces([parts])]
        rows += pack(words + [[1] * len(words[0])] * (len(words) - 1), encoder.capacity)
    return list(zip(*rows, strict=True))


def single_words(shards: TokenShards, at_least: int) -> DocumentSequences:
    """Each different word that `shards` hold at least `at_least` times, in the order of their first occurrence.

    Words are different that differ on either side, so "Casa" and "casa" are two where one tokenizer is cased. The
    corpus must have two tokenizations, which alone mark its words.
    """
    found = np.empty(0, _TYPES)
    for number, arrays in enumerate(shards.word_arrays()):
        found = _merged(found, _hashes(arrays), number)
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


def _hashes(arrays: tuple[tuple[Tokens, Tokens], ...]) -> Numbers:
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


def _merged(before: NDArray[np.void], hashes: Numbers, number: int) -> NDArray[np.void]:
    """What was found before, and the words of shard `number`."""
    unique, first, counts = np.unique(hashes, return_index=True, return_counts=True)
    new = np.empty(len(unique), _TYPES)
    new["hash"], new["count"], new["shard"], new["index"] = unique, counts, number, first
    every = np.concatenate([before, new])
    # Of equal ones the first: that of an earlier shard.
    _, kept, inverse = np.unique(every["hash"], return_index=True, return_inverse=True)
    merged = every[kept]
    merged["count"] = np.bincount(inverse, every["count"], len(kept))
    return merged
