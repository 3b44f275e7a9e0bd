"""Evaluation texts are found inside documents, in every format an evaluation set comes in."""

import gzip
import json
import pickle
import unicodedata
from pathlib import Path

import pytest

from tinydistil.base.errors import InputError
from tinydistil.corpus.duplicates import EvaluationNgrams, evaluation_texts

LONG = (
    "Um grupo de meninos está brincando no quintal enquanto um homem velho olha para eles da janela da cozinha e sorri."
)
SHORT = "O gato dorme em cima do telhado vermelho da escola"  # 10 words
TINY = "O gato dorme"


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def formats(folder: Path) -> list[Path]:
    tokens = "".join(f"{word} O\n" for word in LONG.replace(".", " .").split())
    squad = {"data": [{"title": "t", "paragraphs": [{"context": LONG, "qas": [{"question": SHORT, "id": 1}]}]}]}
    return [
        write(folder, "a.txt", f"{LONG}\n{SHORT}\n"),
        write(folder, "a.jsonl", json.dumps({"x": [LONG, {"y": SHORT}], "n": 1}) + "\n\n"),
        write(folder, "a.csv", f'texto,par\n"{LONG}\n",{SHORT}\n'),
        write(folder, "a.tsv", f"{LONG}\t{SHORT}\n"),
        write(folder, "a.xml", f"<c><pair><t>{LONG}</t><h>{SHORT}</h></pair></c>"),
        write(folder, "a.conll", tokens + "\n" + "\n".join(f"{word} O" for word in SHORT.split())),
        write(folder, "a.json", json.dumps(squad)),
    ]


def test_every_format_yields_the_same_ngrams(tmp_path: Path) -> None:
    paths = formats(tmp_path)
    compressed = tmp_path / "b.txt.gz"
    compressed.write_bytes(gzip.compress(paths[0].read_bytes()))
    for path in [*paths, compressed]:
        ngrams = EvaluationNgrams.from_files([path])
        assert len(ngrams.by_length[10]) == 1 and len(ngrams.by_length[13]) == len(LONG.split()) - 12, path
        assert ngrams.hit(f"Antes. {LONG.upper()} Depois.") and ngrams.hit(f"x {SHORT}, y")


def test_hits_are_runs_of_words_whatever_stands_between(tmp_path: Path) -> None:
    ngrams = EvaluationNgrams.from_files([write(tmp_path, "a.txt", f"{LONG}\n{SHORT}\n{TINY}\n")])
    words = LONG.split()
    assert ngrams.hit(" — ".join(words[3:16])) and not ngrams.hit(" ".join(words[3:15]))
    assert not ngrams.hit(" ".join([*words[:7], "e", *words[7:13]]))
    assert not ngrams.hit(TINY) and not ngrams.hit("") and not ngrams.hit(SHORT.replace("gato", "rato"))
    decomposed = EvaluationNgrams.from_files(
        [write(tmp_path, "b.txt", unicodedata.normalize("NFD", LONG.replace("meninos", "irmãos")))]
    )
    assert decomposed.hit(LONG.replace("meninos", "irmãos"))
    again = pickle.loads(pickle.dumps(ngrams))
    assert again.hit(SHORT) and len(again) == len(ngrams) == 1 + len(words) - 12


def test_the_length_of_runs_is_configurable(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", f"{LONG}\n{TINY}\n")
    ngrams = EvaluationNgrams.from_files([path], ngram_words=5)
    assert ngrams.hit("está brincando no quintal enquanto") and not ngrams.hit(f"e {TINY} e")
    assert EvaluationNgrams.from_files([path], ngram_words=3).hit(f"e {TINY} e")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "cannot be read"),
        ("a.xml", "<a>", "cannot be read"),
        ("a.jsonl", "x\n", "cannot be read"),
        ("a.bin", "x", "is of no known format"),
        ("a.txt", "curto\n", "holds no text of 8 words or more"),
        ("a.txt.gz", "x", "cannot be read: damaged gzip"),
    ],
)
def test_unusable_sets_are_refused_by_name(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"evaluation set '.*{name}' {message}"):
        EvaluationNgrams.from_files([write(tmp_path, name, content)])
    with pytest.raises(InputError, match="does not exist"):
        EvaluationNgrams.from_files([tmp_path / "nada.txt"])


def test_the_real_evaluation_sets(data: Path) -> None:
    paths = [
        data / "tasks" / name
        for name in ("assin2/assin2-dev.xml", "sentiment/dev.csv", "lenerbr/dev.conll", "faquad/dev.json")
    ]
    ngrams = EvaluationNgrams.from_files(paths)
    assert len(ngrams) > 10_000
    texts = [text for path in paths for text in evaluation_texts(path) if len(text.split()) >= 20]
    assert len(texts) > 500 and all(map(ngrams.hit, texts))
