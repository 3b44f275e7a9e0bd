"""Sequences: whole sentences of one document, packed up to the length asked for.

Dimensions: S sentences or sequences, W words of a document, T tokens of a document on one side.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinydistil.data.words import EncodedSentence, WordEncoder


@dataclass(frozen=True, slots=True)
class DocumentSequences:
    """All tokens of one document, in order, and where its sequences end. One entry a side in each outer tuple.

    `ids[side]` (T) token ids and `pieces[side]` (W) pieces of each word, as bytes; `lengths[side]` (S) tokens
    and `words` (S) words of each sequence.
    """

    ids: tuple[bytes, ...]
    pieces: tuple[bytes, ...]
    lengths: tuple[tuple[int, ...], ...]
    words: tuple[int, ...]


# A stretch of whole words: how many, and their tokens on each side.
Stretch = tuple[int, tuple[int, ...]]


def build_sequences(sentences: Sequence[str], encoder: WordEncoder) -> DocumentSequences:
    """Encode the sentences of one document and pack them into sequences of at most `encoder.capacity` tokens.

    Concatenated, the sequences are the document's tokens, every one, in order.
    """
    encoded = [each for each in map(encoder.encode, sentences) if each.words]
    sides = range(len(encoder.token_dtypes))
    packed = list(pack(_stretches(encoded, encoder), encoder.capacity))
    return DocumentSequences(
        ids=tuple(b"".join(each.ids[side] for each in encoded) for side in sides),
        pieces=tuple(b"".join(each.pieces[side] for each in encoded) for side in sides),
        lengths=tuple(tuple(sizes[side] for _, sizes in packed) for side in sides),
        words=tuple(words for words, _ in packed),
    )


def pack(stretches: Iterator[Stretch], capacity: int) -> Iterator[Stretch]:
    """Join neighbouring stretches greedily while every side stays within `capacity`.

    Greedy is best here: sequences hold consecutive sentences, so filling each as far as it goes leaves the fewest.
    """
    words, sizes = 0, None
    for more_words, more in stretches:
        joined = more if sizes is None else tuple(map(int.__add__, sizes, more))
        if sizes is not None and max(joined) > capacity:
            yield words, sizes
            words, joined = 0, more
        words, sizes = words + more_words, joined
    if sizes is not None:
        yield words, sizes


def _stretches(sentences: Sequence[EncodedSentence], encoder: WordEncoder) -> Iterator[Stretch]:
    """What must stay together: sentences, and the word-bounded parts of those longer than a sequence."""
    for sentence in sentences:
        if max(sentence.sizes) <= encoder.capacity:
            yield sentence.words, sentence.sizes
        else:
            pieces: list[NDArray[np.unsignedinteger]] = [
                np.frombuffer(each, encoder.piece_dtype) for each in sentence.pieces
            ]
            words = zip(*(each.tolist() for each in pieces), strict=True)
            yield from pack(((1, sizes) for sizes in words), encoder.capacity)
