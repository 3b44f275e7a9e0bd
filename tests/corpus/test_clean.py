"""Every document ends kept or dropped by exactly one named rule; each rule can be switched and tuned."""

import pickle
import random
import time

import pytest

from tinydistil.base.config import from_mapping
from tinydistil.base.errors import InputError
from tinydistil.corpus.clean import DOCUMENT_RULES, LAST_RESORT, MENDING_RULES, RULES, CleanConfig, clean_document
from tinydistil.corpus.records import Document

PROSE = (
    "O velho pescador saiu cedo de casa, quando a praia ainda estava vazia e o vento vinha do sul. "
    "Levava consigo a rede que o pai lhe deixara e uma garrafa de café que a mulher tinha preparado. "
    "Na volta, contou aos netos que o mar, naquele dia, não quis conversa com ninguém."
)

VICTIMS = {
    "empty": "\n \u200b \n",
    "too_long": PROSE + " mais" * 250_000,
    "too_short": "Poucas palavras aqui.",
    "undecodable": PROSE.replace("a", "\ufffd"),
    "symbols": "if (x[i] == y[j]) { a += b * c; d = e / f; }\nelse { return g[h] <= k || m & n; } // fim do laço",
    "digits": "tabela 10 20 30 1234 5678 91011 preço 1999 2000 2001 total 44556 parcial 7788 9900 soma "
    "123123 mês 11 22 33",
    "word_length": "p a l a v r a s s o l t a s e m t o d a a p á g i n a d e s t e t e x t o",
    "repeated_lines": "\n".join([PROSE, "Clique na foto para ampliar e ver o álbum completo da festa."] * 6),
    "repeated_ngrams": "compre já o seu carro novo " * 12,
    "language": "El viejo pescador salió temprano de su casa cuando la playa todavía estaba vacía.",
    "no_prose": "hotel pousada praia passagem barata promoção voo resort Natal Fortaleza Recife Salvador "
    "aluguel carro temporada verão férias pacote viagem turismo oferta desconto",
}


def clean(text: str, **options: object) -> str | None:
    return clean_document(Document(text), CleanConfig(**options)).dropped_by  # type: ignore[arg-type]


def test_the_rules_are_named_once_and_have_victims() -> None:
    assert len(set(RULES)) == len(RULES) == len(MENDING_RULES) + len(LAST_RESORT) + len(DOCUMENT_RULES)
    assert set(VICTIMS) == set(DOCUMENT_RULES)


@pytest.mark.parametrize("rule", DOCUMENT_RULES)
def test_each_rule_has_its_victim_and_a_switch(rule: str) -> None:
    assert clean(VICTIMS[rule]) == rule
    if rule != "empty":
        assert clean(VICTIMS[rule], skip=(rule,)) != rule


def test_good_prose_is_kept_untouched() -> None:
    document = Document(PROSE)
    cleaned = clean_document(document, CleanConfig())
    assert cleaned.dropped_by is None and cleaned.removed == () and cleaned.document is document


@pytest.mark.parametrize(
    ("rule", "added", "characters"),
    [
        ("mojibake", "NÃ£o hÃ¡ pÃ£o.", 3),
        ("html", "<b>Sim</b>.", 7),
        ("unicode", "Um\u00ad pouco\u200b.", 2),
        ("addresses", "Ver http://a.br/b .", 15),
        ("boilerplate", "Compartilhe no Facebook", 24),
        ("menus", "Um\nDois\nTrês\nQuatro\nCinco\nSeis", 31),
    ],
)
def test_mending_rules_are_counted_and_switched(rule: str, added: str, characters: int) -> None:
    if rule == "mojibake":
        pytest.importorskip("ftfy")
    document = Document(f"{PROSE}\n{added}")
    cleaned = clean_document(document, CleanConfig())
    assert cleaned.dropped_by is None and cleaned.document.text != document.text
    assert cleaned.removed == ((rule, characters),)
    off = clean_document(document, CleanConfig(skip=(rule,)))
    assert rule not in dict(off.removed)


