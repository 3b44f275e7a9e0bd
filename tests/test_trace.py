"""How much of the package a run enters: what a reader has to follow."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.scripts.conftest import write_corpus  # noqa: F401  (a fixture)
from tests.scripts.models import make_models
from tinydistil.corpus.prepare import Job, Progress, prepare
from tinydistil.corpus.prepare_config import PrepareConfig
from tinydistil.tokenizer.tokenizer import Tokenizer

TRACE = Path(__file__).parent / "trace_step.py"
# What it is today, so that it does not grow; the aim is 12 and 45 for a step, 35 and 60 for the start.
LIMITS = {"step files": 23, "step functions": 91, "start files": 58, "start imported": 67}


def test_a_run_enters_few_files(tmp_path: Path, write_corpus: Callable[[Path, int], Path]) -> None:  # noqa: F811
    make_models(tmp_path, write_corpus(tmp_path / "corpus.jsonl", 40))
    tokenizers = [("teacher", Tokenizer.from_pretrained(tmp_path / "teacher"))]
    job = Job.of([str(tmp_path / "corpus.jsonl")], tokenizers, PrepareConfig(max_length=32))
    prepare(job, tmp_path / "shards", workers=0, progress=Progress(None))
    command = [sys.executable, str(TRACE), "--json", "--teacher", "teacher", "--student", "1x8", "--shards", "shards",
               "--output", "run", "--steps", "3", "--batch-size", "4", "--device", "cpu"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout.splitlines()[-1])
    assert all(numbers[name] <= limit for name, limit in LIMITS.items()), numbers
