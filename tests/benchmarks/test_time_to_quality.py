"""The benchmark of time to quality: what the peers do, against closed forms; budgets; a whole run that goes on."""

import gzip
import json
import sys
from argparse import Namespace
from pathlib import Path

import bench_time_to_quality
import numpy as np
import peer_sentence_vectors
import pytest
import torch
from bench_time_to_quality import PEER, ROWS, climb, expected, main, quality, thresholds_table, timed
from peer_sentence_vectors import SENTENCES, SIF, VOCABULARY, WORDS, distil_static, distil_student, write_text
from sentence_transformers import SentenceTransformer
from transformers import AutoModel

from tests.portuguese import entailments, sentences
from tinydistil.base.errors import InputError
from tinydistil.corpus.language import split_sentences
from tinydistil.evaluate.parts import columns
from tinydistil.evaluate.similarity import cosine_similarity
from tinydistil.model.bert import BertModel
from tinydistil.model.config import new_shape
from tinydistil.tasks.labelled import Columns, read_labelled
from tinydistil.tokenizer.tokenizer import Tokenizer, train_wordpiece

SMALL = ["--size", "small", "--student", "1x16", "--vocab-size", "300", "--sentences", "64", "--epochs", "1"]
PAIR = '<pair entailment="None" id="{}" similarity="{}"><t>{}</t><h>{}</h></pair>'


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, pairs and a teacher of 2 x 32."""
    data = tmp_path_factory.mktemp("data")
    texts = sentences(800)
    (data / "corpus").mkdir()
    with gzip.open(data / "corpus" / "sentences.jsonl.gz", "wt", encoding="utf-8") as stream:
        stream.write("\n".join(json.dumps({"text": " ".join(texts[at : at + 8])}) for at in range(0, 800, 8)))
    (data / "tasks" / "assin2").mkdir(parents=True)
    for split, nouns in (("train-only", "train"), ("dev", "test")):
        pairs = (
            PAIR.format(number, 1.0 + 4 * entails, text, other)
            for number, (text, other, entails) in enumerate(entailments(40, nouns))
        )
        whole = f'<?xml version="1.0" encoding="UTF-8"?>\n<entailment-corpus>{"".join(pairs)}</entailment-corpus>'
        (data / "tasks" / "assin2" / f"assin2-{split}.xml").write_text(whole, encoding="utf-8")
    tokenizer, folder = train_wordpiece(texts, 400), data / "models" / "e5-small-pt"
    torch.manual_seed(0)
    BertModel(new_shape(2, 32, tokenizer.vocab_size), pooler=False).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return data


@pytest.fixture(scope="module")
def text(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the peers' first stage writes."""
    output = tmp_path_factory.mktemp("text")
    write_text(Namespace(corpus=data / "corpus", vocab_size=300, seed=1, output=output))
    return output


def test_sentences_are_those_of_the_corpus_and_the_vocabulary_is_ours(text: Path) -> None:
    found, texts = (text / SENTENCES).read_text(encoding="utf-8").split("\n"), sentences(800)
    documents = [" ".join(texts[at : at + 8]) for at in range(0, 800, 8)]
    assert len(set(found)) == len(found)
    assert set(found) == {s for each in documents for s in split_sentences(each) if len(s.split()) in WORDS}
    ours = train_wordpiece(documents, 300, lowercase=True)
    assert Tokenizer.from_pretrained(text / VOCABULARY).fingerprint == ours.fingerprint


def test_a_student_of_sentence_transformers_learns_the_projected_teacher(
    data: Path, text: Path, tmp_path: Path
) -> None:
    teacher = data / "models" / "e5-small-pt"
    given = {"text": text, "teacher": teacher, "teacher_prefix": "o ", "shape": "1x16", "sentences": 512}
    errors, some = [], (text / SENTENCES).read_text(encoding="utf-8").split("\n")[:512]
    vectors = SentenceTransformer(str(teacher), device="cpu").encode(["o " + each for each in some])
    # PCA by another way: the directions of greatest variance, up to their signs, which the student was given.
    directions = np.linalg.svd(vectors - vectors.mean(0))[2][:16]
    for number, rate in enumerate((0.0, 1e-2)):
        torch.manual_seed(1)
        distil_student(Namespace(**given, learning_rate=rate, output=tmp_path / str(number)))
        learnt = SentenceTransformer(str(tmp_path / str(number) / "student"), device="cpu").encode(some)
        errors.append(((np.abs(learnt) - np.abs(vectors @ directions.T)) ** 2).mean())
    assert errors[1] < 0.8 * errors[0]
    with pytest.raises(InputError, match=r"--sentences 9999: the corpus has \d+"):
        distil_student(Namespace(**given | {"sentences": 9999}, learning_rate=1.0, output=tmp_path))