def test_a_document_that_repeats_itself_is_judged_again_without_its_stutter() -> None:
    tags = ["LUGAR LUGAR LUGAR B-PESSOA I-PESSOA " + "FORA " * length + "FORA" for length in (10, 20, 30)]
    prose = f"{PROSE} . . . . . . . ."
    document = Document("\n".join([prose, *tags]))
    cleaned = clean_document(document, CleanConfig())
    assert cleaned.dropped_by is None and cleaned.document.text == prose
    assert cleaned.removed == (("stutter", len(document.text) - len(prose)),)
    assert clean_document(document, CleanConfig(skip=("stutter",))).dropped_by == "repeated_ngrams"
    # Elsewhere such lines stay: verse and dialogue say a word three times.
    refrain = Document(f"{PROSE}\nNão, não, não, não!\nnão não não não")
    assert clean_document(refrain, CleanConfig()).document is refrain


def test_sentences_of_the_format_survive_where_the_paragraph_does() -> None:
    paragraphs = (("Veio o Sr. Lima ontem.", "Ficou."), ("Imprimir",), (PROSE, "Ver http://a.br/b agora. Sim."))
    document = Document("\n".join(" ".join(part) for part in paragraphs), paragraphs)
    cleaned = clean_document(document, CleanConfig()).document
    assert cleaned.sentences is not None and cleaned.sentences[0] == paragraphs[0]
    assert len(cleaned.sentences) == 2
    assert " ".join(cleaned.sentences[1]) == cleaned.text.split("\n")[1]
    assert cleaned.sentences[1][-2:] == ("Ver agora.", "Sim.")


def test_cleaning_twice_changes_nothing_more() -> None:
    config = CleanConfig(skip=("too_short",))
    for text in [*VICTIMS.values(), PROSE]:
        once = clean_document(Document(text[:5000]), config).document
        assert clean_document(once, config).document.text == once.text


@pytest.mark.parametrize(
    "text",
    [
        "." * 300_000,
        "a" * 300_000,
        "a " * 150_000,
        "\n" * 300_000,
        "a\n" * 150_000,
        "|\n" * 100_000,
        "<b>\n" * 60_000,
        "Imprimir\n" * 30_000,
        "\u0301" * 300_000,
        "ab. " * 75_000,
        "\ufffd" * 300_000,
        "www.a.br\n" * 30_000,
    ],
)
def test_hostile_documents_cost_linear_time(text: str) -> None:
    start = time.perf_counter()
    clean_document(Document(text), CleanConfig())
    assert time.perf_counter() - start < 10.0


def test_any_text_ends_in_exactly_one_way_and_pickles() -> None:
    alphabet = [*"aãeçio .,\n<>/&;@|0\t\ufffd\u200b", "http://", "<p>", "&amp;", "Ã©", "de ", "\r", "\x00", "😀"]
    pytest.importorskip("ftfy")
    draw = random.Random(1)
    seen = set()
    for _ in range(400):
        text = "".join(draw.choices(alphabet, k=draw.randrange(120)))
        cleaned = clean_document(Document(text), CleanConfig(min_words=3))
        assert cleaned.dropped_by is None or cleaned.dropped_by in DOCUMENT_RULES
        assert all(name in RULES and count >= 0 for name, count in cleaned.removed)
        assert pickle.loads(pickle.dumps(cleaned)) == cleaned
        seen.add(cleaned.dropped_by)
    assert len(seen) >= 4


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_symbols", 1.5),
        ("max_digits", -0.1),
        ("min_words", 0),
        ("max_characters", 0),
        ("min_prose", 2.0),
        ("language_margin", -1.0),
        ("skip", ["language", "empty"]),
        ("skip", "language"),
    ],
)
def test_configuration_checks_itself(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        from_mapping(CleanConfig, {field: value})


@pytest.mark.parametrize(
    ("rule", "limit"),
    [
        ("too_short", {"min_words": 1}),
        ("too_long", {"max_characters": 10_000_000}),
        ("symbols", {"max_symbols": 1.0}),
        ("digits", {"max_digits": 1.0}),
        ("no_prose", {"min_prose": 0.0}),
        ("language", {"language_margin": 1e6}),
    ],
)
def test_a_limit_that_lets_its_victim_pass(rule: str, limit: dict[str, float]) -> None:
    assert clean(VICTIMS[rule], **limit) != rule


def test_configuration_loads_from_a_table() -> None:
    config = from_mapping(CleanConfig, {"skip": ["language"], "min_words": 3})
    assert (config.skip, config.min_words) == (("language",), 3)
    with pytest.raises(InputError, match="did you mean 'language'"):
        from_mapping(CleanConfig, {"skip": ["langage"]})
