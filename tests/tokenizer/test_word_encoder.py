"""Word by word gives what the whole sentence gives; two tokenizations have the same words."""

import gzip
import itertools
import json
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from tinydistil.tokenizer.tokenizer import Tokenizer
from tinydistil.tokenizer.word_encoder import WordEncoder, token_dtype

NASTY = [
    "",
    "   ",
    "O gatinho de casa, amanhã.",
    "[MASK] e [SEP] no texto, [UNK]",
    "casa\u0301 \u0301 solto \u200b\u200bzero",
    "價格 misturado日本語casa",
    "a" * 150,
    "um_só d'água guarda-chuva 3.000,50 R$5,00 50% 5€ nº 1º",
    "tab\tlinha\nnova\u00a0duro\u2003largo",
    "😀 emoji😀junto «aspas» “curvas”—travessão…",
    "ǅ İstanbul ß ﬁ Ⅳ",
]


def ids(encoder: WordEncoder, sentence: str, side: int = 0) -> list[int]:
    return np.frombuffer(encoder.encode([sentence])[1][side][0], encoder.token_dtypes[side]).tolist()


def pieces(encoder: WordEncoder, sentence: str) -> list[list[int]]:
    return [
        np.frombuffer(each, encoder.piece_dtype).tolist() for (each,) in encoder.pieces(encoder.encode([sentence])[0])
    ]


def plain(side: Tokenizer, sentence: str) -> list[int]:
    """The tokenizer's own ids, special spellings read as text."""
    side.backend.encode_special_tokens = True
    return list(side.backend.encode(sentence, add_special_tokens=False).ids)


@pytest.mark.parametrize("sentence", NASTY)
def test_same_ids_as_the_whole_sentence(sentence: str, cased: Tokenizer, uncased: Tokenizer) -> None:
    for side in (cased, uncased):
        encoder = WordEncoder([side], capacity=126)
        assert ids(encoder, sentence) == plain(side, sentence)
        assert ids(encoder, sentence) == plain(side, sentence), "and again from the table"


def test_any_text_keeps_its_ids_and_its_words(cased: Tokenizer, uncased: Tokenizer) -> None:
    source = random.Random(7)
    characters = "aAáb cdz.,-'[]#0٣漢\u0301\u200b\u00a0 \n€😀"
    single, pair = WordEncoder([cased], capacity=126), WordEncoder([cased, uncased], capacity=126)
    for _ in range(500):
        text = "".join(source.choices(characters, k=source.randrange(40)))
        assert ids(single, text) == plain(cased, text), text
        assert_parallel(pair, text)


def assert_parallel(encoder: WordEncoder, text: str) -> None:
    counts = pieces(encoder, text)
    assert len(counts[0]) == len(counts[1])
    for side in (0, 1):
        assert sum(counts[side]) == len(ids(encoder, text, side))
        assert all(1 <= count <= encoder.capacity for count in counts[side])


def test_words_of_both_sides_are_the_same_text(cased: Tokenizer, uncased: Tokenizer) -> None:
    encoder = WordEncoder([cased, uncased], capacity=126)
    text, words = "O gatinho, casas: amanhã!", []
    for number, side in enumerate((cased, uncased)):
        tokens = iter([side.backend.id_to_token(each) for each in ids(encoder, text, number)])
        words.append(
            ["".join(itertools.islice(tokens, count)).replace("##", "") for count in pieces(encoder, text)[number]]
        )
    assert words[0] == ["O", "gatinho", ",", "casas", ":", "amanhã", "!"]
    assert words[1] == ["o", "gatinho", ",", "casas", ":", "amanha", "!"]


def test_long_words_are_cut_with_a_piece_on_each_side(cased: Tokenizer, uncased: Tokenizer) -> None:
    encoder = WordEncoder([cased, uncased], capacity=7)
    assert pieces(encoder, "x" * 20) == [[6, 7, 7]] * 2
    # Digits are one unknown piece to the uncased side: nothing to share among three parts.
    assert ids(encoder, "9" * 20, 0) == [1] and ids(encoder, "9" * 20, 1) == [1]


