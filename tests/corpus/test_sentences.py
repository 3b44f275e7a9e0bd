"""Portuguese sentence ends, and what looks like them."""

import random
import time

import pytest

from tinydistil.corpus.language import _BEFORE_NAMES, _BEFORE_NUMBERS, split_sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["O Sr. Silva chegou às 10h.", "Ele trouxe 3.000 reais."],
        ["Segundo o art. 5º da Constituição, todos são iguais.", "Ponto."],
        ["“Vem?” perguntou ela.", "Ele não respondeu... e saiu.", "Fim!"],
        ["J. K. Rowling escreveu isso na pág. 12.", "O Dr. João e a Dra. Ana vieram."],
        ["Ele disse: “Não vou.”", "E ficou.", "— Sim! — disse ela.", "— Não?", "Não."],
        ["O nº. 7 venceu na Av. Paulista.", "Viva!"],
        ["Machado de Assis nasceu em 1839.", "1908 foi o ano da morte."],
        ["Que?!", "Como assim??", "Nada…", "Tudo..."],
        ["V. Exa. sabe que a Sra. Maria e o Min. Barroso discordam.", "Ela falou primeiro."],
        ["Ele quer ver.", "Maria não."],
        ["Custa R$ 1.000,00 (mil reais).", "(Ou menos.)", "Talvez."],
        ["sem ponto nem maiúscula"],
    ],
)
def test_splits(sentences: list[str]) -> None:
    assert split_sentences(" ".join(sentences)) == sentences


def test_paragraphs_are_split_one_by_one() -> None:
    draw = random.Random(3)
    for _ in range(500):
        parts = [*"aÁ1.!?… \n\n", "Sr. ", "art. ", "palavra. ", ". (", "... "]
        text = "".join(draw.choices(parts, k=draw.randrange(40)))
        assert split_sentences(text) == [each for line in text.split("\n") for each in split_sentences(line)], text


def test_blank_paragraphs_have_no_sentences() -> None:
    assert split_sentences("") == split_sentences("  ") == []


@pytest.mark.parametrize(
    "text",
    ["." * 200_000, '."' * 100_000, ". " * 100_000, "?" + ")" * 200_000, "a." * 100_000, "." + " " * 200_000 + "a"],
)
def test_hostile_text_costs_linear_time(text: str) -> None:
    start = time.perf_counter()
    split_sentences(text)
    assert time.perf_counter() - start < 5.0


def test_nothing_is_lost_whatever_the_text() -> None:
    draw = random.Random(2)
    for _ in range(500):
        parts = [*"aAéÉ1.!?…,;:)(”“\"'— ", "Sr. ", "art. ", ". ", "... "]
        text = "".join(draw.choices(parts, k=draw.randrange(60)))
        assert " ".join(split_sentences(text)).split() == text.split()
        assert all(split_sentences(text))


def test_the_short_cut_is_longer_than_any_abbreviation() -> None:
    assert max(map(len, _BEFORE_NAMES | _BEFORE_NUMBERS)) < 6
