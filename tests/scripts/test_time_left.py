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
from tinydistil.base.ranks import Ranks
from tinydistil.corpus import progress
from tinydistil.corpus.prepare_config import resolve_raw
from tinydistil.corpus.raw_text import plan_raw
from tinydistil.train import run as run_module
from tinydistil.train.estimate import seconds_after

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


def test_what_is_not_read_takes_no_time(
    tmp_path: Path, write_corpus: Callable[[Path, int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a corpus of a gigabyte a run on a thousand sequences of it takes what a thousand take."""
    make_models(tmp_path, write_corpus(tmp_path / "corpus.jsonl", 20))
    monkeypatch.chdir(tmp_path)
    seconds = []
    for sequences in (0, 1000):
        train = {"batch_size": 6, "order": {"sequences": sequences}}
        values = {"recipe": "vectors", "teacher": "encoder", "student": {"model": "1x8", "tokenizer": "teacher"},
                  "corpus": ["corpus.jsonl"], "train": train}  # fmt: skip
        plan = plan_raw(resolve_raw(values), tmp_path / "run", resume=False, device="cpu")
        seconds.append(seconds_after(plan, Ranks(0, 1, torch.device("cpu")), 10**9))
    assert seconds[1] < seconds[0] / 100
