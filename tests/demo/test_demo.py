"""The demonstration in small, as `scripts/distill.py --quick` runs it."""

import json
import math
import runpy
import sys
from pathlib import Path

import pytest

from tinydistil.base.errors import InputError
from tinydistil.demo.corpus import claim, make_texts
from tinydistil.demo.table import Marks, render
from tinydistil.model.heads import BertForMaskedLM

SCRIPT = Path(__file__).parents[2] / "scripts" / "distill.py"
ROWS = ["untrained", "no teacher, own words", "partial", "no teacher, teacher's words", "total", "teacher"]


def test_the_quick_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "demo"
    monkeypatch.setattr(sys, "argv", ["distill.py", "--quick", "--output", str(output), "--device", "cpu"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    table = capsys.readouterr().out.splitlines()
    rows = json.loads((output / "demo.json").read_text())["rows"]
    assert [row["title"] for row in rows] == ROWS
    assert [line.split("  ")[0] for line in table[1:7]] == ROWS
    marks = {row["title"]: row for row in rows}
    for row in rows:
        assert all(math.isfinite(row[name]) for name in ("masked_lm", "bits", "similarity", "sentiment", "entailment"))
        # 40 steps are enough to know frequent words, and the untrained student knows nothing
        assert row["title"] == "untrained" or row["bits"] < marks["untrained"]["bits"]
    for name in ("partial", "total"):
        student = BertForMaskedLM.from_pretrained(output / name / "student", heads="require")
        assert student.config.num_hidden_layers == 2 - 1
    assert (output / "total" / "student" / "vocab.txt").read_text() == (
        output / "teacher" / "student" / "vocab.txt"
    ).read_text()


def test_texts_are_the_same_every_time(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        make_texts(tmp_path / name, num_documents=60, vocab_size=600)
    for file in ("corpus.jsonl", "teacher-vocabulary/vocab.txt", "student-vocabulary/vocab.txt"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
    words = (tmp_path / "first" / "student-vocabulary" / "vocab.txt").read_text(encoding="utf-8").split()[5:]
    assert all(word == word.lower() and "ã" not in word for word in words)


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


def test_table_is_aligned() -> None:
    rows = [Marks("total", 250_000, "cased", 3.0, 1.25, 0.5, 0.75, 0.6), Marks("a", 1, "uncased", 10, 2, 0, 0, 0)]
    lines = render(rows).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1].split() == ["total", "0.25", "M", "cased", "3.000", "1.250", "0.500", "0.750", "0.600"]
