"""The promise to a user with clean text, on real sentences; and the benchmark that measures the rest."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_clean_sentences_are_not_lost(data: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    pytest.importorskip("ftfy")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from corpus_quality import cleaned, lost_sentences, real_text

    real = real_text(data, ("news", "literature"), 2000, random.Random(seed))
    assert len(real.sentences) == 2000 and len(real.documents) >= 400
    for texts, limit in ((real.sentences, 0.005), (real.documents, 0.01)):
        lost = [
            text for text in texts if (result := cleaned(text)).dropped_by or lost_sentences(text, result.document.text)
        ]
        # Foreign quotations are among them, rightly, and litanies of the Bible among the documents.
        assert len(lost) < limit * len(texts), lost


def test_the_benchmark_runs(data: Path) -> None:
    pytest.importorskip("ftfy")
    command = [sys.executable, str(ROOT / "benchmarks" / "corpus_quality.py"), "--sentences", "120"]
    done = subprocess.run(
        [*command, "--data", str(data)], capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
    rows = {line[:34].strip(): line for line in done.stdout.splitlines()}
    for name in ("HTML", "mojibake", "menus over many lines", "language: es, a line", "spam: keywords"):
        assert "100.0 %   100.0 %" in rows[name], rows[name]
    done = subprocess.run(
        [*command, "--data", "nada"], capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 2 and "--data 'nada' holds no folder corpus/" in done.stderr
