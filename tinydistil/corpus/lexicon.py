"""The words of a corpus, each as a sequence of its own.

Sentences show a student its rare words a few times, among others. The vector that a sentence encoder gives to a word by
itself shows it each one, and cheaply: a word has three tokens or four. Shapes: W words, T tokens of one side.
"""

import numpy as np
from numpy.typing import NDArray

from tinydistil.base.splitmix import FIRST, STEP, splitmix64
from tinydistil.batches.shards import DocumentSequences, Tokens, TokenShards

Numbers = NDArray[np.uint64]


# Different words, by hash, ascending: how often each is there, and shard and index of the first.
_TYPES = np.dtype([("hash", np.uint64), ("count", np.int64), ("shard", np.int64), ("index", np.int64)])


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
