"""Past one machine: an engine runs scripts/prepare.py --part, and --merge makes the shards of one machine.

datatrove, since a plain function is a pipeline step to it, the same pipeline runs as local processes or as
Slurm jobs, and it installs in seconds; Ray and Spark bring a cluster runtime that such tasks do not need.
"""

import json
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.corpus.test_preparation import contents
from tinydistil.corpus.prepare import Job
from tinydistil.corpus.prepare_config import PrepareConfig
from tinydistil.corpus.readers import read_items
from tinydistil.tokenizer.tokenizer import Tokenizer

ROOT = Path(__file__).parents[2]
Writer = Callable[[random.Random], str]


@pytest.fixture
def corpus(tmp_path: Path, write_text: Writer) -> Path:
    """Three files, with copies across them and a broken line."""
    source, folder = random.Random(3), tmp_path / "corpus"
    folder.mkdir()
    texts = [write_text(source) for _ in range(45)]
    for number in range(3):
        mine = [*texts[number * 15 : number * 15 + 15], texts[0], texts[20]]
        lines = [json.dumps({"text": text}) for text in mine] + ["{broken"]
        (folder / f"part{number}.jsonl").write_text("\n".join(lines))
    return folder


def test_an_engine_makes_the_shards_of_one_machine(corpus: Path, cased: Tokenizer, tmp_path: Path) -> None:
    executor = pytest.importorskip("datatrove.executor", reason="datatrove is not installed")
    cased.save_pretrained(tmp_path / "cased")
    command = [sys.executable, str(ROOT / "scripts" / "prepare.py"), "--input", str(corpus), "--tokenizer",
               str(tmp_path / "cased"), "--max-length", "64", "--set", "segment_mb=0.02"]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}

    def run(*arguments: str) -> None:
        subprocess.run([*command, *arguments], check=True, env=environment)

    def part(data: None, rank: int, world_size: int) -> None:
        run("--output", str(tmp_path / "engine"), "--workers", "0", "--part", f"{rank + 1}/{world_size}")

    executor.LocalPipelineExecutor([part], tasks=4, workers=2, logging_dir=str(tmp_path / "logs")).run()
    run("--output", str(tmp_path / "engine"), "--merge")
    run("--output", str(tmp_path / "plain"), "--workers", "0")
    counts = json.loads((tmp_path / "plain" / "manifest.json").read_text())["counts"]
    assert counts["dropped"]["unreadable"]["documents"] == 3
    assert counts["dropped"]["exact_duplicate"]["documents"] == 6
    assert contents(tmp_path / "engine") == contents(tmp_path / "plain")


def test_step_and_outcomes_pickle(corpus: Path, cased: Tokenizer) -> None:
    job = Job.of([str(corpus)], [("cased", cased)], PrepareConfig(max_length=64))
    step = pickle.loads(pickle.dumps(job.step()))
    items = list(read_items(job.files, job.config.read))
    outcomes = list(map(job.step(), items))
    assert pickle.dumps(list(map(step, items))) == pickle.dumps(outcomes)
    assert len(pickle.loads(pickle.dumps(outcomes))) == len(items) == 54
