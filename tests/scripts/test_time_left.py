"""While text is prepared and a cache written, the time left is the whole command's; asking for it changes nothing."""

import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.scripts.models import make_models
from tinydistil.corpus import progress
from tinydistil.train import run as run_module

SCRIPT = Path(__file__).parents[2] / "scripts" / "distill.py"


@pytest.mark.parametrize("recipe", ["total", "partial"])
def test_the_whole_commands_time_left(
    recipe: str,
    tmp_path: Path,
    write_corpus: Callable[[Path, int], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_models(tmp_path, write_corpus(tmp_path / "corpus.jsonl", 60))
    monkeypatch.chdir(tmp_path)

    def run(name: str) -> str:
        monkeypatch.setattr(
            sys, "argv", ["distill.py", "--recipe", recipe, "--teacher", "teacher", "--student", "student", "--corpus",
                          "corpus.jsonl", "--batch-size", "6", "--max-length", "32", "--steps", "3", "--device", "cpu",
                          "--teacher-cache", f"{name}-cache", "--output", name, "--workers", "1"]
        )  # fmt: skip
        runpy.run_path(str(SCRIPT), run_name="__main__")
        return capsys.readouterr().err

    short = run("short")
    assert "with training" not in short and "with what comes after" not in short
    # As if each of them took minutes.
    monkeypatch.setattr(run_module, "_LONG_S", -1.0)
    monkeypatch.setattr(progress, "_SECONDS_PER_LINE", 0.0)
    long = run("long")
    assert re.search(r"documents/s, .* MB/s, \d+%, \d+ s left, \d+ s with what comes after", long), long
    assert re.search(r"teacher's cache: 1 of \d+ parts, \d+ s left, \d+ s with training", long), long
    assert re.search(r"step 3, epoch \S+: held-out masked LM loss \d\.\d{4} nats per token \(perplexity", long), long
    one, other = (load_file(tmp_path / name / "student" / "model.safetensors") for name in ("short", "long"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
