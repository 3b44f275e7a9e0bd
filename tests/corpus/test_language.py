"""Foreign sentences are told from Portuguese ones; what is mixed or too short stays Portuguese."""

from pathlib import Path

import pytest

from tinydistil.corpus.clean import CleanConfig, language
from tinydistil.corpus.language import LANGUAGES, SAMPLE_WORDS, SPELLINGS, TIER_RATES, WORDS, judge

FOREIGN = Path(__file__).parents[2] / "benchmarks" / "foreign_lines.tsv"

PORTUGUESE = [
    "A casa amarela fica no fim da rua, perto da padaria.",
    "Não sei se ele vem amanhã, mas gostaria que viesse.",
    "Os meninos jogavam bola enquanto as mães conversavam na calçada.",
    "O software open source roda no browser e no desktop.",
    "Ela mora em La Paz e trabalha em Los Angeles.",
    "O Facebook comprou o WhatsApp por 19 bilhões de dólares.",
    "Sexta-feira à noite teremos um show no bar da esquina.",
    "A palavra inglesa the corresponde aos nossos artigos o e a.",
    "Deputado Onyx Lorenzoni e senador Wellington Fagundes votaram contra.",
    "Era uma vez um rei.",
    "Vende-se esta casa.",
    "Sim.",
    "Nélson Rodrigues, Vinícius de Moraes e Carlos Drummond de Andrade",
]


def is_foreign(text: str) -> bool:
    return language(text, CleanConfig())


@pytest.mark.parametrize("line", PORTUGUESE)
def test_portuguese_stays(line: str) -> None:
    assert not is_foreign(line)


@pytest.mark.parametrize("code", ["es", "en", "it", "fr", "ca", "de", "gl"])
def test_foreign_lines_are_found_and_named(code: str) -> None:
    lines = [line.split("\t")[1] for line in FOREIGN.read_text(encoding="utf-8").splitlines() if line.startswith(code)]
    found = [line for line in lines if is_foreign(line)]
    # Single Galician lines may hold no word that Portuguese has not; five together always do.
    assert len(found) >= (0.6 if code == "gl" else 0.95) * len(lines)
    groups = [" ".join(lines[start : start + 5]) for start in range(0, len(lines), 5)]
    assert all(is_foreign(group) for group in groups)
    assert {judge(group).rival for group in groups} == {code}


def test_no_words_are_no_evidence() -> None:
    verdict = judge("")
    assert (verdict.advantage, verdict.portuguese_share, verdict.words) == (0.0, 0.0, 0)
    verdict = judge("Xyzzy Plugh Foobar")
    assert abs(verdict.advantage) < 1e-9 and verdict.portuguese_share == 0.0


def test_long_texts_are_sampled_from_end_to_end() -> None:
    english, portuguese = "the dog runs along the street with them ", "o cão corre pela rua com as crianças "
    text = portuguese * 100 + english * 900
    assert 100 <= judge(text).words <= SAMPLE_WORDS
    assert judge(text).rival == "en" and judge(text).advantage > 100


def test_the_score_is_the_sum_of_log_rates() -> None:
    # "não" and "del" by hand: two words of one list each, no spelling but ã.
    from math import log

    rates = SPELLINGS["ã"]
    other = rates["other"]
    expected = {
        code: log(TIER_RATES[0] if "não" in WORDS[code][0].split() else 0.00003) + log(rates.get(code, other))
        for code in LANGUAGES
    }
    verdict = judge("não")
    best = max(value for code, value in expected.items() if code != "pt")
    assert verdict.advantage == pytest.approx(best - expected["pt"])
