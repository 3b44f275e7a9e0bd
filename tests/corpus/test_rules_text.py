"""What the mending rules change, and what they must leave alone."""

import time

import pytest

from tinydistil.base.errors import InputError
from tinydistil.corpus.rules_text import normalise_unicode, remove_addresses, repair_mojibake, strip_html


@pytest.mark.parametrize(
    "clean",
    [
        "A informação não chegou às mãos do avô.",
        "“Aspas” — e travessões… de verdade",
        "três côcos à sombra",
        "PRAÇA DA SÉ, ÀS 10H",
        "É o fim. Ênfase!",
    ],
)
@pytest.mark.parametrize("wrong", ["latin-1", "cp1252"])
def test_mojibake_is_undone(clean: str, wrong: str) -> None:
    pytest.importorskip("ftfy")
    garbled = clean.encode().decode(wrong, errors="ignore")
    # cp1252 lacks five bytes; where one was lost nobody can mend it.
    if garbled.encode(wrong).decode(errors="replace") == clean and garbled != clean:
        assert repair_mojibake(garbled) == clean


@pytest.mark.parametrize(
    "text",
    [
        "NÃO HÁ VAGAS. A IRMÃ DO JOÃO",
        "“IRMÃ”",
        "IRMÃ… e mãe",
        "Â!",
        "SÃO PAULO",
        "5 × 3 ÷ 2",
        "√2 é irracional",
        "a letra â, a letra ã",
        "Não é mojibake: àáâãçéêíóôõú",
        "Escrever Sabão evita que o navegador mostre SabÃ£o na página.",
    ],
)
def test_good_text_is_no_mojibake(text: str) -> None:
    assert repair_mojibake(text) == text


def test_one_bad_line_does_not_decide_for_the_others() -> None:
    pytest.importorskip("ftfy")
    assert repair_mojibake("linha boa: ação\nlinha mÃ¡\nÃ é letra") == "linha boa: ação\nlinha má\nÃ é letra"


def test_mojibake_without_ftfy_is_an_error_not_a_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ftfy", None)
    assert repair_mojibake("NÃO precisa") == "NÃO precisa"
    with pytest.raises(InputError, match=r"rule 'mojibake' needs the package 'ftfy'.*tinydistil\[corpus\]"):
        repair_mojibake("informaÃ§Ã£o")


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("Olá, <b>mundo</b>.", "Olá, mundo."),
        ("um<br>dois<br/>três", "um\ndois\ntrês"),
        ('<p class="x">Um</p><p>Dois</p>', "\nUm\n\nDois\n"),
        ('<a href="http://x.br">aqui</a>', "aqui"),
        ('<i>um</i>, <q class="x">"dois"</q> e fim<br>.', 'um, "dois" e fim\n.'),
        ("antes<script>if (a < b) { x(); }</script>depois", "antesdepois"),
        ("<STYLE>p > a {}</STYLE>ok", "ok"),
        ("a<!-- nota <b> -->b", "ab"),
        ("<table><tr><td>1</td><td>2</td></tr></table>", "\n\n 1  2 \n\n"),
        ("caf&eacute; &amp; p&atilde;o &#8211; &#x2014;", "café & pão – —"),
        ("AT&T; &ccedil;&lt;b&gt; R&D", "AT&T; ç<b> R&D"),
    ],
)
def test_html_goes(page: str, text: str) -> None:
    assert strip_html(page) == text


@pytest.mark.parametrize(
    "text",
    [
        "se a < b e b > c, então",
        "o elemento <p> abre um parágrafo",
        "use <stdio.h> ou List<String>",
        "escreva <nome> aqui",
        'identificado pela tag <SCRIPT LANGUAGE="JavaScript">.',
        "a marca <OPTION VALUE=...>, (<option>) e '<html lang=\"pt\">' com '</html>'",
        "um <script> sem fim",
        "<!-- nunca fecha",
        "x <3 y",
        "Tom & Jerry; e outros",
        "?a=1&copy=2",
    ],
)
def test_what_is_no_markup_stays(text: str) -> None:
    assert strip_html(text) == text


def test_unicode_is_composed_and_visible() -> None:
    assert normalise_unicode("ac\u0327a\u0303o") == "ação"
    assert normalise_unicode("a\u00adb\u200bc\ufeff\x00d\ue000") == "abcd"
    assert normalise_unicode("um\u00a0dois\t três \u2003 quatro") == "um dois três quatro"
    assert normalise_unicode(" um \n\n\n dois\u2028três\x0cquatro ") == "um\ndois\ntrês\nquatro"
    assert normalise_unicode("\x93aspas\x94 \x96 cp1252") == "“aspas” – cp1252"
    untouched = "Já está limpo: “sim” — 100 % ½ ª º €"
    assert normalise_unicode(untouched) is untouched


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Veja http://www.exemplo.com.br/a?b=1&c=2.", "Veja."),
        ("Veja (https://exemplo.br/pagina), e volte.", "Veja, e volte."),
        ("Escreva a fulano.de-tal@exemplo.com.br ou ligue.", "Escreva a ou ligue."),
        ("http://exemplo.br\nTexto\n<www.exemplo.br>", "Texto"),
        ("WWW.EXEMPLO.BR é o endereço", "é o endereço"),
        ("Aplicativos Web .NET , em http://a.br/b .", "Aplicativos Web .NET, em."),
        ("[1]: http://a.br/b [2]: http://a.br/c\nE-mail: fulano@a.br\nFim", "Fim"),
    ],
)
def test_addresses_go(text: str, left: str) -> None:
    assert remove_addresses(text) == left


@pytest.mark.parametrize(
    "text",
    ["Nota 10/10 @ casa", "e/ou", "1/2", "o www do navegador", "a arroba @ e a barra //", "user@", "@fulano disse"],
)
def test_what_is_no_address_stays(text: str) -> None:
    assert remove_addresses(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "<" * 200_000,
        "<script>" * 25_000 + "</script",
        "<!--" * 50_000 + ">",
        "a" * 200_000 + "@",
        "a@" * 100_000,
        "&" * 200_000 + ";",
        "http://" * 30_000,
        "Ã" * 200_000,
        "<p " * 70_000 + ">",
        "(" * 200_000 + "www.",
        ".-" * 100_000 + "@a.b",
        "www." + " " * 200_000 + "x",
        "x@" + "a." * 100_000,
        "<b>" * 60_000 + "</b>",
    ],
)
def test_hostile_text_costs_linear_time(text: str) -> None:
    start = time.perf_counter()
    remove_addresses(normalise_unicode(strip_html(text)))
    remove_addresses(text)
    # 200 KB take some 50 ms; a quadratic search would take minutes.
    assert time.perf_counter() - start < 5.0
