"""Whole sentences, nothing lost, both sides within the limit."""

import itertools
import random
from collections.abc import Callable

import numpy as np
import pytest

from tinydistil.data.sequences import DocumentSequences, build_sequences, pack
from tinydistil.data.words import Side, WordEncoder

Sentences = Callable[[random.Random], list[str]]


def tokens_of(document: DocumentSequences, encoder: WordEncoder, side: int) -> list[int]:
    return np.frombuffer(document.ids[side], encoder.token_dtypes[side]).tolist()


@pytest.mark.parametrize("seed", range(200))
def test_sequences_joined_are_the_document(
    cased: Side, uncased: Side, random_sentences: Sentences, seed: int
) -> None:
    sentences, capacity = random_sentences(random.Random(seed)), 6 + seed % 35
    encoder = WordEncoder([cased, uncased], capacity)
    document = build_sequences(sentences, encoder)
    encoded = [encoder.encode(sentence) for sentence in sentences]
    for side in (0, 1):
        assert document.ids[side] == b"".join(each.ids[side] for each in encoded)
        assert sum(document.lengths[side]) == len(tokens_of(document, encoder, side))
        assert all(0 < length <= capacity for length in document.lengths[side])
        pieces = np.frombuffer(document.pieces[side], encoder.piece_dtype)
        bounds = np.cumsum((0, *document.words))
        by_words = [int(pieces[first:last].sum()) for first, last in itertools.pairwise(bounds)]
        assert by_words == list(document.lengths[side]), "sequences end where words end"


@pytest.mark.parametrize("seed", range(200))
def test_sentences_that_fit_are_not_cut(cased: Side, random_sentences: Sentences, seed: int) -> None:
    sentences, capacity = random_sentences(random.Random(seed)), 6 + seed % 35
    encoder = WordEncoder([cased], capacity)
    ends = set(np.cumsum((0, *build_sequences(sentences, encoder).lengths[0])).tolist())
    position = 0
    for sentence in sentences:
        size = encoder.encode(sentence).sizes[0]
        if size <= capacity:
            assert not any(position < end < position + size for end in ends)
        position += size


def test_packs_greedily() -> None:
    sentences = [(3, (3,)), (4, (4,)), (2, (2,)), (9, (9,)), (1, (1,)), (1, (1,))]
    assert list(pack(iter(sentences), 10)) == [(9, (9,)), (10, (10,)), (1, (1,))]


def test_the_longer_side_decides() -> None:
    assert list(pack(iter([(2, (2, 6)), (2, (2, 5))]), 10)) == [(2, (2, 6)), (2, (2, 5))]


def test_the_rest_of_a_long_sentence_is_joined_by_the_next(cased: Side) -> None:
    encoder = WordEncoder([cased], 10)
    assert build_sequences(["casa " * 14, "casa " * 5], encoder).lengths == ((10, 9),)


def test_nothing_gives_nothing(cased: Side) -> None:
    empty = build_sequences(["", "  ", "\u200b"], WordEncoder([cased], 10))
    assert empty == DocumentSequences((b"",), (b"",), ((),), ())
