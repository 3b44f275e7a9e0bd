"""Whole sentences, nothing lost, both sides within the limit."""

import itertools
import random
from collections.abc import Callable

import numpy as np

from tinydistil.corpus.document_step import build_sequences, pack
from tinydistil.tokenizer.tokenizer import Tokenizer
from tinydistil.tokenizer.word_encoder import WordEncoder

Sentences = Callable[[random.Random], list[str]]


def test_sequences_joined_are_the_document(cased: Tokenizer, uncased: Tokenizer, random_sentences: Sentences) -> None:
    for seed in range(300):
        sentences, encoder = (
            random_sentences(random.Random(seed)),
            WordEncoder([cased, uncased], 6 + seed % 35),
        )
        document = build_sequences(sentences, encoder)
        sizes = np.array(document.sizes, int).reshape(-1, 3)
        assert (sizes[:, :2] <= encoder.capacity).all() and (sizes > 0).all()
        word_ends = np.cumsum(sizes[:, 2])
        for side in (0, 1) if len(sizes) else ():
            assert document.ids[side] == b"".join(encoder.encode(sentences)[1][side])
            assert sizes[:, side].sum() * encoder.token_dtypes[side].itemsize == len(document.ids[side])
            pieces = np.frombuffer(document.pieces[side], encoder.piece_dtype)
            ends = np.cumsum(pieces)[word_ends - 1]
            assert (ends == np.cumsum(sizes[:, side])).all(), "sequences end where words end"


def test_sentences_that_fit_are_not_cut(cased: Tokenizer, random_sentences: Sentences) -> None:
    for seed in range(300):
        sentences, encoder = random_sentences(random.Random(seed)), WordEncoder([cased], 6 + seed % 35)
        lengths = [size for (size,) in build_sequences(sentences, encoder).sizes]
        ends, position = set(itertools.accumulate(lengths)), 0
        for sentence in sentences:
            size = len(encoder.encode([sentence])[1][0][0]) // 2
            if size <= encoder.capacity:
                assert not any(position < end < position + size for end in ends)
            position += size


def test_long_sentences_are_cut_between_words(cased: Tokenizer) -> None:
    # "gatinho" has two pieces, so a sequence of 7 holds three of them.
    assert build_sequences(["gatinho " * 7], WordEncoder([cased], 7)).sizes == ((6,), (6,), (2,))


def test_packs_greedily() -> None:
    assert list(pack([[3, 4, 2, 9, 1, 1]], 10)) == [(9,), (10,), (1,)]


def test_the_longer_side_decides() -> None:
    assert list(pack([[2, 2], [6, 5], [2, 2]], 10)) == [(2, 6, 2), (2, 5, 2)]


def test_the_rest_of_a_long_sentence_is_joined_by_the_next(cased: Tokenizer) -> None:
    assert build_sequences(["casa " * 14, "casa " * 5], WordEncoder([cased], 10)).sizes == ((10,), (9,))


def test_nothing_gives_nothing(cased: Tokenizer) -> None:
    assert build_sequences(["", "  ", "\u200b"], WordEncoder([cased], 10)).sizes == ()
    assert build_sequences([], WordEncoder([cased], 10)).sizes == ()


def test_sentences_apart(cased: Tokenizer, random_sentences: Sentences) -> None:
    """Not packed, each sentence is a sequence, a long one several; the tokens stay the document's."""
    encoder = WordEncoder([cased], 10)
    assert build_sequences(["casa", "", "casa " * 12, "casa casa"], encoder, packed=False).sizes == (
        (1,),
        (10,),
        (2,),
        (2,),
    )
    for seed in range(100):
        sentences = random_sentences(random.Random(seed))
        apart, together = (build_sequences(sentences, encoder, packed=packed) for packed in (False, True))
        assert apart.ids == together.ids and sum(size for (size,) in apart.sizes) * 2 == len(apart.ids[0])


def test_phrases_of_a_share_of_the_sentences(cased: Tokenizer, uncased: Tokenizer) -> None:
    """A sentence is cut to phrases of one length, three to ten words, or stays whole; the words are all there."""
    words, random_ = ["casa", "gato", "pão", "água", "gatinho"], random.Random(5)
    sentences = [" ".join(random_.choices(words, k=23)) for _ in range(400)]
    encoder, lengths, whole = WordEncoder([cased, uncased], 254), list[int](), 0
    for sentence in sentences:
        found = build_sequences([sentence], encoder, packed=False, phrases=0.6)
        counts = [size[2] for size in found.sizes]
        assert sum(counts) == 23 and found.ids[0] == encoder.encode([sentence])[1][0][0]
        if counts == [23]:
            whole += 1
            continue
        lengths.append(counts[0])
        assert set(counts[:-1]) == {counts[0]} and 3 <= counts[-1] <= counts[0] + 2
    assert set(lengths) == set(range(3, 11)) and 0.33 < whole / 400 < 0.47
    together = build_sequences(sentences, encoder, packed=False, phrases=0.6)
    apart = [build_sequences([sentence], encoder, packed=False, phrases=0.6).sizes for sentence in sentences]
    assert together.sizes == tuple(itertools.chain(*apart)), "each by itself"
    # Marks count as no words, and begin no phrase but the first.
    marked = [sentence.replace("casa", "- casa ,").replace("gato", "gato !") + " ..." for sentence in sentences]
    for plain, sentence in zip(sentences, marked, strict=True):
        found = build_sequences([sentence], encoder, packed=False, phrases=1.0)
        split, sizes = encoder.encode([sentence])[0][0], [size[2] for size in found.sizes]
        phrases = [split[stop - size : stop] for size, stop in zip(sizes, itertools.accumulate(sizes), strict=True)]
        kept = [[part for part in phrase if part.isalnum()] for phrase in phrases]
        assert list(itertools.chain(*kept)) == plain.split() and sum(sizes) == len(split)
        assert all(phrase[0].isalnum() for phrase in phrases[1:])
        assert len({len(phrase) for phrase in kept[:-1]}) == 1 and 3 <= len(kept[-1]) <= len(kept[0]) + 2
    few = build_sequences(sentences, WordEncoder([cased, uncased], 6), packed=False, phrases=1.0)
    assert max(max(size) for size in few.sizes) <= 6
    assert (
        build_sequences(sentences, encoder, packed=False).sizes
        == build_sequences(sentences, encoder, packed=False, phrases=0.0).sizes
    )
