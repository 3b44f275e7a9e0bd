"""The demonstration in small, as `scripts/distill.py --quick` runs it, and what it is made of."""

import json
import math
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from sklearn.linear_model import LogisticRegression

from tinydistil.base.errors import InputError
from tinydistil.demo import measures
from tinydistil.demo.measures import (
    HELD_OUT,
    Scores,
    Work,
    classify,
    cosines,
    recall_at_10,
    sentence_pairs,
    snippet_pairs,
    works,
)
from tinydistil.demo.run import FULL, TEACHER, claim, write_texts
from tinydistil.demo.show import Row, render
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.tokenizer.tokenizer import Tokenizer

SCRIPT = Path(__file__).parents[2] / "scripts" / "distill.py"
ROWS = ["untrained", "no teacher, own vocabulary", "partial", "no teacher, teacher's vocabulary", "total", "teacher"]
MEASURES = ("masked_lm", "bits", "next_passage", "work", "order")


def test_the_quick_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "demo"
    monkeypatch.setattr(sys, "argv", ["distill.py", "--quick", "--output", str(output), "--device", "cpu"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    printed = capsys.readouterr().out
    rows = {row["title"]: row for row in json.loads((output / "demo.json").read_text())["rows"]}
    assert list(rows) == ROWS
    assert [line.split("  ")[0] for line in printed.splitlines()[1:7]] == ROWS
    scores = {title: row["scores"][0] for title, row in rows.items()}
    for title, each in scores.items():
        assert all(math.isfinite(each[measure]) for measure in MEASURES)
        assert each["bits"] >= scores["teacher"]["bits"], title
        assert title == "untrained" or each["bits"] < scores["untrained"]["bits"]
    # The lesson, small as the run is.
    for distilled, twin in (("total", "no teacher, teacher's vocabulary"), ("partial", "no teacher, own vocabulary")):
        assert scores[distilled]["masked_lm"] < scores[twin]["masked_lm"]
        assert scores[distilled]["next_passage"] > scores[twin]["next_passage"]
    for name in ("partial-1", "total-1"):
        student = BertForMaskedLM.from_pretrained(output / name / "student", heads="require")
        assert student.config.num_hidden_layers == 2 and student.config.hidden_size == 96
    assert (output / "total-1" / "student" / "vocab.txt").read_text() == (TEACHER / "vocab.txt").read_text()
    assert printed.count("[MASK]") == 3 and "passages nearest to" in printed


def test_the_teacher_is_an_ordinary_small_folder() -> None:
    model, tokenizer = BertForMaskedLM.from_pretrained(TEACHER, heads="require"), Tokenizer.from_pretrained(TEACHER)
    assert tokenizer.vocab_size == model.config.vocab_size == 8000
    with safe_open(TEACHER / "model.safetensors", "pt") as weights:
        assert {str(weights.get_tensor(name).dtype) for name in weights.keys()} == {"torch.float16"}  # noqa: SIM118
    assert sum(path.stat().st_size for path in TEACHER.iterdir()) < 8e6
    assert "sha256" in (TEACHER / "README.md").read_text(encoding="utf-8")


def test_held_out_passages_are_not_trained_on() -> None:
    found = works()
    assert len(found) == 13 and measures.TEXT.stat().st_size < 1.5e6
    for work in found:
        training, held_out = ([p for run in work.runs(held_out=side) for p in run] for side in (False, True))
        assert held_out and set(training).isdisjoint(held_out) and len(training) + len(held_out) == len(work.passages)
        assert all(len(run) <= HELD_OUT for run in work.runs(held_out=True))


def test_a_damaged_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = bytearray(measures.TEXT.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path = tmp_path / "machado.txt.xz"
    for content in (bytes(damaged), b"", measures.TEXT.read_bytes()[:1000]):
        path.write_bytes(content)
        monkeypatch.setattr(measures, "TEXT", path)
        with pytest.raises(InputError, match=r"machado.txt.xz' is damaged; install the package anew"):
            works()


def test_texts_are_the_same_every_time(tmp_path: Path) -> None:
    some = [Work("Um", works()[0].passages)]
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write_texts(some, tmp_path / name / "corpus.jsonl", tmp_path / name / "vocabulary", FULL)
    for file in ("corpus.jsonl", "vocabulary/vocab.txt"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
    words = (tmp_path / "first" / "vocabulary" / "vocab.txt").read_text(encoding="utf-8").split()[5:]
    assert all(word == word.lower() and "ã" not in word for word in words)


def test_pairs_follow_one_another() -> None:
    running = "".join(f"{number:>10}" for number in range(100))
    pairs = snippet_pairs(running)
    assert "".join(first + second for first, second in pairs) == running[:920]
    passage = "A primeira frase deste parágrafo é longa. A segunda frase dele também é bem longa. Fim.\n— Não! Sim."
    some = [Work("Um", ("Curta. Curta.",)), Work("Dois", (passage,))]
    ((first, second, number),) = sentence_pairs(some, 10, held_out=False)
    assert first.startswith("A primeira") and second.startswith("A segunda") and number == 1


def test_recall_counts_ties_by_half() -> None:
    units = np.eye(40, dtype=np.float32)
    assert recall_at_10(cosines(units, units)) == 1.0
    assert recall_at_10(cosines(units, np.roll(units, 1, axis=0))) == 0.0  # 38 ties before it, and one that is nearer
    assert recall_at_10(cosines(np.ones((40, 3), np.float32), np.ones((40, 3), np.float32))) == 0.0


def test_classes_against_sklearn() -> None:
    random = np.random.default_rng(0)
    centres = random.normal(size=(3, 8))
    classes = random.integers(0, 3, 600)
    inputs = (centres[classes] + random.normal(size=(600, 8))).astype(np.float32)
    standard = (inputs - inputs[:400].mean(0)) / inputs[:400].std(0)
    # sklearn divides the other way: C = 1 / (l2 * number of examples).
    reference = LogisticRegression(C=1 / (0.01 * 400), max_iter=500).fit(standard[:400], classes[:400])
    found = classify(inputs[:400], classes[:400], inputs[400:])
    assert (found == reference.predict(standard[400:])).mean() > 0.99


def test_only_an_earlier_demonstration_is_cleared(tmp_path: Path) -> None:
    ours, others = tmp_path / "ours", tmp_path / "others"
    with claim(ours), pytest.raises(InputError, match="being written by another run"), claim(ours):
        pass
    (ours / "teacher").mkdir()
    with claim(ours):
        pass
    assert [path.name for path in ours.iterdir()] == ["demo.json"]
    others.mkdir()
    (others / "tese.docx").write_text("anos de trabalho")
    with pytest.raises(InputError, match=r"holds 'tese.docx', which this program did not write"), claim(others):
        pass
    assert (others / "tese.docx").exists()


def test_table_shows_deviations_and_is_aligned() -> None:
    several = (Scores(3.0, 1.25, 0.5, 0.75, 0.6), Scores(3.2, 1.25, 0.5, 0.75, 0.6))
    rows = [Row("total", 250_000, "cased", several), Row("a", 1, "uncased", (Scores(10, 2, 0, 0, 0),))]
    header, first, second = render(rows).splitlines()
    assert first.split()[:6] == ["total", "0.25", "M", "cased", "3.100", "±0.141"]
    assert second.split() == ["a", "0.00", "M", "uncased", "10.000", "2.000", "0.000", "0.000", "0.000"]
    assert header.index("bits/char") == first.index("1.250") == second.index("2.000")
