"""How much of the package a run enters: what a reader has to follow."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.scripts.conftest import write_corpus  # noqa: F401  (a fixture)
from tests.scripts.models import make_models
from tinydistil.corpus.prepare import Job, prepare
from tinydistil.corpus.prepare_config import PrepareConfig
from tinydistil.corpus.progress import Progress
from tinydistil.tokenizer.tokenizer import Tokenizer

TRACE = Path(__file__).parent / "trace_step.py"
# Those of DESIGN. A step as `sys.setprofile` sees it: what the thread of the next batch does is not in it, but below.
LIMITS = {
    "step files": 12, "step functions": 45, "start files": 35, "start imported": 60,
    "step files, batches ahead included": 13, "step functions, batches ahead included": 60,
}  # fmt: skip


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
