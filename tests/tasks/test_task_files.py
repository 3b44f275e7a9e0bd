"""Task files: what is read, and what is set aside with its line."""

import json
from pathlib import Path

import pytest

from tinydistil.base.errors import InputError
from tinydistil.tasks.answer_task import read_squad
from tinydistil.tasks.examples import LabelledText, Question, TaggedSentence
from tinydistil.tasks.labelled import Columns, read_labelled
from tinydistil.tasks.tagged import read_conll


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_csv_with_quotes_pairs_and_bad_rows(tmp_path: Path) -> None:
    rows = [
        b"text,text_b,label",
        b'"Ele disse ""sim"", e saiu.",Saiu.,A',
        b'"Linha um\nlinha dois",b,A',  # lines 3 and 4
        b" ,b,A",
        b"a,,A",
        b"a,b,",
        b"a,b,NaN",
        "a,não,B".encode("cp1252"),
        b"a,b",
        "Chão,b,B".encode(),
    ]
    data = read_labelled(write(tmp_path / "x.csv", b"\n".join(rows)), Columns(), numbers=False)
    assert data.examples == (
        LabelledText('Ele disse "sim", e saiu.', "Saiu.", "A"),
        LabelledText("Linha um\nlinha dois", "b", "A"),
        LabelledText("Chão", "b", "B"),
    )
    assert [bad.line for bad in data.bad] == [5, 6, 7, 8, 9, 10]
    assert "'text' is empty" in data.bad[0].reason and "utf-8 (byte 3" in data.bad[4].reason
    assert "3 rows, 6 set aside" in data.report() and "and 1 more" in data.report()


def test_columns_delimiter_and_encoding_as_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "id;frase;nota\n1;Não é só isso;2,5\n2;Ação;3.5\n".encode("cp1252"))
    data = read_labelled(path, Columns("frase", None, "nota", ";", "cp1252"), numbers=True)
    assert data.examples == (LabelledText("Ação", None, "3.5"),)
    assert "no finite number" in data.bad[0].reason and data.bad[0].line == 2


def test_json_lines(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": 1}, {"text": "b", "label": None}, {"label": "x"}, {"text": 7, "label": "x"}, [1],
            {"text": "c", "label": True}, {"text": "\ud800", "label": "x"}, {"text": "d", "label": 2.5}]  # fmt: skip
    path = write(tmp_path / "x.jsonl", "\n".join(map(json.dumps, rows)) + "\n{broken\n")
    data = read_labelled(path, Columns(), numbers=True)
    assert data.examples == (LabelledText("a", None, "1"), LabelledText("d", None, "2.5"))
    assert [bad.line for bad in data.bad] == [2, 3, 4, 5, 6, 7, 9]


def test_json_booleans_are_classes(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", '{"text": "a", "label": true}\n{"text": "b", "label": false}\n')
    assert [row.label for row in read_labelled(path, Columns(), numbers=False).examples] == ["true", "false"]


def test_assin(tmp_path: Path) -> None:
    content = """<?xml version='1.0' encoding='utf-8'?>
<entailment-corpus>
  <pair entailment="Entailment" id="1" similarity="4.9">
    <t>Um gato &amp; um cão</t>
    <h>Um gato</h>
  </pair>
  <pair entailment="None" id="2" similarity="nan"><t>a</t><h>b</h></pair>
  <pair id="3"><t>a</t></pair>
</entailment-corpus>"""
    path = write(tmp_path / "x.xml", content)
    numbers = read_labelled(path, Columns(), numbers=True)
    assert numbers.examples == (LabelledText("Um gato & um cão", "Um gato", "4.9"),)
    assert [bad.line for bad in numbers.bad] == [7, 8]
    assert [row.label for row in read_labelled(path, Columns(), numbers=False).examples] == ["Entailment", "None"]


def test_conll(tmp_path: Path) -> None:
    content = "-DOCSTART- O\n\nMaria B-PESSOA\nSilva I-PESSOA\n\nRio NOUN LOCAL\nBrasil X-LOCAL\n\nsó\n\nfim\tO\n"
    data = read_conll(write(tmp_path / "x.conll", content))
    assert data.examples == (
        TaggedSentence(("Maria", "Silva"), ("B-PESSOA", "I-PESSOA")),
        TaggedSentence(("fim",), ("O",)),
    )
    assert [(bad.line, bad.reason.split()[0]) for bad in data.bad] == [(7, "tag"), (9, "no")]
    latin = write(tmp_path / "y.conll", "ação O\n\nação B-\n\nb O\n".encode("cp1252"))
    assert [bad.line for bad in read_conll(latin, encoding="cp1252").bad] == [3]
    assert [bad.line for bad in read_conll(latin).bad] == [1, 3]


def squad(context: object, *entries: dict[str, object]) -> str:
    return json.dumps({"data": [{"paragraphs": [{"context": context, "qas": list(entries)}]}]})


def test_squad(tmp_path: Path) -> None:
    right = {"text": "azul", "answer_start": 8}
    content = squad(
        "O céu é azul.",
        {"id": "a", "question": "Cor?", "answers": [right, {"text": "verde", "answer_start": 8}, right]},
        {"id": "b", "question": "Cor?", "answers": []},
        {"id": "c", "question": "Cor?", "answers": [{"text": "azul", "answer_start": 3}]},
        {"id": "d", "question": " ", "answers": [right]},
        {"id": "e", "question": "Cor?", "answers": [{"text": "azul", "answer_start": -5}]},
    )
    data = read_squad(write(tmp_path / "x.json", content))
    assert data.examples == (Question("a", "Cor?", "O céu é azul.", (("azul", 8),)),)
    assert [bad.line for bad in data.bad] == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "texto,label\na,b\n", "no column 'text'; did you mean 'texto'"),
        ("x.csv", "text;label\na;b\n", "delimiter right"),
        ("x.csv", "", "holds no usable row: it is empty"),
        ("x.csv", "text,label\n,\n", "first of 1 set aside"),
        ("x.tsv", "text,label\na,b\n", "delimiter right"),
        ("x.jsonl", '{"texto": "a"}\n', "'text' is missing"),
        ("x.json", "{}", "no known task format"),
        ("x.xml", "<a><pair>", "no whole XML"),
        ("x.xml", "<a></a>", "no <pair>"),
        ("x.csv", "text,label\n" + "é".encode("utf-16").decode("latin1") * 9, "set aside"),
    ],
)
def test_refused_files(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_labelled(write(tmp_path / name, content.encode("latin1")), Columns(), numbers=False)


def test_refused_conll_and_squad(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no usable row"):
        read_conll(write(tmp_path / "x.conll", "só\n"))
    with pytest.raises(InputError, match="no known tagging format"):
        read_conll(write(tmp_path / "x.xml", "a O\n"))
    for content in ("{", '{"data": 3}', '{"data": [{"paragraphs": [{}]}]}', "[]"):
        with pytest.raises(InputError, match=r"UTF-8 JSON|laid out as SQuAD"):
            read_squad(write(tmp_path / "x.json", content))
    with pytest.raises(InputError, match="does not exist"):
        read_squad(tmp_path / "none.json")
    with pytest.raises(InputError, match="is a folder"):
        read_conll(tmp_path)
