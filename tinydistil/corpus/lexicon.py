"""The words of a corpus, each as a sequence of its own.

Sentences show a student its rare words a few times, among others. The vector that a sentence encoder gives to a word by
itself shows it each one, and cheaply: a word has three tokens or four. Shapes: W words, T tokens of one side.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinydistil.base.splitmix import FIRST, STEP, splitmix64
from tinydistil.batches.shards import DocumentSequences, Tokens, TokenShards

Numbers = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class _Types:
    """Different words, by hash, ascending: how often each is there, and shard and index of the first."""

    hashes: Numbers
    counts: NDArray[np.int64]
    shards: NDArray[np.int64]
    indices: NDArray[np.int64]


def single_words(shards: TokenShards, at_least: int) -> DocumentSequences:
    """Each different word that `shards` hold at least `at_least` times, in the order of their first occurrence.

    Words are different that differ on either side, so "Casa" and "casa" are two where one tokenizer is cased. The
    corpus must have two tokenizations, which alone mark its words.
    """
    none = np.empty(0, np.int64)
    found = _Types(np.empty(0, np.uint64), none, none, none)
    for number, arrays in enumerate(shards.word_arrays()):
        found = _merged(found, _hashes(arrays), number)
    frequent = np.flatnonzero(found.counts >= at_least)
    order = frequent[np.lexsort((found.indices[frequent], found.shards[frequent]))]
    ids: tuple[list[bytes], list[bytes]] = [], []
    pieces: tuple[list[bytes], list[bytes]] = [], []
    sizes = []
    for number, arrays in enumerate(shards.word_arrays()):
        mine = found.indices[order[found.shards[order] == number]]
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
    """Where each word begins among the tokens."""
    return np.cumsum(lengths, dtype=np.int64) - lengths


def _merged(before: _Types, hashes: Numbers, number: int) -> _Types:
    """What was found before, and the words of shard `number`."""
    new, first, counts = np.unique(hashes, return_index=True, return_counts=True)
    every = np.concatenate([before.hashes, new])
    # Of equal ones the first: that of an earlier shard.
    unique, kept, inverse = np.unique(every, return_index=True, return_inverse=True)
    return _Types(
        unique,
        np.bincount(inverse, np.concatenate([before.counts, counts]), len(unique)).astype(np.int64),
        np.concatenate([before.shards, np.full(len(new), number)])[kept],
        np.concatenate([before.indices, first])[kept],
    )