def test_static_vectors_by_hand(data: Path, tmp_path: Path) -> None:
    folder = data / "models" / "e5-small-pt"
    distil_static(Namespace(teacher=folder, output=tmp_path))
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), Tokenizer.from_pretrained(folder)
    cls, sep = tokenizer.encode("").ids
    with torch.no_grad():
        alone = [model(torch.tensor([[sep, token, cls]])).last_hidden_state[0].mean(0) for token in range(400)]
    shares = np.array([1 / (2 + token) for token in range(400)])
    weights = SIF / (SIF + shares / shares.sum())
    centred = (torch.stack(alone) - torch.stack(alone).mean(0)).double().numpy() * weights[:, None]
    one, other = (tokenizer.encode(each, add_special=False).ids for each in ("O gato dorme.", "Chove na cidade."))
    found = SentenceTransformer(str(tmp_path / "student"), device="cpu").encode(["O gato dorme.", "Chove na cidade."])
    # All 32 directions are kept here, so PCA only turns: products stay.
    means = np.stack([centred[one].mean(0), centred[other].mean(0)])
    np.testing.assert_allclose(found @ found.T, means @ means.T, rtol=1e-3)


def test_budgets_double_as_long_as_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(args: Namespace, name: str, sentences: int) -> dict[str, object]:
        return {"row": name, "sentences": sentences, "minutes": 1 + sentences / 100, "pearson": sentences / 1000,
                "parameters": 4.4e6, "precision": "int8"}  # fmt: skip

    monkeypatch.setattr(bench_time_to_quality, "measured", measured)
    ours, _, _, static = ROWS
    args = Namespace(sentences=100, minutes=5.0, thresholds=[0.15, 0.3, 0.9], splits=["dev"], student="2x128")
    args.vocab_size, args.teacher, args.threads = 10, Path("e5"), 2
    runs = climb(args, ours)
    assert [run["sentences"] for run in runs] == [100, 200, 400] and expected(runs) == 9.0  # 800 sentences take that
    table = thresholds_table(args, {ours: runs})
    assert table.rows == ((ours, "4.40 M", "int8", "3.0", "5.0", "not in 5.0 (best 0.400)"),)
    args.thresholds = [0.15]
    assert [run["sentences"] for run in climb(args, ours)] == [100, 200]
    assert [run["sentences"] for run in climb(args, static)] == [100]


def test_time_is_of_a_whole_run(tmp_path: Path) -> None:
    (tmp_path / "cut-off").mkdir()
    (tmp_path / "cut-off" / "left").touch()
    seconds = timed(tmp_path / "cut-off", lambda _, folder: folder.mkdir(), Namespace())
    assert min(seconds) >= 0 and not [*(tmp_path / "cut-off").iterdir()]
    assert timed(tmp_path / "cut-off", lambda _, folder: pytest.fail("made twice"), Namespace()) == seconds


def test_a_whole_run_goes_on(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Peers run in this process, which has imported their libraries already."""
    call, words = bench_time_to_quality.call, [*SMALL, "--data", str(data), "--runs", str(tmp_path / "runs")]

    def call_here(args: Namespace, script: Path, *options: object) -> None:
        if script != PEER:
            call(args, script, *options)
            return
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [str(script), *map(str, options)])
            peer_sentence_vectors.main()

    monkeypatch.setattr(bench_time_to_quality, "call", call_here)
    results = tmp_path / "results.jsonl"
    monkeypatch.setattr(sys, "argv", ["", *words, "--threads", "1", "--output", str(results)])
    main()
    printed = capsys.readouterr().out
    found = json.loads(results.read_text())
    assert [run["row"] for run in found["runs"]] == [*ROWS] and found["processor"] and found["threads"] == 1
    assert all(-1 <= run["pearson"] <= 1 and run["minutes"] > 0 for run in found["runs"])
    assert [len(table["rows"]) for table in found["tables"]] == [4, 4] and "| each run" not in printed

    folder = tmp_path / "runs" / "tinydistil-vectors-64" / "student"
    args = Namespace(data=data, splits=["dev"])
    pairs = columns(read_labelled(data / "tasks/assin2/assin2-dev.xml", Columns(), numbers=True).examples)
    model, tokenizer = BertModel.from_pretrained(folder).eval(), Tokenizer.from_pretrained(folder)
    assert quality(args, folder)["pearson"] == pytest.approx(
        cosine_similarity(model, tokenizer, *pairs).pearson, abs=1e-4
    )

    monkeypatch.setattr(bench_time_to_quality, "call", lambda *_: pytest.fail("what is done is done again"))
    main()
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")] == [
        line for line in printed.splitlines() if line.startswith("|")
    ]
    monkeypatch.setattr(sys, "argv", ["", *words, "--threads", "2"])
    with pytest.raises(InputError, match=r"was begun with threads = '1', now it is '2'"):
        main()