def test_a_word_that_one_side_has_no_piece_of_is_unknown_on_both(cased: Tokenizer, uncased: Tokenizer) -> None:
    encoder = WordEncoder([cased, uncased], capacity=126)
    assert ids(encoder, "\u0301", 0) == ids(encoder, "\u0301", 1) == [1]


def test_unless_it_has_a_neighbour_to_join(cased: Tokenizer, uncased: Tokenizer) -> None:
    encoder = WordEncoder([cased, uncased], capacity=126)
    for text in ("日\u0301", "\u0301日", "casa日\u0301 de"):
        for side, tokenizer in enumerate((cased, uncased)):
            assert ids(encoder, text, side) == plain(tokenizer, text), text
        assert_parallel(encoder, text)


def test_pickles_without_its_table(cased: Tokenizer) -> None:
    encoder = WordEncoder([cased], capacity=126)
    before = len(pickle.dumps(encoder))
    expected = ids(encoder, " ".join(map(str, range(5000))))
    assert len(pickle.dumps(encoder)) == before
    assert ids(pickle.loads(pickle.dumps(encoder)), " ".join(map(str, range(5000)))) == expected


def test_a_full_table_changes_nothing(cased: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = " ".join(f"casa{number}" for number in range(50))
    expected = ids(WordEncoder([cased], capacity=126), sentence)
    monkeypatch.setattr("tinydistil.tokenizer.word_encoder._MAX_CHARACTERS", 100)
    encoder = WordEncoder([cased], capacity=126)
    assert ids(encoder, sentence) == ids(encoder, "gatinho " + sentence)[2:] == expected


def test_types_are_as_small_as_their_values_allow() -> None:
    assert [WordEncoder([], most).piece_dtype for most in (255, 256, 70_000)] == ["<u1", "<u2", "<u4"]
    # 65,536 tokens have the ids 0 ... 65,535.
    assert token_dtype(65_536).itemsize == 2 and token_dtype(65_537).itemsize == 4


def test_real_vocabularies_on_real_text(real_data: Path) -> None:
    bertimbau, tiny = (
        Tokenizer.from_pretrained(real_data / "models" / name) for name in ("bertimbau-base-cased", "bert-tiny")
    )
    single, pair = WordEncoder([bertimbau], capacity=126), WordEncoder([bertimbau, tiny], capacity=126)
    for source in ("news", "docs", "literature"):
        with gzip.open(real_data / "corpus" / f"{source}.jsonl.gz", "rt", encoding="utf-8") as lines:
            for line in itertools.islice(lines, 25):
                text = json.loads(line)["text"]
                assert ids(single, text) == plain(bertimbau, text)
                assert ids(pair, text, 1) == plain(tiny, text)
                assert_parallel(pair, text)


def test_a_tokenizer_of_another_kind(real_data: Path) -> None:
    unigram, tiny = (Tokenizer.from_pretrained(real_data / "models" / name) for name in ("e5-small-pt", "bert-tiny"))
    encoder = WordEncoder([unigram, tiny], capacity=126)
    text = "Amanhã, o gatinho dorme na casa (velha) de São Paulo."
    assert ids(encoder, text, 0) == plain(unigram, text)
    assert ids(encoder, text, 1) == plain(tiny, text)
    assert_parallel(encoder, text)
    assert len(pieces(encoder, text)[0]) >= 10


def test_an_added_token_inside_a_word(cased: Tokenizer) -> None:
    backend = tokenizers.Tokenizer.from_str(cased.backend.to_str())
    backend.add_tokens(["gov", "e-mail"])
    side = Tokenizer(backend, cased.special)
    text = "desgoverno da casa, gov e casa; e-mail"
    assert ids(WordEncoder([side], capacity=126), text) == plain(side, text)
