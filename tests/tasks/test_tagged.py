"""CoNLL files as they come: comments, numbered words, tag schemes, spaces and line ends; entities equal seqeval's."""

import gzip
import itertools
import json
import tempfile
import unicodedata
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOB2, IOBES

from tinydistil.base.errors import InputError
from tinydistil.evaluate.metrics import count_entities, entities_of, scores_of
from tinydistil.tasks.examples import TaggedSentence
from tinydistil.tasks.tagged import read_conll

TWO = "Maria B-PER\nmora O\n"
MARIA = TaggedSentence(("Maria", "mora"), ("B-PER", "O"))


def read(folder: Path, content: str | bytes, *, name: str = "x.conll", encoding: str = "utf-8") -> list[TaggedSentence]:
    """The sentences; none may be set aside."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    data = read_conll(path, encoding=encoding)
    assert not data.bad, data.report()
    return list(data.examples)


@pytest.mark.parametrize(
    "content",
    [
        "# text = Maria mora\n" + TWO,
        "# id 1\tdomain=pt\n" + TWO,
        "# newdoc\n# sent_id = 1\n" + TWO,
        "#\n" + TWO,
        "#begin document (x); part 000\n" + TWO + "\n#end document\n",
        "# only a comment\n\n" + TWO,
        "-DOCSTART- -X- O\n" + TWO,
        "-DOCSTART-\n\n" + TWO,
        "word tag\n" + TWO,
        "token\tner_tag\n" + TWO.replace(" ", "\t"),
        "\ufeff" + TWO,
        TWO.replace("\n", "\r\n"),
        TWO.replace("\n", "\r"),
        TWO.replace("\n", "\r\r\n"),
        "\n \t\n" + TWO + "\n\n\n",
        TWO.replace(" ", "   "),
        TWO.replace(" ", " \t "),
        "1\tMaria\tB-PER\n2\tmora\tO\n",
        "0 Maria PROPN B-PER\n1 mora VERB O\n",
        "7\t1\tMaria\tB-PER\n7\t2\tmora\tO\n",
        "# text = Maria mora\n1-2\tMariamora\t_\t_\n1\tMaria\t_\tB-PER\n1.1\tx\t_\tO\n2\tmora\t_\tO\n",
        "Maria\t\tB-PER\nmora\tV\tO\n",
        "Maria\t\t\tB-PER\nmora\t\tO\n",
        "Maria PER-B\nmora O\n",
        "Maria B_PER\nmora O\n",
        "Maria b-PER\nmora o\n",
        "Maria B-PER\nmora 0\n",
        "Maria S-PER\nmora O\n",
        "Maria U-PER\nmora O\n",
        "Maria B-PER\nmora _\n",
        "Maria B-PER\nmora OUT\n",
        "Maria B.PER\nmora O\n",
        "Maria B:PER\nmora O\n",
        "Maria PER/B\nmora O\n",
        "id\ttoken\tner_tag\n1\tMaria\tB-PER\n2\tmora\tO\n",
        "1.\tMaria\tB-PER\n2.\tmora\tO\n",
        "Maria\tB-PER\t\nmora\tO\t\n",
        TWO + "# end\n",
        "Maria B-PER\n# text = x\nmora O\n",
    ],
)
def test_one_sentence_in_many_spellings(tmp_path: Path, content: str) -> None:
    assert read(tmp_path, content) == [MARIA]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("# O\n1 B-NUM\n", ("#", "1")),
        ("#Lula B-PER\nfala O\n", ("#Lula", "fala")),
        ("fala O\n#Lula B-PER\n", ("fala", "#Lula")),
        ("Rua B-LOC\n# I-LOC\n7 I-LOC\n", ("Rua", "#", "7")),
        ("R$\u00a010 B-VAL\n2\u2009000 I-VAL\n", ("R$\u00a010", "2\u2009000")),
        ("a\u3000b\tO\nc\tB-X\n", ("a\u3000b", "c")),
        ("Rio de Janeiro\tB-LOC\né\tO\n", ("Rio de Janeiro", "é")),
        ("2019 O\n2020 B-X\n", ("2019", "2020")),
        ("A DET\n# SYM\nb NOUN\n", ("A", "#", "b")),
        ("# SYM\nb NOUN\n", ("#", "b")),
        ("a det\n# sym\nb noun\n", ("a", "#", "b")),
        ('" O\nsim B-X\n" O\n', ('"', "sim", '"')),
    ],
)
def test_words_stay_whole(tmp_path: Path, content: str, words: tuple[str, ...]) -> None:
    assert [row.words for row in read(tmp_path, content)] == [words]


def test_documents_are_cut_without_an_empty_line(tmp_path: Path) -> None:
    assert read(tmp_path, TWO + "-DOCSTART- -X- O\n" + TWO) == [MARIA, MARIA]
    assert len(read(tmp_path, f"{TWO}\n{TWO}".replace("\n", "\r"))) == 2


def test_compressed_and_other_encodings(tmp_path: Path) -> None:
    assert read(tmp_path, gzip.compress(TWO.encode()), name="x.conll.gz") == [MARIA]
    assert read(tmp_path, "ação\xa0má O\nx B-É\n".encode("cp1252"), encoding="cp1252")[0].words == ("ação\xa0má", "x")
    for encoding in ("utf-16", "rot13", "no-such"):
        with pytest.raises(InputError, match="encoding must be"):
            read(tmp_path, TWO, encoding=encoding)
    with pytest.raises(InputError, match="truncated"):
        read(tmp_path, gzip.compress(TWO.encode())[:-9], name="y.conll.gz")


LISTS = [
    {"tokens": ["Maria", "mora"], "ner_tags": ["B-PER", "O"]},
    {"tokens": ["Maria"], "ner_tags": ["B-PER", "O"]},
    {"tokens": ["Maria", "mora"], "ner_tags": [3, 0]},
    {"tokens": [], "ner_tags": []},
    {"text": "Maria mora"},
    {"tokens": ["Maria", " "], "ner_tags": ["PER", "O"]},
]
HALF = {"tokens": ["Maria", "mora"], "ner_tags": ["B-\ud800", "O"]}  # which no Parquet file can hold


@pytest.mark.parametrize("name", ["x.jsonl", "x.parquet"])
def test_lists_of_words_and_tags(tmp_path: Path, name: str) -> None:
    rows = [row for row in LISTS if name == "x.jsonl" or row.get("ner_tags") != [3, 0]]  # one type a column
    if name == "x.parquet":
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / name)
    else:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in [*rows, HALF]) + "{broken\n[1]\n")
    data = read_conll(tmp_path / name)
    assert data.examples == (MARIA,)
    assert [bad.line for bad in data.bad] == ([2, 3, 4, 5] if name == "x.parquet" else [*range(2, 10)])


def test_composed_and_decomposed_tags_are_one(tmp_path: Path) -> None:
    tags = [unicodedata.normalize(form, "B-ORGANIZAÇÃO") for form in ("NFC", "NFD")]
    (row,) = read(tmp_path, "".join(f"a {tag}\n" for tag in tags))
    assert set(row.tags) == {tags[0]}


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("a B-X\n\nb PER\n\nc O\n", 3, "unlike most"),
        ("a NOUN\nb VERB\n\nc B-X\n", 4, "unlike most"),
        ("a B-X\nb I-X\n\nc B\n", 4, "unlike most"),
        ("a B-X\nb I-X\n\nc X-PER\n", 4, "does not fit IOB2"),
        ("a B-X\nb I-X\n\nc 3\n", 4, "does not fit IOB2"),
        ("a B-X\nb I-X\n\nc NADA\n", 4, "unlike most"),
        ("a B-X\nb O\u2028x O\n\nc O\nd O\n", 2, "U+2028"),
        ("a B-X\nb O\n\nRio de Janeiro B-LOC\n", 4, "4 columns where most lines have 2"),
        ("a\tx\tB-X\nb\tx\tO\n\nc\tB-X\n", 4, "2 columns where most lines have 3"),
        ("a\tPOS\nb\tPOX\n\nSão Paulo\n", 4, "no tag"),
        ("a B-X\n#Lula\n\nb O\nc B-X\n", 2, "no tag"),
        ("#Lula\na B-X\n\nb O\nc B-X\n", 1, "no tag"),
        ("1\ta\tB-X\n2\tb\tO\n\n" * 9 + "x\tc\tO\n", 28, "is no number"),
        ("a B-X\nb O\n\n\u00a0\tO\n", 4, "the word is empty"),
    ],
)
def test_what_does_not_fit_is_set_aside(tmp_path: Path, content: str, line: int, reason: str) -> None:
    (tmp_path / "x.conll").write_text(content)
    (bad,) = read_conll(tmp_path / "x.conll").bad
    assert bad.line == line and reason in bad.reason


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0 O\n1 B-X\n\n2 O\n", "numbers words that are not there"),
        ("1\tO\n2\tB-X\n3\tO\n", "numbers words that are not there"),
        ("1\tMaria\tPROPN\t_\n2\tmora\tVERB\tSpaceAfter=No\n", "holds no tags, as in CoNLL-U"),
        ("# nothing\n", "no usable row"),
        (b"\0\1\2" * 99, "cannot be read"),
    ],
)
def test_files_without_words_or_tags(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("gold", "predicted", "f1"),
    [
        ("B I I O", "B I O O", 0.0),
        ("B I I O", "B I I O", 1.0),
        ("PER-B PER-I O", "PER-B O O", 0.0),
        ("B_PER I_PER O", "B_PER B_PER O", 0.0),
        ("b-PER i-PER o", "b-PER o o", 0.0),
        ("o o B-X", "o o o", 0.0),
        ("0 B-X 0", "0 B-X 0", 1.0),
        ("S-X S-X", "S-X O", 2 / 3),
        ("U-X U-X", "B-X L-X", 0.0),
        ("B-X E-X E-X", "B-X E-X O", 2 / 3),
    ],
)
def test_spans_decide_whatever_the_scheme(gold: str, predicted: str, f1: float) -> None:
    assert scores_of(count_entities([gold.split()], [predicted.split()])).f1 == pytest.approx(f1)


LETTERS = {"IOB": "BI", "BIOES": "BIES", "BILOU": "BILU"}
SPELLINGS = {
    "B-X": lambda letter, kind: f"{letter}-{kind}",
    "B_X": lambda letter, kind: f"{letter}_{kind}",
    "X-B": lambda letter, kind: f"{kind}-{letter}",
    "b-X": lambda letter, kind: f"{letter.lower()}-{kind}",
    "B": lambda letter, kind: letter,
}


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[list[tuple[str, str]]], list[list[tuple[str, str]]], str]:
    """In a scheme, gold and predicted sentences of (letter, type), and how they are spelt."""
    scheme = draw(st.sampled_from(sorted(LETTERS)))
    tag = st.sampled_from([("O", ""), *itertools.product(LETTERS[scheme], ("PER", "ORG"))])
    pair = st.lists(st.tuples(tag, tag), min_size=1, max_size=8)
    sentences = draw(st.lists(pair, min_size=1, max_size=5))
    gold, predicted = ([[each[side] for each in sentence] for sentence in sentences] for side in (0, 1))
    return gold, predicted, draw(st.sampled_from(sorted(SPELLINGS)))


def seqeval_tags(sentence: list[tuple[str, str]], spelling: str) -> list[str]:
    # Of BIOES and BILOU seqeval knows the former only, without its strict mode.
    known = {"L": "E", "U": "S"}
    return [
        "O" if letter == "O" else f"{known.get(letter, letter)}-{'_' if spelling == 'B' else kind}"
        for letter, kind in sentence
    ]


@settings(deadline=None)
@given(corpora())
def test_files_in_any_scheme_give_the_f1_of_seqeval(case: tuple) -> None:
    gold, predicted, spelling = case
    spell = SPELLINGS[spelling]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for side in (gold, predicted):
            lines = [[f"w {spell(*pair) if pair[1] else 'O'}" for pair in sentence] for sentence in side]
            data = Path(folder) / "x.conll"
            data.write_text("\n\n".join(map("\n".join, lines)) + "\n")
            rows.append(read_conll(data))
    assert not rows[0].bad and not rows[1].bad
    ours = scores_of(count_entities(*([row.tags for row in side.examples] for side in rows))).f1
    theirs = [[seqeval_tags(sentence, spelling) for sentence in side] for side in (gold, predicted)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert ours == pytest.approx(f1_score(*theirs, zero_division=0), abs=1e-12)


@pytest.mark.parametrize(
    ("gold", "predicted", "scheme"),
    [
        ("B-X I-X E-X O S-Y", "B-X I-X E-X O S-X", IOBES),
        ("S-X B-Y E-Y O O", "S-X S-Y S-Y O S-Y", IOBES),
        ("U-X B-Y I-Y L-Y", "U-X U-Y B-Y L-Y", BILOU),
        ("O U-X U-X O", "O U-X U-X U-X", BILOU),
        ("B-X I-X O B-X", "B-X B-X O B-X", IOB2),
    ],
)
def test_sequences_that_fit_their_scheme_equal_seqeval_in_strict_mode(gold: str, predicted: str, scheme: type) -> None:
    pair = [gold.split()], [predicted.split()]
    assert scores_of(count_entities(*pair)).f1 == pytest.approx(f1_score(*pair, mode="strict", scheme=scheme))


WEIRD = ("O", "o", "0", "B-X", "I-X", "E-X", "S-X", "B", "I", "PER", "B_X", "X-B", "i-X", "B-", "X-Y", "2", "_", "É")


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(WEIRD), min_size=1, max_size=6), min_size=1, max_size=6))
def test_any_tags_are_as_seqeval_has_them_or_set_aside(sentences: list[list[str]]) -> None:
    """Sentences in = kept + set aside; in what is kept, tags are of one form, whose entities are seqeval's."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.conll"
        path.write_text("\n\n".join("\n".join(f"w{i} {tag}" for tag in s) for i, s in enumerate(sentences)) + "\n")
        try:
            data = read_conll(path)
        except InputError as error:
            assert "no usable row" in str(error) or "holds no tags" in str(error)
            return
    assert len(data.examples) + len(data.bad) == len(sentences)
    tags = [tag for row in data.examples for tag in row.tags if tag != "O"]
    bare = any(tag not in ("B", "I") and tag[:2] not in ("B-", "I-") for tag in tags)
    for row in data.examples:
        theirs = [f"I-{tag}" if bare and tag != "O" else tag for tag in row.tags]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = get_entities(theirs)
        if not bare or not set(row.tags) & {"B", "I"}:
            assert [(e.kind, e.first, e.last) for e in entities_of(row.tags)] == [tuple(e) for e in expected]


@settings(deadline=None)
@given(st.text(alphabet="aé# \t\n\r=OBI-X1\u00a0", max_size=80))
def test_every_sentence_is_kept_or_set_aside(content: str) -> None:
    """Whatever the text: words kept and lines of sentences set aside are the lines that are no comments."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.conll"
        path.write_bytes(content.encode())
        try:
            data = read_conll(path)
        except InputError:
            return
    blocks = [[]]
    for line in content.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if line.strip(" \t"):
            blocks[-1].append(line)
        else:
            blocks.append([])
    full = sum(any(not line.startswith("#") for line in block) for block in blocks)
    anything = sum(map(bool, blocks))
    assert full <= len(data.examples) + len(data.bad) <= anything
